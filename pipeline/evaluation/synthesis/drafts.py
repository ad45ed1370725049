"""Queries before their chunks are known, and what all labels share in making them.

Belongs here: a draft, and where its answers lie. Not here: the labels themselves (`names`, `intents`, `calls`, `from_tests`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from pipeline.evaluation.synthesis import prose
from pipeline.evaluation.synthesis.corpus import Corpus, Span
from pipeline.evaluation.synthesis.forms import FORMS, SENTENCE, rendered
from pipeline.search.query import Kind, parse_query
from pipeline.structure.kinds import CLASS_LIKE, FUNCTION_LIKE

MOST_ANSWERS = 3
"""What has more is no question with an answer."""
MASKED = 0.9
"""The share of the queries copied from documentation that are masked where that can be."""
_FEWEST_WORDS = 3

CALLABLE = FUNCTION_LIKE - {"constructor", "test"}
TYPES = CLASS_LIKE | {"type"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A query with its answers as spans; each answer has one span for each copy of it."""

    query: str
    label: str
    file: int
    symbol: str
    answers: tuple[tuple[Span, ...], ...]
    neutral: tuple[Span, ...] = ()
    mask: str | None = None
    about: frozenset[Span] = frozenset()
    """What the query was made from, where that is less than its answers: nothing is asked for twice."""
    sources: tuple[int, ...] = ()
    """Further files that words of the query are from."""
    ties: tuple[str, ...] = ()
    """What else of the repository its answers depend on (`ties`)."""


def answers_of(corpus: Corpus, rows: Iterable[int], first: int) -> tuple[list[list[int]], list[int]]:
    """The definitions of `rows` by answer, that of the row `first` before all others; and those in files aside, which answer
    nothing unless they are copies of an answer.

    One answer: overloads, the forms of a module, and what is documented with the same words.
    """
    own, files = corpus.definitions, corpus.files
    answers: list[list[int]] = []
    by_place: dict[tuple[int, int], int] = {}
    by_doc: dict[int, int] = {}
    aside: list[int] = []
    for row in sorted(rows, key=lambda one: (one != first, not files.main[own.file[one]], one)):
        place = int(files.twins[own.file[row]]), int(own.qualified.codes[row])
        doc = int(own.doc.codes[row])
        number = by_place.get(place, by_doc.get(doc))
        if number is None:
            if not files.main[own.file[row]] and row != first:
                aside.append(row)
                continue
            number = len(answers)
            answers.append([])
        answers[number].append(row)
        by_place.setdefault(place, number)
        # A few words, or none, may be the same by chance.
        if len(own.doc[row]) >= 2 * MIN_SHARED_DOC or (len(own.doc[row]) >= MIN_SHARED_DOC and same_name(corpus, row, first)):
            by_doc.setdefault(doc, number)
    return answers, aside


MIN_SHARED_DOC = 20


def same_name(corpus: Corpus, row: int, other: int) -> bool:
    """Whether two definitions have one name."""
    return bool(corpus.definitions.name.codes[row] == corpus.definitions.name.codes[other])


def spans(corpus: Corpus, rows: Iterable[int]) -> tuple[Span, ...]:
    """Where definitions answer."""
    return tuple(corpus.answer_spans(row) for row in rows)


def files_of(corpus: Corpus, answers: Sequence[Sequence[int]]) -> tuple[tuple[Span, ...], ...]:
    """The files that definitions lie in: an answer each, forms of one module together."""
    own, files = corpus.definitions, corpus.files
    found: dict[int, dict[Span, None]] = {}
    for row in chain.from_iterable(answers):
        file = int(own.file[row])
        found.setdefault(int(files.twins[file]), {})[corpus.whole_file(file)] = None
    return tuple(map(tuple, found.values()))


def form_of(number: int) -> str:
    """One of the forms, by a draw."""
    return FORMS[number % len(FORMS)]


def is_of_lines(query: str) -> bool:
    """Whether a query is about one definition. Questions and phrases are about files, as search takes them
    (`search.query.Kind`) and as people mean them: whoever asks how something is done opens the file."""
    return parse_query(query).kind not in (Kind.QUESTION, Kind.PHRASE)


def is_masked(number: int) -> bool:
    """Whether a query is masked, by a draw; independent of its form."""
    return (number // 1000) % 1000 < 1000 * MASKED


def worded(sentence: str, form: str, kind: str) -> str:
    """The sentence in a form, or as it is where little would be left of it."""
    query = rendered(sentence, form, kind)
    return query if len(prose.content_words(query)) >= _FEWEST_WORDS else rendered(sentence, SENTENCE, kind)
