"""`catalog.duckdb` beside CURRENT: the views over the published version in a DuckDB file, for people's own tools.

It is a by-product, no part of a version: whatever is in it can be made again. It is never opened for writing where it lies. A
new one is made in a temporary folder beside it and renamed over it, so that who reads the old one goes on reading the old one.
Asked for, it also holds the tables `faiss_idmap_mat` and `v_faiss_join_mat`, which are the views of almost the same names as
they were, and are made again only when what they come from has changed.

Belongs here: making this file, and what it says of itself. Not here: the SQL of the views (`views`), printing (`interfaces`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Literal

import duckdb

from pipeline import files, instruments
from pipeline.catalog.views import create_views, in_memory, literal
from pipeline.config import SearchSettings, Settings
from pipeline.errors import CodeIntelError, QueryError, StoreBusyError
from pipeline.schemas import Chunks, FaissIdmap
from pipeline.store.layout import Repository, not_writable
from pipeline.store.locks import builder
from pipeline.store.versions import ManifestArtefact, Version, current_or_none, open_version

FORMAT = 1
"""Rises with every change of what is in the file; a file of another format is made anew."""
META = "codeintel_catalog"
"""The table of one row that says what the file is of: the columns are the fields of `Contents`."""
TABLES = {"faiss_idmap_mat": "faiss_idmap", "v_faiss_join_mat": "v_faiss_join"}
"""Materialised table -> the view that it is a copy of."""

_STORAGE = "v1.0.0"
"""The layout of the file, so that every DuckDB since 1.0 can open it."""

Status = Literal["unchanged", "created", "refreshed"]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a `catalog.duckdb` says of itself.

    `folder` is the version's, absolute. `idmap` and `chunks` are digests of what the materialised tables were made of, and
    empty where there are none. Of another format than `FORMAT` nothing else is known, and all else is empty.
    """

    format: int
    repository: str
    version: str
    folder: str
    idmap: str
    chunks: str

    @property
    def materialized(self) -> bool:
        """Whether the tables of `TABLES` are there."""
        return bool(self.idmap)


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it. `previous` is what the file held before, `set_aside` where a file went that was not ours or damaged.

    `status` is that of the materialised tables, None where there are none. `rows` by materialised table.
    """

    path: Path
    contents: Contents
    previous: Contents | None
    set_aside: Path | None
    status: Status | None
    rows: dict[str, int]
    views: tuple[str, ...]


class _UnknownFileError(CodeIntelError):
    """There is something at the path, and it is not a catalog of ours, or a damaged one."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What lies at the path; `rows` by materialised table that is really there."""

    contents: Contents | None = None
    views: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    set_aside: Path | None = None


def read_contents(repository: Repository) -> Contents | None:
    """What the file says of itself; None where there is none.

    Raises `StoreBusyError` while another program has it open for writing, `CodeIntelError` when it is damaged or not ours.
    """
    path = repository.catalog
    if not os.path.lexists(path):
        return None
    with _opened(path) as connection:
        contents = _contents(connection, path)
    _report(repository, contents)
    return contents


def write_views(repository: Repository, settings: SearchSettings | None = None) -> Written:
    """Write the file anew for the published version, with the materialised tables where it had them.

    Raises `StoreBusyError` while somebody builds or has the file open for writing, `NotFoundError` where nothing is published,
    `IndexCorruptionError` for a damaged version, `QueryError` when DuckDB lacks memory and `CodeIntelError` where the store
    cannot be written. What was there then stays.
    """
    return _refresh(repository, settings or SearchSettings(), materialize=False)


def materialize(repository: Repository, settings: SearchSettings | None = None) -> Written:
    """See that the file is there, of the published version, and has the materialised tables of it.

    Where it all is, nothing is written and `status` is `unchanged`. It is `unchanged` too when only the views had to move to
    another version with the same idmap and the same chunks. Raises what `write_views` does.
    """
    return _refresh(repository, settings or SearchSettings(), materialize=True)


def follow_publication(repository: Repository, settings: Settings) -> str | None:
    """`materialize` where the settings ask for it. What goes wrong is returned, not raised: what is published is published."""
    if not settings.catalog.materialize_idmap:
        return None
    try:
        materialize(repository, settings.search)
    except CodeIntelError as error:
        return f"The idmap is not materialised. {error}"
    return None


