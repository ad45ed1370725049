"""The DuckDB views over a version, and over traces of searches, and the locked connection that has them.

The views live in memory and read the version's Parquet where it lies, so opening writes nothing and can be repeated. Once they
are made, the connection reads no file outside the version's folder and its configuration cannot be changed.

Belongs here: the SQL of each view, opening, and running queries of our own. Not here: people's SQL (`sql`), the file with the
same views for people's own tools (`database`), fetching chunks by id (`hydrate`) or symbols by name (`lookup`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import instruments
from pipeline.catalog.losses import has_lists, losses
from pipeline.catalog.traces import Readable
from pipeline.config import SearchSettings
from pipeline.errors import ConfigError, IndexCorruptionError, NotFoundError, QueryError
from pipeline.schemas import TABLES, TRACES, Chunks, Coverage, Embeddings, EvalMetrics, EvalQueries, FaissIdmap, Table, Tuning
from pipeline.tables import has_table, names_in, parts

_SINGLE_FILES: Mapping[str, str] = {
    FaissIdmap.asset: FaissIdmap.FILE,
    "sweep": Tuning.SWEEP,
    "tuning_nearest": Tuning.NEAREST,
    "eval_queries": EvalQueries.FILE,
    "eval_details": EvalMetrics.DETAILS,
    "eval_pool": EvalMetrics.POOL,
    "last_eval_pool": EvalMetrics.POOL,
    "eval_points": EvalMetrics.POINTS,
    "coverage_modules": Coverage.MODULES,
}
"""View -> the file of a version that it shows whole."""
CHUNK_ROWS = "chunk_rows"
"""The columns of the table `chunks` alone. The view `chunks` adds `symbols`, `references` and `embedding` by joins, which cost
some time even when those columns are not asked for; what needs none of them reads this view."""


@dataclass(frozen=True, slots=True)
class View:
    """A view made of other views; it exists where all that it `needs` exist."""

    name: str
    needs: tuple[str, ...]
    sql: str


_PATTERN = re.compile(r"[*?\[]")
_TABLE_SQL = "SELECT * FROM read_parquet({files}, hive_partitioning = false)"
# Parquet knows no fixed-size lists; vector functions need them back.
_EMBEDDINGS_SQL = "SELECT id, embedding::FLOAT[{dimension}] AS embedding FROM read_parquet({files}, hive_partitioning = false)"

# Lists of a chunk's symbols. Grouped before it is joined, so that a chunk stays one row.
SYMBOL_LISTS = (
    "SELECT chunk_id, coalesce(list(symbol ORDER BY symbol) FILTER (role = 'definition'), []) AS symbols, "
    "coalesce(list(symbol ORDER BY symbol) FILTER (role = 'reference'), []) AS \"references\" FROM chunk_symbols"
)
"""The head of a query; what uses it adds WHERE, if any, and GROUP BY chunk_id."""
_SYMBOL_COLUMNS = 'coalesce(s.symbols, []) AS symbols, coalesce(s."references", []) AS "references"'
_WITH_SYMBOLS = f"LEFT JOIN ({SYMBOL_LISTS} GROUP BY chunk_id) AS s ON s.chunk_id = c.id"
_WITH_EMBEDDING = "LEFT JOIN embeddings AS e ON e.id = c.id"


def _chunks_sql(columns: str, joins: str) -> str:
    return f"SELECT c.*, {columns} FROM chunk_rows AS c {joins}"  # noqa: S608 - our own SQL


VIEWS: tuple[View, ...] = (
    View("chunks", (CHUNK_ROWS,), "SELECT * FROM chunk_rows"),
    View("chunks", (CHUNK_ROWS, "embeddings"), _chunks_sql("e.embedding", _WITH_EMBEDDING)),
    View("chunks", (CHUNK_ROWS, "chunk_symbols"), _chunks_sql(_SYMBOL_COLUMNS, _WITH_SYMBOLS)),
    View(
        "chunks",
        (CHUNK_ROWS, "chunk_symbols", "embeddings"),
        _chunks_sql(f"{_SYMBOL_COLUMNS}, e.embedding", f"{_WITH_SYMBOLS} {_WITH_EMBEDDING}"),
    ),
    # A chunk that FAISS does not know has NULL as its row.
    View(
        "v_faiss_join",
        (CHUNK_ROWS, "faiss_idmap"),
        "SELECT c.*, m.faiss_row, m.source FROM chunk_rows AS c LEFT JOIN faiss_idmap AS m ON m.external_id = c.id",
    ),
    # Nodes wholly inside the chunk; an empty node between two chunks belongs to the later one.
    View(
        "v_chunk_ast",
        (CHUNK_ROWS, "ast_nodes"),
        "SELECT c.id AS chunk_id, n.* FROM chunk_rows AS c JOIN ast_nodes AS n ON n.uri = c.uri "
        "AND n.start_byte >= c.start_byte AND n.start_byte < c.end_byte AND n.end_byte <= c.end_byte",
    ),
    View(
        "v_chunk_cst",
        (CHUNK_ROWS, "cst_nodes"),
        "SELECT c.id AS chunk_id, n.* FROM chunk_rows AS c JOIN cst_nodes AS n ON n.uri = c.uri "
        "AND n.start_byte >= c.start_byte AND n.start_byte < c.end_byte AND n.end_byte <= c.end_byte",
    ),
    # One row a chunk, symbol and role. A symbol that two files describe has one name and kind here, and `kind` is the chunk's.
    View(
        "v_chunk_symbols",
        (CHUNK_ROWS, "chunk_symbols", "scip_symbols"),
        "SELECT c.*, s.symbol, s.role, s.count, d.display_name, d.kind AS symbol_kind "
        "FROM chunk_rows AS c JOIN chunk_symbols AS s ON s.chunk_id = c.id LEFT JOIN (SELECT symbol, "
        "min(display_name) AS display_name, min(kind) AS kind FROM scip_symbols GROUP BY symbol) AS d ON d.symbol = s.symbol",
    ),
    # Every definition that the chunk is a part of or contains; `whole` where it lies inside the chunk.
    View(
        "v_chunk_definitions",
        (CHUNK_ROWS, "definitions"),
        "SELECT c.id AS chunk_id, d.*, d.start_byte >= c.start_byte AND d.end_byte <= c.end_byte AS whole "
        "FROM chunk_rows AS c JOIN definitions AS d ON d.uri = c.uri "
        "AND d.start_byte < c.end_byte AND d.end_byte > c.start_byte",
    ),
)
"""Views over views, in the order in which they are made; a later one of the same name replaces an earlier one."""


_SETTINGS: tuple[str, ...] = (
    # Without a directory DuckDB spills nothing; its default is one in the working directory.
    "temp_directory = ''",
    # SQL must not see Python's variables.
    "python_enable_replacements = false",
    "autoload_known_extensions = false",
    "autoinstall_known_extensions = false",
    # Published files never change, so their footers need reading only once.
    "parquet_metadata_cache = true",
)
"""Of every connection. SET GLOBAL, because a plain SET does not reach cursors."""


def connect(
    version: Path, *, traces: Readable | None = None, memory_limit: str | None = None, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views over a version's directory, limited and locked as `install` does it.

    With `traces` (see `catalog.traces.readable`) their views are there as well. `memory_limit` as DuckDB writes it (`512MB`);
    both limits default to those of the settings. Threads share the connection through `cursor`. Raises `ConfigError` for limits
    that DuckDB refuses, and what `install` raises.
    """
    with instruments.timed("codeintel_catalog_bootstrap_seconds"):
        connection = in_memory(memory_limit=memory_limit, threads=threads)
        try:
            install(connection, version, traces)
        except BaseException:
            connection.close()
            raise
    return connection


