"""Narrow scoring: exact MaxSim of given chunks over all their stored tokens, and which token answered which.

MaxSim (Khattab and Zaharia, "ColBERT", SIGIR 2020) is, for each token of the query, the best cosine of any token of
the chunk; here their mean, so that scores of queries of different lengths compare.

Belongs here: scores over candidates, restricted or biased to some tokens. Not here: which tokens (`places`), finding
candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.index.dense.arrays import Ids, Scores, checked_vectors
from pipeline.index.xtr.encoder import Numbers, Vectors
from pipeline.index.xtr.token_index import TokenIndex

_TOKENS = 1 << 14
"""Scored at a time."""
NOTHING = -1


class Focus(NamedTuple):
    """Tokens that matter more: those with a bit of `mask` in their role. A bonus of 0: no others count."""

    mask: int
    bonus: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Chunks and how well they answer: scores float32 [n]; for each token of the query the chunk's best token, int64 [n, q]
    (`NOTHING` where it has none that counts), and its similarity float32 [n, q], a cosine without any bonus."""

    ids: Ids
    scores: Scores
    tokens: Numbers
    similarities: Scores


def score(index: TokenIndex, query: Vectors, ids: Ids, focus: Focus | None = None) -> Scored:
    """Score chunks (int64 [n], in any order) for a query's tokens (float32 [q, d], unit rows).

    A chunk without a token that counts gets, for each token of the query, the lowest that any other of these chunks got, as
    what was not retrieved does in XTR; so do ids that the index does not have. Raises `QueryError` for vectors of another
    dimension.
    """
    query = checked_vectors(query, index.maker.dimension)
    rows = index.rows(ids)
    tokens = np.full((len(ids), len(query)), NOTHING, np.int64)
    similarities = np.zeros((len(ids), len(query)), np.float32)
    adjusted = np.full((len(ids), len(query)), -np.inf, np.float32)
    for places, starts, stored in _blocks(index, rows):
        found = index.vectors(stored) @ query.T
        weighed = found if focus is None else _weighed(found, index.roles[stored], focus)
        for place, start, end in zip(places, starts[:-1], starts[1:], strict=True):
            best = weighed[start:end].argmax(axis=0)
            columns = np.arange(len(query))
            adjusted[place] = weighed[start:end][best, columns]
            similarities[place] = found[start:end][best, columns]
            tokens[place] = stored[start:end][best]
    missing = np.isinf(adjusted)
    tokens[missing], similarities[missing] = NOTHING, 0.0
    lowest = np.where(missing, np.inf, adjusted).min(axis=0, initial=np.inf)
    adjusted = np.where(missing, np.where(np.isinf(lowest), 0.0, lowest), adjusted)
    scores = adjusted.mean(axis=1, dtype=np.float64) if len(query) else np.zeros(len(ids))
    return Scored(ids, scores.astype(np.float32), tokens, similarities)


def _blocks(index: TokenIndex, rows: Numbers) -> list[tuple[Numbers, Numbers, Numbers]]:
    """The chunks at these rows that have tokens, some at a time: their places [m], where the tokens of each start [m + 1], and
    all their tokens."""
    counts = np.where(rows >= 0, index.offsets[rows + 1] - index.offsets[rows], 0)
    filled = np.flatnonzero(counts)
    groups = np.cumsum(counts[filled]) // _TOKENS
    blocks = []
    for group in np.unique(groups):
        places = filled[groups == group]
        starts = np.concatenate([[0], np.cumsum(counts[places])])
        first = np.repeat(index.offsets[rows[places]] - starts[:-1], counts[places])
        blocks.append((places, starts, first + np.arange(len(first))))
    return blocks


def _weighed(found: Scores, roles: npt.NDArray[np.uint8], focus: Focus) -> Scores:
    meant = (roles & focus.mask) != 0
    others = np.float32(0.0 if focus.bonus else -np.inf)
    return found + np.where(meant, np.float32(focus.bonus), others)[:, None]


def best_first(ids: Ids, scores: Scores) -> Numbers:
    """Positions of chunks, best first, ties by id."""
    return np.lexsort((ids, -scores))
