"""From drafts to queries: so many of each label, none of both halves, and no text twice.

Belongs here: quotas, uniting what asks the same, and the chunks of answers. Not here: making drafts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from pipeline.evaluation.queries import TEST, TUNE, Query
from pipeline.evaluation.synthesis import calls, from_tests, intents, names, ties
from pipeline.evaluation.synthesis.corpus import WHOLE, Corpus, Span
from pipeline.evaluation.synthesis.drafts import Draft
from pipeline.evaluation.synthesis.prose import normalised
from pipeline.evaluation.synthesis.references import References
from pipeline.evaluation.synthesis.sampling import Numbers, qid_of
from pipeline.evaluation.synthesis.ties import Tied

QUOTAS: tuple[tuple[str, bool | None, float], ...] = (
    (intents.DOCSTRING, True, 0.4),
    (intents.MODULE, None, 0.15),
    (calls.LABEL, None, 0.1),
    (from_tests.LABEL, None, 0.1),
    (intents.DOCSTRING, False, 0.1),
    (names.LABEL, None, 0.15),
)
"""Label, whether masked (None: as it comes), and share; what one cannot fill the others do, in this order, and names last."""
_NAMES_FOR_OTHERS = 0.5
"""Names for every other query, at most, where there is little else: they are found easily, and there are always more."""


def queries_of(
    corpus: Corpus, references: References, called: tuple[Numbers, Numbers], wanted: Mapping[str, int]
) -> list[Tied]:
    """As many queries of each half as wanted, or as there are."""
    found: list[Tied] = []
    for split in (TEST, TUNE):
        if wanted.get(split, 0) <= 0:
            continue
        half = corpus.files.is_test_half if split == TEST else ~corpus.files.is_test_half
        makers = {
            names.LABEL: names.drafts(corpus, half),
            intents.DOCSTRING: intents.of_definitions(corpus, half),
            intents.MODULE: intents.of_modules(corpus, half),
            calls.LABEL: calls.drafts(corpus, called, half),
            from_tests.LABEL: from_tests.drafts(corpus, references, half),
        }
        pool = _Pool(corpus, split, {normalised(one.query.query) for one in found})
        streams = {label: _Drafts(drafts) for label, drafts in makers.items()}
        for label, masked, share in QUOTAS:
            pool.take(streams[label].of(masked), round(share * wanted[split]), wanted[split])
        for label, masked, _ in QUOTAS[:-1]:
            pool.take(streams[label].of(masked), wanted[split], wanted[split])
        most_names = round(_NAMES_FOR_OTHERS * pool.others(names.LABEL))
        pool.take(streams[names.LABEL].of(None), most_names - pool.count(names.LABEL), wanted[split])
        found += pool.queries()
    return found


class _Drafts:
    """Drafts of a label in their order, masked ones and others apart."""

    def __init__(self, source: Iterator[Draft]) -> None:
        self._source = source
        self._waiting: dict[bool, deque[Draft]] = {True: deque(), False: deque()}

    def of(self, masked: bool | None) -> Iterator[Draft]:
        """Those that nobody took yet; None: both kinds, what had to wait first."""
        while True:
            for kind in (True, False) if masked is None else (masked,):
                while self._waiting[kind]:
                    yield self._waiting[kind].popleft()
            draft = next(self._source, None)
            if draft is None:
                return
            self._waiting[draft.mask is not None].append(draft)


class _Pool:
    """The drafts of one half that were taken, by text."""

    def __init__(self, corpus: Corpus, split: str, taken: set[str]) -> None:
        self._corpus = corpus
        self._split = split
        self._foreign = taken
        self._drafts: dict[str, list[Draft]] = {}
        self._asked: set[tuple[str, frozenset[Span]]] = set()

    def take(self, drafts: Iterator[Draft], quota: int, most: int) -> None:
        """Take drafts until there are `quota` more texts, or `most` altogether."""
        until = min(len(self._drafts) + quota, most)
        while len(self._drafts) < until and (draft := next(drafts, None)) is not None:
            text = normalised(draft.query)
            asked = draft.label, draft.about or frozenset(span for answer in draft.answers for span in answer)
            # Once for each form of a module and each definition with the same documentation would be too often.
            if asked not in self._asked and text and text not in self._foreign and self._is_of_this_half(draft):
                self._asked.add(asked)
                self._drafts.setdefault(text, []).append(draft)

    def count(self, label: str) -> int:
        """How many were taken of a label."""
        return sum(drafts[0].label == label for drafts in self._drafts.values())

    def others(self, label: str) -> int:
        """How many were taken of all other labels."""
        return len(self._drafts) - self.count(label)

    def _is_of_this_half(self, draft: Draft) -> bool:
        """Whether nothing that answers, copies of chunks included, and no source lies in the other half."""
        files, corpus = self._corpus.files, self._corpus
        spans = [span for answer in draft.answers for span in answer]
        if any(files.split(file) != self._split for file in {*draft.sources, *(span[0] for span in spans)}):
            return False
        rows = [row for span in spans for row in corpus.chunks_in(span)]
        return bool(rows) and all(files.split(int(corpus.chunk_file[row])) == self._split for row in rows)

    def queries(self) -> list[Tied]:
        """All that were taken, by id."""
        made = (Tied(self._query(drafts), self._ties(drafts)) for drafts in self._drafts.values())
        return sorted(made, key=lambda one: one.query.qid)

    def _ties(self, drafts: list[Draft]) -> Numbers:
        corpus = self._corpus
        spans = [span for draft in drafts for answer in (*draft.answers, draft.neutral) for span in answer]
        rows = [row for span in spans for row in corpus.chunks_in(span)]
        files = {int(corpus.chunk_file[row]) for row in rows} | {
            one for draft in drafts for one in (draft.file, *draft.sources)
        }
        # Copies answer, too, of the chunk that a definition begins in.
        first = {next(corpus.chunks_in(span), None) for span in spans if span[2] < WHOLE}
        texts = {int(corpus.chunk_hash[row]) for row in first if row is not None}
        told = {*(ties.file(corpus.files.uris[one]) for one in files), *map(ties.text, texts)}
        return ties.numbers(told.union(*(draft.ties for draft in drafts)))

    def _query(self, drafts: list[Draft]) -> Query:
        corpus, first = self._corpus, drafts[0]
        positives: dict[int, int] = {}
        number = 0
        for answer in dict.fromkeys(answer for draft in drafts for answer in draft.answers):
            rows = {row for span in answer for row in corpus.chunks_in(span)} - positives.keys()
            positives |= dict.fromkeys(sorted(rows), number)
            number += bool(rows)
        neutral = {row for draft in drafts for span in draft.neutral for row in corpus.chunks_in(span)} - positives.keys()
        ids = corpus.chunk_ids
        uri = corpus.files.uris[first.file]
        return Query(
            qid=qid_of(first.label, first.query, uri, first.symbol), query=first.query, label=first.label, split=self._split,
            uri=uri, symbol=first.symbol, lang=corpus.files.languages[first.file],
            positives=tuple(int(ids[row]) for row in positives), answers=tuple(positives.values()),
            neutral=tuple(int(ids[row]) for row in sorted(neutral)),
            # A text that several things are documented with is not one answer's.
            mask=first.mask if len(drafts) == 1 else None,
        )  # fmt: skip
