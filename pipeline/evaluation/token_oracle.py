"""Late interaction beside its oracle: exact MaxSim of a query over all tokens of all chunks.

Exact scores are of the stored tokens, so the oracle says what searching loses, not what compression does.

Belongs here: the comparison. Not here: exact and narrow scores (`index.xtr`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import CodeIntelError, IndexCorruptionError
from pipeline.evaluation.asking import reply
from pipeline.evaluation.document import TokenOracle
from pipeline.evaluation.intervals import mean_of
from pipeline.evaluation.metrics import Scores, score
from pipeline.evaluation.queries import Query
from pipeline.index.dense.arrays import Ids
from pipeline.index.xtr.narrow import best_first
from pipeline.index.xtr.oracle import exact
from pipeline.search.channels.registry import State
from pipeline.search.opened import Opened
from pipeline.search.tokens import TokenSearch

MOST_QUERIES, _LEAST_QUERIES = 50, 8
MOST_PRODUCTS = 4 * 10**11
"""Multiplications that the exact search may take; some seconds of one processor."""


def token_oracle(opened: Opened, queries: Sequence[Query], k: int) -> TokenOracle | None:
    """The comparison over an even sample of queries that hide nothing; None where there are no tokens, or no encoder."""
    try:
        tokens = opened.tokens
    except IndexCorruptionError:
        raise
    except CodeIntelError:
        return None
    plain = [query for query in queries if query.mask is None]
    if tokens is None or not plain or not tokens.index.tokens:
        return None
    sample = _sample(tokens, plain)
    vectors = [tokens.query(query.query).vectors for query in sample]
    depth = max(k, k + max(len(query.neutral) for query in sample))
    rankings = [ids for ids, _ in exact(tokens.index.blocks(), vectors, depth)]
    oracle = [score(ids.tolist(), query, k) for ids, query in zip(rankings, sample, strict=True)]
    found, pooled, rescored, fused = [], [], [], []
    for query, best in zip(sample, rankings, strict=True):
        given = reply(opened, query.query, k)
        channel = given.consulted["xtr"]
        there = channel.found.ranking.ids if channel.state is State.ANSWERED and channel.found else np.empty(0, np.int64)
        found.append(_share(best[:k], there))
        pooled.append(_share(best[:k], given.ranked.candidates))
        fused.append(score(given.ranking.tolist(), query, k))
        narrow = tokens.score(query.query, given.ranked.candidates, opened.settings)
        rescored.append(score(narrow.ids[best_first(narrow.ids, narrow.scores)].tolist(), query, k))
    hits = {name: mean_of(_column(scores, "hit")) for name, scores in _named(oracle, rescored, fused)}
    means = {name: mean_of(_column(scores, "rr")) for name, scores in _named(oracle, rescored, fused)}
    return TokenOracle(
        queries=len(sample), hit=hits["oracle"], mrr=means["oracle"], channel_recall=mean_of(np.array(found)),
        engine_recall=mean_of(np.array(pooled)), rescored_hit=hits["rescored"], rescored_mrr=means["rescored"],
        fused_hit=hits["fused"], fused_mrr=means["fused"],
    )  # fmt: skip


def _named(
    oracle: Sequence[Scores], rescored: Sequence[Scores], fused: Sequence[Scores]
) -> tuple[tuple[str, Sequence[Scores]], ...]:
    return ("oracle", oracle), ("rescored", rescored), ("fused", fused)


def _column(scores: Sequence[Scores], name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([getattr(one, name) for one in scores], np.float64)


def _share(wanted: Ids, found: Ids) -> float:
    return float(np.isin(wanted, found).mean()) if len(wanted) else 0.0


def _sample(tokens: TokenSearch, queries: Sequence[Query]) -> list[Query]:
    """As many queries as the bound allows, evenly drawn: cost grows with the tokens of the index and of the query."""
    a_query = tokens.index.tokens * tokens.index.maker.dimension * _tokens_of(tokens, queries)
    count = min(MOST_QUERIES, max(_LEAST_QUERIES, MOST_PRODUCTS // max(1, a_query)), len(queries))
    return [queries[row] for row in np.linspace(0, len(queries) - 1, count).astype(np.int64)]


def _tokens_of(tokens: TokenSearch, queries: Sequence[Query]) -> int:
    """Tokens of a query, about: of the first few."""
    few = queries[:_LEAST_QUERIES]
    return max(1, sum(len(tokens.query(query.query).vectors) for query in few) // len(few))
