"""What must hold of symbols, concrete syntax and module facts; `checks` lists these among the checks of single assets.

Belongs here: the invariants of those tables. Not here: how checks are run (`checks`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.release.findings import MOST_PROBLEMS, Finding, Roots, file_sizes, finding, outside, pairs
from pipeline.schemas import Chunks, ChunkSymbols, CstNodes, Files, Modules, ScipIndex, ScipOccurrences, SymbolEdges
from pipeline.structure.scip_indexers import TYPESCRIPT

MOST_WITHOUT_PRECISE = 0.1
"""Share of a language's files without symbols from its indexer above which `files_have_precise_symbols` warns.
One file alone is no warning."""
_SPAN = ["uri", "start_byte", "end_byte"]


def occurrences_inside_files(roots: Roots) -> Finding:
    """Every occurrence lies inside its file."""
    problems: list[str] = []
    count = 0
    for files_path, path in pairs(roots[Files.asset], Files, roots[ScipOccurrences.asset], ScipOccurrences):
        found = tables.read_part(path, ScipOccurrences, _SPAN)
        count += found.num_rows
        problems.extend(outside(found, file_sizes(files_path), "occurrence"))
    return finding(problems, occurrences=count)


def files_have_precise_symbols(roots: Roots) -> Finding:
    """Nearly all files of the languages that an indexer ran for have symbols from it; the others have them from syntax."""
    meta = roots[ScipIndex.asset] / ScipIndex.DIRECTORY / ScipIndex.META
    indexers = msgspec.json.decode(meta.read_bytes())["indexers"]
    provenance: dict[str, dict[str, bool]] = {}
    for files_path, path in pairs(roots[Files.asset], Files, roots[ScipOccurrences.asset], ScipOccurrences):
        listed = tables.plain(tables.read_part(files_path, Files, ["uri", "lang"]))
        languages = dict(zip(listed["uri"].to_pylist(), listed["lang"].to_pylist(), strict=True))
        found = tables.read_part(path, ScipOccurrences, ["uri", "provenance"])
        found = tables.plain(found.group_by(["uri", "provenance"]).aggregate([]))
        for uri, origin in zip(found["uri"].to_pylist(), found["provenance"].to_pylist(), strict=True):
            of_language = provenance.setdefault(str(languages.get(uri)), {})
            of_language[uri] = of_language.get(uri, False) or origin == "scip"
    everything = [precise for of_language in provenance.values() for precise in of_language.values()]
    problems: list[str] = []
    for indexer in indexers:
        if indexer["status"] not in ("indexed", "supplied", "failed"):
            continue
        languages_of = TYPESCRIPT if indexer["language"] == "typescript" else (indexer["language"],)
        asked = {uri: precise for language in languages_of for uri, precise in provenance.get(language, {}).items()}
        without = sorted(uri for uri, precise in asked.items() if not precise)
        if len(without) > max(MOST_WITHOUT_PRECISE * len(asked), 1):
            why = f" ({indexer['problem']})" if indexer["problem"] else ""
            shown = ", ".join(without[:5])
            problems.append(f"{indexer['language']}{why}: {len(without)} of {len(asked)} files have syntax alone: {shown}")
    share = sum(everything) / max(len(everything), 1)
    return finding(problems, precise_files=sum(everything), share_of_precise_files=round(share, 4))


def defining_identifiers_in_one_chunk(roots: Roots) -> Finding:
    """Every defining identifier lies in exactly one chunk."""
    problems: list[str] = []
    count = 0
    for chunk_path, path in pairs(roots[Chunks.asset], Chunks, roots[ScipOccurrences.asset], ScipOccurrences):
        found = tables.read_part(path, ScipOccurrences, [*_SPAN, "is_definition"])
        # The module of an empty file is defined at its bytes 0 to 0, and an empty file has no chunks.
        found = tables.plain(found.filter(pc.and_(found["is_definition"], pc.greater(found["end_byte"], 0))).select(_SPAN))
        chunks = tables.plain(tables.read_part(chunk_path, Chunks, _SPAN))
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
    uris = pa.chunked_array([*chunks["uri"].chunks, *occurrences["uri"].chunks], pa.string())
    codes = pc.rank(uris, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    starts = (codes[: len(chunks)] << 32) + chunks["start_byte"].to_numpy()
    order = np.argsort(starts)
    wanted = (codes[len(chunks) :] << 32) + np.maximum(occurrences[column].to_numpy() + shift, 0)
    places = np.searchsorted(starts[order], wanted, side="right") - 1
    if not len(order):
        return np.full(len(wanted), -1)
    owners = order[np.maximum(places, 0)]
    same = (places >= 0) & (starts[owners] >> 32 == wanted >> 32)
    return np.where(same & (chunks["end_byte"].to_numpy()[owners] > wanted - ((wanted >> 32) << 32)), owners, -1)


def symbol_counts_agree(roots: Roots) -> Finding:
    """`chunk_symbols` counts every occurrence of a symbol that is not local to a function, in every file that has chunks."""
    problems: list[str] = []
    total = 0
    counted_parts = tables.parts(roots[ChunkSymbols.asset], ChunkSymbols)
    both = pairs(roots[Chunks.asset], Chunks, roots[ScipOccurrences.asset], ScipOccurrences)
    for (chunk_path, path), counted_path in zip(both, counted_parts, strict=True):
        found = tables.plain(tables.read_part(path, ScipOccurrences, ["uri", "symbol", "is_definition"]))
        chunks = tables.plain(tables.read_part(chunk_path, Chunks, ["id", "uri"]))
        # An empty file has no chunks, and yet a module that is defined at its bytes 0 to 0.
        chunked = pc.is_in(found["uri"], value_set=pc.unique(chunks["uri"]))
        found = found.filter(pc.and_(chunked, pc.invert(pc.starts_with(found["symbol"], "local "))))
        expected = _sums(found["uri"], found["is_definition"], np.ones(found.num_rows, np.int64))
        rows = tables.read_part(counted_path, ChunkSymbols, ["chunk_id", "role", "count"])
        uris = chunks["uri"].take(pc.index_in(rows["chunk_id"], value_set=chunks["id"]))
        defines = pc.equal(rows["role"].cast(pa.string()), "definition")
        counted = _sums(pc.fill_null(uris, "a chunk that does not exist"), defines, rows["count"].to_numpy())
        total += sum(counted.values())
        problems.extend(
            f"{uri}: {counted.get((uri, defining), 0)} {'definitions' if defining else 'references'} in chunk_symbols, "
            f"{expected.get((uri, defining), 0)} in scip_occurrences"
            for uri, defining in sorted(expected.keys() | counted.keys())
            if counted.get((uri, defining), 0) != expected.get((uri, defining), 0)
        )
    return finding(problems, occurrences=total)


def _sums(uris: pa.ChunkedArray, defining: pa.ChunkedArray, counts: Any) -> dict[tuple[str, bool], int]:
    """Counts by file, and whether they are of definitions."""
    table = pa.table({"uri": uris, "defining": defining, "count": pa.array(counts, pa.int64())})
    sums = table.group_by(["uri", "defining"]).aggregate([("count", "sum")])
    columns = (sums[name].to_pylist() for name in ("uri", "defining", "count_sum"))
    return {(uri, defines): count for uri, defines, count in zip(*columns, strict=True)}


def cst_inside_files(roots: Roots) -> Finding:
    """Concrete syntax nodes lie inside their files, and parents come before their children."""
    problems: list[str] = []
    count = 0
    for files_path, path in pairs(roots[Files.asset], Files, roots[CstNodes.asset], CstNodes):
        nodes = tables.read_part(path, CstNodes, [*_SPAN, "node_id", "parent_id"])
        count += nodes.num_rows
        problems.extend(outside(nodes.select(_SPAN), file_sizes(files_path), "node"))
        early = nodes.filter(pc.greater_equal(nodes["parent_id"], nodes["node_id"]))["uri"].unique().to_pylist()
        problems.extend(f"{uri}: a node comes before its parent" for uri in early)
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
        problems.extend(f"{uri}: is there twice" for uri, times in Counter(uris).items() if times > 1)
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
        empty = edges.filter(pc.less(edges["count"], 1))["uri"].unique().to_pylist()
        problems.extend(f"{uri}: an edge counts nothing" for uri in empty)
    return finding(problems, edges=count)
