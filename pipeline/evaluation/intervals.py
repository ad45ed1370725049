"""Means over queries with 95 % intervals, by the bootstrap (Efron and Tibshirani 1993, percentiles), the same every time.

Belongs here: statistics of arrays. Not here: the metrics themselves (`metrics`).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.document import Interval

Values = npt.NDArray[np.float64]
_RESAMPLES = 1000
_SEED = 20_261_121
_DIGITS = 6


def mean_of(values: Values) -> Interval:
    """The mean of values [n] with its interval; of none, 0 from 0 to 1."""
    if not len(values):
        return Interval(mean=0.0, low=0.0, high=1.0)
    means = _weights(len(values)) @ values
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean=round(float(values.mean()), _DIGITS), low=round(float(low), _DIGITS), high=round(float(high), _DIGITS))


def difference_of(before: Values, after: Values) -> Interval:
    """The mean of `after - before`, paired by query; of none, 0 from -1 to 1."""
    if not len(before):
        return Interval(mean=0.0, low=-1.0, high=1.0)
    return mean_of(after - before)


@functools.lru_cache(maxsize=64)
def _weights(count: int) -> Values:
    """How often each of `count` values is drawn in each resample, as shares: float64 [resamples, count]."""
    drawn = np.random.default_rng(_SEED).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    return np.asarray(drawn / count, np.float64)
