"""What must hold of symbols, concrete syntax and module facts; `checks` lists these among the checks of single assets.

Belongs here: the invariants of those tables. Not here: how checks are run (`checks`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.catalog import losses
from pipeline.columns import codes_of
from pipeline.release.findings import MOST_PROBLEMS, Finding, Subject, by_part, file_sizes, finding, outside
from pipeline.schemas import Chunks, ChunkSymbols, CstNodes, Files, Modules, ScipIndex, ScipOccurrences, SymbolEdges
from pipeline.structure.scip import indexers

MOST_WITHOUT_PRECISE = 0.1
"""Share of a language's files without symbols from its indexer above which `files_have_precise_symbols` warns.
One file alone is no warning."""
_NAMED = 5
_SPAN = ["uri", "start_byte", "end_byte"]


@by_part(Files, ScipOccurrences)
def occurrences_inside_files(files_path: Path, path: Path) -> Finding:
    """Every occurrence lies inside its file."""
    found = tables.read_part(path, ScipOccurrences, _SPAN)
    return finding(outside(found, file_sizes(files_path), "occurrence"), occurrences=found.num_rows)


def _share_of_precise(subject: Subject, parts: Sequence[Mapping[str, Any]]) -> Finding:
    """What the parts say together: language -> files with occurrences, those that have precise ones, and some that do not."""
    asked: Counter[str] = Counter()
    precise: Counter[str] = Counter()
    without: dict[str, list[str]] = {}
    for languages in parts:
        for language, (found, exact, lacking) in languages.items():
            asked[language] += found
            precise[language] += exact
            without.setdefault(language, []).extend(lacking)
    problems: list[str] = []
    for indexer in losses.indexers(subject[ScipIndex.asset]):
        if indexer.status not in ("indexed", "supplied", "failed"):
            continue
        spoken = indexers.languages(indexer.language)
        count, lack = (sum(found[language] for language in spoken) for found in (asked, asked - precise))
        if lack > max(MOST_WITHOUT_PRECISE * count, 1):
            why = f" ({indexer.problem})" if indexer.problem else ""
            why += f" ({indexer.moved} changed since it was indexed)" if indexer.moved else ""
            shown = ", ".join(sorted(uri for language in spoken for uri in without.get(language, []))[:_NAMED])
            problems.append(f"{indexer.language}{why}: {lack} of {count} files have syntax alone: {shown}")
    share = precise.total() / max(asked.total(), 1)
    return finding(problems, precise_files=precise.total(), share_of_precise_files=round(share, 4))


@by_part(Files, ScipOccurrences, join=_share_of_precise)
def files_have_precise_symbols(files_path: Path, path: Path) -> Finding:
    """Nearly all files of the languages that an indexer ran for have symbols from it; the others have them from syntax."""
    listed = tables.plain(tables.read_part(files_path, Files, ["uri", "lang"]))
    languages = dict(zip(listed["uri"].to_pylist(), listed["lang"].to_pylist(), strict=True))
    told: dict[str, tuple[int, int, list[str]]] = {}
    for uri, precise in sorted(_provenance(tables.read_part(path, ScipOccurrences, ["uri", "provenance"])).items()):
        count, exact, lacking = told.get(str(languages.get(uri)), (0, 0, []))
        more = [uri] if not precise and len(lacking) < _NAMED else []
        told[str(languages.get(uri))] = (count + 1, exact + precise, lacking + more)
    return Finding((), told)


def _provenance(occurrences: pa.Table) -> dict[str, bool]:
    """Of each file that has occurrences, whether some are precise."""
    (files, uris), (origins, words) = codes_of(occurrences["uri"]), codes_of(occurrences["provenance"])
    precise = np.array([word == "scip" for word in words.to_pylist()], bool)[origins]
    found = np.zeros(len(uris), bool)
    found[files[precise]] = True
    there = np.unique(files)
    return dict(zip(uris.take(pa.array(there)).to_pylist(), found[there].tolist(), strict=True))


@by_part(Chunks, ScipOccurrences)
def defining_identifiers_in_one_chunk(chunk_path: Path, path: Path) -> Finding:
    """Every defining identifier lies in exactly one chunk, but where a single line is more than a chunk may hold.

    Such a line, minified code say, is cut inside; names that are cut with it are counted (`cut`) and no problem. So are ranges
    of several lines (`long`), which some indexers give for a name.
    """
    found = tables.read_part(path, ScipOccurrences, [*_SPAN, "start_line", "end_line", "is_definition"])
    # An empty range names nothing: so is the module of a file defined at its beginning.
    found = found.filter(pc.and_(found["is_definition"], pc.greater(found["end_byte"], found["start_byte"])))
    chunks = tables.read_part(chunk_path, Chunks, [*_SPAN, "start_line", "end_line"])
    first, last = _owners(chunks, found, "start_byte", 0), _owners(chunks, found, "end_byte", -1)
    lost = (first < 0) | (last < 0)
    apart = np.flatnonzero((first != last) & ~lost)
    lines = found["start_line"].to_numpy()[apart]
    spans = found["end_line"].to_numpy()[apart] > lines
    ends, starts = (chunks[name].to_numpy()[of[apart]] for name, of in (("end_line", first), ("start_line", last)))
    inside_line = ~spans & (ends == lines) & (starts == lines)
    lost[apart[~spans & ~inside_line]] = True
    problems = [
        f"{found['uri'][row].as_py()}: the name at byte {found['start_byte'][row].as_py()} is not in exactly one chunk"
        for row in np.flatnonzero(lost)[:MOST_PROBLEMS].tolist()
    ]
    cut, long = int(np.count_nonzero(inside_line)), int(np.count_nonzero(spans))
    return finding(problems, definitions=found.num_rows, cut=cut, long=long)


def _owners(chunks: pa.Table, occurrences: pa.Table, column: str, shift: int) -> Any:
    """The row of the chunk that each occurrence's byte lies in; -1 for none. Both tables hold whole files."""
    (codes, uris), (files, words) = codes_of(chunks["uri"]), codes_of(occurrences["uri"])
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


