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

from pipeline import instruments
from pipeline.catalog.joins import EMBEDDINGS, Join, asked
from pipeline.catalog.views import CHUNK_ROWS, cursor, fetch
from pipeline.errors import NotFoundError, QueryError
from pipeline.index.dense.arrays import checked_ids
from pipeline.schemas import Chunks
from pipeline.source.languages import SOURCE_ROOTS

COLUMNS = ("id", "uri", "lang", "kind", "name", "start_line", "end_line", "preview")
"""What a line of results shows."""

_KNOWN = (*Chunks.schema.names, *EMBEDDINGS.columns)
_NAMED_AT_MOST = 3
_SHOWN = 80
"""Characters of what somebody wrote."""


def hydrate(
    connection: duckdb.DuckDBPyConnection,
    ids: Sequence[int] | npt.NDArray[Any],
    columns: Sequence[str] = COLUMNS,
    *,
    joins: Sequence[Join] = (),
    missing: Literal["raise", "skip"] = "raise",
) -> pa.Table:
    """Columns of the chunks `ids` (int64 [n]), one row for each id in the order asked; an id asked twice has two rows.

    `columns` are those of the table `chunks`, and `embedding`. Each of `joins` adds columns after them, in the order given, and
    never rows; only the tables that are asked for are read:

    * `modules`: `module`, a struct of the file's row of `modules`, or null;
    * `symbols`: `symbols` and `references`, sorted lists of what the chunk defines and uses;
    * `ast`, `cst`: `ast`, a list of {type, count} of the named nodes inside the chunk, or `cst`, of {kind, count};
    * `faiss`: `faiss_row`, null where FAISS does not know the chunk;
    * `names`: names of the definitions that start in the chunk, in their order;
    * `syntax`: a list of {type, count} of its statements, definitions and other syntax that has parts, outermost first;
    * `mentions`: a list of {kind, name} of the concrete syntax in it that has a name, such as calls, each once.

    Ids that are no chunks raise `NotFoundError` naming some of them, or are left out with `missing="skip"`. Threads may share
    `connection`. Raises `QueryError` for unknown columns or joins or values that are no ids, `NotFoundError` for a join with a
    table that the version does not have.
    """
    wanted = checked_ids(ids)
    if not columns or (unknown := [name for name in columns if name not in _KNOWN]):
        raise QueryError(f"There is no column `{unknown[0]}` of chunks." if columns else "No columns were asked for.")
    joined = asked(connection, joins)
    vectors = [EMBEDDINGS] if not EMBEDDINGS.columns.keys().isdisjoint(columns) else []
    selected = [f"{EMBEDDINGS.alias}.{name}" if name in EMBEDDINGS.columns else f'c."{name}"' for name in columns]
    selected += [f'{value} AS "{name}"' for join in joined for name, value in join.columns.items()]
    # DuckDB puts the rows in order: Arrow's `take` would load pyarrow.compute, which costs a fresh process more than the query.
    sql = (
        "WITH wanted AS (SELECT id, place FROM unnest($1::BIGINT[]) WITH ORDINALITY AS r(id, place)) "  # noqa: S608 - names are our own
        f"SELECT c.id AS _id, {', '.join(selected)} FROM wanted JOIN {CHUNK_ROWS} AS c ON c.id = wanted.id "
        f"{' '.join(join.clause for join in (*vectors, *joined))} ORDER BY wanted.place"
    )
    op = "several" if joined[1:] else joins[0] if joined else "chunks"
    with instruments.timed("codeintel_duckdb_hydration_seconds", op=op):
        found = fetch(connection, sql, [wanted])
    if missing == "raise" and found.num_rows != len(wanted):
        lost = np.setdiff1d(wanted, found.column(0).to_numpy())
        named = ", ".join(str(one) for one in lost[:_NAMED_AT_MOST])
        raise NotFoundError(f"{len(lost)} of the ids are no chunks of this version, for example {named}.")
    return found.select(list(range(1, found.num_columns)))


