"""What must hold of symbols, concrete syntax and module facts; `checks` lists these among the checks of single assets.

Belongs here: the invariants of those tables. Not here: how checks are run (`checks`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.release.findings import MOST_PROBLEMS, Finding, Roots, file_sizes, finding, outside, pairs
from pipeline.schemas import Chunks, ChunkSymbols, CstNodes, Files, Modules, ScipOccurrences, SymbolEdges

_SPAN = ["uri", "start_byte", "end_byte"]


def occurrences_inside_files(roots: Roots) -> Finding:
    """Every occurrence lies inside its file; how many files have precise ones is reported."""
    problems: list[str] = []
    count = 0
    precise: set[str] = set()
    syntax: set[str] = set()
    for files_path, path in pairs(roots[Files.asset], Files, roots[ScipOccurrences.asset], ScipOccurrences):
        found = tables.read_part(path, ScipOccurrences, [*_SPAN, "provenance"])
        count += found.num_rows
        problems.extend(outside(found.select(_SPAN), file_sizes(files_path), "occurrence"))
        (uris, codes), (words, provenances) = _coded(found["uri"]), _coded(found["provenance"])
        exact = np.array([word == "scip" for word in words.to_pylist()], bool)[provenances]
        for known, rows in ((precise, exact), (syntax, ~exact)):
            known.update(uris.take(pa.array(np.unique(codes[rows]))).to_pylist())
    share = len(precise) / max(len(precise | syntax), 1)
    return finding(problems, occurrences=count, precise_files=len(precise), share_of_precise_files=round(share, 4))


def defining_identifiers_in_one_chunk(roots: Roots) -> Finding:
    """Every defining identifier lies in exactly one chunk."""
    problems: list[str] = []
    count = 0
    for chunk_path, path in pairs(roots[Chunks.asset], Chunks, roots[ScipOccurrences.asset], ScipOccurrences):
        found = tables.read_part(path, ScipOccurrences, [*_SPAN, "is_definition"])
        # The module of an empty file is defined at its bytes 0 to 0, and an empty file has no chunks.
        found = found.filter(pc.and_(found["is_definition"], pc.greater(found["end_byte"], 0)))
        chunks = tables.read_part(chunk_path, Chunks, _SPAN)
        count += found.num_rows
        first, last = _owners(chunks, found, "start_byte", 0), _owners(chunks, found, "end_byte", -1)
        empty = found["end_byte"].to_numpy() <= found["start_byte"].to_numpy()
        problems.extend(
            f"{found['uri'][row].as_py()}: the name at byte {found['start_byte'][row].as_py()} is not in exactly one chunk"
            for row in np.flatnonzero(((first != last) & ~empty) | (first < 0))[:MOST_PROBLEMS].tolist()
        )
    return finding(problems, definitions=count)


def _owners(chunks: pa.Table, occurrences: pa.Table, column: str, shift: int) -> Any:
    """The row of the chunk that each occurrence's byte lies in; -1 for none. Both tables hold whole files."""
    (uris, codes), (words, files) = _coded(chunks["uri"]), _coded(occurrences["uri"])
    starts = (codes << 32) + chunks["start_byte"].to_numpy()
    order = np.argsort(starts, kind="stable")
    numbers = pc.fill_null(pc.index_in(words, value_set=uris), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    wanted = (numbers[files] << 32) + np.maximum(occurrences[column].to_numpy() + shift, 0)
    places = np.searchsorted(starts[order], wanted, side="right") - 1
    if not len(order):
        return np.full(len(wanted), -1)
    owners = order[np.maximum(places, 0)]
    same = (places >= 0) & (starts[owners] >> 32 == wanted >> 32)
    return np.where(same & (chunks["end_byte"].to_numpy()[owners] > wanted - ((wanted >> 32) << 32)), owners, -1)


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, Any]:
    """The distinct words of a column, and for each row which it is, int64 [n]: a million rows have a thousand uris."""
    if not column.num_chunks:
        return pa.array([], pa.string()), np.zeros(0, np.int64)
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    joined = coded.unify_dictionaries().combine_chunks()
    return joined.dictionary, joined.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def symbol_counts_agree(roots: Roots) -> Finding:
    """`chunk_symbols` counts every occurrence of a symbol that is not local to a function, in every file that has chunks."""
    expected = counted = 0
    for chunk_path, path in pairs(roots[Chunks.asset], Chunks, roots[ScipOccurrences.asset], ScipOccurrences):
        found = tables.read_part(path, ScipOccurrences, ["uri", "symbol"])
        (uris, files), (symbols, codes) = _coded(found["uri"]), _coded(found["symbol"])
        # An empty file has no chunks, and yet a module that is defined at its bytes 0 to 0.
        chunked, _ = _coded(tables.read_part(chunk_path, Chunks, ["uri"])["uri"])
        has_chunks = pc.is_in(uris, value_set=chunked).to_numpy(zero_copy_only=False)
        is_local = pc.starts_with(symbols, "local ").to_numpy(zero_copy_only=False)
        expected += int(np.count_nonzero(has_chunks[files] & ~is_local[codes]))
    for path in tables.parts(roots[ChunkSymbols.asset], ChunkSymbols):
        counted += pc.sum(tables.read_part(path, ChunkSymbols, ["count"])["count"]).as_py() or 0
    problems = [] if expected == counted else [f"{counted} occurrences in chunks, {expected} in scip_occurrences"]
    return finding(problems, occurrences=counted)


