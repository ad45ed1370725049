"""The views over a version, and what a connection can reach."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.catalog.losses import losses
from pipeline.catalog.symbol_table import read_symbols
from pipeline.catalog.views import connect, cursor, install
from pipeline.config import SearchSettings
from pipeline.errors import ConfigError, IndexCorruptionError, NotFoundError
from tests.catalog.test_losses import write

CHUNKS = 12
ALL = {
    "ast_nodes",
    "chunk_rows",
    "chunks",
    "definitions",
    "embeddings",
    "faiss_idmap",
    "files",
    "sources",
    "v_chunk_ast",
    "v_chunk_definitions",
    "v_faiss_join",
}


def views(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}


def counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in ALL}


def test_every_table_of_a_version_has_its_view(connection: duckdb.DuckDBPyConnection) -> None:
    assert views(connection) == ALL
    expected = {"files": 4, "sources": 4, "ast_nodes": 16, "definitions": 8, "embeddings": CHUNKS, "faiss_idmap": CHUNKS - 2}
    found = counts(connection)
    assert {name: found[name] for name in expected} == expected
    assert found["chunks"] == found["chunk_rows"] == found["v_faiss_join"] == CHUNKS


def test_embeddings_have_a_fixed_length_that_vector_functions_take(connection: duckdb.DuckDBPyConnection) -> None:
    for view in ("embeddings", "chunks"):
        ((kind, product),) = connection.execute(
            f"SELECT DISTINCT typeof(embedding), array_inner_product(embedding, embedding) FROM {view}"
        ).fetchall()
        assert (kind, product) == ("FLOAT[4]", 1.0)


def test_a_chunk_that_faiss_does_not_know_shows_as_null(connection: duckdb.DuckDBPyConnection) -> None:
    rows = connection.execute("SELECT id, faiss_row, source FROM v_faiss_join ORDER BY id").fetchall()
    assert [row[1:] for row in rows[:2]] == [(None, None)] * 2
    assert [row[1:] for row in rows[2:]] == [(row, "primary") for row in range(CHUNKS - 2)]


def test_nodes_belong_to_the_chunk_that_holds_them_whole(
    connection: duckdb.DuckDBPyConnection, id_of: Callable[[str, int], int]
) -> None:
    rows = connection.execute("SELECT chunk_id, type FROM v_chunk_ast WHERE uri = 'src/a.py'").fetchall()
    # The module and the class reach over chunks; the empty node lies between the second and the third.
    assert sorted(rows) == sorted([(id_of("src/a.py", 1), "name"), (id_of("src/a.py", 2), "empty")])


def test_definitions_show_every_chunk_that_they_touch(
    connection: duckdb.DuckDBPyConnection, id_of: Callable[[str, int], int]
) -> None:
    rows = connection.execute("SELECT name, chunk_id, whole FROM v_chunk_definitions WHERE uri = 'src/a.py'").fetchall()
    wide = {("Wide", id_of("src/a.py", ordinal), False) for ordinal in range(3)}
    assert set(rows) == wide | {("Inner", id_of("src/a.py", 1), True)}
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        ("embeddings", {"embeddings"}),
        ("faiss_idmap", {"faiss_idmap", "v_faiss_join"}),
        ("ast_nodes", {"ast_nodes", "v_chunk_ast"}),
        ("definitions", {"definitions", "v_chunk_definitions"}),
        ("chunks", {"chunk_rows", "chunks", "v_faiss_join", "v_chunk_ast", "v_chunk_definitions"}),
    ],
)
def test_views_of_missing_tables_are_left_out(
    tmp_path: Path, make_version: Callable[..., Path], missing: str, gone: set[str]
) -> None:
    with connect(make_version(tmp_path / "v", without=(missing,))) as connection:
        assert views(connection) == ALL - gone
        if missing == "embeddings":
            assert "embedding" not in [row[0] for row in connection.execute("DESCRIBE chunks").fetchall()]


@pytest.mark.parametrize("name", ["it's", "a [b] *?", "x=1", 'quo"te', "Größe", "new\nline", "a;b--c"])
def test_a_version_may_lie_in_a_folder_of_any_name(tmp_path: Path, make_version: Callable[..., Path], name: str) -> None:
    version = make_version(tmp_path / name / "v")
    make_version(tmp_path / "b" / "v")
    with connect(version) as connection:
        assert counts(connection)["chunks"] == CHUNKS
        # A folder `x=1` is no partition column.
        assert "x" not in [row[0] for row in connection.execute("DESCRIBE files").fetchall()]


def test_opening_writes_nothing_and_can_be_repeated(
    tmp_path: Path, make_version: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = make_version(tmp_path / "v")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    before = {path: path.stat().st_mtime_ns for path in version.rglob("*")}
    with connect(version) as one, connect(version) as other:
        assert counts(one) == counts(other)
    assert {path: path.stat().st_mtime_ns for path in version.rglob("*")} == before
    assert list(work.iterdir()) == []


def test_a_relative_path_and_a_later_change_of_folder_do_no_harm(
    tmp_path: Path, make_version: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version(tmp_path / "v")
    monkeypatch.chdir(tmp_path)
    with connect(Path("v")) as connection:
        monkeypatch.chdir("/")
        assert counts(connection)["chunks"] == CHUNKS


def test_limits_are_set_and_cannot_be_lifted(version: Path) -> None:
    with connect(version, memory_limit="100MB", threads=1) as connection:
        shown = connection.execute("SELECT current_setting('threads'), current_setting('memory_limit')").fetchall()
        assert shown == [(1, "95.3 MiB")]
        for change in ("SET threads = 4", "SET memory_limit = '1GB'", "SET enable_external_access = true", "RESET threads"):
            with pytest.raises(duckdb.Error, match="locked"):
                cursor(connection).execute(change)
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.execute("SELECT list(i) FROM range(100000000) t(i)").fetchall()


def test_limits_default_to_the_settings(version: Path) -> None:
    with connect(version) as connection:
        assert connection.execute("SELECT current_setting('threads')").fetchall() == [(SearchSettings().duckdb_threads,)]


@pytest.mark.parametrize("limits", [{"memory_limit": "lots"}, {"threads": -1}])
def test_limits_that_duckdb_refuses_are_settings_errors(version: Path, limits: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="DuckDB refuses"):
        connect(version, **limits)  # type: ignore[arg-type]


def test_a_connection_made_elsewhere_is_locked_too(version: Path) -> None:
    secret = [1]
    with duckdb.connect(":memory:") as connection:
        install(connection, version)
        assert counts(connection)["chunks"] == CHUNKS
        for refused in ("SET threads = 1", "SELECT * FROM read_text('/etc/hosts')", "SELECT * FROM secret"):
            with pytest.raises(duckdb.Error):
                cursor(connection).execute(refused)
    assert secret == [1]


def test_no_version_is_told_from_a_damaged_one(tmp_path: Path, make_version: Callable[..., Path]) -> None:
    with pytest.raises(NotFoundError):
        connect(tmp_path / "none")
    version = make_version(tmp_path / "v")
    for table in ("chunks", "embeddings"):
        path = sorted((version / table).glob("*.parquet"))[0]
        whole = path.read_bytes()
        for length in (0, 4, 50, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(IndexCorruptionError, match="cannot be read"):
                connect(version)
        path.write_bytes(whole)


def _views_of(version: Path) -> object:
    with connect(version) as connection:
        return views(connection)


def _symbols_of(version: Path) -> object:
    table = read_symbols(version)
    return list(table.symbols), list(table.provenances)


@pytest.mark.parametrize("read", [_views_of, _symbols_of, lambda version: losses(version).to_pylist()])
def test_what_is_away_for_a_moment_is_never_opened_without_some_of_its_tables(
    read: Callable[[Path], object], tmp_path: Path, symbol_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk that comes and goes under a server: what was opened meanwhile is kept, so it must be whole or an error.
    version, away, listed = tmp_path / "v", tmp_path / "away", os.listdir
    shutil.copytree(symbol_version, version)
    write(version, "cst_rejected.json", {"version": 1, "rejected": [{"uri": "a.py", "reason": "it"}]})
    whole, refused = read(version), 0
    for moment in itertools.count():
        looks = itertools.count()

        def look(path: Any, moment: int = moment, looks: Iterator[int] = looks) -> list[str]:
            if next(looks) != moment:
                return listed(path)
            version.rename(away)
            try:
                return listed(path)
            finally:
                away.rename(version)

        with monkeypatch.context() as patched:
            patched.setattr(os, "listdir", look)
            try:
                assert read(version) == whole
            except (IndexCorruptionError, NotFoundError):
                refused += 1
        if next(looks) <= moment:
            break
    assert refused == moment > 0


def test_threads_that_share_a_connection_get_their_own_answers(connection: duckdb.DuckDBPyConnection) -> None:
    def ask(number: int) -> bool:
        with cursor(connection) as own:
            return own.execute("SELECT count(*) + ? FROM chunks", [number]).fetchall() == [(CHUNKS + number,)]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))
