"""Names that may have been meant, where a name means nothing.

Belongs here: what is like a name. Not here: what a name means (`lookup`).
"""

from __future__ import annotations

import duckdb

from pipeline.catalog.views import fetch

_SUGGESTIONS, _LEAST_SIMILARITY = 5, 0.8
_NEAR_NAMES = """
    SELECT qualified_name AS name FROM (SELECT DISTINCT name, qualified_name FROM definitions WHERE kind <> 'section')
    WHERE jaro_winkler_similarity(lower(name), lower($last)) >= $least
    ORDER BY jaro_winkler_similarity(lower(name), lower($last)) DESC,
        jaro_winkler_similarity(lower(qualified_name), lower($name)) DESC, qualified_name LIMIT $most
"""


def near_names(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """Qualified names of definitions whose own name is like the last part of `name`, the most similar first; often none."""
    name = name.rstrip("().#")
    values = {"name": name, "last": name.rpartition(".")[2], "least": _LEAST_SIMILARITY, "most": _SUGGESTIONS}
    names: list[str] = fetch(connection, _NEAR_NAMES, values).column(0).to_pylist()
    return names
