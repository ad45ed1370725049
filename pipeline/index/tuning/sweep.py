"""Choosing an operating point by measurement: exact truth, a grid, recall with its interval, the cheapest point that is enough.

Recall counts by distance: what is found scores at least as much as the k-th best vector does, so that one of two equal vectors
is as good as the other. Cost is the number of vectors scored, which is the same on every machine. Times are asked for by
`latencies` alone, and are in no artefact.

Belongs here: functions of an index, queries and a target. Not here: where queries come from and what is written
(`stage`).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.index.dense.arrays import Ids, Scores, TrueVectors, Vectors
from pipeline.index.dense.families import Family
from pipeline.index.dense.operating_point import TUNED_K, OperatingPoint, depth_of
from pipeline.index.dense.vectors import VectorIndex

K = TUNED_K
"""Recall is that of the first so many."""
TOLERANCE = 1e-6
"""Scores that differ by less cannot be told apart in float32."""
LEAST_EFFECT = 4.0
"""Neighbours of one query are missed together: 10 of them count as 10 / 4 independent trials, at most. Measured on clustered
vectors at a recall of 0.93 (standard deviation 0.17 a query); where hardly anything is missed it cannot be measured."""

_Z = 1.96
_BLOCK = 1 << 12
_SCREEN, _LEAST_SCREEN = 4, 32
SPARE = 16
"""Neighbours that are looked up beyond the k-th."""
_MOST_EF_SEARCH = 4096
_LEAST_EF_SEARCH = 16
_K_FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
_DEEPER = 4
"""How many times its own k_factor a family is tried at, at most."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a point finds, over so many queries."""

    point: OperatingPoint
    queries: int
    recall: float
    low: float
    """Lower end of the 95 % interval of the recall."""
    high: float
    scored: int
    """Vectors scored for one query, on average."""
    bound: bool = False
    """Whether the recall is only what the visited lists hold, which no search there exceeds: codes may lose some of it."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a sweep came to."""

    chosen: Measured
    held_out: Measured
    """The chosen point over the queries that it was not chosen by."""
    met: bool
    """Whether the lower bound of the chosen point, and its recall over held-out queries, are at least the target."""
    sweep: tuple[Measured, ...]
    """Everything measured, in the order of the grid."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a single query takes, in seconds."""

    median: float
    p95: float
    searches: int
    """Measured."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries float32 [q, d], and for each the score of its k-th best vector, float32 [q]."""

    queries: Vectors
    least: Scores
    right: Ids
    """Ids of vectors that score at least as much, int64 [q, m]; k of them and some of those that score the same, then -1."""
    k: int

    def half(self, number: int) -> Questions:
        """Every other one: number 0 or 1."""
        return Questions(self.queries[number::2], self.least[number::2], self.right[number::2], self.k)

    def first(self, count: int) -> Questions:
        """The first of them."""
        return Questions(self.queries[:count], self.least[:count], self.right[:count], self.k)


def questions(truth: TrueVectors, queries: Vectors, k: int = K) -> Questions:
    """What the right answers to `queries` score at least: exact search over all vectors, in blocks."""
    return asked(queries, *nearest(truth, queries, k), min(k, truth.vectors.shape[0]))


def nearest(truth: TrueVectors, queries: Vectors, k: int) -> tuple[Ids, Scores]:
    """The k best vectors of each query and `SPARE` more, where there are so many: ids and scores [q, m], best first."""
    n = truth.vectors.shape[0]
    found = _nearest(truth, queries, min(min(k, n) + SPARE, n))
    # Once more the way that a search scores: matrix products round differently.
    scores = truth.scores(queries, found)
    ids = truth.ids[found]
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def asked(queries: Vectors, ids: Ids, scores: Scores, k: int) -> Questions:
    """Questions of which the best vectors are known: ids and scores [q, m], best first, m at least k."""
    least = scores[:, k - 1]
    return Questions(queries, least, np.where(scores >= least[:, None] - TOLERANCE, ids, -1), k)


