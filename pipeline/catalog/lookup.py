"""Symbols by name, and what is known of a symbol: where it occurs, what implements, calls or is called by it.

A version that was built without symbols still answers by its definitions; it knows no references.

Belongs here: queries of our own over symbols, with every value bound. Not here: chunks by id (`hydrate`), people's SQL (`sql`),
putting answers together for people (`describe`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal

import duckdb
import pyarrow as pa

from pipeline.catalog.views import fetch, has_views, reading
from pipeline.errors import QueryError

Roles = Literal["definition", "reference", "all"]

_NO_LIMIT = (1 << 63) - 1
_NOTHING = pa.schema(
    [(name, pa.string()) for name in ("symbol", "display_name", "kind", "provenance", "uri")]
    + [("line", pa.int32()), ("count", pa.int64())]
).empty_table()
_SYMBOL_TABLES = ("scip_symbols", "scip_occurrences")

_PREPARING = threading.Lock()
# Every symbol once, with the place of its first definition; `path` is the symbol as people write it, without scheme, package
# and marks: `django.db.models.query.QuerySet.filter`.
_SYMBOLS = """
    SELECT symbol, display_name, kind, provenance, uri, line, lower(display_name) AS folded,
        rtrim(regexp_replace(replace(symbol, '`', ''), '\\([A-Za-z0-9_+$-]*\\)\\.|[/#:!]', '.', 'g'), '.') AS path
    FROM (
        SELECT symbol, min(display_name) AS display_name, min(kind) AS kind, min(provenance) AS provenance
        FROM scip_symbols WHERE NOT starts_with(symbol, 'local ') GROUP BY symbol
    ) LEFT JOIN (
        SELECT symbol, first(uri ORDER BY uri, start_byte) AS uri, first(start_line ORDER BY uri, start_byte) AS line
        FROM scip_occurrences WHERE is_definition AND NOT starts_with(symbol, 'local ') GROUP BY symbol
    ) USING (symbol)
"""
_DEFINITIONS = """
    SELECT qualified_name AS symbol, name AS display_name, kind, 'syntax' AS provenance, uri, start_line AS line,
        lower(name) AS folded, qualified_name AS path
    FROM definitions
"""
# `way` is how the name may be meant; each counts when those before it found nothing. Parameters and other parts of a definition
# share their names with what people look for, so they come after it.
_FIND = """
    SELECT symbol, display_name, kind, provenance, uri, line FROM (
        SELECT *, CASE
            WHEN symbol = $whole OR display_name = $name THEN 0
            WHEN display_name = $last AND ends_with('.' || replace(path, ' ', '.'), '.' || $name) THEN 1
            WHEN starts_with(display_name, $last) AND contains('.' || replace(path, ' ', '.'), '.' || $name) THEN 2
            WHEN folded = lower($last) AND ends_with('.' || replace(lower(path), ' ', '.'), '.' || lower($name)) THEN 3
        END AS way
        FROM lookup.symbols WHERE starts_with(folded, lower($last)) OR symbol = $whole
    ) WHERE way IS NOT NULL QUALIFY way = min(way) OVER ()
    ORDER BY uri IS NULL, regexp_matches(symbol, '[\\])]$'), uri, line, symbol LIMIT $most
"""
_OCCURRENCES = """
    SELECT uri, symbol, start_line, start_byte, end_byte, is_definition, provenance FROM scip_occurrences
    WHERE list_contains($1::VARCHAR[], symbol) AND ($2 = 'all' OR is_definition = ($2 = 'definition'))
    ORDER BY uri, start_byte, end_byte, symbol LIMIT $3
"""
_DEFINED = """
    SELECT uri, qualified_name AS symbol, start_line, name_start_byte AS start_byte,
        CAST(name_start_byte + strlen(name) AS INTEGER) AS end_byte, true AS is_definition, 'syntax' AS provenance
    FROM definitions WHERE list_contains($1::VARCHAR[], qualified_name) AND $2 <> 'reference'
    ORDER BY uri, start_byte, end_byte, symbol LIMIT $3
