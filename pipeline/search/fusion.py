"""Fusion: one ranking out of the channels' scores, with each channel's share kept for the explanation.

Calibrated score fusion: a channel's scores are divided by its best for the query, which makes channels comparable; the dense
share is squared, because cosine similarities of a static table lie close together and only the top of them says something.
`benchmarks/docstrings.py` shows the fusion beside each channel alone.

Belongs here: arithmetic over arrays. Not here: where scores come from (`engine`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a channel found: ids int64 [n] and scores float32 [n], best first."""

    ids: Ids
    scores: Scores


@dataclass(frozen=True, slots=True)
class Share:
    """A channel's part in the fusion of n candidates: contribution and raw score float64 [n], rank int64 [n] (0: not found)."""

    contribution: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int64]


def share_of(candidates: Ids, ranking: Ranking, *, weight: float, power: float, scores: Any = None) -> Share:
    """A channel's share. `candidates` ascending. `scores` [n] replaces the ranking's own where a score is known for all."""
    rank = np.zeros(len(candidates), np.int64)
    raw = np.zeros(len(candidates), np.float64)
    places = np.searchsorted(candidates, ranking.ids)
    rank[places] = np.arange(1, len(ranking.ids) + 1)
    raw[places] = ranking.scores
    if scores is not None:
        raw = np.asarray(scores, np.float64)
    best = raw.max(initial=0.0)
    relative = np.clip(raw / best, 0.0, None) if best > 0 else np.zeros_like(raw)
    return Share(weight * relative**power, raw, rank)


def total_of(candidates: Ids, shares: dict[str, Share]) -> npt.NDArray[np.float64]:
    """The fused score of each candidate: the sum of what the channels contribute."""
    fused = np.zeros(len(candidates), np.float64)
    for share in shares.values():
        fused += share.contribution
    return fused


def best_first(candidates: Ids, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Positions of the candidates, best first, ties by id."""
    return np.lexsort((candidates, -scores))