def in_memory(*, memory_limit: str | None = None, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """An empty in-memory DuckDB within limits, which loads no extensions. Raises `ConfigError` for limits that it refuses."""
    defaults = SearchSettings()
    limits: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit or defaults.duckdb_memory_limit,
        "threads": threads or defaults.duckdb_threads,
    }
    try:
        connection = duckdb.connect(":memory:", config=limits)
    except duckdb.Error as error:
        raise ConfigError(
            f"DuckDB refuses the limits {limits}: {str(error).splitlines()[0]}.",
            hint="Set duckdb_memory_limit (for example 512MB) and duckdb_threads.",
        ) from error
    _configure(connection)
    return connection


def _configure(connection: duckdb.DuckDBPyConnection) -> None:
    for setting in _SETTINGS:
        connection.execute(f"SET GLOBAL {setting}")


def install(connection: duckdb.DuckDBPyConnection, version: Path, traces: Readable | None = None) -> None:
    """Make the views over a version's directory, and over traces, in an empty in-memory database, and lock it.

    Views of tables that the version does not have are left out. Afterwards nothing is spilled to disk (a query that needs more
    memory fails) and no file outside the version and the traces can be read. Raises `NotFoundError` when there is no such
    directory, `IndexCorruptionError` when a table cannot be read.
    """
    version = version.resolve()
    with _as_corruption(version):
        _configure(connection)
        create_views(connection, version)
        if traces is not None:
            create_trace_views(connection, traces)
        _lock(connection, [version, *([] if traces is None else [traces.folder])])