"""
# One row for each symbol at the other end. It is shown where it is defined, or else where the relation is found.
_RELATED = """
    SELECT symbol, coalesce(display_name, if(starts_with(symbol, 'file:'), substr(symbol, 6), symbol)) AS display_name,
        coalesce(kind, if(starts_with(symbol, 'file:'), 'file', '')) AS kind, coalesce(provenance, '') AS provenance,
        coalesce(uri, found_in) AS uri, line, count
    FROM (
        SELECT {other} AS symbol, CAST(sum(count) AS BIGINT) AS count, min(uri) AS found_in
        FROM symbol_edges WHERE kind = $2 AND list_contains($1::VARCHAR[], {this}) GROUP BY ALL
    ) LEFT JOIN lookup.symbols USING (symbol)
    ORDER BY uri, line, symbol LIMIT $3
"""


def find_symbols(connection: duckdb.DuckDBPyConnection, name: str, limit: int) -> pa.Table:
    """The symbols that `name` means: symbol, display_name, kind, provenance, uri and line of the (first) definition.

    `name` is a whole symbol, a simple name, or a qualified one (`QuerySet.filter`, also with `#`, `::` or `/`). The first of
    these ways that finds something counts: exact, qualified, as a prefix, without regard to case. Symbols that are defined
    here come first; uri and line of others are null. At most `limit` rows. Raises `QueryError` for no name.
    """
    whole = _checked(name)
    written = whole.removesuffix("()").replace("::", ".").replace("#", ".").replace("/", ".").strip(".") or whole
    values = {"whole": whole, "name": written, "last": written.rpartition(".")[2] or written, "most": max(0, limit)}
    _prepare(connection)
    return fetch(connection, _FIND, values)


def occurrences_of(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], *, roles: Roles = "all", limit: int | None = None
) -> pa.Table:
    """Where symbols occur: uri, symbol, start_line, start_byte, end_byte, is_definition, provenance, by file and place."""
    template = _OCCURRENCES if has_views(connection, *_SYMBOL_TABLES) else _DEFINED
    return fetch(connection, template, [list(map(_checked, symbols)), roles, _NO_LIMIT if limit is None else max(0, limit)])


def implementations_of(connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], *, limit: int | None = None) -> pa.Table:
    """What implements one of the symbols: symbol, display_name, kind, provenance, uri, line, count."""
    return _related(connection, "implements", symbols, limit, other="source", this="target")


def callers_of(connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], *, limit: int | None = None) -> pa.Table:
    """What calls one of the symbols, columns as those of `implementations_of`; `count` is how often."""
    return _related(connection, "calls", symbols, limit, other="source", this="target")


def callees_of(connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], *, limit: int | None = None) -> pa.Table:
    """What one of the symbols calls, columns as those of `implementations_of`; `count` is how often."""
    return _related(connection, "calls", symbols, limit, other="target", this="source")


def _related(
    connection: duckdb.DuckDBPyConnection, kind: str, symbols: Sequence[str], limit: int | None, *, other: str, this: str
) -> pa.Table:
    if not has_views(connection, "symbol_edges", *_SYMBOL_TABLES):
        return _NOTHING
    _prepare(connection)
    values: list[Any] = [list(map(_checked, symbols)), kind, _NO_LIMIT if limit is None else max(0, limit)]
    return fetch(connection, _RELATED.format(other=other, this=this), values)


def _prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep every symbol in the memory of the connection, in a schema of its own: each answer would read them anew."""
    with _PREPARING:
        if fetch(connection, "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'lookup'", []).num_rows:
            return
        rows = _SYMBOLS if has_views(connection, *_SYMBOL_TABLES) else _DEFINITIONS
        with reading(connection) as own:
            own.execute("CREATE SCHEMA IF NOT EXISTS lookup")
            own.execute(f"CREATE TABLE lookup.symbols AS {rows}")


def _checked(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise QueryError(f"{name!r} is not Unicode text.") from None
    if not name.strip():
        raise QueryError("No symbol was named.", hint="Give a name, for example `QuerySet.filter`.")
    return name.strip()