def _refresh(repository: Repository, settings: SearchSettings, *, materialize: bool) -> Written:
    path = repository.catalog
    with builder(repository), open_version(repository) as version:
        found = _find(path)
        keep = materialize or (found.contents is not None and found.contents.materialized)
        wanted = _wanted(version, materialized=keep)
        if materialize and found.contents == wanted and found.rows == _expected_rows(version):
            return Written(path, wanted, found.contents, None, "unchanged", found.rows, found.views)
        version.ensure(*version.manifest.artefacts)
        try:
            set_aside = _set_aside(path) if found.contents is None and os.path.lexists(path) else None
            views, rows = _write(path, wanted, settings)
        except OSError as error:
            raise not_writable(path, error) from error
        except UnicodeEncodeError:
            raise CodeIntelError(f"The path {path!a} is not valid UTF-8.", hint="Move the store to another folder.") from None
    _report(repository, wanted)
    return Written(path, wanted, found.contents, set_aside, _status(found, wanted, rows), rows, views)


def _report(repository: Repository, contents: Contents) -> None:
    """Whether the materialised join is there, and of what is published now."""
    if instruments.listening():
        ready = contents.materialized and contents.version == current_or_none(repository)
        instruments.gauge("faiss_join_ready", ready, materialized="true", repository=repository.name)


def _wanted(version: Version, *, materialized: bool) -> Contents:
    idmap, chunks = (version.manifest.artefacts[asset] for asset in (FaissIdmap.asset, Chunks.asset))
    digests = (_checksum(idmap), _checksum(chunks)) if materialized else ("", "")
    return Contents(FORMAT, version.repository.name, version.name, str(version.path.resolve()), *digests)


def _checksum(artefact: ManifestArtefact) -> str:
    """Of an artefact's bytes, from the manifest: the digest of its one file, or of the list of its files. Its key is left out,
    because equal bytes under another key are equal."""
    if len(artefact.files) == 1:
        return artefact.files[0].digest
    return files.digest_bytes("".join(f"{stored.path}\0{stored.digest}\n" for stored in artefact.files).encode())


def _expected_rows(version: Version) -> dict[str, int]:
    counted = (sum(version.manifest.artefacts[asset].rows.values()) for asset in (FaissIdmap.asset, Chunks.asset))
    return dict(zip(TABLES, counted, strict=True))


def _status(found: _Found, wanted: Contents, rows: dict[str, int]) -> Status | None:
    if not wanted.materialized:
        return None
    if found.contents is None or not found.contents.materialized:
        return "created"
    same = (found.contents.idmap, found.contents.chunks) == (wanted.idmap, wanted.chunks)
    return "unchanged" if same and found.rows == rows else "refreshed"


def _find(path: Path) -> _Found:
    """What lies at the path; nothing where it is damaged or not ours. Raises `StoreBusyError`."""
    if not os.path.lexists(path):
        return _Found()
    try:
        with _opened(path) as connection:
            rows = {name: _count(connection, name) for name in TABLES if _has(connection, name)}
            return _Found(_contents(connection, path), _view_names(connection), rows)
    except _UnknownFileError:
        return _Found()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file, attached for reading to a database in memory, which reaches nothing else.

    Not opened by its path: DuckDB would hand out the database that this process opened there before.
    Raises `StoreBusyError`, and `_UnknownFileError` for whatever cannot be read.
    """
    if not path.is_file():
        raise _unknown(path, "it is no file")
    with in_memory() as connection:
        try:
            connection.execute(f"ATTACH {literal(str(path))} AS found (READ_ONLY, TYPE duckdb)")
            connection.execute("USE found")
            connection.execute("SET enable_external_access = false")
            yield connection
        except (duckdb.Error, UnicodeEncodeError) as error:
            reason = str(error).splitlines()[0]
            if "Could not set lock" in reason or "file handle conflict" in reason:
                raise StoreBusyError(
                    f"{path} is open for writing in another program.",
                    hint="Close it there, or open it read-only (`duckdb -readonly`), and try again.",
                ) from error
            if "Permission denied" in reason:
                raise CodeIntelError(
                    f"{path} cannot be read: {reason}.", hint="Change its permissions, or remove it."
                ) from error
            raise _unknown(path, reason) from error


def _unknown(path: Path, reason: str) -> _UnknownFileError:
    return _UnknownFileError(
        f"{path} is damaged, or not a catalog of this program: {reason}.", hint="`indexctl idmap views` makes it anew."
    )


def _contents(connection: duckdb.DuckDBPyConnection, path: Path) -> Contents:
    if not _has(connection, META):
        raise _unknown(path, f"it has no table {META}")
    columns = ", ".join(column.name for column in fields(Contents))
    formats = connection.execute(f"SELECT format FROM main.{META}").fetchall()  # noqa: S608 - our own name
    if len(formats) != 1 or not isinstance(formats[0][0], int):
        raise _unknown(path, f"its table {META} has {len(formats)} rows")
    if formats[0][0] != FORMAT:
        return Contents(formats[0][0], "", "", "", "", "")
    [row] = connection.execute(f"SELECT {columns} FROM main.{META}").fetchall()  # noqa: S608 - our own names
    return Contents(*row)


def _has(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether there is a table, not a view, of that name."""
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'main' AND table_name = ?",
        [table],
    ).fetchall()
    return bool(found)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    [(count,)] = connection.execute(f"SELECT count(*) FROM main.{table}").fetchall()  # noqa: S608 - our own name
    return int(count)


