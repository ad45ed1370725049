"""Symbols by name, and what is related to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from pipeline.catalog.lookup import callees_of, callers_of, find_symbols, implementations_of, occurrences_of
from pipeline.catalog.sql import query
from pipeline.catalog.views import connect
from pipeline.errors import IndexCorruptionError, QueryError

SymbolOf = Callable[[str, str], str]
A, B = "src/a.py", "src/deep/b.py"


def test_a_name_finds_its_definitions_first_and_never_locals(
    symbol_connection: duckdb.DuckDBPyConnection, symbol_of: SymbolOf
) -> None:
    rows = find_symbols(symbol_connection, "Wide", 10).to_pylist()
    assert [row["symbol"] for row in rows] == [
        symbol_of(A, "Wide#"), symbol_of(B, "Wide#"), symbol_of(A, "Wide#inner().(Wide)"), symbol_of(B, "Wide#inner().(Wide)"),
    ]  # fmt: skip
    assert rows[0] == {
        "symbol": symbol_of(A, "Wide#"), "display_name": "Wide", "kind": "class", "provenance": "scip", "uri": A, "line": 6,
    }  # fmt: skip
    assert find_symbols(symbol_connection, "Wide", 1).to_pylist() == rows[:1]
    assert find_symbols(symbol_connection, "Wide", 0).num_rows == 0


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("inner()", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("Wide.inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("Wide#inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("Wide::inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("b.Wide.inner", [(B, "Wide#inner().")]),
        ("src.deep.b.Wide", [(B, "Wide#")]),
        ("src/deep/b/Wide", [(B, "Wide#")]),
        ("inn", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("b.Wide.inn", [(B, "Wide#inner().")]),
        ("INNER", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("wide.INNER", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("tool python . . src/a/Wide#inner().", [(A, "Wide#inner().")]),
        ("ide.inner", []),
        ("nothing", []),
        ("%", []),
        ("' OR true --", []),
        (".", []),
    ],
)
def test_names_may_be_simple_qualified_begun_or_of_other_case(
    symbol_connection: duckdb.DuckDBPyConnection, symbol_of: SymbolOf, name: str, paths: list[tuple[str, str]]
) -> None:
    assert find_symbols(symbol_connection, name, 10)["symbol"].to_pylist() == [symbol_of(*path) for path in paths]


def test_symbols_of_elsewhere_have_no_place(symbol_connection: duckdb.DuckDBPyConnection) -> None:
    (row,) = find_symbols(symbol_connection, "os", 10).to_pylist()
    assert (row["kind"], row["uri"], row["line"]) == ("module", None, None)


@pytest.mark.parametrize("name", ["", "  ", "\ud800"])
def test_what_is_no_name_is_refused(symbol_connection: duckdb.DuckDBPyConnection, name: str) -> None:
    with pytest.raises(QueryError):
        find_symbols(symbol_connection, name, 1)


def test_occurrences_come_by_file_and_place_and_by_role(
    symbol_connection: duckdb.DuckDBPyConnection, symbol_of: SymbolOf
) -> None:
    symbol = symbol_of(A, "Wide#inner().")
    found = {
        roles: [(row["uri"], row["start_byte"], row["is_definition"]) for row in table.to_pylist()]
        for roles in ("definition", "reference", "all")
        if (table := occurrences_of(symbol_connection, [symbol], roles=roles))  # type: ignore[arg-type]
    }
    assert found["definition"] == [(A, 110, True)]
    assert found["reference"] == [(B, 130, False), (B, 210, False)]
    assert found["all"] == found["definition"] + found["reference"]
    (first,) = occurrences_of(symbol_connection, [symbol], limit=1).to_pylist()
    assert first == {"uri": A, "symbol": symbol, "start_line": 12, "start_byte": 110, "end_byte": 115, "is_definition": True,
                     "provenance": "scip"}  # fmt: skip
    assert occurrences_of(symbol_connection, []).num_rows == 0


def test_callers_callees_and_implementations_are_shown_where_they_are_defined(
    symbol_connection: duckdb.DuckDBPyConnection, symbol_of: SymbolOf
) -> None:
    first, second = symbol_of(A, "Wide#inner()."), symbol_of(B, "Wide#inner().")
    expected = {"display_name": "inner", "kind": "method", "provenance": "scip", "line": 12, "count": 2}
    assert callers_of(symbol_connection, [first]).to_pylist() == [{**expected, "symbol": second, "uri": B}]
    assert callees_of(symbol_connection, [second, first]).to_pylist() == [{**expected, "symbol": first, "uri": A}]
    (other,) = implementations_of(symbol_connection, [symbol_of(A, "Wide#")]).to_pylist()
    assert (other["symbol"], other["uri"], other["line"]) == (symbol_of(B, "Wide#"), B, 6)
    assert callers_of(symbol_connection, [second]).num_rows == callers_of(symbol_connection, [first], limit=0).num_rows == 0


def test_a_version_without_symbols_answers_by_its_definitions(connection: duckdb.DuckDBPyConnection) -> None:
    rows = find_symbols(connection, "inner", 2).to_pylist()
    assert [(row["symbol"], row["display_name"], row["provenance"], row["line"]) for row in rows] == [
        ("Inner", "Inner", "syntax", 1)
    ] * 2
    places = occurrences_of(connection, ["Inner"])
    assert places.num_rows == 4
    assert places.slice(0, 1).to_pylist()[0] | {"uri": ""} == {
        "uri": "", "symbol": "Inner", "start_line": 1, "start_byte": 110, "end_byte": 115,
        "is_definition": True, "provenance": "syntax",
    }  # fmt: skip
    assert occurrences_of(connection, ["Inner"], roles="reference").num_rows == 0
    for related in (callers_of, callees_of, implementations_of):
        table = related(connection, ["Inner"])
        assert (table.num_rows, table.column_names[0], table.column_names[-1]) == (0, "symbol", "count")


def test_threads_share_what_is_kept_in_memory(symbol_version: Path, symbol_of: SymbolOf) -> None:
    with connect(symbol_version) as shared, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: find_symbols(shared, "b.Wide", 5)["symbol"].to_pylist(), range(40)))
    assert found == [[symbol_of(B, "Wide#")]] * 40


def test_what_is_kept_in_memory_does_not_show_among_the_views(symbol_connection: duckdb.DuckDBPyConnection) -> None:
    before = query(symbol_connection, "SHOW TABLES").to_pylist()
    find_symbols(symbol_connection, "Wide", 1)
    assert query(symbol_connection, "SHOW TABLES").to_pylist() == before


def test_damaged_tables_say_so(tmp_path: Path, symbol_version: Path) -> None:
    shutil.copytree(symbol_version, tmp_path / "v")
    with connect(tmp_path / "v") as connection:
        for path in (tmp_path / "v" / "scip_symbols").iterdir():
            path.unlink()
        for _ in range(2):
            with pytest.raises(IndexCorruptionError):
                find_symbols(connection, "Wide", 1)
