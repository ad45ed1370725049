"""What must hold: pure checks over artefacts, used by the asset checks in Dagster, by publication and by `verify`.

A check gets the folder of every asset that it needs (an object's, or a version's: names in them are the same) and says what
is wrong. It never repairs and never raises for bad content.

Belongs here: invariants of artefacts. Not here: digests (`store`), the order and consequences of checks (`verification`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.chunks.contents import text_slices
from pipeline.index.lexical import LexicalReader
from pipeline.index.tuning.document import read_tuning
from pipeline.release import channel_checks, quality_checks, symbol_checks, token_checks, vector_checks
from pipeline.release.findings import (
    MOST_PROBLEMS,
    ByPart,
    Finding,
    Subject,
    by_part,
    file_sizes,
    finding,
    name_of,
    outside,
    sample_rows,
)
from pipeline.schemas import AstNodes, Chunks, Definitions, FaissIdmap, Files, Sources, Tuning
from pipeline.source.entries import hash_of
from pipeline.store import readings

CURRENT = "current"
"""The last asset, which has no artefact: its checks are about the others together."""
SAMPLED_PARTS = 8
"""Parts that a sample of chunks is taken from."""


@dataclass(frozen=True, slots=True)
class Check:
    """A named invariant of one asset, and the other assets that it looks at."""

    name: str
    asset: str
    description: str
    function: Callable[[Subject], Finding]
    needs: tuple[str, ...] = ()
    blocking: bool = True
    """Whether nothing may be published while it fails; else it warns."""

    def run(self, subject: Subject) -> Finding:
        """The finding; an artefact that cannot be read is a problem, not an exception.

        Where the subject knows its digests, what passed once, in whatever process, passes; a check by part asks for each part.
        """
        if isinstance(self.function, ByPart):
            return self._find(subject)
        digests = subject.digests(self.needs if self.asset == CURRENT else (self.asset, *self.needs))
        key = None if digests is None else readings.key_of(name_of(self.function), digests)
        if key is not None and (passed := readings.known(key)) is not None:
            return Finding((), passed)
        found = self._find(subject)
        # A problem may be the disk's or the memory's, and gone the next time.
        if key is not None and found.passed:
            readings.note(key, found.facts)
        return found

    def _find(self, subject: Subject) -> Finding:
        try:
            return self.function(subject)
        except Exception as error:  # Every library underneath has its own ways to fail on bad content.
            return Finding((f"{self.name}: {str(error) or type(error).__name__}",))


@by_part(Files, Sources)
def sources_match_files(files_path: Path, sources_path: Path) -> Finding:
    """Every indexed file has its bytes in `sources`, with the size and hash that `files` says."""
    listed = tables.read_part(files_path, Files, ["uri", "size", "content_hash", "status"])
    indexed = listed.filter(pc.equal(listed["status"].cast(pa.string()), "indexed"))
    stored = tables.read_part(sources_path, Sources, ["uri", "content"])
    uris = stored["uri"].to_pylist()
    if indexed["uri"].to_pylist() != uris:
        return finding([f"{sources_path.name}: the indexed files and the stored sources differ"], files=len(uris))
    rows = zip(uris, indexed["size"].to_pylist(), indexed["content_hash"].to_pylist(), stored["content"], strict=True)
    problems = [
        f"{uri}: the stored bytes are not those that were scanned"
        for uri, size, expected, content in rows
        if len(data := content.as_buffer()) != size or hash_of(data) != expected
    ]
    return finding(problems, files=len(uris))


@by_part(Files, AstNodes)
def nodes_inside_files(files_path: Path, nodes_path: Path) -> Finding:
    """Syntax nodes lie inside their files, and parents come before their children."""
    nodes = tables.read_part(nodes_path, AstNodes, ["uri", "node_id", "parent_id", "start_byte", "end_byte"])
    problems = list(outside(nodes.select(["uri", "start_byte", "end_byte"]), file_sizes(files_path), "node"))
    if nodes.num_rows and not pc.all(pc.less(nodes["parent_id"], nodes["node_id"])).as_py():
        problems.append(f"{nodes_path.name}: a node comes before its parent")
    return finding(problems, nodes=nodes.num_rows)


@by_part(Files, Definitions)
def definitions_inside_files(files_path: Path, path: Path) -> Finding:
    """Definitions lie inside their files, and their names inside them."""
    columns = ["uri", "start_byte", "end_byte", "name_start_byte", "start_line", "end_line"]
    found = tables.read_part(path, Definitions, columns)
    problems = list(outside(found.select(columns[:3]), file_sizes(files_path), "definition"))
    inside = pc.and_(
        pc.and_(pc.greater_equal(found["name_start_byte"], found["start_byte"]),
                pc.less_equal(found["name_start_byte"], found["end_byte"])),
        pc.and_(pc.greater_equal(found["start_line"], 1), pc.greater_equal(found["end_line"], found["start_line"])),
    )  # fmt: skip
    if found.num_rows and not pc.all(inside).as_py():
        problems.append(f"{path.name}: a definition's name or lines lie outside it")
    return finding(problems, definitions=found.num_rows)


def chunk_ids_unique(subject: Subject) -> Finding:
    """Ids are positive and unique in the repository."""
    ids = subject.chunk_ids
    problems = []
    if ids.size and int(ids.min()) <= 0:
        problems.append("a chunk's id is not positive")
    if repeated := np.count_nonzero(np.diff(np.sort(ids)) == 0):
        problems.append(f"{repeated} chunk ids are used twice")
    return finding(problems, chunks=len(ids))


@by_part(Files, Chunks, Sources)
def chunks_gapless(files_path: Path, path: Path, sources_path: Path) -> Finding:
    """The chunks of each indexed file follow one another from its first byte to its last, and their text is those bytes."""
    sizes = {uri: size for uri, size in file_sizes(files_path).items() if size}
    whole = tables.read_part(path, Chunks, ["uri", "start_byte", "end_byte", "content"])
    chunks = tables.plain(whole.select(["uri", "start_byte", "end_byte"]))
    chunks = chunks.sort_by([("uri", "ascending"), ("start_byte", "ascending")])
    uris = chunks["uri"].combine_chunks()
    starts, ends = chunks["start_byte"].to_numpy(), chunks["end_byte"].to_numpy()
    codes = uris.dictionary_encode()
    first = np.r_[True, np.diff(codes.indices.to_numpy()) != 0][: len(starts)]
    last = np.r_[first[1:], True][: len(starts)]
    names = codes.dictionary.to_pylist()
    if names != sorted(sizes):
        odd = sorted(set(names) ^ set(sizes))
        return finding([f"{uri}: has no chunks, or chunks without a file" for uri in odd], chunks=len(starts))
    problems = list(_other_text(tables.read_part(sources_path, Sources), whole))
    expected_start = np.where(first, 0, np.r_[0, ends[:-1]][: len(starts)])
    wrong = (starts != expected_start) | (ends <= starts)
    wrong[last] |= ends[last] != np.array([sizes[name] for name in names], dtype=np.int64)
    problems.extend(
        f"{uris[int(row)].as_py()}: gap, overlap or empty chunk at byte {int(starts[row])}"
        for row in np.flatnonzero(wrong)[:MOST_PROBLEMS]
    )
    return finding(problems, chunks=len(starts))


def _other_text(sources: pa.Table, chunks: pa.Table) -> Iterator[str]:
    """Chunks whose text is not that of their bytes."""
    contents = zip(sources["uri"].to_pylist(), sources["content"].to_pylist(), sources["lang"].to_pylist(), strict=True)
    # Decoding is per file, and how it is sliced depends on the encoding: hence a loop.
    slices = {uri: text_slices(content, lang) for uri, content, lang in contents}
    columns = ("uri", "start_byte", "end_byte", "content")
    for uri, start, end, content in zip(*(chunks[name].to_pylist() for name in columns), strict=True):
        if slices[uri](start, end) != content:
            yield f"{uri}: the chunk at byte {start} does not hold the text of the file"


def recall_meets_target(subject: Subject) -> Finding:
    """The index is exact, or the lower bound of its recall at the operating point is at least the target."""
    tuned = read_tuning(subject[Tuning.asset])
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


def documents_match_chunks(subject: Subject) -> Finding:
    """The lexical index has one document for every chunk; sampled ones are of the same file."""
    parts = subject.parts(Chunks)
    sampled = [tables.read_part(parts[part], Chunks, ["id", "uri"]) for part in sample_rows(len(parts), SAMPLED_PARTS)]
    chunks = pa.concat_tables([tables.plain(part) for part in sampled])
    sample = chunks.take(sample_rows(chunks.num_rows))
    expected = len(subject.chunk_ids)
    with LexicalReader(subject["lexical_index"]) as reader:
        found = len(reader)
        problems = [] if found == expected else [f"{found} documents for {expected} chunks"]
        documents = reader.documents(sample["id"].to_pylist())
    problems.extend(
        f"the document of chunk {document['id']} is of {document['uri']}"
        for document, uri in zip(documents, sample["uri"].to_pylist(), strict=True)
        if document["uri"] != uri
    )
    return finding(problems, documents=found)


def ids_agree(subject: Subject) -> Finding:
    """Chunks, vectors and idmap hold the same ids."""
    chunk_ids = np.sort(subject.chunk_ids)
    path = subject[FaissIdmap.asset] / FaissIdmap.FILE
    mapped = tables.read_file(path, FaissIdmap.tag(), ["external_id"])["external_id"].to_numpy()
    problems = []
    if not np.array_equal(chunk_ids, np.sort(mapped)):
        problems.append("the idmap and the chunks hold different ids")
    if not np.array_equal(chunk_ids, subject.vector_ids):
        problems.append("the vectors and the chunks hold different ids")
    return finding(problems, ids=len(chunk_ids))


_WARNINGS = (symbol_checks.files_have_precise_symbols, recall_meets_target)

CHECKS: tuple[Check, ...] = tuple(
    Check(function.__name__, asset, inspect.getdoc(function) or "", function, needs, function not in _WARNINGS)
    for function, asset, needs in (
        (sources_match_files, "source_snapshot", ()),
        (nodes_inside_files, "ast_nodes", ("source_snapshot",)),
        (definitions_inside_files, "definitions", ("source_snapshot",)),
        (chunk_ids_unique, "chunks", ()),
        (chunks_gapless, "chunks", ("source_snapshot",)),
        (vector_checks.vectors_finite_unit, "embeddings", ()),
        (vector_checks.vectors_match_chunks, "embeddings", ("chunks",)),
        (vector_checks.faiss_matches_embeddings, "faiss_index", ("embeddings",)),
        (vector_checks.idmap_bijection, "faiss_idmap", ("faiss_index",)),
        (vector_checks.tuning_of_this_index, "tuning", ("faiss_index",)),
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
    Check(function.__name__, CURRENT, inspect.getdoc(function) or "", function, needs)
    for function, needs in (
        (ids_agree, ("chunks", "embeddings", "faiss_idmap")),
        (vector_checks.self_search, ("embeddings", "faiss_index")),
    )
)
"""The checks of a version as a whole."""