def _view_names(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE database_name = current_database() AND schema_name = 'main' "
        "AND NOT internal AND NOT temporary ORDER BY view_name"
    ).fetchall()
    return tuple(name for (name,) in rows)


def _set_aside(path: Path) -> Path:
    """Rename what lies at the path, and its log, to a name that is free."""
    number = 1
    while os.path.lexists(target := path.with_name(f"{path.stem}.set-aside-{number}{path.suffix}")):
        number += 1
    path.rename(target)
    if os.path.lexists(log := _log_of(path)):
        log.rename(_log_of(target))
    return target


def _log_of(path: Path) -> Path:
    """DuckDB's write-ahead log of a database file."""
    return path.with_name(path.name + ".wal")


def _write(path: Path, contents: Contents, settings: SearchSettings) -> tuple[tuple[str, ...], dict[str, int]]:
    """Put a new file at the path; returns its views and the rows of its tables."""
    workshop = files.temporary_sibling(path)
    workshop.mkdir()
    try:
        made = workshop / path.name
        views, rows = _make(made, contents, settings)
        # A log that a crashed program left would be taken for one of the new file.
        _log_of(path).unlink(missing_ok=True)
        files.put_file(made, path)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return views, rows


def _make(made: Path, contents: Contents, settings: SearchSettings) -> tuple[tuple[str, ...], dict[str, int]]:
    with in_memory(memory_limit=settings.duckdb_memory_limit, threads=settings.duckdb_threads) as connection:
        connection.execute(f"SET temp_directory = {literal(str(made.with_name('spill')))}")
        try:
            connection.execute(f"ATTACH {literal(str(made))} AS made (STORAGE_VERSION '{_STORAGE}')")
            # In one transaction nothing is written before the views are made: what fails there is the version's fault.
            connection.execute("USE made; BEGIN")
            create_views(connection, Path(contents.folder))
            for table, view in TABLES.items() if contents.materialized else ():
                connection.execute(f"CREATE TABLE {table} AS FROM {view}")
            connection.execute(f"CREATE TABLE {META} (format INTEGER, {_TEXT_COLUMNS})")
            marks = ", ".join("?" for _ in fields(Contents))
            connection.execute(f"INSERT INTO {META} VALUES ({marks})", astuple(contents))  # noqa: S608 - our own name
            connection.execute("COMMIT; CHECKPOINT made")
            views = _view_names(connection)
            rows = {table: _count(connection, table) for table in TABLES if contents.materialized}
            connection.execute("USE memory; DETACH made")
        except duckdb.OutOfMemoryException as error:
            raise QueryError(
                "Making the tables needs more memory than DuckDB may use.", hint="Raise duckdb_memory_limit."
            ) from error
        except duckdb.Error as error:
            raise CodeIntelError(
                f"{made.name} cannot be written: {str(error).splitlines()[0]}.",
                hint="Free some space and try again; the one that was there is unchanged.",
            ) from error
    if _log_of(made).exists():
        raise CodeIntelError(f"DuckDB left a log beside {made.name}.", hint="The one that was there is unchanged; try again.")
    return views, rows


_TEXT_COLUMNS = ", ".join(f"{column.name} VARCHAR" for column in fields(Contents) if column.name != "format")
