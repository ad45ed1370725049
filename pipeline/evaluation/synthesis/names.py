"""Label `name`: what people type who know what it is called.

Belongs here: which definitions are asked for by name, and by which. Not here: documentation (`intents`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.evaluation.synthesis import ties
from pipeline.evaluation.synthesis.corpus import Corpus, Flags
from pipeline.evaluation.synthesis.drafts import CALLABLE, MOST_ANSWERS, TYPES, Draft, answers_of, spans
from pipeline.evaluation.synthesis.sampling import draw, seated

LABEL = "name"
_NAME = r"^[\pL$][\pL\pN_$]{2,}[?!]?$"
_PUBLIC_DATA = r"^[\p{Lu}][\pL\pN_$]{3,}$"
_QUALIFIED_SHARE = 4
"""One name in so many is asked with its owner where it has one."""
_MOST_ROWS = 200


def drafts(corpus: Corpus, half: Flags) -> Iterator[Draft]:
    """Drafts for the files [files] of a half, in the order in which they are taken."""
    own, files = corpus.definitions, corpus.files
    data = own.kind.among({"constant", "variable"}) & (own.owner < 0) & own.name.matching(_PUBLIC_DATA)
    asked = own.kind.among(CALLABLE | TYPES) & own.name.matching(_NAME) & ~own.in_function | data
    rows = np.flatnonzero(asked & (half & files.main)[own.file])
    draws = [draw(LABEL, files.uris[own.file[row]], own.qualified[row]) for row in rows.tolist()]
    for place in seated(files.strata[own.file[rows]], draws).tolist():
        if draft := _draft(corpus, int(rows[place]), draws[place]):
            yield draft


def _draft(corpus: Corpus, row: int, number: int) -> Draft | None:
    own = corpus.definitions
    with_owner = own.owned_name[row]
    for name, alike in ((own.name[row], own.name), (with_owner, own.owned_name)):
        if alike is own.name and with_owner != name and number % _QUALIFIED_SHARE == 0:
            continue
        rows = alike.like(row)
        if len(rows) > _MOST_ROWS:
            continue
        answers, aside = answers_of(corpus, rows, row)
        if len(answers) <= MOST_ANSWERS:
            return Draft(
                query=name, label=LABEL, file=int(own.file[row]), symbol=own.qualified[row],
                answers=tuple(spans(corpus, answer) for answer in answers), neutral=spans(corpus, aside),
                ties=(ties.named(name),),
            )  # fmt: skip
    return None
