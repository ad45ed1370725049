"""Labels `docstring` and `module`: what documentation says that something is for, asked without knowing its name.

Belongs here: intents of definitions and of files. Not here: what calls tell (`calls`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from pipeline.evaluation.synthesis import prose, ties
from pipeline.evaluation.synthesis.corpus import Corpus, Flags
from pipeline.evaluation.synthesis.drafts import (
    CALLABLE,
    MOST_ANSWERS,
    TYPES,
    Draft,
    answers_of,
    files_of,
    form_of,
    is_masked,
    is_of_lines,
    spans,
    worded,
)
from pipeline.evaluation.synthesis.forms import phrase, trimmed
from pipeline.evaluation.synthesis.sampling import draw, seated

DOCSTRING, MODULE = "docstring", "module"
_MOST_ROWS = 40


def of_definitions(corpus: Corpus, half: Flags) -> Iterator[Draft]:
    """Drafts for the files [files] of a half, in the order in which they are taken."""
    own, files = corpus.definitions, corpus.files
    asked = own.kind.among(CALLABLE | TYPES | {"property"}) & own.doc.matching(r"\pL\s+\pL")
    rows = np.flatnonzero(asked & (half & files.main)[own.file])
    draws = [draw(DOCSTRING, files.uris[own.file[row]], own.qualified[row]) for row in rows.tolist()]
    for place in seated(files.strata[own.file[rows]], draws).tolist():
        if draft := _of_definition(corpus, int(rows[place]), draws[place]):
            yield draft


def _of_definition(corpus: Corpus, row: int, number: int) -> Draft | None:
    own = corpus.definitions
    sentence = prose.sentence_of(own.doc[row])
    alike = own.first_line.like(row)
    if sentence is None or len(alike) > _MOST_ROWS:
        return None
    answers, aside = answers_of(corpus, alike, row)
    if len(answers) > MOST_ANSWERS:
        return None
    # Where several docs begin alike, the text of one stands in the others' chunks.
    masked = _masked(sentence, own.name[row], own.kind[row], number) if len(answers) == 1 and not aside else None
    query = masked or worded(sentence, form_of(number), own.kind[row])
    found = tuple(spans(corpus, answer) for answer in answers)
    return Draft(
        query=query, label=DOCSTRING, file=int(own.file[row]), symbol=own.qualified[row],
        answers=found if is_of_lines(query) else files_of(corpus, answers), about=frozenset(chain.from_iterable(found)),
        neutral=spans(corpus, aside), mask=own.doc[row] if masked is not None else None, ties=(ties.says(own.first_line[row]),),
    )  # fmt: skip


def _masked(sentence: str, name: str, kind: str, number: int) -> str | None:
    """A query that has no word of its answer's name: the words of documentation that repeat it say nothing that the name does
    not. None where it is not to be masked, by its draw, or because little is left then."""
    kept = prose.without(sentence, name) if is_masked(number) else None
    if kept is None:
        return None
    query = worded(kept, form_of(number), kind)
    if prose.without_words_of(query, name) != query:
        # What has holes is no sentence and no question any more.
        query = trimmed(prose.without_words_of(phrase(kept), name))
    return query if len(prose.content_words(query)) >= prose.FEWEST_CONTENT_WORDS else None


def of_modules(corpus: Corpus, half: Flags) -> Iterator[Draft]:
    """Drafts for the files [files] of a half, in the order in which they are taken."""
    modules, files = corpus.modules, corpus.files
    rows = np.flatnonzero((half & files.main)[modules.file] & ~corpus.speaks_of_a_definition)
    draws = [draw(MODULE, files.uris[modules.file[row]]) for row in rows.tolist()]
    for place in seated(files.strata[modules.file[rows]], draws).tolist():
        if draft := _of_module(corpus, int(rows[place]), draws[place]):
            yield draft


def _of_module(corpus: Corpus, row: int, number: int) -> Draft | None:
    modules, files = corpus.modules, corpus.files
    file = int(modules.file[row])
    sentence = prose.sentence_of(modules.doc[row])
    if sentence is None:
        return None
    answers: dict[int, list[int]] = {int(files.twins[file]): [file]}
    by_doc = {int(modules.doc.codes[row]): answers[int(files.twins[file])]}
    for other in modules.first_line.like(row):
        at = int(modules.file[other])
        if at != file:
            twin, doc = int(files.twins[at]), int(modules.doc.codes[other])
            answer = answers.get(twin) or by_doc.get(doc) or []
            answer.append(at)
            answers.setdefault(twin, answer)
            by_doc.setdefault(doc, answer)
    distinct = list({id(answer): answer for answer in answers.values()}.values())
    if len(distinct) > MOST_ANSWERS:
        return None
    name = files.uris[file].rpartition("/")[2].partition(".")[0]
    masked = _masked(sentence, name, MODULE, number) if len(distinct) == 1 else None
    return Draft(
        query=masked or worded(sentence, form_of(number), MODULE), label=MODULE, file=file, symbol="",
        answers=tuple(tuple(corpus.whole_file(at) for at in answer) for answer in distinct),
        mask=modules.doc[row] if masked is not None else None, ties=(ties.opens(modules.first_line[row]),),
    )  # fmt: skip
