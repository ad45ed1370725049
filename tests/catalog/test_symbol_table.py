"""The symbols of a version in memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.catalog import symbol_table as module
from pipeline.catalog.lookup import find_symbols
from pipeline.catalog.numbering import numbered, sorted_words
from pipeline.catalog.symbol_table import SymbolTable, read_symbols
from pipeline.errors import IndexCorruptionError

SymbolOf = Callable[[str, str], str]
Place = tuple[str, int, int, int]
A, B = "src/a.py", "src/deep/b.py"


def places(table: SymbolTable, rows: slice) -> list[Place]:
    found = table.places
    return [
        (table.uris[found.uri[row]], int(found.line[row]), int(found.start[row]), int(found.end[row]))
        for row in range(rows.start, rows.stop)
    ]


def number_of(table: SymbolTable, symbol: str) -> int:
    number = table.number_of(symbol)
    assert number is not None
    return number


def test_places_come_by_role_and_then_by_file_and_place(symbol_table: SymbolTable, symbol_of: SymbolOf) -> None:
    inner = number_of(symbol_table, symbol_of(A, "Wide#inner()."))
    assert places(symbol_table, symbol_table.places.definitions(inner)) == [(A, 12, 110, 115)]
    assert places(symbol_table, symbol_table.places.references(inner)) == [(B, 14, 130, 135), (B, 22, 210, 215)]
    library = number_of(symbol_table, symbol_of("lib/os.py", ""))
    assert places(symbol_table, symbol_table.places.definitions(library)) == []
    assert [place[0] for place in places(symbol_table, symbol_table.places.references(library))] == [A, B]


def test_relations_hold_each_symbol_once(symbol_table: SymbolTable, symbol_of: SymbolOf) -> None:
    first, second = (number_of(symbol_table, symbol_of(uri, "Wide#inner().")) for uri in (A, B))
    relations = symbol_table.relations
    assert relations["callers"].of([first]).tolist() == relations["callers"].of([first, first, second]).tolist() == [second]
    assert relations["callees"].of([second]).tolist() == [first]
    assert relations["callers"].of([second]).tolist() == relations["callees"].of([]).tolist() == []
    base, derived = (number_of(symbol_table, symbol_of(uri, "Wide#")) for uri in (A, B))
    assert relations["implementations"].of([base]).tolist() == [derived]


def test_what_is_local_is_neither_named_nor_placed(symbol_table: SymbolTable) -> None:
    assert symbol_table.number_of("local 0") is None
    local = symbol_table.symbols.index("local 0")
    assert local not in symbol_table.names.symbols
    assert symbol_table.places.definitions(local) == symbol_table.places.references(local)


def test_every_symbol_but_local_ones_is_found_as_it_is_written(symbol_table: SymbolTable) -> None:
    for number, symbol in enumerate(symbol_table.symbols):
        assert symbol_table.number_of(symbol) == (None if symbol.startswith("local ") else number)
    assert symbol_table.number_of("tool python . . src/a/None#") is None


def test_a_version_without_symbols_has_definitions_and_no_references(version: Path) -> None:
    table = read_symbols(version)
    inner = number_of(table, "Inner")
    found = places(table, table.places.definitions(inner))
    assert len(found) == 4 and {place[1:] for place in found} == {(1, 110, 115)}
    assert found == sorted(found)
    assert places(table, table.places.references(inner)) == []
    assert all(len(links.others) == 0 for links in table.relations.values())


def test_a_version_without_relations_has_symbols_and_places(tmp_path: Path, symbol_version: Path, symbol_of: SymbolOf) -> None:
    shutil.copytree(symbol_version, tmp_path / "v")
    for name in ("symbol_edges", "chunk_symbols"):
        shutil.rmtree(tmp_path / "v" / name)
    table = read_symbols(tmp_path / "v")
    inner = number_of(table, symbol_of(A, "Wide#inner()."))
    assert len(places(table, table.places.references(inner))) == 2
    assert table.relations["callers"].of([inner]).tolist() == []
    assert table.surroundings.defined_in(1).tolist() == []


@pytest.mark.parametrize("damaged", ["scip_symbols", "scip_occurrences", "symbol_edges"])
def test_damaged_tables_say_so(tmp_path: Path, symbol_version: Path, damaged: str) -> None:
    shutil.copytree(symbol_version, tmp_path / "v")
    for path in (tmp_path / "v" / damaged).iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IndexCorruptionError):
        read_symbols(tmp_path / "v")


def test_threads_share_a_table_and_read_its_surroundings_once(
    symbol_version: Path, symbol_of: SymbolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, read = read_symbols(symbol_version), []
    real = module.read_surroundings
    monkeypatch.setattr(module, "read_surroundings", lambda *given: (read.append(given), real(*given))[1])
    wide = symbol_of(B, "Wide#")

    def ask(_: int) -> tuple[list[int], int | None]:
        assert table.surroundings is not None
        return find_symbols(table, "b.Wide").tolist(), table.number_of(wide)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(40)))
    assert answers == [([table.number_of(wide)], table.number_of(wide))] * 40
    assert len(read) == 1


def test_columns_of_any_encoding_share_their_numbers() -> None:
    plain = pa.chunked_array([["b", "a", "b"], [], ["c"]], pa.string())
    words = pa.chunked_array([pa.array(["a", "d"]).dictionary_encode()])
    strings, codes = numbered([plain, words])
    assert strings.to_pylist() == ["b", "a", "c", "d"]
    assert [one.tolist() for one in codes] == [[0, 1, 0, 2], [1, 3]]
    alone, (code,) = numbered([pa.chunked_array([["x", "x", "y"]])])
    assert (alone.to_pylist(), code.tolist()) == (["x", "y"], [0, 0, 1])
    none, empty = numbered([pa.chunked_array([], pa.string())])
    assert (len(none), [one.tolist() for one in empty]) == (0, [[]])
    ordered, rank = sorted_words(plain)
    assert (ordered, rank.tolist()) == (["a", "b", "c"], [1, 0, 1, 2])
