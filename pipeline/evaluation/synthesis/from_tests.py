"""Label `test`: what the name of a test says that something does; what the test uses and few others do answers.

Belongs here: words of tests' names. Not here: documentation (`intents`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pipeline.embed import words
from pipeline.evaluation.synthesis import prose, ties
from pipeline.evaluation.synthesis.corpus import Corpus, Flags, Numbers
from pipeline.evaluation.synthesis.drafts import CALLABLE, MOST_ANSWERS, TYPES, Draft, spans
from pipeline.evaluation.synthesis.references import References, used_inside
from pipeline.evaluation.synthesis.sampling import draw, seated

LABEL = "test"
_TEST = r"^(?:[Tt]est_?|should_?|it_).{8,}|^.{8,}(?:_test|Test)$|\s"
_MOST_TESTS, _HARDLY = 20, 2
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
    found = _by_test(places, used)
    rows = tests[list(found)]
    draws = [draw(LABEL, files.uris[own.file[row]], own.qualified[row]) for row in rows.tolist()]
    counts = np.bincount(used, minlength=len(own.file))
    strata = files.strata[own.file[[one[0] for one in found.values()]]] if found else np.zeros(0, np.int64)
    candidates = list(found.values())
    for place in seated(strata, draws).tolist():
        if draft := _draft(corpus, int(rows[place]), candidates[place], counts):
            yield draft


def _by_test(places: Numbers, used: Numbers) -> dict[int, list[int]]:
    """What each test uses."""
    found: dict[int, list[int]] = {}
    for place, row in zip(places.tolist(), used.tolist(), strict=True):
        found.setdefault(place, []).append(row)
    return found


def _draft(corpus: Corpus, test: int, used: list[int], counts: Numbers) -> Draft | None:
    own = corpus.definitions
    if len(own.name.like(test)) > 1:
        return None
    text = _words(own.name[test], own.qualified[test])
    if text is None:
        return None
    said = set(text.split())
    meant = _meant(corpus, used, counts, said)
    if not meant:
        return None
    return Draft(
        query=text, label=LABEL, file=int(own.file[meant[0]]), symbol=own.qualified[meant[0]],
        answers=tuple(spans(corpus, [row, *_members(corpus, row, said)]) for row in meant),
        neutral=((int(own.file[test]), int(own.start[test]), int(own.end[test])),), sources=(int(own.file[test]),),
        ties=(ties.named(own.name[test]),),
    )  # fmt: skip


def _meant(corpus: Corpus, used: list[int], counts: Numbers, said: set[str]) -> list[int]:
    """What of all that a test uses it is about: that whose name has most of its words, the rarest first; where no name has any,
    the one thing that hardly another test uses."""
    own = corpus.definitions
    shared = {row: _shared(own.owned_name[row], said) for row in used if counts[row] <= _MOST_TESTS}
    most = max(shared.values(), default=0)
    best = sorted((row for row, count in shared.items() if count == most), key=lambda row: (counts[row], row))
    if most == 0:
        best = [row for row in best if counts[row] <= _HARDLY]
        return best if len(best) == 1 else []
    return best if len(best) <= MOST_ANSWERS else []


def _members(corpus: Corpus, row: int, said: set[str]) -> list[int]:
    """The members of a class whose whole name was said: calls of them are seldom known without types."""
    own = corpus.definitions
    return [member for member in own.members[row] if said.issuperset(parts := _said(own.name[member])) and parts]


def _shared(name: str, said: set[str]) -> int:
    """How many of a name's words were said, unless most were not."""
    parts = set(_said(name))
    count = len(parts & said)
    return count if 2 * count >= len(parts) else 0


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
