"""The DuckDB views over a version, and the locked connection that has them.

The views live in memory and read the version's Parquet where it lies, so opening writes nothing and can be repeated. Once they
are made, the connection reads no file outside the version's folder and its configuration cannot be changed.

Belongs here: the SQL of each view, and opening. Not here: running people's SQL (`sql`), fetching chunks by id (`hydrate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import SearchSettings
from pipeline.errors import ConfigError, IndexCorruptionError, NotFoundError
from pipeline.schemas import TABLES, Chunks, Embeddings, FaissIdmap, Table

CHUNK_ROWS = "chunk_rows"
"""The columns of the table `chunks` alone. The view `chunks` adds `embedding` by a join, which costs some time even when that
column is not asked for; what needs no vectors reads this view."""


@dataclass(frozen=True, slots=True)
class View:
    """A view made of other views; it exists where all that it `needs` exist."""

    name: str
    needs: tuple[str, ...]
    sql: str


_TABLE_SQL = "SELECT * FROM read_parquet({files}, hive_partitioning = false)"
# Parquet knows no fixed-size lists; vector functions need them back.
_EMBEDDINGS_SQL = "SELECT id, embedding::FLOAT[{dimension}] AS embedding FROM read_parquet({files}, hive_partitioning = false)"

VIEWS: tuple[View, ...] = (
    View("chunks", (CHUNK_ROWS,), "SELECT * FROM chunk_rows"),
    View(
        "chunks",
        (CHUNK_ROWS, "embeddings"),
        "SELECT c.*, e.embedding FROM chunk_rows AS c LEFT JOIN embeddings AS e ON e.id = c.id",
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


def connect(version: Path, *, memory_limit: str | None = None, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views over a version's directory, limited and locked as `install` does it.

    `memory_limit` as DuckDB writes it (`512MB`); both limits default to those of the settings. Threads share the connection
    through `cursor`. Raises `ConfigError` for limits that DuckDB refuses, and what `install` raises.
    """
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
    try:
        install(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def install(connection: duckdb.DuckDBPyConnection, version: Path) -> None:
    """Make the views over a version's directory in an empty in-memory database, and lock it.

    Views of tables that the version does not have are left out. Afterwards nothing is spilled to disk (a query that needs more
    memory fails) and no file outside the version can be read. Raises `NotFoundError` when there is no such directory,
    `IndexCorruptionError` when a table cannot be read.
    """
    version = version.resolve()
    if not version.is_dir():
        raise NotFoundError(f"There is no version at {version}.", hint="`indexctl versions` lists what there is.")
    try:
        for setting in _SETTINGS:
            connection.execute(f"SET GLOBAL {setting}")
        names = _create_tables(connection, version)
        for view in VIEWS:
            if names.issuperset(view.needs):
                connection.execute(f"CREATE OR REPLACE VIEW {view.name} AS {view.sql}")
        _lock(connection, version)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise IndexCorruptionError(
            f"The tables of {version} cannot be read: {str(error).splitlines()[0]}.",
            hint="Run `indexctl verify`, then `indexctl build`.",
        ) from error


def cursor(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A handle of its own for one thread or one call, with the same views; threads that share one handle get wrong rows."""
    return connection.cursor()


def _create_tables(connection: duckdb.DuckDBPyConnection, version: Path) -> set[str]:
    """One view a table that exists; returns their names."""
    names: set[str] = set()
    for table in TABLES:
        if paths := sorted((version / table.name).glob("part-*.parquet")):
            name = CHUNK_ROWS if table is Chunks else table.name
            connection.execute(f"CREATE VIEW {name} AS {_table_sql(table, paths)}")
            names.add(name)
    idmap = version / FaissIdmap.FILE
    if idmap.is_file():
        connection.execute(f"CREATE VIEW {FaissIdmap.asset} AS {_TABLE_SQL.format(files=_path_literals([idmap]))}")
        names.add(FaissIdmap.asset)
    return names


def _table_sql(table: type[Table], paths: list[Path]) -> str:
    files = _path_literals(paths)
    if table is Embeddings:
        return _EMBEDDINGS_SQL.format(files=files, dimension=pq.read_schema(paths[0]).field("embedding").type.list_size)
    return _TABLE_SQL.format(files=files)


def _lock(connection: duckdb.DuckDBPyConnection, version: Path) -> None:
    # Access is checked on the pattern as written in the view, and on the file that it matched.
    folders = ", ".join(_literal(folder) for folder in dict.fromkeys((str(version), _escape_glob(str(version)))))
    connection.execute(f"SET allowed_directories = [{folders}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _path_literals(paths: list[Path]) -> str:
    return "[" + ", ".join(_literal(_escape_glob(str(path))) for path in paths) + "]"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escape_glob(path: str) -> str:
    """`read_parquet` takes every path for a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
