"""The tables of an evaluation: a row a query and channel, the best candidates of each, a row an operating point.

Belongs here: from outcomes to Arrow. Not here: what was asked and how it is judged (`asking`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec
import pyarrow as pa

from pipeline.evaluation.asking import Outcome
from pipeline.evaluation.document import FUSED
from pipeline.evaluation.points import MeasuredPoint, mean
from pipeline.evaluation.queries import Query
from pipeline.files import canonical_json
from pipeline.schemas import EvalMetrics
from pipeline.search.channels.registry import State
from pipeline.search.opened import Opened

_DIGITS = 6
MEASURES = ("hit", "recall", "rr", "ndcg")
_JUDGED = ("chunks", "lexical_index", "embeddings", "faiss_index", "splade_index", "xtr_index")


def _shown(outcomes: Sequence[Outcome]) -> list[str]:
    """The channels that were not off for every query, the whole engine first."""
    every = outcomes[0].channels if outcomes else ()
    return [name for name in every if any(one.channels[name].state != State.OFF for one in outcomes)]


def details(
    queries: Sequence[Query], outcomes: Sequence[Outcome], nearest: Sequence[int], since: Mapping[str, str] | None = None
) -> pa.Table:
    """`EvalMetrics.details`: queries in their order, for each the whole engine and then its channels.

    `nearest` has a number for each query, or for none; `since` the keys of the evaluations that asked, by qid, where that was
    not this one.
    """
    found: dict[str, int] = dict(zip((query.qid for query in queries), nearest, strict=False))
    earlier = since or {}
    shown = _shown(outcomes)
    rows = [(query, name, one.channels[name]) for query, one in zip(queries, outcomes, strict=True) for name in shown]
    columns: dict[str, list[object]] = {
        name: [getattr(query, name) for query, _, _ in rows] for name in ("qid", "query", "label", "uri", "symbol", "lang")
    }
    columns |= {
        "masked": [query.mask is not None for query, _, _ in rows],
        "channel": [name for _, name, _ in rows],
        "state": [str(judged.state) for _, _, judged in rows],
        "rank": [judged.scores.rank for _, _, judged in rows],
    }
    columns |= {name: [getattr(judged.scores, name) for _, _, judged in rows] for name in MEASURES}
    without = [one.without.get(name) for one in outcomes for name in shown]
    columns |= {f"without_{name}": [None if one is None else getattr(one, name) for one in without] for name in MEASURES}
    columns["nearest"] = [found.get(query.qid) if name == FUSED else None for query, name, _ in rows]
    columns["since"] = [earlier.get(query.qid) for query, _, _ in rows]
    return pa.table({name: columns[name] for name in EvalMetrics.details.names}, schema=EvalMetrics.details)


def pool(queries: Sequence[Query], outcomes: Sequence[Outcome], method: str, run: str) -> pa.Table:
    """`EvalMetrics.pool`: for each query the k best of the whole engine and of each channel. `method` is how channels are
    fused, and `run` the evaluation's name."""
    rows = [
        (query.qid, name, rank, place)
        for query, outcome in zip(queries, outcomes, strict=True)
        for name, judged in outcome.channels.items()
        for rank, place in enumerate(judged.best, 1)
    ]
    nothing = [None] * len(rows)
    columns: dict[str, object] = {
        "run_id": [run] * len(rows),
        "query_id": [qid for qid, _, _, _ in rows],
        "channel": [name for _, name, _, _ in rows],
        "method": [method] * len(rows),
        "rank": [rank for _, _, rank, _ in rows],
        "chunk_id": [place.chunk for _, _, _, place in rows],
        "score": [round(place.score, _DIGITS) for _, _, _, place in rows],
        "fused_score": [round(place.fused, _DIGITS) for _, _, _, place in rows],
        **dict.fromkeys(("explain_symbols", "explain_ast_kinds", "explain_cst_hits", "ts", "since"), nothing),
    }
    return pa.table(columns, schema=EvalMetrics.pool)


def run_id(opened: Opened, queries: Sequence[Query], k: int) -> str:
    """A name for this evaluation: a digest of what was asked to what, the same every time."""
    built = opened.version.manifest.artefacts
    point = {"parameters": opened.point.parameters, "k_factor": opened.point.k_factor}
    asked = [[query.qid, query.query, query.mask] for query in queries]
    what = {
        "artefacts": {asset: built[asset].digest for asset in _JUDGED if asset in built},
        "settings": msgspec.to_builtins(opened.settings), "point": point, "k": k, "queries": asked,
    }  # fmt: skip
    return blake2b(canonical_json(what), digest_size=8).hexdigest()


def points(measured: Sequence[MeasuredPoint]) -> pa.Table:
    """`EvalMetrics.points`."""
    columns: dict[str, object] = {
        "nprobe": [one.point.nprobe for one in measured],
        "ef_search": [one.point.ef_search for one in measured],
        "k_factor": [one.point.k_factor for one in measured],
        "chosen": [one.chosen for one in measured],
        "queries": [one.queries for one in measured],
        "ann_recall": [one.recall for one in measured],
        "low": [one.low for one in measured],
        "high": [one.high for one in measured],
        **{name: [mean(one.scores, name) for one in measured] for name in ("hit", "rr", "ndcg")},
    }
    return pa.table(columns, schema=EvalMetrics.points)
