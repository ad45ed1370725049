"""The symbol channel: for a query that is a name or holds some, the chunks that define them.

It asks the names in the lexical index, so it opens nothing that a search has not open anyway.

Belongs here: what the channel says about a query. Not here: which queries are names (`query`), the index of names
(`index.lexical`), occurrences and relations of symbols (`catalog.lookup`).
"""

from __future__ import annotations

import numpy as np

from pipeline.index.lexical import EXACT
from pipeline.search.channels.interface import Asked, Found
from pipeline.search.fusion import Ids, Ranking
from pipeline.search.opened import Opened


def ask(opened: Opened, asked: Asked) -> Found | None:
    """The chunks that define what the query names, scores 1 (the name as written) down to 1/3 (about so).

    Scores are calibrated as they are: the start of a name claims less, even where nothing better is found. Of names inside of a
    sentence only what is defined as written counts. None where there is no name.
    """
    query, reader = asked.query, opened.lexical
    if query.name is not None:
        hits = reader.defining(query.name, asked.limit, allowed=asked.allowed)
        scores = hits.scores / EXACT
        claimed = opened.settings.plain_word_factor if query.is_plain_word else 1.0
        return Found(Ranking(hits.ids, scores), strength=claimed * float(scores.max(initial=0.0)))
    if not query.embedded:
        return None
    every = [reader.defining(name, asked.limit, allowed=asked.allowed) for name in query.embedded]
    exact: Ids = np.unique(np.concatenate([hits.ids[hits.scores == EXACT] for hits in every]))[: asked.limit]
    return Found(Ranking(exact, np.ones(len(exact), np.float32)), strength=opened.settings.embedded_name_factor)
