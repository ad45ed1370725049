"""Searching postings: every query term adds its weight times the impacts of its postings to the scores of their documents.

Term at a time over whole posting lists, without skipping: a score is the exact inner product of the query and the stored
impacts. `benchmarks/splade.py` has it beside a search that skips by bounds, which is slower in NumPy.

Belongs here: scores and ranks. Not here: building (`postings`), files (`index_files`), the query's weights (`encoder`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.errors import QueryError
from pipeline.index.splade.postings import STEPS, Ids, Postings

Scores: TypeAlias = npt.NDArray[np.float64]

WEIGHT_STEP = 2.0**-16
"""Query weights are rounded to multiples of it. A score is then a sum of integers below 2^53, which 64-bit floating point holds
exactly: the order of the terms changes no bit, and a tie is a tie."""
MOST_WEIGHT = 256.0
MOST_QUERY_TERMS = 1 << 13


@dataclass(frozen=True, slots=True)
class SparseQuery:
    """terms int32 [m], ascending; weights float64 [m], above 0, multiples of `WEIGHT_STEP`. `sparse_query` makes it."""

    terms: npt.NDArray[np.int32]
    weights: Scores


@dataclass(frozen=True, slots=True)
class Match:
    """What a query term adds to the score of a document: its weight in the query, its impact there, and their product."""

    term: int
    weight: float
    impact: float
    contribution: float


def sparse_query(terms: npt.ArrayLike, weights: npt.ArrayLike, most: int = MOST_QUERY_TERMS) -> SparseQuery:
    """A query of its `most` heaviest terms, ties by term.

    Terms int [m] and weights float [m]; a weight below half of `WEIGHT_STEP` is none. Raises `QueryError` for a term that is
    there twice, for too many, and for a weight that is negative, not finite or 256 and more.
    """
    number, weight = np.asarray(terms, np.int64), np.asarray(weights, np.float64)
    if number.ndim != 1 or number.shape != weight.shape or len(np.unique(number)) != len(number):
        raise QueryError("The terms of a query must be different, with one weight each.")
    if not ((weight >= 0) & (weight < MOST_WEIGHT)).all():  # Also false for NaN.
        raise QueryError(f"The weights of a query must be from 0 to below {MOST_WEIGHT:g}.", hint="Use another model.")
    weight = np.rint(weight / WEIGHT_STEP) * WEIGHT_STEP
    heaviest = np.lexsort((number, -weight))[: min(most, MOST_QUERY_TERMS)]
    kept = heaviest[weight[heaviest] > 0]
    kept = kept[np.argsort(number[kept])]
    return SparseQuery(number[kept].astype(np.int32), weight[kept])


class ImpactIndex:
    """Postings that are searched; holds no state of a search, so many threads may ask at once."""

    def __init__(self, postings: Postings, *, bits: int) -> None:
        self.postings = postings
        self._step = STEPS[bits]

    def __len__(self) -> int:
        """How many documents there are, those without any posting among them."""
        return len(self.postings.ids)

    def search(self, query: SparseQuery, k: int, *, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """The k best of the documents that share a term with the query, only of `allowed` (ascending) where that is given.

        ids int64 [m] and scores float64 [m], m at most k; best first, ties by id.
        """
        if k < 1:
            raise QueryError(f"k = {k} is out of range.", hint="Use 1 or more.")
        scores = self._scores(query)
        rows = None if allowed is None else self._rows(allowed)
        pool = scores if rows is None else scores[rows]
        if len(pool) > k:
            least = np.partition(pool, len(pool) - k)[len(pool) - k]
            # All that is tied with the last place is ordered by id, and only then cut.
            found = np.flatnonzero(pool >= least) if least > 0 else np.flatnonzero(pool)
        else:
            found = np.flatnonzero(pool)
        # Rows are in the order of ids: a stable sort keeps it where scores are equal.
        found = found[np.argsort(-pool[found], kind="stable")[:k]]
        return self.postings.ids[found if rows is None else rows[found]], pool[found]

    def scores_of(self, query: SparseQuery, ids: Ids) -> Scores:
        """The scores of documents, float64 as many as ids; 0 for one that is not there."""
        rows = np.minimum(np.searchsorted(self.postings.ids, ids), max(len(self) - 1, 0))
        if not len(self):
            return np.zeros(len(ids))
        return np.where(self.postings.ids[rows] == ids, self._scores(query)[rows], 0.0)

    def matches(self, query: SparseQuery, document: int) -> list[Match]:
        """Which terms of the query a document has, the largest contribution first; their sum is its score."""
        found = []
        row = int(np.searchsorted(self.postings.ids, document))
        if row == len(self) or self.postings.ids[row] != document:
            return []
        for start, end, term, weight in self._lists(query):
            place = start + int(np.searchsorted(self.postings.rows[start:end], row))
            if place < end and self.postings.rows[place] == row:
                impact = float(self.postings.impacts[place]) * self._step
                found.append(Match(term, weight, impact, weight * impact))
        return sorted(found, key=lambda match: (-match.contribution, match.term))

    def _rows(self, allowed: Ids) -> Ids:
        """The rows of those ids that are there, ascending."""
        rows = np.searchsorted(self.postings.ids, allowed)
        known = rows < len(self)
        known[known] = self.postings.ids[rows[known]] == allowed[known]
        return rows[known]

    def _lists(self, query: SparseQuery) -> list[tuple[int, int, int, float]]:
        """Start, end, term and weight of each query term that has postings."""
        places = np.searchsorted(self.postings.terms, query.terms)
        known = places < len(self.postings.terms)
        known[known] = self.postings.terms[places[known]] == query.terms[known]
        starts, ends = self.postings.offsets[places[known]], self.postings.offsets[places[known] + 1]
        columns = (starts, ends, query.terms[known], query.weights[known])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _scores(self, query: SparseQuery) -> Scores:
        """The score of every document, float64 [n]."""
        scores = np.zeros(len(self))
        for start, end, _, weight in self._lists(query):
            np.add.at(scores, self.postings.rows[start:end], self.postings.impacts[start:end] * weight)
        scores *= self._step
        return scores
