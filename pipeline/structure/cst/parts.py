"""One part of `cst_nodes`: linked, when it was made before; else put together from rows made before and rows read now.

Equal files give equal bytes, whichever way they took.

Belongs here: going from the files of a part to its table. Not here: the parts that were made before (`part_cache`), reading
with libcst (`reading`), and what all parts together say (`stage`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.schemas import CstNodes, Files, Sources
from pipeline.source.selection import INDEXED
from pipeline.structure.cst import part_cache
from pipeline.structure.cst.part_cache import Place, Summary

_READ_NOW = ""
"""Instead of the key of a part: the table of what was read now."""
_BODY = pa.schema([field for field in CstNodes.schema if field.name != "uri"])


@dataclass(frozen=True, slots=True)
class Members:
    """The Python files of one part in the order of their uris, as columns of equal length."""

    uris: list[str]
    contents: list[bytes]
    """Content hashes."""
    sizes: list[int]
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to make a part of."""

    sources: Path
    """The part of `sources` that holds the files."""
    folder: Path
    """Of the table."""
    part: int
    members: Members
    key: str
    """The name of this part among those that were made before."""
    cache: Path | None
    """The folder of those."""
    whole: bool
    """Whether this very part is among them."""
    places: Mapping[bytes, Place]
    """Content hash -> where its rows are, when not."""

    @property
    def target(self) -> Path:
        """The file to write."""
        return tables.part_path(self.folder, self.part)

    @property
    def unread_bytes(self) -> int:
        """How much source there is to read."""
        if self.whole:
            return 0
        columns = zip(self.members.contents, self.members.sizes, strict=True)
        return sum(size for content, size in columns if content not in self.places)


def members_of(part: Path) -> Members:
    """The Python files of one part of `files`."""
    table = tables.read_part(part, Files, ["uri", "lang", "size", "content_hash", "status"])
    wanted = pc.and_(_is(table["lang"], "python"), _is(table["status"], INDEXED))
    table = table.filter(wanted)
    return Members(*(table[name].to_pylist() for name in ("uri", "content_hash", "size")))


def _is(column: pa.ChunkedArray, word: str) -> pa.ChunkedArray:
    return pc.equal(column.cast(pa.string()), word)


def write(job: Job) -> Summary:
    """Write the part of a job."""
    job.folder.mkdir(parents=True, exist_ok=True)
    if job.cache is not None and job.whole and (summary := part_cache.link(job.cache, job.key, job.target)):
        return summary
    summary = _make(job)
    if job.cache is not None:
        part_cache.store(job.cache, job.key, job.members.contents, summary, job.target)
    return summary


def _make(job: Job) -> Summary:
    made = _made_before(job)
    known = {content: place for content, place in job.places.items() if not place.rows or place.key in made}
    unread = [uri for uri, content in zip(job.members.uris, job.members.contents, strict=True) if content not in known]
    made[_READ_NOW], now = _read_now(job.sources, unread)
    places = [
        known[content] if content in known else now[uri]
        for uri, content in zip(job.members.uris, job.members.contents, strict=True)
    ]
    rows = [place.rows for place in places]
    table = _table(job.members.uris, rows, _pieces(places, made))
    tables.write_part(job.folder, CstNodes, job.part, table)
    counts = pc.value_counts(table["kind"].cast(pa.string())).to_pylist()
    return Summary(
        rows=rows,
        reasons=[place.reason for place in places if place.reason is not None],
        kinds={count["values"]: count["counts"] for count in counts},
    )


def _made_before(job: Job) -> dict[str, pa.Table]:
    """The parts that rows are taken from, by key, those that can be trusted."""
    keys = sorted({place.key for place in job.places.values() if place.rows})
    if job.cache is None:
        return {}
    return {key: table for key in keys if (table := part_cache.read(job.cache, key)) is not None}


def _read_now(sources: Path, uris: Sequence[str]) -> tuple[pa.Table, dict[str, Place]]:
    """The rows of files that have to be read, and where in them those of each file are."""
    if not uris:
        return _BODY.empty_table(), {}
    # Takes 0.13 s, which a build that reads no file is spared.
    from pipeline.structure.cst.reading import read_files

    table = tables.read_part(sources, Sources, ["uri", "content"])
    table = table.filter(pc.is_in(table["uri"], pa.array(uris, pa.string())))
    rows_table, rows, reasons = read_files(table)
    places: dict[str, Place] = {}
    start, left = 0, iter(reasons)
    for uri, count in zip(table["uri"].to_pylist(), rows, strict=True):
        places[uri] = Place(_READ_NOW, start, count, None if count else next(left))
        start += count
    return rows_table, places


def _pieces(places: Iterable[Place], made: Mapping[str, pa.Table]) -> list[pa.Table]:
    """The rows of the places, in their order; neighbours in one table stay together."""
    spans: list[tuple[str, int, int]] = []
    for place in places:
        if not place.rows:
            continue
        end = place.start + place.rows
        if spans and spans[-1][0] == place.key and spans[-1][2] == place.start:
            spans[-1] = (place.key, spans[-1][1], end)
        else:
            spans.append((place.key, place.start, end))
    return [made[key].slice(start, end - start) for key, start, end in spans]


def _table(uris: Sequence[str], rows: Sequence[int], pieces: Sequence[pa.Table]) -> pa.Table:
    """The pieces as one table in the schema of `CstNodes`."""
    if not pieces:
        return CstNodes.schema.empty_table()
    body = pa.concat_tables([piece.cast(_BODY) for piece in pieces])
    indices = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
    uri = pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(uris, pa.string()))
    return body.add_column(0, CstNodes.schema.field("uri"), uri)
