"""Label `test`: what the name of a test says that something does; what the test uses and few others do answers.

Belongs here: words of tests' names. Not here: documentation (`intents`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pipeline.embed import words
from pipeline.evaluation.synthesis import prose
from pipeline.evaluation.synthesis.corpus import Corpus, Flags, Numbers
from pipeline.evaluation.synthesis.drafts import CALLABLE, MOST_ANSWERS, TYPES, Draft, answers_of, spans
from pipeline.evaluation.synthesis.references import References, used_inside
from pipeline.evaluation.synthesis.sampling import draw, seated

LABEL = "test"
_TEST = r"^(?:[Tt]est_?|should_?|it_).{8,}|^.{8,}(?:_test|Test)$|\s"
_MOST_TESTS = 5
_NOISE = frozenset("test tests testing testcase case should it works".split())
_TRAILING = re.compile(r"[_\d]+$")
_FEWEST, _MOST_WORDS = 3, 14


def drafts(corpus: Corpus, references: References, half: Flags) -> Iterator[Draft]:
    """Drafts for the files [files] of a half, in the order in which they are taken."""
    own, files = corpus.definitions, corpus.files
    is_test = own.kind.among(CALLABLE | {"test"}) & own.name.matching(_TEST) & files.tests[own.file] & half[own.file]
    tests = np.flatnonzero(is_test)
    wanted = own.kind.among(CALLABLE | TYPES) & files.main[own.file] & ~files.tests[own.file]
    places, used = used_inside(corpus, references, tests, wanted)
    answers = _rare(places, used, len(tests), len(own.file))
    rows = tests[sorted(answers)]
    draws = [draw(LABEL, files.uris[own.file[row]], own.qualified[row]) for row in rows.tolist()]
    found = [answers[place] for place in sorted(answers)]
    strata = files.strata[own.file[[one[0] for one in found]]] if found else np.zeros(0, np.int64)
    for place in seated(strata, draws).tolist():
        if draft := _draft(corpus, int(rows[place]), found[place]):
            yield draft


def _rare(places: Numbers, used: Numbers, tests: int, definitions: int) -> dict[int, list[int]]:
    """For each test what it uses that few tests use, the rarest first."""
    counts = np.bincount(used, minlength=definitions)
    kept = counts[used] <= _MOST_TESTS
    places, used = places[kept], used[kept]
    order = np.lexsort((used, counts[used], places))
    places, used = places[order], used[order]
    found: dict[int, list[int]] = {}
    for place, row in zip(places.tolist(), used.tolist(), strict=True):
        found.setdefault(place, []).append(row)
    return found


def _draft(corpus: Corpus, test: int, used: list[int]) -> Draft | None:
    own = corpus.definitions
    if len(used) > 2 * MOST_ANSWERS or len(own.name.like(test)) > 1:
        return None
    text = _words(own.name[test], own.qualified[test])
    if text is None:
        return None
    answers = [spans(corpus, answers_of(corpus, [row], row)[0][0]) for row in used[:MOST_ANSWERS]]
    return Draft(
        query=text, label=LABEL, file=int(own.file[used[0]]), symbol=own.qualified[used[0]], answers=tuple(answers),
        neutral=((int(own.file[test]), int(own.start[test]), int(own.end[test])),), sources=(int(own.file[test]),),
    )  # fmt: skip


def _words(name: str, qualified: str) -> str | None:
    """What a test's name says, with what its class is about where that is little; None where it is too little or too much."""
    said = _said(name)
    owner = qualified.rpartition(".")[0].rpartition(".")[2]
    if owner and len(prose.content_words(" ".join(said))) < _FEWEST:
        said = [word for word in _said(owner) if word not in said] + said
    text = " ".join(said)
    return text if len(prose.content_words(text)) >= _FEWEST and len(said) <= _MOST_WORDS else None


def _said(name: str) -> list[str]:
    if " " in name:
        return [word for word in name.split() if word.lower() not in _NOISE]
    parts = [part for run in words.runs(_TRAILING.sub("", name)) for part in words.parts(run)]
    return [part for part in parts if part not in _NOISE]
