"""The channel `xtr`, which looks for chunks by their tokens, and the late stage `xtr_rerank`, which scores candidates by them.

Belongs here: what both say about a query. Not here: arithmetic over tokens (`index.xtr`), what scores are multiplied by
(`engine`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.search.channels.interface import Asked, ChannelOffError, Found
from pipeline.search.fusion import Ranking
from pipeline.search.opened import Opened

if TYPE_CHECKING:
    from pipeline.search.tokens import TokenSearch


def ask(opened: Opened, asked: Asked) -> Found | None:
    """The chunks with the tokens nearest to the query's; None for a query without a token that counts."""
    tokens = _tokens(opened)
    from pipeline.index.xtr import wide

    vectors = tokens.query(asked.query.text).vectors
    if not len(vectors):
        return None
    ids, scores = wide.search(
        tokens.index,
        vectors,
        asked.limit,
        tokens=opened.settings.xtr_tokens,
        lists=opened.settings.xtr_lists,
        allowed=asked.allowed,
    )
    good = scores > 0
    return Found(Ranking(ids[good], scores[good]))


def rescore(opened: Opened, asked: Asked) -> Found | None:
    """The chunks of `asked.allowed`, ranked by all their tokens; None for a query without a token that counts."""
    tokens = _tokens(opened)
    from pipeline.index.xtr.narrow import best_first

    if asked.allowed is None or not len(tokens.query(asked.query.text).vectors):
        return None
    scored = tokens.score(asked.query.text, asked.allowed, opened.settings)
    order = best_first(scored.ids, scored.scores)
    return Found(Ranking(scored.ids[order], scored.scores[order]))


def _tokens(opened: Opened) -> TokenSearch:
    tokens = opened.tokens
    if tokens is None:
        raise ChannelOffError("this version was built without token vectors (`xtr`)")
    return tokens
