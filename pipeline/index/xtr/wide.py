"""Wide search: the chunks whose tokens are nearest to those of a query, over all tokens, with XTR's imputation.

Each token of the query finds its k' most similar tokens among the lists of the centroids nearest to it. A chunk scores the
mean, over the query's tokens, of its best retrieved similarity; where a token of the query retrieved none of the chunk's, the
chunk gets the lowest similarity that this token retrieved, which is the most that what was missed can have. From: Lee et al.,
"Rethinking the Role of Token Retrieval in Multi-Vector Retrieval" (XTR, NeurIPS 2023), section 3.2; there it needs no
other vectors of the candidates, so none is read.

Belongs here: from query vectors to ranked chunks. Not here: true scores (`narrow`, `oracle`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.index.dense.arrays import Ids, Scores, checked_vectors
from pipeline.index.xtr import narrow
from pipeline.index.xtr.encoder import Numbers, Vectors
from pipeline.index.xtr.token_index import TokenIndex

_FEW_TOKENS = 1 << 15
"""Of allowed chunks: scoring them all costs less than looking for some among all tokens."""


class Retrieved(NamedTuple):
    """Tokens of the index that query tokens found: query int64 [m], token int64 [m], similarity float32 [m]."""

    query: Numbers
    token: Numbers
    similarity: Scores


def search(
    index: TokenIndex, query: Vectors, k: int, *, tokens: int, lists: int, allowed: Ids | None = None
) -> tuple[Ids, Scores]:
    """The k best chunks for a query's tokens (float32 [q, d], unit rows): ids int64 [n] and scores float32 [n], best first.

    `tokens` is k', for each token of the query, among the `lists` nearest lists. `allowed` are ids, ascending; where they have
    few tokens together, all of them are scored instead. Scores are means of cosines. Chunks of which nothing was retrieved are
    not found: n may be less than k. Raises `QueryError` for vectors of another dimension.
    """
    query = checked_vectors(query, index.maker.dimension)
    if not len(query) or not index.tokens:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    mask = None
    if allowed is not None:
        rows = index.rows(allowed)
        rows = rows[rows >= 0]
        sizes = index.offsets[rows + 1] - index.offsets[rows]
        if sizes.sum() <= _FEW_TOKENS:
            scored = narrow.score(index, query, index.ids[rows[sizes > 0]])
            order = narrow.best_first(scored.ids, scored.scores)[:k]
            return scored.ids[order], scored.scores[order]
        mask = np.zeros(len(index), bool)
        mask[rows] = True
    found = retrieve(index, query, tokens, lists, mask)
    rows, scores = impute(found, index.owners(found.token), len(query))
    order = narrow.best_first(index.ids[rows], scores)[:k]
    return index.ids[rows[order]], scores[order]


def retrieve(
    index: TokenIndex, query: Vectors, tokens: int, lists: int, allowed: npt.NDArray[np.bool_] | None = None
) -> Retrieved:
    """For each token of the query (float32 [q, d]) its most similar tokens in the lists nearest to it, ties by token.

    `allowed` says which chunks count, bool [n].
    """
    nearness = query @ index.codec.centroids.T
    visited = min(lists, nearness.shape[1])
    chosen = np.argpartition(-nearness, visited - 1, axis=1)[:, :visited]
    # Tokens of a query share lists: each list is read once.
    distinct, which = np.unique(chosen, return_inverse=True)
    pieces = [np.asarray(index.listed[index.lists[one] : index.lists[one + 1]], np.int64) for one in distinct]
    if allowed is not None:
        pieces = [piece[allowed[index.owners(piece)]] for piece in pieces]
    bounds = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    candidates: Numbers = np.concatenate(pieces)
    similarities = index.vectors(candidates) @ query.T
    wanted = which.reshape(chosen.shape)
    parts = [_best(candidates, similarities[:, row], bounds, wanted[row], tokens) for row in range(len(query))]
    return Retrieved(
        np.repeat(np.arange(len(query)), [len(part) for part, _ in parts]),
        np.concatenate([part for part, _ in parts]),
        np.concatenate([similarity for _, similarity in parts]),
    )


def _best(candidates: Numbers, similarities: Scores, bounds: Numbers, lists: Numbers, count: int) -> tuple[Numbers, Scores]:
    """The most similar candidates of some lists, and their similarities."""
    places = np.concatenate([np.arange(bounds[one], bounds[one + 1]) for one in lists])
    if len(places) > count:
        # What is as similar as the last one counts, too, until ties are told apart by token.
        own = similarities[places]
        last = np.partition(own, len(own) - count)[len(own) - count]
        places = places[own >= last]
        places = places[np.lexsort((candidates[places], -similarities[places]))[:count]]
    return candidates[places], similarities[places]


def impute(found: Retrieved, owners: Numbers, queries: int) -> tuple[Numbers, Scores]:
    """The chunks (rows of the index, ascending, int64 [n]) of which anything was retrieved, and their scores float32 [n].

    `owners` int64 [m] is the row of each retrieved token's chunk, `queries` the number of the query's tokens. A token of the
    query that retrieved nothing at all says nothing, and counts 0 for every chunk.
    """
    rows, own = np.unique(owners, return_inverse=True)
    lowest = np.full(queries, np.inf, np.float32)
    np.minimum.at(lowest, found.query, found.similarity)
    lowest[np.isinf(lowest)] = 0.0
    # Whatever a chunk has is at least the lowest: it is the floor of the maximum.
    best = np.tile(lowest, (len(rows), 1))
    np.maximum.at(best, (own, found.query), found.similarity)
    return rows, best.mean(axis=1, dtype=np.float64).astype(np.float32)
