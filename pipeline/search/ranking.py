"""From what the channels found to an order: fusion, adjustment by structure, the late stage, copies pushed back.

Belongs here: the order of these steps, which every search and every evaluation goes. Not here: the steps (`fusion`,
`adjustments`, `late`, `diversity`), asking the channels (`channels.registry`), what is shown (`engine`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.config import SearchSettings
from pipeline.search import diversity
from pipeline.search.adjustments import Adjusted, Factors, adjust
from pipeline.search.channels.interface import Asked
from pipeline.search.channels.registry import RERANK, Consulted
from pipeline.search.diversity import Demotion
from pipeline.search.fusion import Ids, Pool, Share, best_first, by_ranks, by_scores, total_of
from pipeline.search.late import rerank
from pipeline.search.opened import Opened

_POOL_FACTOR, _LEAST_POOL = 5, 100
"""Each channel gives that many times k candidates, at least that many."""


def pool_size(k: int) -> int:
    """How many candidates each channel is asked for, where k results are wanted."""
    return max(_LEAST_POOL, _POOL_FACTOR * k)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates int64 [n], ascending, and all that their order comes from."""

    candidates: Ids
    shares: dict[str, Share]
    fused: Factors
    adjusted: Adjusted
    scores: Factors
    """What the order is by, float64 [n]."""
    copies: dict[int, Demotion]
    """By row: what was pushed back as a copy of a better candidate."""
    late: dict[str, Consulted]
    """What became of the late stage; empty where the settings do without."""

    @property
    def pool(self) -> Pool:
        """What answers keep of it."""
        return Pool(self.candidates, self.shares, self.fused, self.scores)

    def best(self, k: int) -> Ids:
        """Ids of the k best, best first."""
        return self.candidates[best_first(self.candidates, self.scores)[:k]]


def rank(opened: Opened, asked: Asked, consulted: Mapping[str, Consulted]) -> Ranked:
    """Rank what the channels found for a query."""
    candidates, shares = fuse(consulted, opened.settings)
    fused = total_of(candidates, shares)
    adjusted = adjust(candidates, fused, opened.files, asked.query, opened.settings)
    late = {}
    if opened.settings.xtr_rerank:
        adjusted, late[RERANK.name] = rerank(opened, asked, candidates, adjusted)
    scores, copies = _without_copies(opened, candidates, adjusted.scores, consulted)
    return Ranked(candidates, shares, fused, adjusted, scores, copies, late)


def _without_copies(
    opened: Opened, candidates: Ids, scores: Factors, consulted: Mapping[str, Consulted]
) -> tuple[Factors, dict[int, Demotion]]:
    """Scores with near-copies of better candidates pushed back, and which those are, by row. Needs the dense channel."""
    strength, dense = opened.settings.diversity, consulted.get("dense")
    if not strength > 0 or dense is None or dense.found is None:
        return scores, {}
    pool = best_first(candidates, scores)[: diversity.POOL]
    pool = pool[scores[pool] > 0]
    copies = diversity.demotions(scores[pool], opened.vectors.vectors_of(candidates[pool]), strength)
    lowered = scores.copy()
    for place, one in copies.items():
        lowered[pool[place]] *= one.factor
    return lowered, {int(pool[place]): Demotion(one.factor, int(pool[one.like])) for place, one in copies.items()}


def fuse(consulted: Mapping[str, Consulted], settings: SearchSettings) -> tuple[Ids, dict[str, Share]]:
    """The candidates, ascending, and what each channel that has something to say contributes to them."""
    answered = {name: one.found for name, one in consulted.items() if one.found is not None}
    none: list[Ids] = [np.empty(0, np.int64)]
    candidates: Ids = np.unique(np.concatenate(none + [found.ranking.ids for found in answered.values()]))
    shares = {}
    for name, found in answered.items():
        channel = consulted[name].channel
        weight = found.strength * channel.weight(settings)
        scores = None if found.scores_of is None else found.scores_of(candidates)
        if settings.fusion == "ranks":
            shares[name] = by_ranks(candidates, found.ranking, weight=weight, k_rrf=settings.rrf_k, scores=scores)
        else:
            shares[name] = by_scores(candidates, found.ranking, weight=weight, power=channel.power, scores=scores)
    return candidates, shares
