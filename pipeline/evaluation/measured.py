"""An evaluation read back from its artefact: what became of every query, as when it was asked.

Belongs here: from the tables of `eval_metrics` to outcomes. Not here: which of them still hold (`carrying`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.artefacts import Base
from pipeline.columns import codes_of
from pipeline.evaluation.asking import Judged, Outcome
from pipeline.evaluation.document import FORMAT, FUSED, METHOD, MetricsDocument, read_metrics
from pipeline.evaluation.metrics import Scores
from pipeline.evaluation.queries import TEST, Query, read_queries
from pipeline.evaluation.tables import MEASURES
from pipeline.index.dense.arrays import Ids, Vectors
from pipeline.schemas import EvalMetrics, EvalQueries
from pipeline.search.channels.registry import CHANNELS, State
from pipeline.tables import plain, read_file

_OFF = Judged(State.OFF, Scores(0.0, 0.0, 0.0, 0.0, None))


@dataclass(frozen=True)
class Measured:
    """An evaluation. `rows` is the place of each query, by qid, in `queries`, `outcomes`, `nearest` and `vectors`."""

    key: str
    facts: Mapping[str, Any]
    document: MetricsDocument
    queries: list[Query]
    outcomes: list[Outcome]
    nearest: list[int]
    since: Mapping[str, str]
    """The key of the evaluation that asked, by qid, where that was an earlier one."""
    vectors: Vectors
    pool: Pooled
    points: pa.Table

    @cached_property
    def rows(self) -> dict[str, int]:
        """Qid -> place."""
        return {query.qid: row for row, query in enumerate(self.queries)}


@dataclass(frozen=True, slots=True)
class Pooled:
    """The pool as columns [n]: the place of the query, the number of the channel in `channels`, the chunk and its score."""

    table: pa.Table
    query: Ids
    channel: Ids
    channels: list[str]
    chunk: Ids
    score: np.ndarray[tuple[int], np.dtype[np.float64]]

    def of(self, row: int, channel: str) -> list[int]:
        """What a channel had within k for the query at a place, in its order."""
        if channel not in self.channels:
            return []
        found: list[int] = self.chunk[(self.query == row) & (self.channel == self.channels.index(channel))].tolist()
        return found

    def least(self, channel: str, k: int, queries: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """float64 [queries]: the score of the k-th that a channel had; -inf where it had fewer."""
        found, counts = np.full(queries, np.inf), np.zeros(queries, np.int64)
        if channel in self.channels:
            there = self.channel == self.channels.index(channel)
            np.minimum.at(found, self.query[there], self.score[there])
            counts = np.bincount(self.query[there], minlength=queries)
        return np.where(counts >= k, found, -np.inf)


def read_measured(base: Base[EvalMetrics]) -> Measured | None:
    """The base's evaluation; None where there is none that can be carried on: nothing was asked, a channel was broken, or it is
    of another form."""
    if base.artefact is None or EvalQueries.asset not in base.inputs:
        return None
    folder = base.artefact.path
    document = read_metrics(folder)
    if (document.version, document.method, document.state) != (FORMAT, METHOD, "on") or document.broken:
        return None
    queries = read_queries(base.inputs[EvalQueries.asset].path, TEST)
    vectors = np.load(folder / EvalMetrics.VECTORS)
    outcomes, nearest, since = _outcomes(folder, queries)
    if document.nearest is None or not len(queries) == len(outcomes) == len(nearest) == len(vectors) == document.queries:
        return None
    points = read_file(folder / EvalMetrics.POINTS, EvalMetrics.tag())
    pool = _pool(folder, {query.qid: row for row, query in enumerate(queries)})
    return Measured(base.artefact.key, base.artefact.facts, document, queries, outcomes, nearest, since, vectors, pool, points)


def _outcomes(folder: Path, queries: list[Query]) -> tuple[list[Outcome], list[int], dict[str, str]]:
    """What became of each query, how many of its nearest vectors were found, and who asked it where that is told."""
    table = plain(read_file(folder / EvalMetrics.DETAILS, EvalMetrics.tag()))
    told = {name: table[name].to_pylist() for name in ("qid", "channel", "state", "since", "nearest")}
    own = _scores(table, "")
    without = _scores(table, "without_")
    channels: dict[str, dict[str, Judged]] = {}
    lacking: dict[str, dict[str, Scores]] = {}
    for row, (qid, name, state) in enumerate(zip(told["qid"], told["channel"], told["state"], strict=True)):
        channels.setdefault(qid, {})[name] = Judged(State(state), own[row])
        if name != FUSED:
            lacking.setdefault(qid, {})[name] = without[row]
    since = {qid: key for qid, key in zip(told["qid"], told["since"], strict=True) if key is not None}
    right = {qid: count for qid, count in zip(told["qid"], told["nearest"], strict=True) if count is not None}
    asked = [query.qid for query in queries if query.qid in channels]
    return (
        [_outcome(channels[qid], lacking.get(qid, {})) for qid in asked],
        [right[qid] for qid in asked if qid in right],
        since,
    )


def _scores(table: pa.Table, prefix: str) -> list[Scores]:
    values = [table[f"{prefix}{name}"].to_pylist() for name in MEASURES]
    ranks = table["rank"].to_pylist() if not prefix else [None] * table.num_rows
    return [Scores(*row) for row in zip(*values, ranks, strict=True)]


def _outcome(channels: dict[str, Judged], without: dict[str, Scores]) -> Outcome:
    """With the channels that were off for every query, of which the table has no rows."""
    names = [channel.name for channel in CHANNELS]
    shown = {FUSED: channels[FUSED], **{name: channels.get(name, _OFF) for name in names}}
    return Outcome(shown, {name: without.get(name, channels[FUSED].scores) for name in names})


def _pool(folder: Path, rows: Mapping[str, int]) -> Pooled:
    table = read_file(folder / EvalMetrics.POOL, EvalMetrics.tag())
    codes, qids = codes_of(table["query_id"])
    channel, channels = codes_of(table["channel"])
    places = np.array([rows.get(qid, -1) for qid in qids.to_pylist()], np.int64)
    return Pooled(
        table, places[codes] if len(codes) else codes, channel, channels.to_pylist(), table["chunk_id"].to_numpy(),
        table["score"].to_numpy(),
    )  # fmt: skip
