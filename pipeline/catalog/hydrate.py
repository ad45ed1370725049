"""Chunks by id, and ids by filter: what a search needs from the tables of a version.

Belongs here: queries of our own over the views, with every value bound. Not here: the views (`views`), people's SQL (`sql`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalog.views import CHUNK_ROWS, cursor
from pipeline.errors import IndexCorruptionError, NotFoundError, QueryError
from pipeline.index.vectors import checked_ids
from pipeline.schemas import Chunks

COLUMNS = ("id", "uri", "lang", "kind", "name", "start_line", "end_line", "preview")
"""What a line of results shows."""

_EMBEDDING = "embedding"
_KNOWN = (*Chunks.schema.names, _EMBEDDING)
_NAMED_AT_MOST = 3


def hydrate(
    connection: duckdb.DuckDBPyConnection,
    ids: Sequence[int] | npt.NDArray[Any],
    columns: Sequence[str] = COLUMNS,
    *,
    missing: Literal["raise", "skip"] = "raise",
) -> pa.Table:
    """Columns of the chunks `ids` (int64 [n]), one row for each id in the order asked; an id asked twice has two rows.

    `columns` are those of the view `chunks`. Ids that are no chunks raise `NotFoundError` naming some of them, or are left out
    with `missing="skip"`. Threads may share `connection`. Raises `QueryError` for unknown columns or values that are no ids.
    """
    wanted = checked_ids(ids)
    if not columns or (unknown := [name for name in columns if name not in _KNOWN]):
        raise QueryError(f"There is no column `{unknown[0]}` of chunks." if columns else "No columns were asked for.")
    view = "chunks" if _EMBEDDING in columns else CHUNK_ROWS
    names = ", ".join(f'c."{name}"' for name in columns)
    # DuckDB puts the rows in order: Arrow's `take` would load pyarrow.compute, which costs a fresh process more than the query.
    sql = (
        f"SELECT c.id AS _id, {names} FROM unnest($1::BIGINT[]) WITH ORDINALITY AS r(id, place) "  # noqa: S608 - names are our own
        f"JOIN {view} AS c ON c.id = r.id ORDER BY r.place"
    )
    found = _run(connection, sql, [wanted])
    if missing == "raise" and found.num_rows != len(wanted):
        lost = np.setdiff1d(wanted, found.column(0).to_numpy())
        named = ", ".join(str(one) for one in lost[:_NAMED_AT_MOST])
        raise NotFoundError(f"{len(lost)} of the ids are no chunks of this version, for example {named}.")
    return found.select(list(range(1, found.num_columns)))


def allowed_ids(
    connection: duckdb.DuckDBPyConnection,
    *,
    lang: str | Sequence[str] | None = None,
    path: str | Sequence[str] | None = None,
    kind: str | Sequence[str] | None = None,
) -> npt.NDArray[np.int64]:
    """Ids of the chunks that pass every filter, int64 [m] ascending, for `VectorIndex.search(allowed=...)`.

    Each filter takes one value or several, any of which may match; None or an empty sequence does not filter. `path` is a
    glob in gitignore syntax over the repository-relative uri: `*.py` at any level, `/src/` a folder at the top. Threads may
    share `connection`. Raises `QueryError` for a glob that is none.
    """
    conditions: list[str] = []
    values: list[Any] = []
    for column, given in (("lang", _several(lang)), ("kind", _several(kind))):
        if given:
            conditions.append(f"list_contains(?::VARCHAR[], {column})")
            values.append(given)
    if globs := _several(path):
        conditions.append("regexp_matches(uri, ?, 's')")
        values.append(_path_regex(connection, globs))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT id FROM {CHUNK_ROWS}{where} ORDER BY id"  # noqa: S608 - conditions are our own, values are bound
    ids: npt.NDArray[np.int64] = _run(connection, sql, values).column(0).to_numpy()
    return ids


def _several(value: str | Sequence[str] | None) -> list[str]:
    values = [value] if isinstance(value, str) else list(value or ())
    for one in values:
        try:
            one.encode()
        except UnicodeEncodeError:
            raise QueryError(f"{one!r} is not Unicode text.") from None
    return values


def _path_regex(connection: duckdb.DuckDBPyConnection, globs: Sequence[str]) -> str:
    """One regular expression, of DuckDB's kind, for paths that match any of the globs."""
    # Loaded where it is needed: most searches have no path filter.
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    regexes: list[str] = []
    with cursor(connection) as own:
        for glob in globs:
            try:
                regex, include = GitIgnoreSpecPattern.pattern_to_regex(glob)
                own.execute("SELECT regexp_matches('', ?)", [regex]).fetchall()
            except (ValueError, duckdb.Error):
                regex, include = None, None
            if not regex or not include:
                raise QueryError(f"`{glob}` is not a path pattern.", hint="Use gitignore syntax, for example `src/**/*.py`.")
            # Named groups may not repeat when several patterns are joined.
            regexes.append("(?:" + str(regex).replace("(?P<ps_d>", "(?:") + ")")
    return "|".join(regexes)


def _run(connection: duckdb.DuckDBPyConnection, sql: str, values: list[Any]) -> pa.Table:
    with cursor(connection) as own:
        try:
            table: pa.Table = own.sql(sql, params=values or None).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise QueryError("The answer needs more memory than DuckDB may use.", hint="Raise duckdb_memory_limit.") from error
        except duckdb.Error as error:
            raise IndexCorruptionError(
                f"The chunks of this version cannot be read: {str(error).splitlines()[0]}.",
                hint="Run `indexctl verify`, then `indexctl build`.",
            ) from error
    return table
