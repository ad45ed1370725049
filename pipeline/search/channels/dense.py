"""The dense channel: the nearest vectors (`index.dense`), and the true similarity of whatever another channel found."""

from __future__ import annotations

import numpy as np

from pipeline.embed.interface import Vectors
from pipeline.search.channels.interface import Asked, Found
from pipeline.search.fusion import Ids, Ranking, Scores
from pipeline.search.opened import Opened


def ask(opened: Opened, asked: Asked) -> Found:
    """The chunks whose vectors are nearest to the query's, down to `semantic_min_score`."""
    return nearest(opened, asked, opened.embedder.encode_queries([asked.query.text]))


def nearest(opened: Opened, asked: Asked, vector: Vectors) -> Found:
    """The same for a query that is embedded already: float32 [1, d]."""
    ids, scores = opened.vectors.search(vector, asked.limit, allowed=asked.allowed, point=asked.point or opened.point)
    good = scores[0] >= opened.settings.semantic_min_score

    def similarities(candidates: Ids) -> Scores:
        return np.asarray(opened.vectors.vectors_of(candidates) @ vector[0], np.float32)

    strength = getattr(opened.settings, f"{asked.query.kind}_dense_factor")
    return Found(Ranking(ids[0][good], scores[0][good]), strength=strength, scores_of=similarities)
