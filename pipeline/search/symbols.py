"""The symbol channel: for a query that is a name, the chunks that define it.

It asks the names in the lexical index, so it opens nothing that a search has not open anyway.

Belongs here: what the channel says about a query. Not here: which queries are names (`query`), the index of names
(`index.lexical`), occurrences and relations of symbols (`catalog.lookup`).
"""

from __future__ import annotations

from pipeline.index.lexical import EXACT, LexicalReader
from pipeline.search.fusion import Ids, Ranking
from pipeline.search.query import identifier_of


def symbol_ranking(reader: LexicalReader, query: str, limit: int, *, allowed: Ids | None = None) -> Ranking | None:
    """The chunks that define what `query` names, scores 1 (the name as written) down to 1/3 (the start of a longer one).

    None where the query is no name: the channel has nothing to say. `allowed` are sorted ids.
    """
    name = identifier_of(query)
    if name is None:
        return None
    hits = reader.defining(name, limit, allowed=allowed)
    return Ranking(hits.ids, hits.scores / EXACT)
