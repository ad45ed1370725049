"""What lies in the index: bytes and files inside of chunks, definitions inside of chunks that every index has.

Exact, over everything, by whole columns.

Belongs here: arithmetic over artefacts. Not here: searching (`looking`), the tree of modules (`modules`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.columns import among, codes_of
from pipeline.embed.arrays import open_arrays
from pipeline.index.lexical import LexicalReader
from pipeline.index.splade import index_files
from pipeline.index.xtr.description import read_meta
from pipeline.index.xtr.token_index import TokenIndex
from pipeline.schemas import (
    Chunks,
    Definitions,
    Embeddings,
    FaissIdmap,
    Files,
    LexicalIndex,
    Snapshot,
    SpladeIndex,
    Table,
    XtrIndex,
)
from pipeline.source.selection import IGNORED, INDEXED
from pipeline.structure.kinds import CLASS_LIKE, FUNCTION_LIKE, KINDS

COUNTED = (CLASS_LIKE | FUNCTION_LIKE | {"type"}) & frozenset(KINDS)
"""Kinds of definitions that are counted: what people look for by what it does. Not data, not what only holds others."""

Numbers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]
Roots = Mapping[str, Path]
"""Asset -> folder of its artefact."""
Indexes = Mapping[str, Numbers | None]
"""Index -> the ids of the chunks that it has; None: of all."""
_DEFINED = ("uri", "name", "qualified_name", "kind", "doc", "start_byte", "end_byte", "start_line", "end_line")
LEXICAL = "lexical"
"""The index that every version has."""
_FILE = 1 << 32
"""A place is the number of its file times this, and the byte: places of all files are compared at once."""


@dataclass(frozen=True, slots=True)
class FileRows:
    """The files of the tree that are not ignored, [f]; what is in chunks is counted in `indexed_bytes`."""

    uris: list[str]
    langs: list[str]
    """Empty for files without one."""
    bytes: Numbers
    indexed_bytes: Numbers
    indexed: Truths
    skipped: dict[str, int]
    """Files by reason, the ignored ones among them."""
    left_out: Sequence[tuple[str, str]] = ()
    """Uri and reason of each of those."""


@dataclass(frozen=True, slots=True)
class ChunkRows:
    """Chunks [m] by file and place, with the numbers of their files."""

    ids: Numbers
    files: Numbers
    starts: Numbers
    ends: Numbers
    hashes: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class DefinitionRows:
    """Counted definitions [n] as columns. A definition overlaps the chunks of rows `first` to `last` (half-open)."""

    files: Numbers
    names: list[str]
    qualified: list[str]
    kinds: list[str]
    docs: list[str]
    start_line: Numbers
    end_line: Numbers
    first: Numbers
    last: Numbers
    chunked: Truths
    """Whether each byte of it lies inside of a chunk."""
    missing: dict[str, Truths]
    """Index -> whether it lacks one of the definition's chunks."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def covered(self) -> Truths:
        """Chunked, and each chunk in every index."""
        return np.asarray(np.logical_and.reduce([self.chunked, *(~lacking for lacking in self.missing.values())]))


@dataclass(frozen=True, slots=True)
class NameRows:
    """Names of definitions of all kinds [a], also those that are not counted, and the chunks that each overlaps."""

    names: list[str]
    first: Numbers
    last: Numbers


@dataclass(frozen=True, slots=True)
class Structure:
    """What there is, and where it lies. `places` [n]: the row of `named` that each of the definitions is."""

    files: FileRows
    chunks: ChunkRows
    definitions: DefinitionRows
    named: NameRows
    places: Numbers


def structure_of(roots: Roots, indexes: Indexes, parts: Sequence[int] | None = None) -> Structure:
    """Read the artefacts: all, or some parts of the tables, which are cut alike. `indexes` as `indexes_of` has them."""
    listed = tables.plain(_read(roots[Snapshot.asset], Files, ["uri", "lang", "size", "status", "reason"], parts))
    rows = listed.filter(pa.array([reason != IGNORED for reason in listed["reason"].to_pylist()], pa.bool_()))
    reasons = zip(listed["uri"].to_pylist(), listed["reason"].to_pylist(), strict=True)
    left_out = [(uri, reason) for uri, reason in reasons if reason is not None]
    uris = rows["uri"].to_pylist()
    number_of = {uri: number for number, uri in enumerate(uris)}
    chunks = _chunks(roots[Chunks.asset], number_of, parts)
    sizes = rows["size"].fill_null(0).to_numpy().astype(np.int64)
    inside = np.bincount(chunks.files, _new_bytes(chunks), len(uris)).astype(np.int64)
    files = FileRows(
        uris,
        [lang or "" for lang in rows["lang"].to_pylist()],
        sizes,
        np.minimum(inside, sizes),
        np.array([status == INDEXED for status in rows["status"].to_pylist()], np.bool_),
        dict(sorted(Counter(reason for _, reason in left_out).items())),
        left_out,
    )
    absent = {
        name: np.zeros(len(chunks.ids), np.bool_) if ids is None else ~np.isin(chunks.ids, ids) for name, ids in indexes.items()
    }
    rows = _read(roots[Definitions.asset], Definitions, _DEFINED, parts)
    return Structure(files, chunks, *_definitions(rows, number_of, chunks, absent))


