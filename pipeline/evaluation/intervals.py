"""Means over queries with 95 % intervals, by the bootstrap (Efron and Tibshirani 1993, percentiles), the same every time.

With few queries such intervals are too narrow, most of all near 0 and 1: values that are all the same have an interval without
width, because nothing was seen that could have been otherwise.

Belongs here: statistics of arrays. Not here: the metrics themselves (`metrics`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.document import Interval

Values = npt.NDArray[np.float64]
_RESAMPLES = 1000
_SEED = 20_261_121
_DIGITS = 6
_MOST_KEPT = 1 << 10
"""Values that weights are kept of, 8 MB; those of more values are drawn anew, in blocks."""
_BLOCK_BYTES = 1 << 23


def mean_of(values: Values) -> Interval:
    """The mean of values [n], each from 0 to 1, with its interval, which is 0 to 1 for fewer than two; of none, 0."""
    return _interval(values, least=0.0)


def difference_of(before: Values, after: Values) -> Interval:
    """The mean of `after - before`, paired by query; with its interval, which is -1 to 1 for fewer than two; of none, 0."""
    return _interval(after - before, least=-1.0)


def _interval(values: Values, *, least: float) -> Interval:
    """Of values from `least` to 1."""
    if len(values) < 2:
        return Interval(mean=round(float(values.sum()), _DIGITS), low=least, high=1.0)
    means = np.concatenate([weights @ values for weights in _weights(len(values))])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean=_rounded(values.mean()), low=_rounded(low), high=_rounded(high))


def _rounded(value: np.floating) -> float:
    # Adding 0 makes 0 of -0, which JSON would tell apart.
    return round(float(value), _DIGITS) + 0.0


def _weights(count: int) -> Iterator[Values]:
    """How often each of `count` values is drawn in each resample, as shares: blocks of float64 [some, count]."""
    if count <= _MOST_KEPT:
        yield _kept(count)
        return
    generator = np.random.default_rng(_SEED)
    block = max(1, _BLOCK_BYTES // (8 * count))
    for start in range(0, _RESAMPLES, block):
        yield _drawn(generator, count, min(block, _RESAMPLES - start))


@functools.lru_cache(maxsize=16)
def _kept(count: int) -> Values:
    return _drawn(np.random.default_rng(_SEED), count, _RESAMPLES)


def _drawn(generator: np.random.Generator, count: int, resamples: int) -> Values:
    drawn = generator.integers(count, size=(resamples, count)) + count * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count) / count
