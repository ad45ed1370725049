"""The lexical channel: BM25 over words of the text, defined names and paths (`index.lexical`)."""

from __future__ import annotations

from pipeline.index.lexical import FieldBoosts
from pipeline.search.channels.interface import Asked, Found
from pipeline.search.fusion import Ranking
from pipeline.search.opened import Opened


def ask(opened: Opened, asked: Asked) -> Found | None:
    """The chunks that share words with the query; None for a query without words."""
    if not asked.query.words:
        return None
    boosts = FieldBoosts.of(opened.settings)
    hits = opened.lexical.search(asked.query.text, asked.limit, allowed=asked.allowed, boosts=boosts)
    return Found(Ranking(hits.ids, hits.scores))