def _numbers(column: pa.ChunkedArray, number_of: Mapping[str, int]) -> Numbers:
    """The numbers of the files that a column names."""
    codes, words = codes_of(column)
    numbers = np.array([number_of.get(word, -1) for word in words.to_pylist()], np.int64)
    return numbers[codes] if len(codes) else codes


def _read(root: Path, kind: type[Table], columns: Sequence[str], parts: Sequence[int] | None) -> pa.Table:
    if parts is None:
        return tables.read_columns(root, kind, columns)
    empty = kind.schema.empty_table().select(columns)
    paths = (tables.part_path(root / kind.name, part) for part in parts)
    return pa.concat_tables([empty, *(tables.read_part(path, kind, columns) for path in paths)])


def _chunks(root: Path, number_of: Mapping[str, int], parts: Sequence[int] | None) -> ChunkRows:
    rows = _read(root, Chunks, ["id", "uri", "start_byte", "end_byte", "content_hash"], parts)
    files = _numbers(rows["uri"], number_of)
    starts, ends = (rows[name].to_numpy().astype(np.int64) for name in ("start_byte", "end_byte"))
    order = np.lexsort((ends, starts, files))
    ids, hashes = rows["id"].to_numpy(), rows["content_hash"].to_numpy()
    return ChunkRows(ids[order], files[order], starts[order], ends[order], hashes[order])


def _reach(chunks: ChunkRows) -> Numbers:
    """How far each chunk and those before it reach, as places: ascending, also where chunks overlap."""
    return np.maximum.accumulate(chunks.files * _FILE + chunks.ends)


def _new_bytes(chunks: ChunkRows) -> Numbers:
    """Bytes of each chunk that no chunk before it has."""
    starts, ends = chunks.files * _FILE + chunks.starts, chunks.files * _FILE + chunks.ends
    before = np.concatenate([np.full(min(1, len(ends)), -1, np.int64), _reach(chunks)[:-1]])
    return np.asarray(np.maximum(ends - np.maximum(starts, before), 0))


def indexes_of(roots: Roots) -> dict[str, Numbers]:
    """The ids of the chunks that each index has, by the index's name; only those that are on."""
    with LexicalReader(roots[LexicalIndex.asset]) as reader:
        return {LEXICAL: reader.ids(), **array_indexes_of(roots)}


def array_indexes_of(roots: Roots) -> dict[str, Numbers]:
    """As `indexes_of`, of those that have their ids in arrays: all but the lexical one, which has to be asked for each."""
    found: dict[str, Numbers] = {}
    mapped = pq.read_table(roots[FaissIdmap.asset] / FaissIdmap.FILE, columns=["external_id"])["external_id"].to_numpy()
    ids = open_arrays(roots[Embeddings.asset])[0]
    found["vectors"] = ids[among(ids, np.sort(mapped))]
    splade = index_files.read_meta(roots[SpladeIndex.asset])
    if splade.encoder is not None:
        found["splade"] = index_files.open_postings(roots[SpladeIndex.asset], splade, verified=True).ids
    if read_meta(roots[XtrIndex.asset]).encoder is not None:
        found["xtr"] = TokenIndex.open(roots[XtrIndex.asset], verified=True).ids
    return found


def _definitions(
    rows: pa.Table, number_of: Mapping[str, int], chunks: ChunkRows, absent: Mapping[str, Truths]
) -> tuple[DefinitionRows, NameRows, Numbers]:
    """The counted definitions, the names of all, and which of these the counted ones are."""
    codes, words = codes_of(rows["kind"])
    counted = np.array([word in COUNTED for word in words.to_pylist()], np.bool_)
    places = np.flatnonzero(counted[codes]) if len(codes) else np.zeros(0, np.int64)
    files = _numbers(rows["uri"], number_of)
    start, end, start_line, end_line = (rows[name].to_numpy().astype(np.int64) for name in _DEFINED[5:])
    start, end = files * _FILE + start, files * _FILE + end
    starts, reach = chunks.files * _FILE + chunks.starts, _reach(chunks)
    first, last = reach.searchsorted(start, "right"), starts.searchsorted(end, "left")
    last = np.maximum(first, last)
    named = NameRows(rows["name"].to_pylist(), first, last)
    rows, first, last = rows.take(pa.array(places)), first[places], last[places]
    found = DefinitionRows(
        files[places],
        rows["name"].to_pylist(),
        rows["qualified_name"].to_pylist(),
        rows["kind"].to_pylist(),
        rows["doc"].to_pylist(),
        start_line[places],
        end_line[places],
        first,
        last,
        _whole(starts, reach, start[places], end[places], first, last),
        {name: _sums(lacking)[last] > _sums(lacking)[first] for name, lacking in absent.items()},
    )
    return found, named, places


def _whole(starts: Numbers, reach: Numbers, start: Numbers, end: Numbers, first: Numbers, last: Numbers) -> Truths:
    """Whether chunks cover each span without a gap: all places."""
    if not len(starts):
        return np.zeros(len(start), np.bool_)
    opens = starts.take(first, mode="clip") <= start
    closes = reach.take(last - 1, mode="clip") >= end
    gaps = _sums(np.concatenate([[False], starts[1:] > reach[:-1]]))
    between = gaps[last] - gaps[np.minimum(first + 1, last)]
    return np.asarray((last > first) & opens & closes & (between == 0))


def _sums(truths: Truths) -> Numbers:
    """How many are true before each place, int64 [n + 1]."""
    return np.concatenate([[0], np.cumsum(truths)]).astype(np.int64)
