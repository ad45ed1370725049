"""How long a search takes here, stage by stage and again and again. Times are told to whoever runs it, and are in no artefact.

Belongs here: taking times. Not here: what is found.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.queries import Query
from pipeline.search.channels.interface import Asked
from pipeline.search.channels.registry import State, consult
from pipeline.search.opened import Opened
from pipeline.search.query import parse_query
from pipeline.search.ranking import pool_size, rank

SAMPLE = 32
"""Queries, an even sample; each is asked once a round, so that a busy moment hits all of them."""
TOTAL = "whole"


def latency(opened: Opened, queries: Sequence[Query], k: int, *, rounds: int) -> dict[str, Any]:
    """Median and 95th percentile in milliseconds: of parsing, each channel that answered, ranking, hydration and the whole."""
    sample = [queries[row].query for row in np.unique(np.linspace(0, len(queries) - 1, SAMPLE).astype(np.int64))]
    taken: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for text in sample:
            for stage, seconds in _timed(opened, text, k).items():
                # The first round warms caches.
                if number:
                    taken.setdefault(stage, []).append(seconds)
    stages = {stage: _summary(times) for stage, times in taken.items()}
    return {"queries": len(sample), "rounds": rounds, "stages": stages}


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


def _summary(times: Sequence[float]) -> dict[str, float]:
    median, p95 = np.median(times), np.quantile(times, 0.95)
    return {"median_ms": round(1000 * float(median), 4), "p95_ms": round(1000 * float(p95), 4), "searches": len(times)}
