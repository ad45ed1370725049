"""What is known of a name, and what stands around a chunk: the answers of `symbols` and `show`, as JSON values.

Belongs here: putting together what is known, for several symbols in one query each. Not here: which symbols a name means and
where they occur (`lookup`), rendering (`interfaces`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.catalog.lookup import callees_of, callers_of, find_symbols, occurrences_of
from pipeline.catalog.views import fetch, has_views

MOST_SYMBOLS = 20
"""Symbols of one name that are described; a name such as `get` has hundreds, and is asked for with its class."""
MOST_RELATED = 100
"""Implementations, callers and callees of one symbol."""
MOST_NAMES = 10
"""Callers and callees that are named around a chunk."""
RELATIONS = ("implementations", "callers", "callees")
_SUGGESTIONS, _LEAST_SIMILARITY = 5, 0.8

_NEAR_NAMES = """
    SELECT qualified_name AS name FROM (SELECT DISTINCT name, qualified_name FROM definitions WHERE kind <> 'section')
    WHERE jaro_winkler_similarity(lower(name), lower($last)) >= $least
    ORDER BY jaro_winkler_similarity(lower(name), lower($last)) DESC,
        jaro_winkler_similarity(lower(qualified_name), lower($name)) DESC, qualified_name LIMIT $most
"""
_TEXTS = """
    SELECT symbol, min(signature) AS signature, min(documentation) AS documentation
    FROM scip_symbols WHERE symbol IN (SELECT unnest($1::VARCHAR[])) GROUP BY symbol
"""
# One row for each symbol asked for, relation and symbol at the other end; that one is shown where it is defined.
_RELATED = """
    WITH edges AS (
        SELECT DISTINCT if(kind = 'calls', 'callers', 'implementations') AS relation, target AS asked, source AS symbol
        FROM symbol_edges WHERE kind IN ('calls', 'implements') AND target IN (SELECT unnest($1::VARCHAR[]))
        UNION ALL
        SELECT DISTINCT 'callees', source, target
        FROM symbol_edges WHERE kind = 'calls' AND source IN (SELECT unnest($1::VARCHAR[]))
    ), ends AS (
        SELECT DISTINCT symbol FROM edges
    ), known AS (
        SELECT symbol, min(display_name) AS display_name FROM scip_symbols WHERE symbol IN (FROM ends) GROUP BY symbol
    ), places AS (
        SELECT symbol, first(uri ORDER BY uri, start_byte) AS uri, first(start_line ORDER BY uri, start_byte) AS line
        FROM scip_occurrences WHERE is_definition AND symbol IN (FROM ends) GROUP BY symbol
    )
    SELECT relation, asked, symbol, coalesce(display_name, symbol) AS display_name, uri, line
    FROM edges LEFT JOIN known USING (symbol) LEFT JOIN places USING (symbol) ORDER BY asked, relation, uri, line, symbol
"""
# What holds a chunk from before its start to the end of its text.
_SCOPE = """
    SELECT kind, qualified_name AS name, start_line AS line FROM definitions
    WHERE uri = $1 AND start_byte < $2 AND end_byte >= $3 ORDER BY start_byte, end_byte DESC
"""
_DEFINED = """
    SELECT s.symbol, min(s.display_name) AS display_name, min(s.kind) AS kind FROM scip_symbols AS s
    WHERE s.symbol IN (SELECT c.symbol FROM chunk_symbols AS c WHERE c.chunk_id = $1 AND c.role = 'definition')
    GROUP BY s.symbol ORDER BY s.symbol
"""


def describe_name(connection: duckdb.DuckDBPyConnection, name: str, *, k: int, references: bool = True) -> list[dict[str, Any]]:
    """The symbols that `name` means, in the order of `find_symbols` and at most `MOST_SYMBOLS`, each with all its definitions,
    at most k references (and their count), and at most `MOST_RELATED` implementations, callers and callees."""
    found = {row["symbol"]: row for row in reversed(find_symbols(connection, name, MOST_SYMBOLS).to_pylist())}
    symbols = list(reversed(found))
    if not symbols:
        return []
    texts = {row["symbol"]: row for row in _rows(connection, _TEXTS, [symbols], needs=("scip_symbols",))}
    places = _by(occurrences_of(connection, symbols).to_pylist(), "symbol")
    needs = ("symbol_edges", "scip_symbols", "scip_occurrences")
    related = _by(_rows(connection, _RELATED, [symbols], needs=needs), "asked")
    return [
        _described(found[one], texts.get(one, {}), places.get(one, []), related.get(one, []), k if references else 0)
        for one in symbols
    ]


def _described(
    row: dict[str, Any], text: dict[str, Any], places: list[dict[str, Any]], related: list[dict[str, Any]], most_references: int
) -> dict[str, Any]:
    others = [place for place in places if not place["is_definition"]]
    by_relation = _by(related, "relation")
    return {
        "symbol": row["symbol"], "display_name": row["display_name"], "kind": row["kind"], "provenance": row["provenance"],
        "signature": text.get("signature", ""), "documentation": text.get("documentation", ""),
        "definitions": [_place(place) for place in places if place["is_definition"]],
        "references": [_place(place) for place in others[:most_references]],
        "reference_count": len(others),
        **{
            relation: [
                {name: other[name] for name in ("symbol", "display_name", "uri", "line")}
                for other in by_relation.get(relation, [])[:MOST_RELATED]
            ]
            for relation in RELATIONS
        },
    }  # fmt: skip


def _place(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "uri": row["uri"], "line": row["start_line"], "start_byte": row["start_byte"], "end_byte": row["end_byte"]
    }  # fmt: skip


def _by(rows: Iterable[dict[str, Any]], column: str) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def near_names(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """Qualified names of definitions whose own name is like the last part of `name`, the most similar first; often none."""
    name = name.rstrip("().#")
    values = {"name": name, "last": name.rpartition(".")[2], "least": _LEAST_SIMILARITY, "most": _SUGGESTIONS}
    return [row["name"] for row in _rows(connection, _NEAR_NAMES, values)]


def around_chunk(connection: duckdb.DuckDBPyConnection, chunk: dict[str, Any]) -> dict[str, Any]:
    """What a chunk (its `id`, `uri`, `start_byte`, `content`) stands in, defines, is called by and calls.

    `scope` are the definitions around it, outermost first; `defines` the symbols whose definition is in it; `callers` and
    `callees` the names of at most `MOST_NAMES` others that call these symbols or are called by them, and how many there are.
    """
    text_end = chunk["start_byte"] + len(chunk["content"].rstrip().encode())
    scope = _rows(connection, _SCOPE, [chunk["uri"], chunk["start_byte"], text_end])
    defines = _rows(connection, _DEFINED, [chunk["id"]], needs=("chunk_symbols", "scip_symbols"))
    symbols = [row["symbol"] for row in defines]
    callers, callees = (
        _other_names(find(connection, symbols), symbols) if symbols else [] for find in (callers_of, callees_of)
    )
    return {
        "scope": scope, "defines": defines,
        "callers": callers[:MOST_NAMES], "caller_count": len(callers),
        "callees": callees[:MOST_NAMES], "callee_count": len(callees),
    }  # fmt: skip


def _other_names(related: pa.Table, symbols: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(row["display_name"] for row in related.to_pylist() if row["symbol"] not in symbols))


def _rows(
    connection: duckdb.DuckDBPyConnection, text: str, values: Sequence[Any] | Mapping[str, Any], needs: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The rows of a query; none where the version lacks a view that it needs."""
    if not has_views(connection, *needs):
        return []
    rows: list[dict[str, Any]] = fetch(connection, text, values).to_pylist()
    return rows
