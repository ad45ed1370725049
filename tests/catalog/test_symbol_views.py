"""Symbols, concrete syntax and module facts in the views, in hydration and as filters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.catalog.hydrate import allowed_ids, hydrate
from pipeline.catalog.views import connect
from pipeline.errors import NotFoundError, QueryError

CHUNKS = 12
IdOf = Callable[[str, int], int]
SymbolOf = Callable[[str, str], str]
TABLES = {"scip_occurrences", "scip_symbols", "cst_nodes", "modules", "chunk_symbols", "symbol_edges"}
A, B = "src/a.py", "src/deep/b.py"
JOINS = {"modules": ["module"], "symbols": ["symbols", "references"], "ast": ["ast"], "cst": ["cst"], "faiss": ["faiss_row"]}
JOINED_TABLES = {"modules": "modules", "symbols": "chunk_symbols", "ast": "ast_nodes", "cst": "cst_nodes"}


def view_names(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}


def test_each_table_of_symbols_has_its_view_only_where_it_exists(
    tmp_path: Path, make_version: Callable[..., Path], add_symbols: Callable[[Path], Path]
) -> None:
    version = make_version(tmp_path / "v")
    with connect(version) as connection:
        plain = view_names(connection)
    add_symbols(version)
    with connect(version) as connection:
        assert view_names(connection) == plain | TABLES | {"v_chunk_symbols", "v_chunk_cst", "losses"}
    gone = {"cst_nodes": {"v_chunk_cst"}, "chunk_symbols": {"v_chunk_symbols"}, "scip_symbols": {"v_chunk_symbols"}}
    for table in TABLES:
        copy = tmp_path / table
        shutil.copytree(version, copy)
        shutil.rmtree(copy / table)
        with connect(copy) as connection:
            everything = plain | TABLES | {"v_chunk_symbols", "v_chunk_cst", "losses"}
            assert view_names(connection) == everything - {table} - gone.get(table, set())
            assert connection.execute("SELECT count(*) FROM chunks").fetchall() == [(CHUNKS,)]


def test_chunks_show_sorted_lists_of_symbols_and_stay_one_row_each(
    symbol_connection: duckdb.DuckDBPyConnection, id_of: IdOf, symbol_of: SymbolOf
) -> None:
    rows = symbol_connection.execute('SELECT id, symbols, "references", embedding FROM chunks').fetchall()
    assert len(rows) == len({row[0] for row in rows}) == CHUNKS
    found = {row[0]: row[1:3] for row in rows}
    inner = symbol_of(B, "Wide#inner().")
    assert found[id_of(B, 0)] == (sorted([symbol_of(B, ""), symbol_of(B, "Wide#")]), [symbol_of("lib/os.py", "")])
    assert found[id_of(B, 1)] == ([inner, inner + "(Wide)"], [symbol_of(A, "Wide#inner().")])
    assert found[id_of("web/c.js", 1)] == ([], [])
    assert all(len(row[3]) == 4 for row in rows)


@pytest.mark.parametrize(("without", "columns"), [("embeddings", {"symbols", "references"}), ("chunk_symbols", {"embedding"})])
def test_chunks_have_the_columns_of_the_tables_that_exist(
    tmp_path: Path, symbol_version: Path, without: str, columns: set[str]
) -> None:
    shutil.copytree(symbol_version, tmp_path / "v", ignore=shutil.ignore_patterns(without))
    with connect(tmp_path / "v") as connection:
        names = {row[0] for row in connection.execute("DESCRIBE chunks").fetchall()}
        rows = {row[0] for row in connection.execute("DESCRIBE chunk_rows").fetchall()}
        assert names - rows == columns
        assert connection.execute("SELECT count(*) FROM chunks").fetchall() == [(CHUNKS,)]


def test_symbols_of_chunks_are_one_row_each_with_name_and_kind(
    symbol_connection: duckdb.DuckDBPyConnection, id_of: IdOf, symbol_of: SymbolOf
) -> None:
    total = symbol_connection.execute("SELECT count(*) FROM chunk_symbols").fetchall()
    assert symbol_connection.execute("SELECT count(*) FROM v_chunk_symbols").fetchall() == total
    rows = symbol_connection.execute(
        "SELECT symbol, role, count, display_name, symbol_kind, kind FROM v_chunk_symbols WHERE id = ? ORDER BY ALL",
        [id_of(B, 2)],
    ).fetchall()
    # Two files describe the method; it is still one row. A module that nobody describes has no name.
    assert rows == [(symbol_of(A, "Wide#inner()."), "reference", 1, "inner", "method", "function")]
    assert (None, None) in symbol_connection.execute(
        "SELECT DISTINCT display_name, symbol_kind FROM v_chunk_symbols"
    ).fetchall()


def test_concrete_nodes_belong_to_the_chunk_that_holds_them_whole(
    symbol_connection: duckdb.DuckDBPyConnection, id_of: IdOf
) -> None:
    rows = symbol_connection.execute("SELECT chunk_id, kind FROM v_chunk_cst WHERE uri = ?", [A]).fetchall()
    assert sorted(rows) == sorted((id_of(A, 1), kind) for kind in ("Call", "Name", "Call"))


def test_every_join_adds_its_columns_in_the_order_asked_and_no_rows(
    symbol_connection: duckdb.DuckDBPyConnection, id_of: IdOf, symbol_of: SymbolOf
) -> None:
    ids = [id_of(B, 1), id_of("web/c.js", 0), id_of(B, 1), id_of(A, 0)]
    for names in (list(JOINS), list(reversed(JOINS))):
        table = hydrate(symbol_connection, ids, ("id", "uri"), joins=names)  # type: ignore[arg-type]
        assert table.column_names == ["id", "uri", *(column for name in names for column in JOINS[name])]
        assert table["id"].to_pylist() == ids
    first, other, again, _ = hydrate(symbol_connection, ids, ("id",), joins=tuple(JOINS)).to_pylist()  # type: ignore[arg-type]
    assert first == again
    assert first["module"] == {
        "uri": B, "lang": "python", "lines": 30, "defs": 2, "imports": ["os"], "exports": [], "doc": "Text.", "tags": ["test"],
        "churn": 3, "authors": 1, "complexity": 7, "hotspot_score": 1.5,
    }  # fmt: skip
    assert first["symbols"] == [symbol_of(B, "Wide#inner()."), symbol_of(B, "Wide#inner().(Wide)")]
    assert first["references"] == [symbol_of(A, "Wide#inner().")]
    assert first["ast"] == [{"type": "name", "count": 1}]
    assert first["cst"] == [{"kind": "Call", "count": 2}, {"kind": "Name", "count": 1}]
    assert other == {
        "id": ids[1], "module": None, "symbols": [], "references": [], "ast": [], "cst": [], "faiss_row": other["faiss_row"],
    }  # fmt: skip
    mapped = symbol_connection.execute("SELECT faiss_row FROM faiss_idmap WHERE external_id = ?", [ids[1]]).fetchall()
    assert [(other["faiss_row"],)] == mapped or (other["faiss_row"] is None and not mapped)


def test_all_chunks_at_once_and_no_chunks_keep_their_number(symbol_connection: duckdb.DuckDBPyConnection) -> None:
    everything = allowed_ids(symbol_connection)
    for ids in (everything, everything[::-1], everything[:0]):
        table = hydrate(symbol_connection, ids, ("id", "embedding"), joins=("ast", "symbols", "cst", "modules", "faiss"))
        assert table["id"].to_pylist() == ids.tolist()


def test_without_joins_only_the_table_of_chunks_is_read(tmp_path: Path, symbol_version: Path, id_of: IdOf) -> None:
    version = tmp_path / "v"
    shutil.copytree(symbol_version, version)
    with connect(version) as connection:
        for folder in version.iterdir():
            if folder.is_dir() and folder.name != "chunks":
                shutil.rmtree(folder)
        (version / "faiss_idmap.parquet").unlink()
        assert hydrate(connection, [id_of(A, 1)])["uri"].to_pylist() == [A]
        assert len(allowed_ids(connection, module="src", lang="python")) == 6


@pytest.mark.parametrize("name", JOINED_TABLES)
def test_a_join_reads_its_own_table_only_and_names_it_where_it_is_missing(
    tmp_path: Path, symbol_version: Path, id_of: IdOf, name: Any
) -> None:
    kept = {"chunks", JOINED_TABLES[name]}
    others = [folder.name for folder in symbol_version.iterdir() if folder.name not in kept]
    shutil.copytree(symbol_version, tmp_path / "with", ignore=shutil.ignore_patterns(*others))
    with connect(tmp_path / "with") as connection:
        assert hydrate(connection, [id_of(A, 1)], joins=[name]).num_rows == 1
    shutil.copytree(symbol_version, tmp_path / "without", ignore=shutil.ignore_patterns(JOINED_TABLES[name]))
    with connect(tmp_path / "without") as connection, pytest.raises(NotFoundError, match=f"no table `{JOINED_TABLES[name]}`"):
        hydrate(connection, [id_of(A, 1)], joins=[name])


def test_joins_that_do_not_exist_are_refused(symbol_connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match="no join `files`"):
        hydrate(symbol_connection, [], joins=("files",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("src", [A, B]), ("src/deep", [B]), ("/src/deep/", [B]), ("src.deep", [B]), ("src.deep.b", [B]), ("src/deep/b.py", [B]),
        ("src.a", [A]), ("sr", []), ("src/de", []), ("deep", [B]), ("deep.b", [B]), ("eep", []), ("b", []),
        (["src.a", "web"], [A, "web/c.js"]),
        ("it's [odd]\n", ["it's [odd]\n.txt"]),
        ("%", []), ("' OR true --", []), ([], None), (None, None),
    ],
)  # fmt: skip
def test_modules_are_files_and_folders_by_whole_names_from_the_top_or_a_usual_source_folder(
    symbol_connection: duckdb.DuckDBPyConnection, id_of: IdOf, module: Any, expected: list[str] | None
) -> None:
    uris = [A, B, "web/c.js", "it's [odd]\n.txt"] if expected is None else expected
    assert allowed_ids(symbol_connection, module=module).tolist() == sorted(
        id_of(uri, place) for uri in uris for place in range(3)
    )


@pytest.mark.parametrize("module", ["", "/", "///"])
def test_a_module_without_a_name_is_refused(symbol_connection: duckdb.DuckDBPyConnection, module: str) -> None:
    with pytest.raises(QueryError, match="not a module"):
        allowed_ids(symbol_connection, module=module)


def test_what_a_chunk_defines_starts_in_it(symbol_connection: duckdb.DuckDBPyConnection, id_of: IdOf) -> None:
    # `Wide` reaches over all three chunks of a file, and starts in the first.
    assert allowed_ids(symbol_connection, defines="Wide", lang="python").tolist() == sorted([id_of(A, 0), id_of(B, 0)])
    assert allowed_ids(symbol_connection, defines=["Inner", "Wide"], module="src.a").tolist() == sorted(
        [id_of(A, 0), id_of(A, 1)]
    )
    assert allowed_ids(symbol_connection, defines="wide").tolist() == []
    assert allowed_ids(symbol_connection, defines="' OR '' = '").tolist() == []
    with pytest.raises(QueryError, match="not Unicode"):
        allowed_ids(symbol_connection, defines="\ud800")