@by_part(Chunks, ScipOccurrences, ChunkSymbols)
def symbol_counts_agree(chunk_path: Path, path: Path, counted_path: Path) -> Finding:
    """`chunk_symbols` counts every occurrence of a symbol that is not local to a function, in every file that has chunks."""
    problems: list[str] = []
    chunks = tables.read_part(chunk_path, Chunks, ["id", "uri"])
    files, uris = codes_of(chunks["uri"])
    expected = _expected_counts(tables.read_part(path, ScipOccurrences, ["uri", "symbol", "is_definition"]), uris)
    rows = tables.read_part(counted_path, ChunkSymbols, ["chunk_id", "role", "count"])
    counted, unknown = _counted(rows, chunks["id"].to_numpy(), files, len(uris))
    if unknown:
        problems.append(f"{unknown} rows of chunk_symbols are of chunks that do not exist")
    for place, defines in np.argwhere(expected != counted).tolist():
        what = "definitions" if defines else "references"
        problems.append(
            f"{uris[place].as_py()}: {counted[place, defines]} {what} in chunk_symbols, "
            f"{expected[place, defines]} in scip_occurrences"
        )
    return finding(problems, occurrences=int(counted.sum()))


def _expected_counts(occurrences: pa.Table, uris: pa.Array) -> Any:
    """Occurrences of global symbols in each file [files, 2]: references, definitions.

    An empty file has no chunks, and so is none of `uris`, and yet a module that is defined at its bytes 0 to 0.
    """
    (files, words), (codes, symbols) = codes_of(occurrences["uri"]), codes_of(occurrences["symbol"])
    places = pc.fill_null(pc.index_in(words, value_set=uris), -1).to_numpy(zero_copy_only=False).astype(np.int64)[files]
    is_local = pc.starts_with(symbols, "local ").to_numpy(zero_copy_only=False)
    asked = (places >= 0) & ~is_local[codes]
    defines = occurrences["is_definition"].to_numpy().astype(np.int64)
    return np.bincount(2 * places[asked] + defines[asked], minlength=2 * len(uris)).reshape(-1, 2)


def _counted(rows: pa.Table, ids: Any, files: Any, count: int) -> tuple[Any, int]:
    """What `chunk_symbols` counts in each file [files, 2], and how many of its rows are of no chunk. `files` by chunk id."""
    order = np.argsort(ids)
    wanted = rows["chunk_id"].to_numpy()
    places = order[np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)] if len(ids) else np.zeros(0, np.int64)
    known = ids[places] == wanted if len(ids) else np.zeros(len(wanted), bool)
    roles, words = codes_of(rows["role"])
    defines = np.array([word == "definition" for word in words.to_pylist()], np.int64)[roles]
    at = 2 * files[places[known]] + defines[known] if len(ids) else np.zeros(0, np.int64)
    counts = np.bincount(at, weights=rows["count"].to_numpy()[known], minlength=2 * count)
    return counts.astype(np.int64).reshape(-1, 2), int(np.count_nonzero(~known))


@by_part(Files, CstNodes)
def cst_inside_files(files_path: Path, path: Path) -> Finding:
    """Concrete syntax nodes lie inside their files, and parents come before their children."""
    nodes = tables.read_part(path, CstNodes, [*_SPAN, "node_id", "parent_id"])
    problems = list(outside(nodes.select(_SPAN), file_sizes(files_path), "node")) if nodes.num_rows else []
    early = nodes.filter(pc.greater_equal(nodes["parent_id"], nodes["node_id"]))["uri"].unique().to_pylist()
    problems.extend(f"{uri}: a node comes before its parent" for uri in early)
    return finding(problems, nodes=nodes.num_rows)


@by_part(Files, Modules)
def modules_are_indexed_files(files_path: Path, path: Path) -> Finding:
    """Every module is an indexed file, once."""
    uris = tables.read_part(path, Modules, ["uri"])["uri"].to_pylist()
    sizes = file_sizes(files_path)
    problems = [f"{uri}: is no indexed file" for uri in uris if uri not in sizes]
    problems.extend(f"{uri}: is there twice" for uri, times in Counter(uris).items() if times > 1)
    return finding(problems, modules=len(uris))


@by_part(Chunks, SymbolEdges)
def edges_start_in_chunked_files(chunk_path: Path, path: Path) -> Finding:
    """Every edge between symbols comes from a file that has chunks, and counts at least one occurrence."""
    edges = tables.read_part(path, SymbolEdges, ["uri", "count"])
    known = set(pc.unique(tables.read_part(chunk_path, Chunks, ["uri"])["uri"]).to_pylist())
    uris = pc.unique(tables.plain(edges)["uri"]).to_pylist()
    problems = [f"{uri}: has edges and no chunks" for uri in uris if uri not in known]
    empty = edges.filter(pc.less(edges["count"], 1))["uri"].unique().to_pylist()
    problems.extend(f"{uri}: an edge counts nothing" for uri in empty)
    return finding(problems, edges=edges.num_rows)
