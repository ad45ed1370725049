"""What must hold: pure checks over artefacts, used by the asset checks in Dagster, by publication and by `verify`.

A check gets the folder of every asset that it needs (an object's, or a version's: names in them are the same) and says what
is wrong. It never repairs and never raises for bad content.

Belongs here: invariants of artefacts. Not here: digests (`store`), the order and consequences of checks (`verification`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.chunks.contents import text_slices
from pipeline.embed.arrays import hashes_of, open_all, open_arrays
from pipeline.index.dense.index_files import read_rows
from pipeline.index.dense.operating_point import parse, thorough
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.lexical import LexicalReader
from pipeline.index.tuning.document import read_tuning
from pipeline.release import channel_checks, quality_checks, symbol_checks, token_checks
from pipeline.release.findings import MOST_PROBLEMS, Finding, Roots, file_sizes, finding, outside, pairs, sample_rows
from pipeline.schemas import AstNodes, Chunks, Definitions, Embeddings, FaissIdmap, FaissIndex, Files, Sources, Table, Tuning
from pipeline.source.entries import hash_of

_NORM_TOLERANCE = 1e-3

_found: dict[tuple[str, ...], Finding] = {}
"""What this process found out, by check and digests."""


@dataclass(frozen=True, slots=True)
class Check:
    """A named invariant of one asset, and the other assets that it looks at."""

    name: str
    asset: str
    description: str
    function: Callable[[Roots], Finding]
    needs: tuple[str, ...] = ()
    blocking: bool = True
    """Whether nothing may be published while it fails; else it warns."""

    def run(self, roots: Roots, digests: Mapping[str, str] | None = None) -> Finding:
        """The finding; an artefact that cannot be read is a problem, not an exception.

        A finding is a function of the bytes. With `digests` (asset -> digest that the caller has verified) of all that the
        check looks at, one process does not check the same bytes twice.
        """
        if digests is None:
            return self._find(roots)
        looked_at = (self.name, *(digests[asset] for asset in dict.fromkeys((self.asset, *self.needs)) if asset in digests))
        found = _found.get(looked_at) or self._find(roots)
        if found.passed:  # A problem may be the disk's or the memory's, and gone the next time.
            _found[looked_at] = found
        return found

    def _find(self, roots: Roots) -> Finding:
        try:
            return self.function(roots)
        except Exception as error:  # Every library underneath has its own ways to fail on bad content.
            return Finding((f"{self.name}: {str(error) or type(error).__name__}",))


def sources_match_files(roots: Roots) -> Finding:
    """Every indexed file has its bytes in `sources`, with the size and hash that `files` says."""
    root = roots[Files.asset]
    problems: list[str] = []
    count = 0
    for files_path, sources_path in pairs(root, Files, root, Sources):
        listed = tables.read_part(files_path, Files, ["uri", "size", "content_hash", "status"])
        indexed = listed.filter(pc.equal(listed["status"].cast(pa.string()), "indexed"))
        stored = tables.read_part(sources_path, Sources, ["uri", "content"])
        count += stored.num_rows
        if indexed["uri"].to_pylist() != stored["uri"].to_pylist():
            problems.append(f"{sources_path.name}: the indexed files and the stored sources differ")
            continue
        for uri, size, expected, content in zip(
            stored["uri"].to_pylist(),
            indexed["size"].to_pylist(),
            indexed["content_hash"].to_pylist(),
            stored["content"],
            strict=True,
        ):
            data = content.as_buffer()
            if len(data) != size or hash_of(data) != expected:
                problems.append(f"{uri}: the stored bytes are not those that were scanned")
    return finding(problems, files=count)


def nodes_inside_files(roots: Roots) -> Finding:
    """Syntax nodes lie inside their files, and parents come before their children."""
    problems: list[str] = []
    count = 0
    for files_path, nodes_path in pairs(roots[Files.asset], Files, roots[AstNodes.asset], AstNodes):
        nodes = tables.read_part(nodes_path, AstNodes, ["uri", "node_id", "parent_id", "start_byte", "end_byte"])
        count += nodes.num_rows
        problems.extend(outside(nodes.select(["uri", "start_byte", "end_byte"]), file_sizes(files_path), "node"))
        if not pc.all(pc.less(nodes["parent_id"], nodes["node_id"])).as_py() and nodes.num_rows:
            problems.append(f"{nodes_path.name}: a node comes before its parent")
    return finding(problems, nodes=count)


def definitions_inside_files(roots: Roots) -> Finding:
    """Definitions lie inside their files, and their names inside them."""
    problems: list[str] = []
    count = 0
    columns = ["uri", "start_byte", "end_byte", "name_start_byte", "start_line", "end_line"]
    for files_path, path in pairs(roots[Files.asset], Files, roots[Definitions.asset], Definitions):
        found = tables.read_part(path, Definitions, columns)
        count += found.num_rows
        problems.extend(outside(found.select(columns[:3]), file_sizes(files_path), "definition"))
        inside = pc.and_(
            pc.and_(pc.greater_equal(found["name_start_byte"], found["start_byte"]),
                    pc.less_equal(found["name_start_byte"], found["end_byte"])),
            pc.and_(pc.greater_equal(found["start_line"], 1), pc.greater_equal(found["end_line"], found["start_line"])),
        )  # fmt: skip
        if found.num_rows and not pc.all(inside).as_py():
            problems.append(f"{path.name}: a definition's name or lines lie outside it")
    return finding(problems, definitions=count)


def chunk_ids_unique(roots: Roots) -> Finding:
    """Ids are positive and unique in the repository."""
    ids = _column(roots[Chunks.asset], Chunks, "id")
    problems = []
    if ids.size and int(ids.min()) <= 0:
        problems.append("a chunk's id is not positive")
    if len(np.unique(ids)) != len(ids):
        problems.append(f"{len(ids) - len(np.unique(ids))} chunk ids are used twice")
    return finding(problems, chunks=len(ids))


def _column(root: Path, kind: type[Table], column: str) -> Any:
    return tables.read_table(root, kind, [column])[column].to_numpy()


def chunks_gapless(roots: Roots) -> Finding:
    """The chunks of each indexed file follow one another from its first byte to its last, and their text is those bytes."""
    problems: list[str] = []
    total = 0
    root = roots[Files.asset]
    for (files_path, path), sources_path in zip(
        pairs(root, Files, roots[Chunks.asset], Chunks), tables.parts(root, Sources), strict=True
    ):
        sizes = {uri: size for uri, size in file_sizes(files_path).items() if size}
        chunks = tables.plain(tables.read_part(path, Chunks, ["uri", "start_byte", "end_byte"]))
        chunks = chunks.sort_by([("uri", "ascending"), ("start_byte", "ascending")])
        uris = chunks["uri"].combine_chunks()
        starts, ends = chunks["start_byte"].to_numpy(), chunks["end_byte"].to_numpy()
        total += len(starts)
        codes = uris.dictionary_encode()
        first = np.r_[True, np.diff(codes.indices.to_numpy()) != 0][: len(starts)]
        last = np.r_[first[1:], True][: len(starts)]
        names = codes.dictionary.to_pylist()
        if names != sorted(sizes):
            odd = sorted(set(names) ^ set(sizes))
            problems.extend(f"{uri}: has no chunks, or chunks without a file" for uri in odd[:MOST_PROBLEMS])
            continue
        problems.extend(_other_text(tables.read_part(sources_path, Sources), tables.read_part(path, Chunks)))
        expected_start = np.where(first, 0, np.r_[0, ends[:-1]][: len(starts)])
        wrong = (starts != expected_start) | (ends <= starts)
        wrong[last] |= ends[last] != np.array([sizes[name] for name in names], dtype=np.int64)
        problems.extend(
            f"{uris[int(row)].as_py()}: gap, overlap or empty chunk at byte {int(starts[row])}"
            for row in np.flatnonzero(wrong)[:MOST_PROBLEMS]
        )
    return finding(problems, chunks=total)


def _other_text(sources: pa.Table, chunks: pa.Table) -> Iterator[str]:
    """Chunks whose text is not that of their bytes."""
    contents = zip(sources["uri"].to_pylist(), sources["content"].to_pylist(), sources["lang"].to_pylist(), strict=True)
    # Decoding is per file, and how it is sliced depends on the encoding: hence a loop.
    slices = {uri: text_slices(content, lang) for uri, content, lang in contents}
    columns = ("uri", "start_byte", "end_byte", "content")
    for uri, start, end, content in zip(*(chunks[name].to_pylist() for name in columns), strict=True):
        if slices[uri](start, end) != content:
            yield f"{uri}: the chunk at byte {start} does not hold the text of the file"


def vectors_finite_unit(roots: Roots) -> Finding:
    """Vectors are finite and of unit length; ids are sorted and unique."""
    root = roots[Embeddings.asset]
    ids, hashes, vectors = open_all(root)
    problems = []
    if np.any(np.diff(ids) <= 0):
        problems.append("ids.npy is not strictly ascending")
    worst = 0.0
    for start in range(0, vectors.shape[0], 1 << 16):
        block = np.asarray(vectors[start : start + (1 << 16)])
        if not np.isfinite(block).all():
            problems.append("a vector is not finite")
            break
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        worst = max(worst, float(np.abs(norms - 1).max(initial=0)))
        if not np.array_equal(hashes_of(block), hashes[start : start + len(block)]):
            problems.append("a vector is not the one that its hash says")
            break
    if worst > _NORM_TOLERANCE:
        problems.append(f"a vector's length differs from 1 by {worst:.4f}")
    return finding(problems, vectors=int(vectors.shape[0]), dimension=int(vectors.shape[1]))


def vectors_match_chunks(roots: Roots) -> Finding:
    """There is exactly one vector for every chunk, in both forms."""
    chunk_ids = np.sort(_column(roots[Chunks.asset], Chunks, "id"))
    root = roots[Embeddings.asset]
    problems = []
    if not np.array_equal(chunk_ids, np.load(root / Embeddings.IDS)):
        problems.append("ids.npy does not hold the chunks' ids")
    _, arrays = open_arrays(root)
    parquet_ids = []
    for path in tables.parts(root, Embeddings):
        part = tables.read_part(path, Embeddings)
        parquet_ids.append(part["id"].to_numpy())
        if problems:
            continue
        vectors = part["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, arrays.shape[1])
        rows = np.searchsorted(chunk_ids, parquet_ids[-1]).clip(max=len(chunk_ids) - 1)
        if not np.array_equal(vectors, arrays[rows]):
            problems.append(f"{path.name}: vectors differ from those in {Embeddings.VECTORS}")
    if not np.array_equal(chunk_ids, np.sort(np.concatenate(parquet_ids))):
        problems.append("the table `embeddings` does not hold the chunks' ids")
    return finding(problems, chunks=len(chunk_ids))


def _meta(root: Path) -> dict[str, Any]:
    return msgspec.json.decode((root / FaissIndex.META).read_bytes(), type=dict[str, Any])


def faiss_matches_embeddings(roots: Roots) -> Finding:
    """The FAISS index has as many vectors as there are, of the same dimension, made by the same embedder."""
    meta = _meta(roots[FaissIndex.asset])
    root = roots[Embeddings.asset]
    _, vectors = open_arrays(root)
    embedder = msgspec.json.decode((root / Embeddings.EMBEDDER).read_bytes(), type=dict[str, Any])
    problems = []
    if (meta["count"], meta["dimension"]) != vectors.shape:
        problems.append(f"the index has {meta['count']} × {meta['dimension']}, the embeddings are {vectors.shape}")
    if meta["embedder_digest"] != embedder["digest"]:
        problems.append("the index was made from another embedder's vectors")
    return finding(problems, vectors=int(meta["count"]))


def idmap_bijection(roots: Roots) -> Finding:
    """Every row of the FAISS index that can be found is one chunk id, and no id is there twice."""
    idmap = pq.read_table(roots[FaissIdmap.asset] / FaissIdmap.FILE)
    rows, ids = idmap["faiss_row"].to_numpy(), idmap["external_id"].to_numpy()
    index = VectorIndex.open(roots[FaissIndex.asset])
    own = index.idmap()
    problems = []
    stored = read_rows(roots[FaissIndex.asset], index.meta, verified=True)
    if not np.array_equal(stored.ids, index.primary_ids()):
        problems.append("what is written of the rows of the index is not what it has in them")
    if len(own.rows) != index.count:
        problems.append(f"the index says that it has {index.count} vectors, and {len(own.rows)} rows hold one")
    if not np.array_equal(rows, own.rows):
        problems.append("the rows are not those of the index")
    if len(np.unique(ids)) != len(ids):
        problems.append("an id stands for two rows")
    # The index answers with its own ids, people join by the idmap: they must say the same.
    if not np.array_equal(own.ids, ids):
        problems.append("the index itself has other ids in its rows")
    if not np.array_equal(own.in_delta, pc.equal(tables.plain(idmap)["source"], "delta").to_numpy()):
        problems.append("the index itself has other rows in its delta")
    return finding(problems, rows=len(rows))


def tuning_of_this_index(roots: Roots) -> Finding:
    """The operating point was found on this index and no other, and the index can be searched at it."""
    tuned = read_tuning(roots[Tuning.asset])
    index = VectorIndex.open(roots[FaissIndex.asset])
    problems = []
    if (tuned.index, tuned.family, tuned.exact) != (index.meta.seal, index.family.name, index.family.exact):
        problems.append(f"the point was found on another index ({tuned.family}, {tuned.index[:16]})")
    else:
        parse(tuned.parameters, tuned.k_factor, family=index.family, nlist=index.nlist, default=index.point)
    sweep = pq.read_metadata(roots[Tuning.asset] / Tuning.SWEEP).num_rows
    if sweep != tuned.grid:
        problems.append(f"{tuned.grid} points were measured, and the sweep has {sweep}")
    return finding(problems, points=tuned.grid, parameters=tuned.parameters)


def recall_meets_target(roots: Roots) -> Finding:
    """The index is exact, or the lower bound of its recall at the operating point is at least the target."""
    tuned = read_tuning(roots[Tuning.asset])
    problems = []
    if not tuned.exact and tuned.tuning is None:
        problems.append("the recall was not measured: set `autotune_on_start`, or run `indexctl tune --lock`")
    elif not tuned.exact and tuned.tuning is not None and tuned.tuning.low < tuned.target:
        problems.append(
            f"recall@{tuned.k} is at least {tuned.tuning.low:.3f} and not {tuned.target:g}: take another `faiss_family`, "
            f"more queries (`tuning_preset`), or a lower `target_recall`"
        )
    elif not tuned.met:
        problems.append(f"recall@{tuned.k} over held-out queries is below {tuned.target:g}")
    low = tuned.tuning.low if tuned.tuning is not None else None
    return finding(problems, target=tuned.target, queries=tuned.queries, **({} if low is None else {"low": low}))


def documents_match_chunks(roots: Roots) -> Finding:
    """The lexical index has one document for every chunk; sampled ones are of the same file."""
    chunks = tables.plain(tables.read_table(roots[Chunks.asset], Chunks, ["id", "uri"]))
    sample = chunks.take(sample_rows(chunks.num_rows))
    with LexicalReader(roots["lexical_index"]) as reader:
        found = len(reader)
        problems = [] if found == chunks.num_rows else [f"{found} documents for {chunks.num_rows} chunks"]
        documents = reader.documents(sample["id"].to_pylist())
    problems.extend(
        f"the document of chunk {document['id']} is of {document['uri']}"
        for document, uri in zip(documents, sample["uri"].to_pylist(), strict=True)
        if document["uri"] != uri
    )
    return finding(problems, documents=found)


def ids_agree(roots: Roots) -> Finding:
    """Chunks, vectors and idmap hold the same ids."""
    chunk_ids = np.sort(_column(roots[Chunks.asset], Chunks, "id"))
    mapped = pq.read_table(roots[FaissIdmap.asset] / FaissIdmap.FILE, columns=["external_id"])["external_id"].to_numpy()
    problems = []
    if not np.array_equal(chunk_ids, np.sort(mapped)):
        problems.append("the idmap and the chunks hold different ids")
    if not np.array_equal(chunk_ids, np.load(roots[Embeddings.asset] / Embeddings.IDS)):
        problems.append("the vectors and the chunks hold different ids")
    return finding(problems, ids=len(chunk_ids))


_SAME_SCORE = 2e-6
"""Squared distance of unit vectors whose inner product is 1 as far as float32 sums of many dimensions can tell: chunks of one
pattern repeated over and over, each its neighbour's twin but for a last line."""


