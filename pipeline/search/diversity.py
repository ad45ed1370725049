"""Diversity: near-copies of what stands before are pushed back, so that the first results do not say the same thing twice.

Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) as a factor: results are taken one after the other, and what is
like a result that was taken counts less by how alike their true vectors are. Only likeness beyond `ALIKE` counts, which exact
copies in other files nearly always have. With a lower bound labelled queries are answered no better, and names, whose answers
are alike, a little worse (`benchmarks/code_search.py`).

Belongs here: arithmetic over scores and vectors. Not here: how much it counts (`SearchSettings.diversity`), reading vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.index.dense.arrays import Vectors

Scores = npt.NDArray[np.float64]
POOL = 30
"""So many first results are told apart."""
ALIKE = 0.9
"""The cosine from which on two chunks are alike; at 1 they are the same."""


@dataclass(frozen=True, slots=True)
class Demotion:
    """What a result's score is multiplied by, and which earlier result, by its place in the pool, it is like."""

    factor: float
    like: int


def demotions(scores: Scores, vectors: Vectors, strength: float, alike: float = ALIKE) -> dict[int, Demotion]:
    """Which of the pool's results are pushed back, by their place.

    `scores` [n], positive, best first, of the unit `vectors` float32 [n, d]; a copy of an earlier result keeps 1 - `strength`
    of its score, and the product stays in the order in which results are taken.
    """
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, 0.0)
    over = np.clip((likeness.astype(np.float64) - alike) / (1.0 - alike), 0.0, 1.0)
    if not over.any():
        return {}
    factors, like = np.ones(len(scores)), np.zeros(len(scores), np.int64)
    left = scores.astype(np.float64)
    for _ in range(len(scores)):
        taken = int(np.argmax(left * factors))
        left[taken] = -1.0
        lower = 1.0 - strength * over[taken]
        nearer = (left >= 0) & (lower < factors)
        factors[nearer], like[nearer] = lower[nearer], taken
    return {place: Demotion(float(factors[place]), int(like[place])) for place in np.flatnonzero(factors < 1).tolist()}
