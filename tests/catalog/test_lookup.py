"""Which symbols a name means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.catalog.lookup import find_symbols, qualified_name
from pipeline.catalog.symbol_table import SymbolTable, read_symbols
from pipeline.errors import QueryError

SymbolOf = Callable[[str, str], str]
A, B = "src/a.py", "src/deep/b.py"


def found(table: SymbolTable, name: str) -> list[str]:
    return [table.symbols[number] for number in find_symbols(table, name).tolist()]


def test_a_name_finds_its_definitions_but_neither_parameters_nor_locals_of_that_name(
    symbol_table: SymbolTable, symbol_of: SymbolOf
) -> None:
    assert found(symbol_table, "Wide") == [symbol_of(A, "Wide#"), symbol_of(B, "Wide#")]


def test_a_parameter_is_found_with_what_it_is_a_parameter_of(symbol_table: SymbolTable, symbol_of: SymbolOf) -> None:
    assert found(symbol_table, "b.Wide.inner.Wide") == [symbol_of(B, "Wide#inner().(Wide)")]


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("inner()", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("Wide.inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("Wide#inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("Wide::inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("Wide->inner()", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("@inner", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("b.Wide.inner", [(B, "Wide#inner().")]),
        ("src.deep.b.Wide", [(B, "Wide#")]),
        ("src/deep/b/Wide", [(B, "Wide#")]),
        ("src/deep/b.py::Wide::inner", [(B, "Wide#inner().")]),
        ("b.py#Wide", [(B, "Wide#")]),
        ("src/deep/b.py", [(B, "")]),
        ("deep.Wide", [(B, "Wide#")]),
        ("deep.Wide.inner", [(B, "Wide#inner().")]),
        ("Wide.deep", []),
        ("a.deep.Wide", []),
        ("inn", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("b.Wide.inn", [(B, "Wide#inner().")]),
        ("INNER", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("wide.INNER", [(A, "Wide#inner()."), (B, "Wide#inner().")]),
        ("tool python . . src/a/Wide#inner().", [(A, "Wide#inner().")]),
        ("ide.inner", []),
        ("Wide.inner.Wide.inner", []),
        ("tool python . . src/a/Wide#inn", [(A, "Wide#inner().")]),
        ("tool python . . src/c/Wide#inner().", []),
        ("local 0", []),
        ("nothing", []),
        ("%", []),
        ("' OR true --", []),
        (".", []),
        ("()", []),
        ("\x00", []),
        ("\U0010ffff", []),
    ],
)
def test_names_may_be_whole_simple_qualified_begun_or_of_other_case(
    symbol_table: SymbolTable, symbol_of: SymbolOf, name: str, paths: list[tuple[str, str]]
) -> None:
    assert found(symbol_table, name) == [symbol_of(*path) for path in paths]


def test_what_is_referred_to_more_comes_first_and_what_lies_elsewhere_last(
    symbol_table: SymbolTable, symbol_of: SymbolOf
) -> None:
    by_use = [symbol_of(A, "Wide#inner()."), symbol_of(B, "Wide#inner().")]
    assert found(symbol_table, "inner") == by_use
    [outside] = find_symbols(symbol_table, "os").tolist()
    rows = symbol_table.places.definitions(outside)
    assert rows.start == rows.stop and symbol_table.kinds[outside] == "module"


@pytest.mark.parametrize("name", ["", "  ", "\ud800"])
def test_what_is_no_name_is_refused(symbol_table: SymbolTable, name: str) -> None:
    with pytest.raises(QueryError):
        find_symbols(symbol_table, name)


def test_symbols_are_shown_without_package_and_those_of_here_without_module(
    symbol_table: SymbolTable, symbol_of: SymbolOf
) -> None:
    for path, shown in (("Wide#", "Wide"), ("Wide#inner().", "Wide.inner"), ("Wide#inner().(Wide)", "Wide.inner.Wide")):
        number = symbol_table.number_of(symbol_of(B, path))
        assert number is not None
        assert qualified_name(symbol_table, number) == shown
    number = symbol_table.number_of(symbol_of("lib/os.py", ""))
    assert number is not None and qualified_name(symbol_table, number) == "lib.os"


def test_a_version_without_symbols_answers_by_its_definitions(version: Path) -> None:
    table = read_symbols(version)
    assert found(table, "inner") == found(table, "Inner") == ["Inner"]
    [number] = find_symbols(table, "Inner").tolist()
    assert (qualified_name(table, number), table.kinds[number], table.provenances[number]) == ("Inner", "class", "syntax")