def _nearest(truth: TrueVectors, queries: Vectors, width: int) -> npt.NDArray[np.int64]:
    """The rows of the `width` best vectors of each query, int64 [q, width].

    After the first block a matrix product and a comparison leave little to sort, which is several times faster than FAISS.
    """
    n = truth.vectors.shape[0]
    first = min(n, max(_BLOCK, width))
    scores = queries @ np.asarray(truth.vectors[:first]).T
    found = np.argpartition(scores, first - width, axis=1)[:, first - width :]
    best = np.take_along_axis(scores, found, axis=1)
    everyone = np.repeat(np.arange(len(queries)), width)
    starts = np.arange(len(queries))[:, None]
    for start in range(first, n, _BLOCK):
        block = np.asarray(truth.vectors[start : start + _BLOCK])
        scores = np.matmul(queries, block.T, out=scores if scores.shape[1] == len(block) else None)
        better = np.flatnonzero(scores > best.min(axis=1)[:, None])
        if not len(better):
            continue
        asked, rows = np.divmod(better, len(block))
        owner = np.concatenate([everyone, asked])
        values = np.concatenate([best.ravel(), scores.ravel()[better]])
        places = np.concatenate([found.ravel(), rows + start])
        order = np.lexsort((-values, owner))
        kept = order[np.searchsorted(owner[order], starts) + np.arange(width)]
        found, best = places[kept], values[kept]
    return found


def grid(family: Family, count: int, nlist: int) -> tuple[tuple[OperatingPoint, ...], ...]:
    """Points in rows: each row tries harder than the one before it, and inside of a row k_factor rises.

    A family that re-ranks nothing of its own is not made to; one without a parameter has one row.
    """
    factors = [1.0]
    if family.k_factor > 1:
        factors = [factor for factor in _K_FACTORS if factor <= _DEEPER * family.k_factor]
    match family.parameter:
        case "nprobe":
            points = [OperatingPoint(nprobe=value) for value in _steps(1, nlist)]
        case "efSearch":
            points = [OperatingPoint(ef_search=value) for value in _steps(_LEAST_EF_SEARCH, min(count, _MOST_EF_SEARCH))]
        case _:
            points = [OperatingPoint()]
    return tuple(
        tuple(OperatingPoint(nprobe=point.nprobe, ef_search=point.ef_search, k_factor=factor) for factor in factors)
        for point in points
    )