def create_views(connection: duckdb.DuckDBPyConnection, version: Path) -> None:
    """Make the views over a version's directory in the empty database that the connection uses; they name absolute paths.

    Views of tables that the version does not have are left out. Raises `NotFoundError` when there is no such directory,
    `IndexCorruptionError` when a table cannot be read.
    """
    version = version.resolve()
    if not version.is_dir():
        raise NotFoundError(f"There is no version at {version}.", hint="`indexctl versions` lists what there is.")
    with _as_corruption(version):
        names = _create_tables(connection, version)
        for view in VIEWS:
            if names.issuperset(view.needs):
                connection.execute(f"CREATE OR REPLACE VIEW {view.name} AS {view.sql}")
        if has_lists(version):
            _create_losses(connection, version)


@contextlib.contextmanager
def _as_corruption(version: Path) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise IndexCorruptionError(
            f"The tables of {version} cannot be read: {str(error).splitlines()[0]}.",
            hint="Run `indexctl verify`, then `indexctl build`.",
        ) from error


def has_views(connection: duckdb.DuckDBPyConnection, *names: str) -> bool:
    """Whether the version has all these tables and views."""
    with cursor(connection) as own:
        found = own.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    return {name for (name,) in found}.issuperset(names)


def cursor(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A handle of its own for one thread or one call, with the same views; threads that share one handle get wrong rows."""
    return connection.cursor()


@contextlib.contextmanager
def reading(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A handle for queries of our own. Raises `QueryError` when an answer is too large, `IndexCorruptionError` when a table
    cannot be read."""
    with cursor(connection) as own:
        try:
            yield own
        except duckdb.OutOfMemoryException as error:
            raise QueryError("The answer needs more memory than DuckDB may use.", hint="Raise duckdb_memory_limit.") from error
        except duckdb.Error as error:
            raise IndexCorruptionError(
                f"The tables of this version cannot be read: {str(error).splitlines()[0]}.",
                hint="Run `indexctl verify`, then `indexctl build`.",
            ) from error


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any] | Mapping[str, Any]) -> pa.Table:
    """The result of a query of our own, values bound to `?`, `$1` or `$name`. Threads may share `connection`.

    Raises what `reading` does.
    """
    with reading(connection) as own:
        table: pa.Table = own.sql(sql, params=values or None).to_arrow_table()
    return table


