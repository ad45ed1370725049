"""Chunks tied by symbols: what is told is what the tables say, symbol by symbol."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog import chunk_graph
from pipeline.catalog.chunk_graph import ChunkGraph, Relation, read_chunk_graph, read_contents
from pipeline.catalog.numbering import linked
from pipeline.chunks import symbols
from pipeline.errors import IndexCorruptionError
from pipeline.schemas import Chunks, ChunkSymbols, SymbolEdges
from pipeline.tables import read_table

Row = tuple[int, str]


def graph_of(version: Path) -> ChunkGraph:
    rows = sorted(read_table(version, Chunks, ["id", "uri"]).to_pylist(), key=lambda row: row["id"])
    uris = sorted({row["uri"] for row in rows})
    files = np.array([uris.index(row["uri"]) for row in rows], np.int32)
    return read_chunk_graph(version, np.array([row["id"] for row in rows], np.int64), files, uris)


def told(graph: ChunkGraph, chunk: int) -> dict[Relation, set[Row]]:
    return {
        relation: {(int(one), graph.symbols[int(number)].as_py()) for one, number in zip(ties.ids, ties.symbols, strict=True)}
        for relation, ties in graph.ties(chunk).items()
    }


def stands(version: Path) -> dict[str, set[Row]]:
    """(chunk, symbol) by role, without parameters."""
    rows = read_table(version, ChunkSymbols).to_pylist()
    kept = [row for row in rows if not row["symbol"].endswith((")", "]"))]
    return {role: {(row["chunk_id"], row["symbol"]) for row in kept if row["role"] == role} for role in symbols.ROLES}


def test_whoever_refers_to_what_another_defines_is_tied_to_it_both_ways(symbol_version: Path) -> None:
    graph, by_role = graph_of(symbol_version), stands(symbol_version)
    assert by_role["definition"] and by_role["reference"]
    for chunk in graph.ids.tolist():
        ties = told(graph, chunk)
        every: set[Row] = set().union(*ties.values())
        own = {symbol for one, symbol in by_role["definition"] if one == chunk}
        used = {symbol for one, symbol in by_role["reference"] if one == chunk} - own
        expected = {(one, symbol) for one, symbol in by_role["definition"] if symbol in used and one != chunk}
        expected |= {(one, symbol) for one, symbol in by_role["reference"] if symbol in own and one != chunk}
        assert expected <= every
        by_edges = (Relation.EXTENDS, Relation.EXTENDED_BY, Relation.CALLS, Relation.CALLED_BY, Relation.INSIDE, Relation.HOLDS)
        assert every - expected <= set().union(*(ties.get(relation, set()) for relation in by_edges))
        assert sum(map(len, ties.values())) == len(every), "a chunk and symbol stand in one relation alone"


def test_what_one_end_calls_a_relation_the_other_calls_its_reverse(symbol_version: Path) -> None:
    graph = graph_of(symbol_version)
    every = {chunk: told(graph, chunk) for chunk in graph.ids.tolist()}
    forth = {(Relation.EXTENDS, Relation.EXTENDED_BY), (Relation.CALLS, Relation.CALLED_BY)}
    forth |= {(Relation.IMPORTS, Relation.IMPORTED_BY), (Relation.USES, Relation.USED_BY)}
    seen = set()
    for there, back in forth:
        for chunk, ties in every.items():
            for other, symbol in ties.get(there, set()):
                seen.add(there)
                assert (chunk, symbol) in every[other][back]
    assert {Relation.EXTENDS, Relation.CALLS, Relation.USES} <= seen


def test_relations_of_edges_are_those_of_the_table(symbol_version: Path) -> None:
    graph, defines = graph_of(symbol_version), stands(symbol_version)["definition"]
    edges = {(row["kind"], row["source"], row["target"]) for row in read_table(symbol_version, SymbolEdges).to_pylist()}
    for chunk in graph.ids.tolist():
        for other, symbol in told(graph, chunk).get(Relation.EXTENDS, set()):
            assert any((chunk, source) in defines for kind, source, target in edges if (kind, target) == ("implements", symbol))
            assert (other, symbol) in defines


def test_the_fewer_chunks_have_a_symbol_the_more_it_says(symbol_version: Path) -> None:
    graph = graph_of(symbol_version)
    rows = {(row["chunk_id"], row["symbol"]) for row in read_table(symbol_version, ChunkSymbols).to_pylist()}
    for chunk in graph.ids.tolist():
        for ties in graph.ties(chunk).values():
            for number, worth in zip(ties.symbols.tolist(), ties.worth.tolist(), strict=True):
                count = len({one for one, symbol in rows if symbol == graph.symbols[number].as_py()})
                assert worth == pytest.approx(1 - math.log(count) / math.log(len(graph.ids) + 1)) and 0 < worth <= 1


def test_kinds_of_edges_are_those_that_are_written() -> None:
    assert chunk_graph.EDGES == symbols.EDGES


def test_contents_are_those_of_the_chunks(symbol_version: Path) -> None:
    ids, hashes = read_contents(symbol_version)
    rows = read_table(symbol_version, Chunks, ["id", "content_hash"]).to_pylist()
    assert dict(zip(ids.tolist(), hashes.tolist(), strict=True)) == {row["id"]: row["content_hash"] for row in rows}


def test_pairs_of_a_relation_stand_beside_each_other() -> None:
    links = linked(np.array([2, 0, 2, 2], np.int32), np.array([7, 1, 3, 7], np.int32), 4, among=8)
    these, others = links.pairs(np.array([2, 1, 0, 2], np.int32))
    assert list(zip(these.tolist(), others.tolist(), strict=True)) == [(2, 3), (2, 7), (0, 1), (2, 3), (2, 7)]
    assert [len(column) for column in links.pairs(np.empty(0, np.int32))] == [0, 0]


def test_a_table_that_is_cut_short_is_refused(symbol_version: Path, tmp_path: Path) -> None:
    part = next((symbol_version / ChunkSymbols.name).glob("*.parquet"))
    (tmp_path / ChunkSymbols.name).mkdir()
    (tmp_path / ChunkSymbols.name / part.name).write_bytes(part.read_bytes()[:-9])
    with pytest.raises(IndexCorruptionError):
        read_chunk_graph(tmp_path, np.empty(0, np.int64), np.empty(0, np.int32), [])
