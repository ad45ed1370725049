"""Single queries and what came of them: where the answer is, which rank it had, what came first, which channels had it.

Belongs here: picking queries and reading up on them. Not here: markup (`sections`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.evaluation.document import FUSED, of_engine
from pipeline.schemas import Chunks, EvalMetrics

_BAD = 0.5
"""Of nDCG: an answer alone at rank 3 or further down."""
_WORST, _OF_ONE_LABEL, _FIRST = 12, 3, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A chunk: where it lies, what it is called, and why it was taken."""

    uri: str
    name: str
    start_line: int
    end_line: int
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One query. `rank` is that of the first answer, null where the engine did not have it at all."""

    qid: str
    query: str
    label: str
    masked: bool
    uri: str
    symbol: str
    rank: int | None
    ndcg: float
    channels: Mapping[str, int | None]
    """Each channel that answered, with the rank of the first answer there."""
    first: Sequence[Place]
    """What the engine put before it."""


def worst_cases(metrics: Path, chunks: Path) -> list[Case]:
    """The queries that were answered worst, from the objects (or the version) that `eval_metrics` and `chunks` lie in."""
    details = tables.plain(pq.read_table(metrics / EvalMetrics.DETAILS))
    return _described(_worst(of_engine(details).to_pylist()), details, metrics, chunks)


def worst_queries(metrics: Path) -> list[Mapping[str, Any]]:
    """The same as rows of `eval_details` alone."""
    return _worst(of_engine(tables.plain(pq.read_table(metrics / EvalMetrics.DETAILS))).to_pylist())


def _worst(fused: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those with the least nDCG, the farthest answer first, not too many of one label while there are others."""
    behind = sorted(
        (row for row in fused if row["ndcg"] < _BAD),
        key=lambda row: (row["ndcg"], -(row["rank"] or 1 << 30), row["qid"]),
    )
    taken: Counter[str] = Counter()
    chosen: list[Mapping[str, Any]] = []
    others: list[Mapping[str, Any]] = []
    for row in behind:
        taken[row["label"]] += 1
        (chosen if taken[row["label"]] <= _OF_ONE_LABEL else others).append(row)
    return (chosen + others)[:_WORST]


def _described(rows: Sequence[Mapping[str, Any]], details: pa.Table, metrics: Path, chunks: Path) -> list[Case]:
    qids = pa.array([row["qid"] for row in rows], pa.string())
    details = details.filter(pc.is_in(details["qid"], qids))
    pool = tables.plain(pq.read_table(metrics / EvalMetrics.POOL))
    pool = pool.filter(pc.is_in(pool["query_id"], qids))
    ranks: dict[str, dict[str, int | None]] = {row["qid"]: {} for row in rows}
    for one in details.to_pylist():
        if one["channel"] != FUSED and one["state"] in ("answered", "empty", "broken"):
            ranks[one["qid"]][one["channel"]] = one["rank"]
    first = {row["qid"]: _first(pool.filter(pc.equal(pool["query_id"], row["qid"])), row["rank"]) for row in rows}
    places = _places(chunks, {one for taken in first.values() for one, _ in taken})
    return [
        Case(
            qid=row["qid"], query=row["query"], label=row["label"], masked=row["masked"], uri=row["uri"], symbol=row["symbol"],
            rank=row["rank"], ndcg=row["ndcg"], channels=ranks[row["qid"]],
            first=[_place(places[one], why) for one, why in first[row["qid"]] if one in places],
        )
        for row in rows
    ]  # fmt: skip


def _first(pool: pa.Table, rank: int | None) -> list[tuple[int, str]]:
    """Ids of the chunks that the whole engine put first, before the answer, each with what of the query was in it."""
    fused = of_engine(pool)
    if fused.num_rows:
        order = [("rank", "ascending")]
    else:
        fused, order = pool, [("fused_score", "descending"), ("chunk_id", "ascending")]
    why: dict[int, str] = {}
    for row in fused.sort_by(order).to_pylist():
        why.setdefault(row["chunk_id"], ", ".join((row["explain_symbols"] or [])[:3]))
    most = min(_FIRST, _FIRST if rank is None else rank - 1)
    return list(why.items())[:most]


def _places(chunks: Path, ids: set[int]) -> dict[int, Mapping[str, Any]]:
    if not ids:
        return {}
    columns = ["id", "uri", "name", "start_line", "end_line"]
    wanted = pa.array(sorted(ids), pa.int64())
    parts = [part.filter(pc.is_in(part["id"], wanted)) for part in tables.read_parts(chunks, Chunks, columns)]
    return {row["id"]: row for part in parts for row in part.to_pylist()}


def _place(row: Mapping[str, Any], why: str) -> Place:
    return Place(uri=row["uri"], name=row["name"], start_line=row["start_line"], end_line=row["end_line"], why=why)
