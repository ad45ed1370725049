"""How answers are scored: which result meets which target, NDCG@10, intervals.

Belongs here: pure functions of results and labels. Not here: where either comes from (`code_search`, `docstrings`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

K = 10
_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a file, 1-based and inclusive: one result, which is a chunk."""

    uri: str
    start_line: int
    end_line: int


@dataclass(frozen=True, slots=True)
class Target:
    """What answers a query: a file, or only lines of it where `start_line` is not None."""

    uri: str
    start_line: int | None = None
    end_line: int | None = None


def is_met(target: Target, result: Place) -> bool:
    """Whether a result is one of the target's: an equal path, or one a `/`-suffix of the other; with a span, shared lines."""
    equal = result.uri == target.uri or result.uri.endswith(f"/{target.uri}") or target.uri.endswith(f"/{result.uri}")
    if not equal or target.start_line is None:
        return equal
    return result.start_line <= (target.end_line or target.start_line) and result.end_line >= target.start_line


def ranks_of(targets: Sequence[Target], results: Sequence[Place], k: int = K) -> list[int]:
    """For each target the 1-based rank of the first of k results that meets it; 0 where none does."""
    return [next((rank for rank, one in enumerate(results[:k], 1) if is_met(target, one)), 0) for target in targets]


def ndcg(ranks: Sequence[int], k: int = K) -> float:
    """NDCG@k with binary gain, from `ranks_of`: each target counts once, at its first result."""
    gained = sum(1 / math.log2(rank + 1) for rank in ranks if 0 < rank <= k)
    return gained / sum(1 / math.log2(rank + 1) for rank in range(1, min(len(ranks), k) + 1))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of values that belong to queries drawn at random; NaN without values.

    For differences of two systems on the same queries, give the differences: then it is the paired interval.
    """
    if not len(values):
        return math.nan, math.nan
    array: npt.NDArray[np.float64] = np.asarray(values, np.float64)
    drawn = np.random.default_rng(0)
    means = [array[drawn.integers(0, len(array), (100, len(array)))].mean(axis=1) for _ in range(_RESAMPLES // 100)]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def show_interval(values: Sequence[float], *, signed: bool = False) -> str:
    """`mean (low to high)`, with signs for differences."""
    low, high = interval(values)
    mean = float(np.mean(values)) if len(values) else math.nan
    return "{:{f}} ({:{f}} to {:{f}})".format(mean, low, high, f="+.3f" if signed else ".3f")