def cst_inside_files(roots: Roots) -> Finding:
    """Concrete syntax nodes lie inside their files, and parents come before their children."""
    problems: list[str] = []
    count = 0
    for files_path, path in pairs(roots[Files.asset], Files, roots[CstNodes.asset], CstNodes):
        nodes = tables.read_part(path, CstNodes, [*_SPAN, "node_id", "parent_id"])
        if not nodes.num_rows:
            continue
        count += nodes.num_rows
        problems.extend(outside(nodes.select(_SPAN), file_sizes(files_path), "node"))
        if not pc.all(pc.less(nodes["parent_id"], nodes["node_id"])).as_py():
            problems.append(f"{path.name}: a node comes before its parent")
    return finding(problems, nodes=count)


def modules_are_indexed_files(roots: Roots) -> Finding:
    """Every module is an indexed file, once."""
    problems: list[str] = []
    count = 0
    for files_path, path in pairs(roots[Files.asset], Files, roots[Modules.asset], Modules):
        uris = tables.read_part(path, Modules, ["uri"])["uri"].to_pylist()
        count += len(uris)
        sizes = file_sizes(files_path)
        problems.extend(f"{uri}: is no indexed file" for uri in uris if uri not in sizes)
        if len(set(uris)) != len(uris):
            problems.append(f"{path.name}: a module is there twice")
    return finding(problems, modules=count)


def edges_start_in_chunked_files(roots: Roots) -> Finding:
    """Every edge between symbols comes from a file that has chunks, and counts at least one occurrence."""
    problems: list[str] = []
    count = 0
    for chunk_path, path in pairs(roots[Chunks.asset], Chunks, roots[SymbolEdges.asset], SymbolEdges):
        edges = tables.read_part(path, SymbolEdges, ["uri", "count"])
        count += edges.num_rows
        known = set(pc.unique(tables.read_part(chunk_path, Chunks, ["uri"])["uri"]).to_pylist())
        uris = pc.unique(tables.plain(edges)["uri"]).to_pylist()
        problems.extend(f"{uri}: has edges and no chunks" for uri in uris if uri not in known)
        if edges.num_rows and pc.min(edges["count"]).as_py() < 1:
            problems.append(f"{path.name}: an edge counts nothing")
    return finding(problems, edges=count)