_DEFINES = (
    "id IN (SELECT c.id FROM chunk_rows AS c JOIN definitions AS d ON d.uri = c.uri "
    "AND d.start_byte >= c.start_byte AND d.start_byte < c.end_byte "
    "WHERE list_contains(?::VARCHAR[], d.name) OR list_contains(?::VARCHAR[], d.qualified_name))"
)


def allowed_ids(
    connection: duckdb.DuckDBPyConnection,
    *,
    lang: str | Sequence[str] | None = None,
    path: str | Sequence[str] | None = None,
    kind: str | Sequence[str] | None = None,
    module: str | Sequence[str] | None = None,
    defines: str | Sequence[str] | None = None,
) -> npt.NDArray[np.int64]:
    """Ids of the chunks that pass every filter, int64 [m] ascending, for `VectorIndex.search(allowed=...)`.

    Each filter takes one value or several, any of which may match; None or an empty sequence does not filter. `path` is a
    glob in gitignore syntax over the repository-relative uri: `*.py` at any level, `/src/` a folder at the top. `module` is a
    file or folder from the top of the repository or below a usual source folder (`src`, `lib`, `python`), with `/` or with
    dots: `a.b` is `a/b.py`, `src/a/b.py` and all of `a/b/`. `defines` is the name, plain or qualified (`A.b`), of a definition
    that starts in the chunk. Threads may share `connection`. Raises
    `QueryError` for a glob that is none.
    """
    filters = {"lang": lang, "path": path, "kind": kind, "module": module, "defines": defines}
    conditions: list[str] = []
    values: list[Any] = []
    for column, given in (("lang", _several(lang)), ("kind", _several(kind))):
        if given:
            conditions.append(f"list_contains(?::VARCHAR[], {column})")
            values.append(given)
    if globs := _several(path):
        conditions.append("regexp_matches(uri, ?, 's')")
        values.append(_path_regex(connection, globs))
    if modules := _several(module):
        prefixes = _module_prefixes(modules)
        under = "uri = ? OR starts_with(uri, ?) OR starts_with(uri, ?)"
        conditions.append("(" + " OR ".join([under] * len(prefixes)) + ")")
        values += [text for prefix in prefixes for text in (prefix, prefix + "/", prefix + ".")]
    if names := _several(defines):
        conditions.append(_DEFINES)
        values += [names, names]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT id FROM {CHUNK_ROWS}{where} ORDER BY id"  # noqa: S608 - conditions are our own, values are bound
    named = [name for name, given in filters.items() if given]
    filter_type = "several" if named[1:] else named[0] if named else "none"
    with instruments.timed("codeintel_scope_filter_duration_seconds", filter_type=filter_type):
        ids: npt.NDArray[np.int64] = fetch(connection, sql, values).column(0).to_numpy()
    return ids


def _several(value: str | Sequence[str] | None) -> list[str]:
    values = [value] if isinstance(value, str) else list(value or ())
    for one in values:
        try:
            one.encode()
        except UnicodeEncodeError:
            raise QueryError(f"{one[:_SHOWN]!r} is not Unicode text.") from None
    return values


def _module_prefixes(modules: Sequence[str]) -> list[str]:
    """The paths that modules may be written for: from the top, or from a folder that imports usually start from."""
    prefixes: list[str] = []
    for module in modules:
        path = module.strip("/")
        if not path:
            raise QueryError(f"`{module[:_SHOWN]}` is not a module.", hint="Write `package.module` or `package/module`.")
        written = [path, path.replace(".", "/")] if "/" not in path and "." in path else [path]
        prefixes += [root + one for one in written for root in SOURCE_ROOTS]
    return prefixes


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
                raise QueryError(
                    f"`{glob[:_SHOWN]}` is not a path pattern.", hint="Use gitignore syntax, for example `src/**/*.py`."
                )
            # Named groups may not repeat when several patterns are joined.
            regexes.append("(?:" + str(regex).replace("(?P<ps_d>", "(?:") + ")")
    return "|".join(regexes)