def count_files(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> list[int]:
    """Rows of each of these Parquet files of the version, as DuckDB counts them."""
    if not paths:
        return []
    sql = "SELECT filename, count(*) FROM read_parquet({files}, hive_partitioning = false, filename = true) GROUP BY filename"
    counts: dict[str, int] = dict(connection.execute(sql.format(files=_path_literals(list(paths)))).fetchall())
    return [counts.get(str(path), 0) for path in paths]


def _create_tables(connection: duckdb.DuckDBPyConnection, version: Path) -> set[str]:
    """One view a table that exists; returns their names."""
    names: set[str] = set()
    there = names_in(version)
    for table in TABLES:
        if has_table(version, table):
            paths = parts(version, table)
            name = CHUNK_ROWS if table is Chunks else table.name
            connection.execute(f"CREATE VIEW {name} AS {_table_sql(table, paths)}")
            names.add(name)
    for name, file in _SINGLE_FILES.items():
        if file in there:
            connection.execute(f"CREATE VIEW {name} AS {_TABLE_SQL.format(files=_path_literals([version / file]))}")
            names.add(name)
    return names


def _create_losses(connection: duckdb.DuckDBPyConnection, version: Path) -> None:
    """The view `losses`. Its few rows lie in memory, in a schema of their own, because they come from JSON."""
    connection.register("lost_rows", losses(version))
    connection.execute("CREATE SCHEMA lost; CREATE TABLE lost.losses AS FROM lost_rows; CREATE VIEW losses AS FROM lost.losses")
    connection.unregister("lost_rows")


def create_trace_views(connection: duckdb.DuckDBPyConnection, traces: Readable) -> None:
    """Make the views over traces, or make them anew, which a locked connection may, too: sets come and go while it is open.

    Where there are none they are empty, so that a query over them has an answer. Raises `IndexCorruptionError`.
    """
    with cursor(connection) as own:
        own.execute("CREATE SCHEMA IF NOT EXISTS traced")
        for table in TRACES:
            paths = traces.files_of(table)
            made_of = _TABLE_SQL.format(files=_path_literals(paths)) if paths else _no_rows(own, table)
            try:
                own.execute(f"CREATE OR REPLACE VIEW {table.name} AS {made_of}")
            except duckdb.Error as error:
                raise IndexCorruptionError(
                    f"The traces in {traces.folder} cannot be read: {str(error).splitlines()[0]}.",
                    hint="Remove them with `indexctl trace clear`.",
                ) from error


def _no_rows(connection: duckdb.DuckDBPyConnection, table: type[Table]) -> str:
    """A query with the columns of a table and no rows."""
    connection.register("no_rows", table.schema.empty_table())
    connection.execute(f"CREATE OR REPLACE TABLE traced.{table.name} AS FROM no_rows")
    connection.unregister("no_rows")
    return f"FROM traced.{table.name}"


def _table_sql(table: type[Table], paths: list[Path]) -> str:
    files = _path_literals(paths)
    if table is Embeddings:
        return _EMBEDDINGS_SQL.format(files=files, dimension=pq.read_schema(paths[0]).field("embedding").type.list_size)
    return _TABLE_SQL.format(files=files)


def _lock(connection: duckdb.DuckDBPyConnection, readable: Sequence[Path]) -> None:
    # Access is checked on the pattern as written in the view, and on the file that it matched.
    folders = ", ".join(literal(name) for folder in readable for name in {str(folder), _escape_glob(str(folder))})
    connection.execute(f"SET allowed_directories = [{folders}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _path_literals(paths: list[Path]) -> str:
    return "[" + ", ".join(literal(_escape_glob(str(path))) for path in paths) + "]"


def literal(text: str) -> str:
    """Text as SQL writes it, for the places where DuckDB binds no values."""
    return "'" + text.replace("'", "''") + "'"


def _escape_glob(path: str) -> str:
    """`read_parquet` takes every path for a pattern."""
    return _PATTERN.sub(r"[\g<0>]", path)
