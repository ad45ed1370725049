"""Observed times, as the evaluation keeps them beside its object. Nothing depends on them: what is not there is not shown.

Belongs here: reading them with care. Not here: taking them (`latency`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MOST_SLOW = 8
_ORDER = {"parsing": 0, "ranking": 2, "hydration": 3, "whole": 4}


@dataclass(frozen=True, slots=True)
class Time:
    """Of many searches, in milliseconds."""

    median: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Slow:
    """One query that took long, and the stage that took most of it."""

    query: str
    milliseconds: float
    most: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """All that is known."""

    stages: Mapping[str, Time] = field(default_factory=dict)
    points: Mapping[str, float] = field(default_factory=dict)
    slowest: Sequence[Slow] = ()


def times_of(measured: Mapping[str, Any]) -> Times:
    """What was seen of `eval_metrics`; what has another form than now is left out."""
    seen = _mapping(measured.get("search_latency"))
    timed = {
        stage: Time(_number(one.get("median_ms")), _number(one.get("p95_ms")))
        for stage, one in _mapping(seen.get("stages")).items()
        if isinstance(one, Mapping)
    }
    # Channels between what is done before and after them, as in a search.
    stages = {stage: timed[stage] for stage in sorted(timed, key=lambda stage: (_ORDER.get(stage, 1), stage))}
    slow = [
        Slow(str(row["query"]), took, str(row.get("most", "")))
        for row in _rows(seen.get("slowest"))
        if "query" in row and (took := _number(row.get("ms"))) is not None
    ]
    points = {
        point_name(str(row.get("parameters")), k_factor): took
        for row in _rows(seen.get("points"))
        if (took := _number(row.get("median_ms"))) is not None and (k_factor := _number(row.get("k_factor"))) is not None
    }
    return Times(stages, points, slow[:_MOST_SLOW])


def point_name(parameters: str, k_factor: float) -> str:
    """What an operating point is called: `nprobe=24, k-factor 2`."""
    return ", ".join(filter(None, [parameters, f"k-factor {k_factor:g}"]))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
