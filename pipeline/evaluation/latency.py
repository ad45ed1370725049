"""How long a search takes here, stage by stage and again and again. Times are told to whoever runs it, and are in no artefact.

Belongs here: taking times. Not here: what is found.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.queries import Query
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.tuning.sweep import latencies
from pipeline.search.channels.interface import Asked
from pipeline.search.channels.registry import State, consult
from pipeline.search.opened import Opened
from pipeline.search.query import parse_query
from pipeline.search.ranking import pool_size, rank

SAMPLE = 32
"""Queries, an even sample; each is asked once a round, so that a busy moment hits all of them."""
TOTAL = "whole"
SLOWEST = 8
_POINTS_SECONDS = 1.0


def latency(
    opened: Opened, queries: Sequence[Query], k: int, *, rounds: int, points: Sequence[OperatingPoint] = ()
) -> dict[str, Any]:
    """Median and 95th percentile in milliseconds: of parsing, each channel that answered, ranking, hydration and the whole.

    And the slowest queries, each by the median of its rounds, with the stage that takes most of it; and what the vector search
    alone takes at each of several operating points.
    """
    sample = [queries[row].query for row in np.unique(np.linspace(0, len(queries) - 1, SAMPLE).astype(np.int64))]
    taken: dict[str, list[float]] = {}
    by_query: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds + 1):
        for text in sample:
            timed = _timed(opened, text, k)
            # The first round warms caches.
            if number:
                by_query.setdefault(text, []).append(timed)
                for stage, seconds in timed.items():
                    taken.setdefault(stage, []).append(seconds)
    stages = {stage: _summary(times) for stage, times in taken.items()}
    return {
        "queries": len(sample),
        "rounds": rounds,
        "stages": stages,
        "slowest": _slowest(by_query),
        "points": _points(opened, sample, k, rounds, points),
    }


def _timed(opened: Opened, text: str, k: int) -> dict[str, float]:
    """The seconds of each stage of one search."""
    started = time.perf_counter()
    parsed = parse_query(text)
    ready = time.perf_counter()
    asked = Asked(parsed, pool_size(k))
    consulted = consult(opened, asked)
    found = time.perf_counter()
    ranked = rank(opened, asked, consulted)
    ordered = time.perf_counter()
    opened.lexical.documents(ranked.best(k))
    shown = time.perf_counter()
    told = (State.ANSWERED, State.EMPTY)
    channels = {name: one.seconds for name, one in consulted.items() if one.state in told}
    stages = {"parsing": ready - started, **channels, "ranking": ordered - found, "hydration": shown - ordered}
    return {**stages, TOTAL: shown - started}


def _points(
    opened: Opened, sample: Sequence[str], k: int, rounds: int, points: Sequence[OperatingPoint]
) -> list[dict[str, Any]]:
    if len(points) < 2:
        return []
    taken = latencies(opened.vectors, opened.embedder.encode_queries(sample), k, points, rounds=rounds, seconds=_POINTS_SECONDS)
    return [
        {
            "parameters": point.parameters, "k_factor": point.k_factor, "median_ms": round(1000 * one.median, 4),
            "p95_ms": round(1000 * one.p95, 4), "searches": one.searches,
        }
        for point, one in zip(points, taken, strict=True)
    ]  # fmt: skip


def _slowest(by_query: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for text, rounds in by_query.items():
        medians = {stage: 1000 * float(np.median([one.get(stage, 0.0) for one in rounds])) for stage in rounds[0]}
        most = max((stage for stage in medians if stage != TOTAL), key=medians.__getitem__)
        rows.append({"query": text, "ms": round(medians[TOTAL], 4), "most": f"{most} {medians[most]:.2f} ms"})
    return sorted(rows, key=lambda row: -row["ms"])[:SLOWEST]


def _summary(times: Sequence[float]) -> dict[str, float]:
    median, p95 = np.median(times), np.quantile(times, 0.95)
    return {"median_ms": round(1000 * float(median), 4), "p95_ms": round(1000 * float(p95), 4), "searches": len(times)}
