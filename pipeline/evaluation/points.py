"""Operating points against exact search over *all* vectors, and what each makes of the whole engine.

Recall counts by distance, as in tuning: what is found scores at least as much as the k-th best vector, by its true vector. So
an index that answers with wrong ids is caught, too.

Belongs here: which points, and the two measurements of each. Not here: the exact search (`index.tuning.sweep`), asking the
engine (`asking`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from pipeline.evaluation.asking import Outcome
from pipeline.evaluation.document import FUSED, Interval, Nearest
from pipeline.evaluation.metrics import Scores
from pipeline.evaluation.queries import Query
from pipeline.index.dense.arrays import TrueVectors, Vectors
from pipeline.index.dense.operating_point import MOST_EF_SEARCH, OperatingPoint
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.tuning.sweep import TOLERANCE, Questions, interval, questions
from pipeline.search.opened import Opened

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """What a point finds: of the nearest vectors over `queries`, and of the answers, by the engine."""

    point: OperatingPoint
    chosen: bool
    queries: int
    recall: float
    low: float
    high: float
    scores: tuple[Scores, ...]
    right: tuple[int, ...] = ()
    """How many of the k nearest each query found."""


def points_around(opened: Opened) -> tuple[OperatingPoint, ...]:
    """Half and twice as much effort as the version's own point, in each of the ways that its family can be searched harder.

    Nothing for an exact index.
    """
    index, own = opened.vectors, opened.point
    if index.family.exact:
        return ()
    found = []
    for factor in (0.25, 0.5, 2.0):
        nprobe = None if own.nprobe is None else min(index.nlist, max(1, round(own.nprobe * factor)))
        ef_search = None if own.ef_search is None else min(MOST_EF_SEARCH, max(1, round(own.ef_search * factor)))
        found.append(msgspec.structs.replace(own, nprobe=nprobe, ef_search=ef_search))
    if index.family.k_factor > 1 or own.k_factor > 1:
        found += [msgspec.structs.replace(own, k_factor=max(1.0, own.k_factor * factor)) for factor in (0.5, 2.0)]
    return tuple(point for point in dict.fromkeys(found) if point != own)


def embedded(opened: Opened, queries: Sequence[Query]) -> Vectors:
    """The queries as vectors, float32 [queries, d]; [0, 0] where they cannot be embedded."""
    try:
        return np.asarray(opened.embedder.encode_queries([query.query for query in queries]), np.float32)
    except Exception:
        # A model's runtime raises what it likes. The channel is broken then, and the evaluation says why.
        return np.empty((0, 0), np.float32)


def true_vectors(opened: Opened) -> TrueVectors:
    """All vectors, opened once for all who ask."""
    return opened.part("true vectors", lambda: TrueVectors.open(opened.version.ensure("embeddings")))


def measured_points(
    opened: Opened, vectors: Vectors, outcomes: Sequence[Outcome], k: int, others: Sequence[OperatingPoint]
) -> list[MeasuredPoint]:
    """The version's own point and others, for which `outcomes` have the engine's answers, easiest first; nothing where queries
    could not be embedded (`vectors`)."""
    index, truth = opened.vectors, true_vectors(opened)
    if not len(truth.ids) or not len(vectors) or vectors.shape[1] != truth.vectors.shape[1]:
        return []
    asked = questions(truth, vectors, k)
    own = [outcome.channels[FUSED].scores for outcome in outcomes]
    found = [_measured(index, truth, asked, opened.point, own)]
    for number, point in enumerate(others):
        at = [outcome.at[number] for outcome in outcomes]
        found.append(replace(_measured(index, truth, asked, point, at), chosen=False))
    return sorted(found, key=lambda one: (one.point.nprobe or 0, one.point.ef_search or 0, one.point.k_factor))


def found_nearest(opened: Opened, vectors: Vectors, k: int) -> list[int]:
    """How many of the k nearest vectors of each query the version's own point finds."""
    truth = true_vectors(opened)
    if not len(vectors) or not len(truth.ids):
        return []
    return list(_measured(opened.vectors, truth, questions(truth, vectors, k), opened.point, ()).right)


def from_counts(opened: Opened, right: Sequence[int], k: int, outcomes: Sequence[Outcome]) -> MeasuredPoint:
    """The version's own point, from what each query found."""
    least = min(k, opened.vectors.count)
    return _of_counts(opened.point, right, least, [outcome.channels[FUSED].scores for outcome in outcomes])


def _measured(
    index: VectorIndex, truth: TrueVectors, asked: Questions, point: OperatingPoint, scores: Sequence[Scores]
) -> MeasuredPoint:
    ids, _ = index.search(asked.queries, asked.k, point=point)
    true = truth.scores(asked.queries, truth.rows(ids))
    right = np.minimum((true >= asked.least[:, None] - TOLERANCE).sum(axis=1), asked.k)
    return _of_counts(point, right.tolist(), asked.k, scores)


def _of_counts(point: OperatingPoint, right: Sequence[int], k: int, scores: Sequence[Scores]) -> MeasuredPoint:
    recall, low, high = (round(one, _DIGITS) for one in interval(np.array(right, np.int64), k))
    return MeasuredPoint(point, True, len(right), recall, low, high, tuple(scores), tuple(right))


def nearest_of(opened: Opened, measured: Sequence[MeasuredPoint]) -> Nearest | None:
    """What the version's own point finds of the nearest vectors."""
    chosen = next((one for one in measured if one.chosen), None)
    if chosen is None:
        return None
    return Nearest(
        parameters=chosen.point.parameters,
        k_factor=chosen.point.k_factor,
        exact=opened.vectors.family.exact,
        recall=Interval(mean=chosen.recall, low=chosen.low, high=chosen.high),
        queries=chosen.queries,
    )


def mean(scores: Sequence[Scores], name: str) -> float:
    """The mean of one metric."""
    return round(math.fsum(getattr(one, name) for one in scores) / len(scores), _DIGITS) if scores else 0.0
