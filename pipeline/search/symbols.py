"""The symbol channel: for a query that is a name or holds some, the chunks that define them.

It asks the names in the lexical index, so it opens nothing that a search has not open anyway.

Belongs here: what the channel says about a query. Not here: which queries are names (`query`), the index of names
(`index.lexical`), occurrences and relations of symbols (`catalog.lookup`).
"""

from __future__ import annotations

import numpy as np

from pipeline.index.lexical import EXACT, LexicalReader
from pipeline.search.fusion import Ids, Ranking
from pipeline.search.query import Parsed


def symbol_ranking(reader: LexicalReader, query: Parsed, limit: int, *, allowed: Ids | None = None) -> Ranking | None:
    """The chunks that define what `query` names, scores 1 (the name as written) down to 1/3 (the start of a longer one).

    Of names inside of a sentence only what is defined as written counts. None where there is no name: the channel has nothing
    to say. `allowed` are sorted ids.
    """
    if query.name is not None:
        hits = reader.defining(query.name, limit, allowed=allowed)
        return Ranking(hits.ids, hits.scores / EXACT)
    if not query.embedded:
        return None
    every = [reader.defining(name, limit, allowed=allowed) for name in query.embedded]
    exact: Ids = np.unique(np.concatenate([hits.ids[hits.scores == EXACT] for hits in every]))[:limit]
    return Ranking(exact, np.ones(len(exact), np.float32)) if len(exact) else None
