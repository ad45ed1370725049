"""Fusion: one ranking out of the channels' scores, with each channel's share kept for the explanation.

Two ways, and the setting `fusion` chooses. *Scores*: a channel's scores are divided by its best for the query, which makes
channels comparable. *Ranks*: weighted reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009), scaled so that the
first place is worth the channel's weight. `docs/search-quality.md` has them side by side.

Belongs here: arithmetic over arrays. Not here: where scores come from (`channels`).
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Pool:
    """All that was ranked: candidates int64 [n], ascending; each channel's share; the sum of contributions, and what that is
    after adjustment, which the order is by, float64 [n] both."""

    candidates: Ids
    shares: dict[str, Share]
    fused: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


NO_POOL = Pool(np.empty(0, np.int64), {}, np.empty(0, np.float64), np.empty(0, np.float64))


def by_scores(candidates: Ids, ranking: Ranking, *, weight: float, power: float = 1.0, scores: Scores | None = None) -> Share:
    """A channel's share by its scores. `candidates` ascending; `scores` [n] where the channel knows one for all of them."""
    share = _placed(candidates, ranking)
    raw = share.score if scores is None else np.asarray(scores, np.float64)
    best = raw.max(initial=0.0)
    relative = np.clip(raw / best, 0.0, None) if best > 0 else np.zeros_like(raw)
    return Share(weight * relative**power, raw, share.rank)


def by_ranks(candidates: Ids, ranking: Ranking, *, weight: float, k_rrf: float, scores: Scores | None = None) -> Share:
    """A channel's share by its ranks: `weight * (k_rrf + 1) / (k_rrf + rank)`. What it did not find gets nothing."""
    share = _placed(candidates, ranking)
    raw = share.score if scores is None else np.asarray(scores, np.float64)
    worth = np.where(share.rank > 0, weight * (k_rrf + 1) / (k_rrf + np.maximum(share.rank, 1)), 0.0)
    return Share(worth, raw, share.rank)


def _placed(candidates: Ids, ranking: Ranking) -> Share:
    """A ranking's own ranks and scores at the places of the candidates, without a contribution."""
    rank = np.zeros(len(candidates), np.int64)
    raw = np.zeros(len(candidates), np.float64)
    places = np.searchsorted(candidates, ranking.ids)
    rank[places] = np.arange(1, len(ranking.ids) + 1)
    raw[places] = ranking.scores
    return Share(np.zeros(len(candidates), np.float64), raw, rank)


def total_of(candidates: Ids, shares: dict[str, Share]) -> npt.NDArray[np.float64]:
    """The fused score of each candidate: the sum of what the channels contribute."""
    fused = np.zeros(len(candidates), np.float64)
    for share in shares.values():
        fused += share.contribution
    return fused


def best_first(candidates: Ids, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Positions of the candidates, best first, ties by id."""
    return np.lexsort((candidates, -scores))
