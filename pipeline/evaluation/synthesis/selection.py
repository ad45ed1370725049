"""From drafts to queries: so many of each label, none of both halves, and no text twice.

Belongs here: quotas, uniting what asks the same, and the chunks of answers. Not here: making drafts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from pipeline.evaluation.queries import TEST, TUNE, Query
from pipeline.evaluation.synthesis import calls, from_tests, intents, names
from pipeline.evaluation.synthesis.corpus import Corpus, Span
from pipeline.evaluation.synthesis.drafts import Draft
from pipeline.evaluation.synthesis.prose import normalised
from pipeline.evaluation.synthesis.references import References
from pipeline.evaluation.synthesis.sampling import Numbers, qid_of

QUOTAS: Mapping[str, float] = {
    intents.DOCSTRING: 0.4, names.LABEL: 0.15, intents.MODULE: 0.2, calls.LABEL: 0.15, from_tests.LABEL: 0.1,
}  # fmt: skip
"""Label -> its share; what one cannot fill the others do, in this order, and names last."""


def queries_of(
    corpus: Corpus, references: References, called: tuple[Numbers, Numbers], wanted: Mapping[str, int]
) -> list[Query]:
    """As many queries of each half as wanted, or as there are."""
    found: list[Query] = []
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
        pool = _Pool(corpus, split, {normalised(query.query) for query in found})
        for label, share in QUOTAS.items():
            pool.take(makers[label], round(share * wanted[split]), wanted[split])
        pool.take(chain.from_iterable(makers[label] for label in QUOTAS if label != names.LABEL), wanted[split], wanted[split])
        # Names are found easily and there are always more: they fill up to as many as all others are.
        pool.take(makers[names.LABEL], pool.others(names.LABEL) - pool.count(names.LABEL), wanted[split])
        found += pool.queries()
    return found


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
            asked = draft.label, frozenset(span for answer in draft.answers for span in answer)
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

    def queries(self) -> list[Query]:
        """All that were taken, by id."""
        return sorted((self._query(drafts) for drafts in self._drafts.values()), key=lambda query: query.qid)

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