def self_search(roots: Roots) -> Finding:
    """Sampled chunks' own vectors return the chunk itself, or one with the same vector as far as a score can tell, first."""
    ids = np.load(roots[Embeddings.asset] / Embeddings.IDS, mmap_mode="r")
    if not len(ids):
        return finding(["no indexed file has any text, so there is nothing to search"])
    sample = np.asarray(ids[sample_rows(len(ids))])
    index = VectorIndex.open(roots[FaissIndex.asset], vectors=roots[Embeddings.asset])
    own = index.vectors_of(sample)
    # Whether ids and vectors belong together is asked here, and not how much is found in a hurry.
    found, _ = index.search(own, 1, point=thorough(index.point, index.nlist))
    if not found.shape[1]:
        return finding(["no chunk finds anything"], sample=len(sample))
    known = found[:, 0] >= 0
    first = np.zeros_like(own)
    first[known] = index.vectors_of(found[known, 0])
    wrong = (found[:, 0] != sample) & (np.square(first - own).sum(axis=1) > _SAME_SCORE)
    return finding(
        [f"chunk {int(sample[row])} finds {int(found[row, 0])} first" for row in np.flatnonzero(wrong)], sample=len(sample)
    )


_WARNINGS = (symbol_checks.files_have_precise_symbols, recall_meets_target)

