"""What is put together about a name and around a chunk, over tables written by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.catalog.describe import MOST_NAMES, around_chunk, describe
from pipeline.catalog.lookup import find_symbols
from pipeline.catalog.suggestions import near_names
from pipeline.catalog.symbol_table import SymbolTable, read_symbols
from pipeline.catalog.views import connect
from pipeline.schemas import Chunks, ChunkSymbols, Definitions, ScipOccurrences, ScipSymbols, SymbolEdges, Table

SHIPS = (
    "class Ship:\n    def sail(self):\n        return steer()\n\n\n"
    "class Ferry(Ship):\n    def sail(self):\n        return steer()\n\ndef steer():\n    pass\n"
)
FLEET = "from ships import Ship\n\n" + "".join(f"def voyage{number}():\n    Ship().sail()\n\n" for number in range(12))
TEXTS = {"ships.py": SHIPS, "fleet.py": FLEET}
SHIP, SAIL, FERRY, FERRY_SAIL, STEER = (
    f"scip-python python demo 1 ships/{name}" for name in ("Ship#", "Ship#sail().", "Ferry#", "Ferry#sail().", "steer().")
)
ANCHOR = SHIP + "anchor()."
OPEN = "scip-python python python-stdlib 3.13 `os.path`/Ports#open()."
VOYAGES = [f"scip-python python demo 1 fleet/voyage{number}()." for number in range(12)]
NAMED = {"class Ship": SHIP, "class Ferry": FERRY, "def steer": STEER}
METHODS = {25: SAIL, SHIPS.index("sail", 40): FERRY_SAIL}


def line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def occurrence(uri: str, symbol: str, at: int, end: int, *, defines: bool = False) -> dict[str, Any]:
    line = line_of(TEXTS[uri], at)
    return {
        "uri": uri, "symbol": symbol, "roles": int(defines), "is_definition": defines, "start_byte": at, "end_byte": end,
        "start_line": line, "end_line": line, "enclosing_start_byte": None, "enclosing_end_byte": None,
        "provenance": "scip", "indexer": "scip-python",
    }  # fmt: skip


def definition(uri: str, qualified: str, kind: str, start: int, end: int, name_start: int) -> dict[str, Any]:
    text = TEXTS[uri]
    return {
        "uri": uri, "name": qualified.rpartition(".")[2], "qualified_name": qualified, "kind": kind, "signature": "", "doc": "",
        "start_byte": start, "end_byte": end, "start_line": line_of(text, start), "end_line": line_of(text, end - 1),
        "name_start_byte": name_start, "node_id": start, "parent": None,
    }  # fmt: skip


def symbol(name: str, display: str, kind: str) -> dict[str, Any]:
    return {
        "symbol": name, "display_name": display, "kind": kind, "signature": f"{kind} {display}",
        "documentation": f"On {display}.", "relationships": [], "provenance": "scip",
    }  # fmt: skip


def chunk(identifier: int, uri: str, start: int, end: int) -> dict[str, Any]:
    text = TEXTS[uri]
    return {
        "id": identifier, "uri": uri, "lang": "python", "kind": "class", "name": "", "start_line": line_of(text, start),
        "end_line": line_of(text, end - 1), "start_byte": start, "end_byte": end, "preview": "", "content": text[start:end],
        "content_hash": 0,
    }  # fmt: skip


def find(text: str, word: str) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(word, at)]


FERRY_START, FERRY_BODY = SHIPS.index("class Ferry"), SHIPS.index("    def sail", 40)
STEER_START = SHIPS.index("def steer")
SAILS = find(SHIPS, "sail")


def rows() -> dict[type[Table], list[dict[str, Any]]]:
    occurrences = [
        occurrence("ships.py", SHIP, 6, 10, defines=True),
        occurrence("ships.py", SAIL, SAILS[0], SAILS[0] + 4, defines=True),
        occurrence("ships.py", FERRY, FERRY_START + 6, FERRY_START + 11, defines=True),
        occurrence("ships.py", FERRY_SAIL, SAILS[1], SAILS[1] + 4, defines=True),
        occurrence("ships.py", STEER, STEER_START + 4, STEER_START + 9, defines=True),
        *(occurrence("fleet.py", SHIP, at, at + 4) for at in find(FLEET, "Ship")),
        *(occurrence("fleet.py", SAIL, at, at + 4) for at in find(FLEET, "sail()")),
    ]
    calls = [(SAIL, STEER), (FERRY_SAIL, STEER), (STEER, OPEN), *((voyage, SAIL) for voyage in VOYAGES)]
    edges = [("fleet.py" if source in VOYAGES else "ships.py", source, target, "calls") for source, target in calls]
    edges += [("ships.py", FERRY, SHIP, "implements"), ("ships.py", FERRY_SAIL, SAIL, "implements")]
    for number, at in enumerate(find(FLEET, "voyage")):
        occurrences.append(occurrence("fleet.py", VOYAGES[number], at, at + 6 + len(str(number)), defines=True))
    return {
        ScipOccurrences: occurrences,
        ScipSymbols: [
            symbol(SHIP, "Ship", "class"), symbol(SAIL, "sail", "method"), symbol(FERRY, "Ferry", "class"),
            symbol(FERRY_SAIL, "sail", "method"), symbol(ANCHOR, "anchor", "method"), symbol(STEER, "steer", "function"),
            *(symbol(voyage, f"voyage{number}", "function") for number, voyage in enumerate(VOYAGES)),
        ],
        SymbolEdges: [dict(zip(("uri", "source", "target", "kind", "count"), (*edge, 1), strict=True)) for edge in edges],
        Definitions: [
            definition("ships.py", "Ship", "class", 0, FERRY_START - 3, 6),
            definition("ships.py", "Ship.sail", "method", 16, FERRY_START - 3, SAILS[0]),
            definition("ships.py", "Ferry", "class", FERRY_START, STEER_START - 2, FERRY_START + 6),
            definition("ships.py", "Ferry.sail", "method", FERRY_BODY + 4, STEER_START - 2, SAILS[1]),
            definition("ships.py", "steer", "function", STEER_START, len(SHIPS) - 1, STEER_START + 4),
        ],
        Chunks: [
            chunk(1, "ships.py", 0, FERRY_BODY), chunk(2, "ships.py", FERRY_BODY, STEER_START),
            chunk(3, "ships.py", STEER_START, len(SHIPS)), chunk(4, "fleet.py", 0, len(FLEET)),
        ],
        ChunkSymbols: [
            {"chunk_id": identifier, "symbol": name, "role": "definition", "count": 1}
            for identifier, name in [(1, SHIP), (1, SAIL), (1, FERRY), (2, FERRY_SAIL), (3, STEER), *((4, v) for v in VOYAGES)]
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("version") / "v-1"
    for kind, found in rows().items():
        ordered = sorted(found, key=lambda row: tuple(row[name] for name in kind.order))
        tables.write_part(root / kind.name, kind, 0, pa.Table.from_pylist(ordered, schema=kind.schema))
    return root


@pytest.fixture
def connection(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def table(folder: Path) -> SymbolTable:
    return read_symbols(folder)


def answer(table: SymbolTable, name: str, **options: Any) -> list[dict[str, Any]]:
    return describe(table, find_symbols(table, name), **options)


def one(table: SymbolTable, identifier: int) -> dict[str, Any]:
    return around_chunk(table, next(row for row in rows()[Chunks] if row["id"] == identifier))


def test_a_symbol_has_its_definition_references_and_relations_with_precise_places(
    table: SymbolTable,
) -> None:
    [ship] = answer(table, "Ship", k=100)
    assert (ship["symbol"], ship["display_name"], ship["kind"], ship["provenance"]) == (SHIP, "Ship", "class", "scip")
    assert (ship["signature"], ship["documentation"]) == ("class Ship", "On Ship.")
    assert ship["definitions"] == [{"uri": "ships.py", "line": 1, "start_byte": 6, "end_byte": 10}]
    assert len(ship["references"]) == ship["reference_count"] == 13
    for place in ship["references"]:
        text = TEXTS[place["uri"]]
        assert text[place["start_byte"] : place["end_byte"]] == "Ship"
        assert place["line"] == line_of(text, place["start_byte"])
    assert [row["display_name"] for row in ship["implementations"]] == ["Ferry"]
    assert (ship["implementations"][0]["uri"], ship["implementations"][0]["line"]) == ("ships.py", 6)


def test_callers_and_callees_are_those_of_the_symbol_alone(table: SymbolTable) -> None:
    sails = {found["symbol"]: found for found in answer(table, "sail", k=5)}
    assert set(sails) == {SAIL, FERRY_SAIL}
    assert {row["symbol"] for row in sails[SAIL]["callers"]} == set(VOYAGES)
    assert sails[FERRY_SAIL]["callers"] == []
    assert [row["display_name"] for row in sails[SAIL]["callees"]] == ["steer"]
    assert [row["symbol"] for row in sails[SAIL]["implementations"]] == [FERRY_SAIL]


def test_what_is_defined_elsewhere_is_named_with_its_module_and_found_so(table: SymbolTable) -> None:
    [steer] = answer(table, "steer", k=1)
    assert [(row["qualified_name"], row["uri"], row["symbol"]) for row in steer["callees"]] == [
        ("os.path.Ports.open", None, OPEN)
    ]
    assert [found["symbol"] for found in answer(table, "os.path.Ports.open", k=1)] == [OPEN]


def test_a_class_answers_for_what_it_inherits_but_not_for_what_it_overrides(table: SymbolTable) -> None:
    assert [found["symbol"] for found in answer(table, "Ferry.anchor", k=1)] == [ANCHOR]
    assert [found["symbol"] for found in answer(table, "ships.Ferry.sail", k=1)] == [FERRY_SAIL]
    assert answer(table, "Ferry.steer", k=1) == []
    [ferry] = answer(table, "Ferry", k=1)
    assert [base["symbol"] for base in ferry["bases"]] == [SHIP] and ferry["base_count"] == 1


def test_references_are_cut_at_k_and_all_are_counted(table: SymbolTable) -> None:
    everything = answer(table, "Ship", k=100)[0]["references"]
    for k in (0, 1, 5):
        [ship] = answer(table, "Ship", k=k)
        assert (ship["references"], ship["reference_count"]) == (everything[:k], 13)
    assert answer(table, "Ship", k=5, references=False)[0]["references"] == []


@pytest.mark.parametrize("name", ["Ferry.sail", FERRY_SAIL])
def test_a_qualified_name_and_a_whole_symbol_mean_one(table: SymbolTable, name: str) -> None:
    assert [found["symbol"] for found in answer(table, name, k=1)] == [FERRY_SAIL]


@pytest.mark.parametrize("name", ["Shipp", "nothing", "'; DROP TABLE definitions; --", "%", "\x00"])
def test_a_name_of_nothing_has_no_symbols(table: SymbolTable, name: str) -> None:
    assert answer(table, name, k=5) == []


def test_near_names_are_similar_and_the_nearest_comes_first(connection: duckdb.DuckDBPyConnection) -> None:
    assert near_names(connection, "Shipp")[0] == "Ship"
    assert near_names(connection, "Ferry.steeer()") == ["steer"]
    assert near_names(connection, "Ferry.sial") == ["Ferry.sail", "Ship.sail"]
    assert set(near_names(connection, "Boat.sail")) == {"Ferry.sail", "Ship.sail"}
    assert near_names(connection, "zzzzqqq") == []


def test_a_chunk_inside_of_a_class_stands_in_its_scope(table: SymbolTable) -> None:
    assert one(table, 2)["scope"] == [{"kind": "class", "name": "Ferry", "line": 6}]
    assert one(table, 1)["scope"] == one(table, 3)["scope"] == []


def test_parameters_and_variables_of_functions_are_no_definitions_of_a_chunk_of_their_own(table: SymbolTable) -> None:
    number = table.symbols.index(SAIL)
    for symbol, is_part in ((f"{SAIL}(self)", True), (f"{SAIL}wind.", False)):
        symbols, part = list(table.symbols), table.part.copy()
        symbols[number], part[number] = symbol, is_part
        other = dataclasses.replace(table, symbols=symbols, part=part)
        assert {row["symbol"] for row in one(other, 1)["defines"]} == {SHIP, FERRY}


def test_a_chunk_has_the_symbols_that_it_defines_and_who_else_calls_them(table: SymbolTable) -> None:
    first = one(table, 1)
    assert {row["symbol"] for row in first["defines"]} == {SHIP, SAIL, FERRY}
    assert {"symbol": SAIL, "display_name": "sail", "qualified_name": "Ship.sail", "kind": "method"} in first["defines"]
    assert first["callees"] == ["steer"] and first["callee_count"] == 1
    assert len(first["callers"]) == MOST_NAMES and first["caller_count"] == 12
    assert one(table, 3)["callers"] == ["Ship.sail", "Ferry.sail"]
    assert one(table, 3)["callees"] == ["os.path.Ports.open"]
    fleet = one(table, 4)
    assert (fleet["callers"], fleet["callees"]) == ([], ["Ship.sail"])