def _steps(first: int, last: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, 16 …: powers of two and what lies between them, from `first` to `last`, which is always there."""
    value, between = first, False
    while value < last:
        yield value
        value, between = (value * 4 // 3, False) if between else (max(value + 1, value * 3 // 2), value > 1)
    yield max(1, last)


Cost = Callable[[OperatingPoint], int]
"""Vectors scored for one query at a point, on average."""


def cost_over(index: VectorIndex, asked: Questions) -> Cost:
    """The cost of any point over these queries."""
    scored, queries = index.scored(asked.queries, asked.k), len(asked.queries)
    return lambda point: round(scored(point) / queries)


def measure(index: VectorIndex, asked: Questions, point: OperatingPoint, cost: Cost) -> Measured:
    """The recall of a point over some queries, and its cost."""
    _, scores = index.search(asked.queries, asked.k, point=point)
    right = (scores >= asked.least[:, None] - TOLERANCE).sum(axis=1)
    return Measured(point, len(right), *interval(right, asked.k), cost(point))


def most(index: VectorIndex, asked: Questions, cost: Cost) -> Callable[[OperatingPoint], Measured] | None:
    """What the lists that a point visits hold, without a search; None for families without lists.

    With true scores that is what a search finds, else at least as much.
    """
    within = index.within_lists(asked.queries, asked.right)
    if within is None:
        return None

    def bound(point: OperatingPoint) -> Measured:
        there = (within(point.nprobe or 1) & (asked.right >= 0)).sum(axis=1)
        right = np.minimum(there, asked.k)
        return Measured(point, len(right), *interval(right, asked.k), cost(point), bound=not index.family.true_scores)

    return bound


def screened(index: VectorIndex, asked: Questions, point: OperatingPoint, cost: Cost, target: float) -> Measured:
    """As `measure`; but where a quarter of the queries shows that the target is missed, those are all."""
    few = asked.first(max(_LEAST_SCREEN, len(asked.queries) // _SCREEN))
    first = measure(index, few, point, cost)
    return first if first.high < target else measure(index, asked, point, cost)


def measured_row(
    index: VectorIndex, asked: Questions, row: Sequence[OperatingPoint], cost: Cost, target: float
) -> Iterator[Measured]:
    """The points of a row of the grid; of one whose deepest point is not enough, that alone where each point is a search."""
    if index.family.parameter != "efSearch" and not index.meta.delta:
        # What a smaller k_factor re-ranks is the beginning of what the deepest does: one search tells of all.
        found = index.candidates(asked.queries, depth_of(asked.k, row[-1]), row[-1])
        right = np.cumsum(found >= asked.least[:, None] - TOLERANCE, axis=1)
        for point in row:
            of_row = np.minimum(right[:, min(depth_of(asked.k, point), found.shape[1]) - 1], asked.k)
            yield Measured(point, len(found), *interval(of_row, asked.k), cost(point))
        return
    deepest = screened(index, asked, row[-1], cost, target)
    if deepest.low >= target:
        yield from (screened(index, asked, point, cost, target) for point in row[:-1])
    yield deepest


def interval(right: npt.NDArray[np.int64], k: int) -> tuple[float, float, float]:
    """Recall and the ends of its 95 % interval, from how many of k each query found (int64 [q]).

    Wilson's interval, over as many trials as the queries are worth: neighbours of one query are not independent, and how much
    they are not is estimated from the spread of the queries.
    """
    total = len(right) * k
    share = float(right.sum()) / total
    expected = share * (1 - share) / k
    effect = float(np.var(right / k)) / expected if expected else 0.0
    trials = total / min(k, max(min(k, LEAST_EFFECT), effect))
    centre = (share + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    half = _Z / (1 + _Z**2 / trials) * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    return share, max(0.0, centre - half), min(1.0, centre + half)


def tune(index: VectorIndex, tuning: Questions, held_out: Questions, target: float) -> Tuned:
    """The point of least cost whose lower bound meets the target, and whose recall over held-out queries does too.

    Rows of the grid are tried in ascending order. A row is passed over when the lists that it visits do not hold enough, and
    the search ends when the shallowest point of a row costs as much as the best point so far. Where no point is enough, the one
    that finds most is chosen, of equals the cheapest.
    """
    cost = cost_over(index, tuning)
    sweep: list[Measured] = []
    best: tuple[Measured, Measured] | None = None

    def dearer(point: OperatingPoint) -> bool:
        return best is not None and cost(point) >= best[0].scored

    bound = most(index, tuning, cost)
    rows = grid(index.family, index.count, index.nlist)
    for row in rows:
        if dearer(row[0]):
            break
        held = bound(row[-1]) if bound is not None else None
        if held is not None and held.low < target and row is not rows[-1]:
            sweep.append(held)
            continue
        known = [held] if held is not None and not held.bound else None
        for measured in known or measured_row(index, tuning, row, cost, target):
            sweep.append(measured)
            if dearer(measured.point):
                break
            confirmed = measure(index, held_out, measured.point, cost) if measured.low >= target else None
            if confirmed is not None and confirmed.recall >= target:
                best = measured, confirmed
                break
    if best is not None:
        return Tuned(*best, True, tuple(sweep))
    chosen = min((one for one in sweep if not one.bound), key=lambda measured: (-measured.low, measured.scored))
    return Tuned(chosen, measure(index, held_out, chosen.point, cost), False, tuple(sweep))


def latencies(
    index: VectorIndex,
    queries: Vectors,
    k: int,
    points: Sequence[OperatingPoint],
    *,
    rounds: int = 3,
    seconds: float = math.inf,
) -> list[Latency]:
    """How long a single query takes at each point. Points take turns, so that a busy moment hits all of them.

    Ends early after `seconds`, but not before each point was measured once. The first turn, which warms caches, does not count.
    """
    taken: list[list[float]] = [[] for _ in points]
    end = time.perf_counter() + seconds
    for number, query in enumerate([queries[0], *itertools.chain.from_iterable(itertools.repeat(queries, rounds))]):
        if number > 1 and time.perf_counter() > end:
            break
        for at, point in enumerate(points):
            started = time.perf_counter()
            index.search(query[None], k, point=point)
            if number:
                taken[at].append(time.perf_counter() - started)
    return [Latency(float(np.median(times)), float(np.quantile(times, 0.95)), len(times)) for times in taken]
