"""Which files an index was made of, and where in it their documents begin: `scip/<language>.covered`, beside the index.

An index stays in use while the repository moves on. It knows a file only while that has the bytes that it had, so the hashes
of what the indexer was given are kept, and compared. That the documents of a part are found without reading the index keeps
small builds small.

Belongs here: that table, writing, reading and comparing it. Not here: what became of indexers (`outcomes`).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import tables
from pipeline.schemas import Files, ScipIndex
from pipeline.structure.scip.reader import Contents

TAG = "scip_index.covered/1"
SCHEMA = pa.schema([
    pa.field("uri", pa.string()),
    pa.field("slot", pa.uint8(), nullable=False),
    pa.field("content_hash", pa.binary(32)),
    pa.field("start", pa.int64()),
])  # fmt: skip
"""A row for each file that the indexer was given, and for each document.

`uri` is null for external symbols; `slot` is the part of the uri were there 256; `content_hash` is null for documents of files
that the snapshot did not have, and in supplied indexes, of which nobody knows what they were made of; `start`, the byte that
the document begins at, is null for files without one.
"""
_INDEXED = "indexed"


def path_in(root: Path, language: str) -> Path:
    """Where the table lies in the folder of a version or of an object of `scip_index`."""
    return root / ScipIndex.DIRECTORY / f"{language}.covered"


def listed(source: Path) -> pa.Table:
    """(uri, lang, content_hash) of all indexed files of a snapshot."""
    rows = pa.concat_tables(
        [tables.plain(part) for part in tables.read_parts(source, Files, ["uri", "lang", "content_hash", "status"])]
    )
    return rows.filter(pc.equal(rows["status"], _INDEXED)).drop_columns(["status"]).combine_chunks()


def of_languages(files: pa.Table, languages: tuple[str, ...]) -> pa.Table:
    """Those of `listed` that are of some languages."""
    return files.filter(pc.is_in(files["lang"], value_set=pa.array(languages, pa.string())))


def write(root: Path, language: str, given: pa.Table, contents: Contents | None) -> None:
    """Write the table: files (uri, content_hash) that the indexer was given, and what its index has, if there is one."""
    places: dict[str | None, list[int | None]] = {uri: [] for uri in given["uri"].to_pylist()}
    if contents is not None:
        for path, start in zip(contents.paths, contents.starts.tolist(), strict=True):
            places.setdefault(posixpath.normpath(path), []).append(start)
        places[None] = contents.external.tolist()
    hashes = dict(zip(given["uri"].to_pylist(), given["content_hash"].to_pylist(), strict=True))
    rows = sorted(
        ((uri, start) for uri, starts in places.items() for start in ([None] if uri is not None and not starts else starts)),
        key=lambda row: (row[0] is None, row[0] or "", row[1] or 0),
    )
    columns = {
        "uri": pa.array([uri for uri, _ in rows], pa.string()),
        "slot": pa.array([0 if uri is None else tables.part_of(uri, tables.MAX_PARTS) for uri, _ in rows], pa.uint8()),
        "content_hash": pa.array([hashes.get(uri) if uri is not None else None for uri, _ in rows], pa.binary(32)),
        "start": pa.array([start for _, start in rows], pa.int64()),
    }
    tables.write_parquet(path_in(root, language), pa.table(columns, schema=SCHEMA), TAG)


def read(root: Path, language: str) -> pa.Table:
    """The table. Raises IndexCorruptionError when it is missing or damaged, IndexFormatError when it is of another kind."""
    return tables.read_file(path_in(root, language), TAG)


def described(covered: pa.Table) -> pa.StringArray:
    """The files that have documents."""
    return pc.unique(covered["uri"].filter(pc.is_valid(covered["start"]))).drop_null()


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of the files that an indexer was given: uris, ascending. `given` is how many they were."""

    changed: list[str]
    added: list[str]
    gone: list[str]
    given: int

    @property
    def share(self) -> float:
        """How much of what was indexed is not as it was."""
        return (len(self.changed) + len(self.added) + len(self.gone)) / max(self.given, 1)


def compare(covered: pa.Table, now: pa.Table) -> Moved:
    """What is different in the files (uri, content_hash) of a snapshot from those that the indexer was given."""
    then = covered.filter(pc.is_valid(covered["content_hash"]))
    # A file with two documents is one file.
    distinct = np.unique(one_of_each(then["uri"]))
    then = then.take(pa.array(distinct))
    place = pc.index_in(now["uri"], value_set=then["uri"].combine_chunks())
    known = pc.is_valid(place)
    before = then["content_hash"].take(place)
    changed = now["uri"].filter(pc.fill_null(pc.not_equal(before, now["content_hash"]), False))
    there = pc.is_in(then["uri"], value_set=now["uri"].combine_chunks())
    added, gone = now["uri"].filter(pc.invert(known)), then["uri"].filter(pc.invert(there))
    return Moved(sorted(changed.to_pylist()), sorted(added.to_pylist()), sorted(gone.to_pylist()), then.num_rows)


def one_of_each(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A row of each value."""
    codes = column.combine_chunks().dictionary_encode()
    codes = codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes
    _, first = np.unique(codes.indices.to_numpy(), return_index=True)
    return np.asarray(first, np.int64)
