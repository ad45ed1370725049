"""The late stage: the best candidates once more, token by token, and what the explanation shows of their tokens.

Belongs here: which candidates are asked about, and what becomes of their scores. Not here: scores of tokens (`channels.xtr`,
`tokens`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.search.adjustments import Adjusted
from pipeline.search.channels.interface import Asked
from pipeline.search.channels.registry import RERANK, Consulted, consult_one
from pipeline.search.fusion import Ids, best_first
from pipeline.search.opened import Opened

if TYPE_CHECKING:
    from pipeline.search.tokens import TokenMatch

FACTOR = "tokens"
"""What the explanation calls it."""
_COLUMNS = ("id", "content", "start_byte", "end_byte", "start_line")
_log = logging.getLogger(__name__)


def rerank(opened: Opened, asked: Asked, candidates: Ids, adjusted: Adjusted) -> tuple[Adjusted, Consulted]:
    """The candidates' scores, those of the `xtr_rerank` best multiplied by 1 to 1 + `xtr_rerank_weight`, by how well their
    tokens answer among them; and how that went. `candidates` are ascending."""
    pool = best_first(candidates, adjusted.scores)[: opened.settings.xtr_rerank]
    told = consult_one(RERANK, opened, replace(asked, limit=len(pool), allowed=np.sort(candidates[pool])))
    if told.found is None:
        return adjusted, told
    ranking = told.found.ranking
    factors = np.ones(len(candidates), np.float64)
    factors[np.searchsorted(candidates, ranking.ids)] += opened.settings.xtr_rerank_weight * _relative(ranking.scores)
    return Adjusted(adjusted.scores * factors, {**adjusted.factors, FACTOR: factors}), told


def _relative(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """From 0 for the worst to 1 for the best: mean cosines lie close together, and only their differences say something."""
    low, high = float(scores.min(initial=np.inf)), float(scores.max(initial=-np.inf))
    return (scores.astype(np.float64) - low) / (high - low) if high > low else np.zeros(len(scores), np.float64)


def matches_of(opened: Opened, query: str, ids: Sequence[int]) -> dict[int, list[TokenMatch]]:
    """For each chunk which of its tokens answers which of the query; nothing where the version has no tokens or they cannot be
    read, which the channel tells."""
    from pipeline.catalog.hydrate import hydrate

    if not ids or opened.resting("xtr") or opened.resting(RERANK.name):
        return {}
    try:
        tokens = opened.tokens
        if tokens is None:
            return {}
        rows = hydrate(opened.catalog, ids, _COLUMNS).to_pylist()
        return {row["id"]: tokens.matches(query, row, opened.settings) for row in rows}
    except Exception as error:  # As for a channel: an explanation must not cost the answer.
        _log.warning("tokens cannot be explained: %s", error)
        return {}
