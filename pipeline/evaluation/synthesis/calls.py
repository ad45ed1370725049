"""Label `usage`: what uses X to do Y. X is called, Y is what the documentation of the caller says; the caller answers.

Belongs here: intents with a call as their context. Not here: intents alone (`intents`), what tests use (`from_tests`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from pipeline.evaluation.synthesis import prose, ties
from pipeline.evaluation.synthesis.corpus import Corpus, Flags, Numbers
from pipeline.evaluation.synthesis.drafts import CALLABLE, TYPES, Draft, answers_of, files_of, form_of, is_of_lines, spans
from pipeline.evaluation.synthesis.forms import PHRASE, QUESTION, phrase, purpose
from pipeline.evaluation.synthesis.sampling import draw, seated

LABEL = "usage"
_CALLED = r"^\p{Lu}[\pL\pN_$]{3,}$|^[\pL$][\pL\pN$]*(_[\pL\pN]|[\p{Ll}\pN]\p{Lu})[\pL\pN_$]*[?!]?$"
"""A name that is no word of a language."""
_MOST_CALLERS, _MOST_NAMESAKES = 30, 3


def drafts(corpus: Corpus, calls: tuple[Numbers, Numbers], half: Flags) -> Iterator[Draft]:
    """Drafts for the files [files] of a half, in the order in which they are taken. `calls`: rows of callers and called."""
    own, files = corpus.definitions, corpus.files
    rows, called = _distinctive(corpus, *calls)
    kept = (half & files.main)[own.file[rows]] & own.kind.among(CALLABLE)[rows] & own.doc.matching(r"\pL\s+\pL")[rows]
    rows, called = rows[kept], called[kept]
    draws = [draw(LABEL, files.uris[own.file[row]], own.qualified[row]) for row in rows.tolist()]
    for place in seated(files.strata[own.file[rows]], draws).tolist():
        if draft := _draft(corpus, int(rows[place]), int(called[place]), draws[place]):
            yield draft


def _distinctive(corpus: Corpus, callers: Numbers, called: Numbers) -> tuple[Numbers, Numbers]:
    """Each caller with the one of those that it calls that fewest others call and whose name says most."""
    own = corpus.definitions
    counts = np.bincount(called, minlength=len(own.file))
    namesakes = corpus.namesakes
    nameable = own.name.matching(_CALLED) & own.kind.among(CALLABLE | TYPES) & corpus.files.main[own.file]
    kept = nameable[called] & (counts[called] <= _MOST_CALLERS) & (namesakes[called] <= _MOST_NAMESAKES)
    callers, called = callers[kept], called[kept]
    order = np.lexsort((called, counts[called], callers))
    callers, called = callers[order], called[order]
    _, first = np.unique(callers, return_index=True)
    return callers[first], called[first]


def _draft(corpus: Corpus, row: int, called: int, number: int) -> Draft | None:
    own = corpus.definitions
    sentence, name = prose.sentence_of(own.doc[row]), own.name[called]
    if sentence is None or name in sentence or len(alike := own.first_line.like(row)) > _MOST_CALLERS:
        return None
    answers, aside = answers_of(corpus, alike, row)
    if len(answers) > 1:
        return None
    done = purpose(sentence)
    if done is None or len(prose.content_words(done)) < 3:
        return None
    form = form_of(number)
    if form == QUESTION:
        query = f"what uses {name} to {done}"
    elif form == PHRASE:
        query = f"{phrase(sentence)} using {name}"
    else:
        query = f"Uses {name} to {done}."
    found = tuple(spans(corpus, answer) for answer in answers)
    # Never masked: what is called stands in the answer as it stands in the query.
    return Draft(
        query=query, label=LABEL, file=int(own.file[row]), symbol=own.qualified[row],
        answers=found if is_of_lines(query) else files_of(corpus, answers), about=frozenset(chain.from_iterable(found)),
        neutral=spans(corpus, aside), ties=(ties.says(own.first_line[row]), ties.named(name)),
    )  # fmt: skip