CHECKS: tuple[Check, ...] = tuple(
    Check(function.__name__, asset, inspect.getdoc(function) or "", function, needs, function not in _WARNINGS)
    for function, asset, needs in (
        (sources_match_files, "source_snapshot", ()),
        (nodes_inside_files, "ast_nodes", ("source_snapshot",)),
        (definitions_inside_files, "definitions", ("source_snapshot",)),
        (chunk_ids_unique, "chunks", ()),
        (chunks_gapless, "chunks", ("source_snapshot",)),
        (vectors_finite_unit, "embeddings", ()),
        (vectors_match_chunks, "embeddings", ("chunks",)),
        (faiss_matches_embeddings, "faiss_index", ("embeddings",)),
        (idmap_bijection, "faiss_idmap", ("faiss_index",)),
        (tuning_of_this_index, "tuning", ("faiss_index",)),
        (recall_meets_target, "tuning", ()),
        (documents_match_chunks, "lexical_index", ("chunks",)),
        (token_checks.tokens_match_chunks, "xtr_index", ("chunks",)),
        (channel_checks.splade_matches_chunks, "splade_index", ("chunks",)),
        (symbol_checks.occurrences_inside_files, "scip_occurrences", ("source_snapshot",)),
        (symbol_checks.files_have_precise_symbols, "scip_occurrences", ("source_snapshot", "scip_index")),
        (symbol_checks.cst_inside_files, "cst_nodes", ("source_snapshot",)),
        (symbol_checks.modules_are_indexed_files, "modules", ("source_snapshot",)),
        (symbol_checks.defining_identifiers_in_one_chunk, "chunk_symbols", ("chunks", "scip_occurrences")),
        (symbol_checks.symbol_counts_agree, "chunk_symbols", ("chunks", "scip_occurrences")),
        (symbol_checks.edges_start_in_chunked_files, "symbol_edges", ("chunks",)),
        (quality_checks.channels_answer, "eval_metrics", ()),
        (quality_checks.vectors_of_embedder, "eval_metrics", ()),
    )
)
"""The checks of single assets; each needs only the asset itself and its direct inputs."""

VERSION_CHECKS: tuple[Check, ...] = tuple(
    Check(function.__name__, "current", inspect.getdoc(function) or "", function, needs)
    for function, needs in (
        (ids_agree, ("chunks", "embeddings", "faiss_idmap")),
        (self_search, ("embeddings", "faiss_index")),
    )
)
"""The checks of a version as a whole."""
