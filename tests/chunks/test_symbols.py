"""Symbols joined to chunks and to each other by byte ranges."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.chunks.symbols import CHUNK_COLUMNS, Occurrences, chunk_symbols, nest, symbol_edges
from pipeline.chunks.symbols_stage import STAGE, symbols
from pipeline.errors import IndexCorruptionError
from pipeline.schemas import Chunks, ChunkSymbols, ScipOccurrences, ScipSymbols, SymbolEdges, Table
from pipeline.stage import Artefact, Output
from pipeline.tables import part_of, read_table, write_part
from pipeline.workers import Runtime

P = "tool python . . "
MODULE, CLASS, METHOD, FUNCTION = P + "a/", P + "a/A#", P + "a/A#m().", P + "a/f()."
Row = dict[str, Any]


def occurrence(
    symbol: str, start: int, end: int, *, roles: int = 8, span: tuple[int, int] | None = None, uri: str = "a.py"
) -> Row:
    enclosing = span or (None, None)
    return {
        "uri": uri, "symbol": symbol, "roles": roles, "is_definition": bool(roles & 1), "start_byte": start, "end_byte": end,
        "start_line": 1, "end_line": 1, "enclosing_start_byte": enclosing[0], "enclosing_end_byte": enclosing[1],
        "provenance": "scip", "indexer": "tool",
    }  # fmt: skip


def defines(symbol: str, start: int, end: int, span: tuple[int, int] | None = None, uri: str = "a.py") -> Row:
    return occurrence(symbol, start, end, roles=1, span=span, uri=uri)


def chunk(number: int, start: int, end: int, uri: str = "a.py") -> Row:
    return {"id": number, "uri": uri, "lang": "python", "kind": "function", "name": "", "start_line": 1, "end_line": 1,
            "start_byte": start, "end_byte": end, "preview": "", "content": "", "content_hash": 0}  # fmt: skip


def symbol_row(symbol: str, kind: str = "", provenance: str = "scip", implements: tuple[str, ...] = ()) -> Row:
    flags = {"is_reference": False, "is_type_definition": False, "is_definition": False}
    related = [{"symbol": one, "is_implementation": True, **flags} for one in implements]
    related += [{"symbol": P + "other#", "is_implementation": False, **flags}]
    return {"symbol": symbol, "display_name": "", "kind": kind, "signature": "", "documentation": "",
            "relationships": related, "provenance": provenance}  # fmt: skip


def table(kind: type[Table], rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=kind.schema) if rows else kind.schema.empty_table()


def occurrences(rows: list[Row]) -> Occurrences:
    return Occurrences.of(table(ScipOccurrences, rows))


def joined(chunks: list[Row], rows: list[Row]) -> tuple[list[tuple[Any, ...]], int]:
    found, lost = chunk_symbols(table(Chunks, chunks).select(CHUNK_COLUMNS), occurrences(rows))
    return [tuple(row.values()) for row in found.to_pylist()], lost


def edges(rows: list[Row], relations: list[Row] | None = None) -> set[tuple[Any, ...]]:
    found = symbol_edges(occurrences(rows), table(ScipSymbols, relations or [])).to_pylist()
    assert len(found) == len({tuple(row.values())[:-1] for row in found})
    return {(row["source"], row["kind"], row["target"], row["count"]) for row in found}


def test_an_occurrence_belongs_to_the_chunk_that_it_starts_in() -> None:
    rows = [occurrence(FUNCTION, 9, 10), occurrence(CLASS, 9, 12), defines(METHOD, 10, 11), occurrence(METHOD, 20, 20)]
    found, lost = joined([chunk(7, 0, 10), chunk(5, 10, 20)], rows)
    assert lost == 0
    assert found == [
        (5, METHOD, "definition", 1),
        (5, METHOD, "reference", 1),
        (7, CLASS, "reference", 1),
        (7, FUNCTION, "reference", 1),
    ]


def test_equal_occurrences_are_counted_and_roles_kept_apart() -> None:
    rows = [occurrence(CLASS, 1, 2), occurrence(CLASS, 1, 2), occurrence(CLASS, 3, 4, roles=2), defines(CLASS, 5, 6)]
    assert joined([chunk(1, 0, 10)], rows)[0] == [(1, CLASS, "definition", 1), (1, CLASS, "reference", 3)]


def test_chunks_of_other_files_take_nothing() -> None:
    rows = [occurrence(CLASS, 5, 6, uri="b.py"), occurrence(CLASS, 5, 6, uri="é.py"), occurrence(CLASS, 5, 6)]
    found, lost = joined([chunk(3, 0, 9, "a.py"), chunk(2, 0, 9, "z.py"), chunk(1, 0, 9, "é.py")], rows)
    assert (found, lost) == ([(1, CLASS, "reference", 1), (3, CLASS, "reference", 1)], 1)


def test_occurrences_after_the_end_of_a_file_are_reported_and_the_module_of_an_empty_file_is_not() -> None:
    rows = [occurrence(CLASS, 10, 11), occurrence(CLASS, 50, 51), defines(MODULE, 0, 0, uri="empty.py")]
    assert joined([chunk(1, 0, 10)], rows) == ([], 2)


def test_local_symbols_are_left_out_but_must_lie_in_chunks_too() -> None:
    rows = [defines("local 1", 1, 2), occurrence("local 1", 3, 4), occurrence("local 2", 99, 100)]
    assert joined([chunk(1, 0, 10)], rows) == ([], 1)
    assert edges([defines("local 1", 1, 2, (0, 9)), occurrence("local 1", 3, 4), occurrence("local 1", 3, 4, roles=2)]) == set()


@pytest.mark.parametrize("chunks", [[], [chunk(1, 0, 10)]])
def test_tables_without_rows_join_to_tables_without_rows(chunks: list[Row]) -> None:
    assert joined(chunks, []) == ([], 0)
    assert edges([]) == set()


def test_the_innermost_definition_contains_and_calls() -> None:
    rows = [
        defines(MODULE, 0, 0, (0, 100)),
        defines(CLASS, 6, 7, (0, 50)),
        defines(METHOD, 14, 15, (10, 40)),
        occurrence(FUNCTION, 20, 21),
        occurrence(FUNCTION, 30, 31),
        occurrence(FUNCTION, 40, 41),
        defines(FUNCTION, 54, 55, (50, 70)),
        occurrence(FUNCTION, 60, 61),
        occurrence(CLASS, 62, 63),
        occurrence(METHOD, 80, 81),
    ]
    assert edges(rows) == {
        (MODULE, "contains", CLASS, 1), (CLASS, "contains", METHOD, 1), (MODULE, "contains", FUNCTION, 1),
        (METHOD, "calls", FUNCTION, 2), (CLASS, "calls", FUNCTION, 1), (FUNCTION, "calls", FUNCTION, 1),
        (MODULE, "calls", METHOD, 1),
    }  # fmt: skip


def test_a_file_without_a_module_symbol_stands_for_its_module() -> None:
    rows = [defines(CLASS, 6, 7, (0, 50)), occurrence(FUNCTION, 60, 61)]
    assert edges(rows) == {("file:a.py", "contains", CLASS, 1), ("file:a.py", "calls", FUNCTION, 1)}


def test_without_enclosing_ranges_a_symbol_is_contained_by_what_it_is_a_member_of() -> None:
    odd, inner = P + "a/`o.d#()`#", P + "a/`o.d#()`#`x``y`(+1)."
    rows = [defines(MODULE, 0, 0), defines(CLASS, 6, 7), defines(METHOD, 14, 15), defines(odd, 20, 21), defines(inner, 30, 31)]
    assert edges([*rows, defines(P + "b/Away#m().", 40, 41)]) == {
        (MODULE, "contains", CLASS, 1), (CLASS, "contains", METHOD, 1), (MODULE, "contains", odd, 1),
        (odd, "contains", inner, 1), (MODULE, "contains", P + "b/Away#m().", 1),
    }  # fmt: skip


def test_only_functions_methods_and_types_are_contained_or_called() -> None:
    rows = [defines(MODULE, 0, 0, (0, 90)), defines(FUNCTION, 4, 5, (0, 50)), defines(FUNCTION + "(p)", 6, 7, (6, 9)),
            defines(P + "a/CONSTANT.", 50, 51, (50, 60)), occurrence(P + "a/CONSTANT.", 20, 21),
            occurrence(P + "a/`f()`.", 22, 23)]  # fmt: skip
    assert edges(rows) == {(MODULE, "contains", FUNCTION, 1)}


def test_imports_are_the_modules_and_no_calls() -> None:
    rows = [defines(MODULE, 0, 0, (0, 90)), defines(FUNCTION, 4, 5, (0, 50)), occurrence(P + "b/g().", 20, 21, roles=2),
            occurrence(P + "b/", 10, 11, roles=2), occurrence(P + "b/", 60, 61, roles=2),
            defines("local 3", 10, 11)]  # fmt: skip
    assert edges(rows) == {
        (MODULE, "contains", FUNCTION, 1), (MODULE, "imports", P + "b/g().", 1), (MODULE, "imports", P + "b/", 2),
    }  # fmt: skip


def test_implementations_lie_in_the_file_that_defines_the_symbol() -> None:
    rows = [defines(CLASS, 6, 7, (0, 9), "z.py"), defines(P + "q/B#", 6, 7, (0, 9), "b.py")]
    relations = [symbol_row(CLASS, implements=(P + "base#", CLASS)), symbol_row(P + "q/B#", implements=(CLASS, P + "base#")),
                 symbol_row(P + "gone#", implements=(CLASS,))]  # fmt: skip
    found = symbol_edges(occurrences(sorted(rows, key=lambda row: str(row["uri"]))), table(ScipSymbols, relations)).to_pylist()
    assert [(row["uri"], row["source"], row["target"]) for row in found if row["kind"] == "implements"] == [
        ("b.py", P + "q/B#", CLASS), ("b.py", P + "q/B#", P + "base#"), ("z.py", CLASS, P + "base#"),
    ]  # fmt: skip


def brute_innermost(spans: list[tuple[int, int]], point: int) -> tuple[int, int] | None:
    around = [span for span in spans if span[0] <= point < span[1]]
    return max(around, key=lambda span: (span[0], -span[1])) if around else None


@pytest.mark.parametrize("seed", range(60))
def test_the_innermost_span_is_what_a_search_through_all_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    lows = random.integers(0, 30, random.integers(0, 25))
    highs = lows + random.integers(0, 20, len(lows))
    if seed % 2:
        # As in files, spans end where those around them do at the latest.
        for inner in range(len(lows)):
            for outer in range(len(lows)):
                if lows[outer] < lows[inner] < highs[outer] or (lows[outer] == lows[inner] and outer < inner):
                    highs[inner] = min(highs[inner], highs[outer])
    spans = list(zip(lows.tolist(), highs.tolist(), strict=True))
    nesting = nest(lows, highs)
    points = np.arange(-1, 60)
    found = [spans[one] if one >= 0 else None for one in nesting.innermost(points).tolist()]
    assert found == [brute_innermost(spans, point) for point in points.tolist()]
    for span, parent in zip(spans, nesting.parents.tolist(), strict=True):
        others = [other for other in spans if other != span and (other[0], -other[1]) <= (span[0], -span[1])]
        assert (spans[parent] if parent >= 0 else None) == brute_innermost(others, span[0])


@pytest.mark.parametrize("seed", range(10))
def test_the_join_is_what_a_loop_over_all_pairs_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    chunks: list[Row] = []
    for uri in ("a", "a/b", "b", "c"):
        borders = np.unique(random.integers(1, 60, 6))
        edges_of = [0, *borders.tolist()]
        chunks += [chunk(int(random.integers(1, 1 << 62)), low, high, uri) for low, high in itertools.pairwise(edges_of)]
    names = [f"{P}{letter}#" for letter in "zyxab"]
    rows = [
        occurrence(
            str(random.choice(names)), start, start + int(random.integers(1, 5)), roles=int(random.integers(0, 2)), uri=uri
        )
        for uri in ("a", "a/b", "b", "c", "d")
        for start in sorted(random.integers(0, 62, 40).tolist())
    ]
    expected: dict[tuple[int, str, str], int] = {}
    lost = 0
    for row in rows:
        holders = [
            one for one in chunks if one["uri"] == row["uri"] and one["start_byte"] <= row["start_byte"] < one["end_byte"]
        ]
        assert len(holders) <= 1
        lost += not holders
        for one in holders:
            key = (one["id"], "definition" if row["is_definition"] else "reference", row["symbol"])
            expected[key] = expected.get(key, 0) + 1
    found, not_found = joined(chunks, rows)
    assert not_found == lost
    assert found == [(identifier, symbol, role, count) for (identifier, role, symbol), count in sorted(expected.items())]


FILES = ("a.py", "b.py", "c.py", "d.py", "e.py")


def write_world(root: Path, parts: int = 2) -> tuple[Any, ...]:
    """Artefacts of chunks, occurrences and symbols of a few files."""
    chunks = [
        chunk(index * 10 + place, place * 50, place * 50 + 50, uri) for index, uri in enumerate(FILES, 1) for place in (0, 1)
    ]
    rows = [
        row
        for uri in FILES
        for row in (
            defines(f"syntax . . . `{uri}`/f().", 4, 5, (0, 60), uri),
            occurrence("syntax . . . `a.py`/f().", 20, 21, uri=uri),
            occurrence("local 1", 70, 71, uri=uri),
        )
    ]
    known = [{**symbol_row(f"syntax . . . `{uri}`/f().", "function", "syntax"), "uri": uri} for uri in FILES]
    artefacts = []
    for kind, every in ((Chunks, chunks), (ScipOccurrences, rows), (ScipSymbols, known)):
        for part in range(parts):
            mine = [{name: row[name] for name in kind.schema.names} for row in every if part_of(row["uri"], parts) == part]
            write_part(root / "in" / kind.name, kind, part, table(kind, mine))
        artefacts.append(Artefact("r", kind.asset, "k", root / "in", kind.tag(), "d", {}))
    return tuple(artefacts)


def test_the_stage_joins_across_parts_and_counts(tmp_path: Path) -> None:
    facts = symbols(*write_world(tmp_path), Runtime(), Output(tmp_path / "one"), Output(tmp_path / "two"))
    assert facts == {
        "occurrences": 15, "local_occurrences": 5, "occurrences_without_chunk": 0, "chunk_symbols": 10, "symbol_edges": 10,
        "edges_by_kind": {"calls": 5, "contains": 5, "implements": 0, "imports": 0},
    }  # fmt: skip
    # What `a.py` defines is called from files of both parts.
    calls = [row for row in read_table(tmp_path / "two", SymbolEdges).to_pylist() if row["kind"] == "calls"]
    assert {(row["uri"], row["source"], row["target"]) for row in calls} == {
        (uri, f"syntax . . . `{uri}`/f().", "syntax . . . `a.py`/f().") for uri in FILES
    }
    assert read_table(tmp_path / "one", ChunkSymbols)["chunk_id"].to_pylist().count(10) == 2
    assert {kind.asset for kind in STAGE.outputs.values()} == {"chunk_symbols", "symbol_edges"}


def test_rows_are_in_the_order_of_their_tables_and_bytes_repeat(tmp_path: Path) -> None:
    world = write_world(tmp_path)
    for name in ("one", "two"):
        symbols(*world, Runtime(), Output(tmp_path / name), Output(tmp_path / name))
    for kind in (ChunkSymbols, SymbolEdges):
        first, second = (sorted((tmp_path / name / kind.name).iterdir()) for name in ("one", "two"))
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    edges_table = symbol_edges(
        occurrences(
            [defines(f"{P}{name}#", place, place + 1, uri=uri) for uri in ("z", "a") for place, name in enumerate("cab")]
        ),
        table(ScipSymbols, []),
    ).to_pylist()
    keys = [tuple(row[name] for name in SymbolEdges.order) for row in edges_table]
    assert keys == sorted(keys)
    assert len(keys) == 6


def test_tables_cut_into_different_parts_are_refused(tmp_path: Path) -> None:
    chunks, rows, known = write_world(tmp_path)
    sorted((tmp_path / "in" / Chunks.name).iterdir())[-1].unlink()
    with pytest.raises(IndexCorruptionError, match="different numbers of parts"):
        symbols(chunks, rows, known, Runtime(), Output(tmp_path / "one"), Output(tmp_path / "two"))
