"""One part of `cst_nodes`: linked, when it was made before; else put together from rows made before and rows read now.

Rows that were made before come from this very part as it was in the earlier result, where there is one, or from the cache.

Equal files give equal bytes, whichever way they took.

Belongs here: going from the files of a part to its table. Not here: the parts that were made before (`part_cache`), reading
with libcst (`reading`), and what all parts together say (`stage`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.columns import runs
from pipeline.schemas import CstNodes, Files, Sources
from pipeline.source.selection import INDEXED
from pipeline.structure.cst import part_cache
from pipeline.structure.cst.part_cache import Place, Summary

_READ_NOW, _EARLIER = "", "earlier"
"""Instead of the key of a part: the table of what was read now, and the part as it was."""
_BODY = pa.schema([field for field in CstNodes.schema if field.name != "uri"])


class PartFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a part says of itself."""

    files: int
    """Files that have rows."""
    rejected: dict[str, str]
    """uri -> reason of the others."""
    nodes_by_kind: dict[str, int]

    def counts(self) -> dict[str, Any]:
        """As the facts of the stage."""
        return {
            "files": self.files,
            "rejected": len(self.rejected),
            "nodes": sum(self.nodes_by_kind.values()),
            "nodes_by_kind": self.nodes_by_kind,
        }


EMPTY = PartFacts(0, {}, {})
"""Of a part without Python files."""


def read_facts(part: Path) -> PartFacts:
    """What a part says of itself."""
    return msgspec.convert(tables.part_facts(part), PartFacts)


class Before(NamedTuple):
    """The part as it was, and the files of it that are the same now."""

    table: Path
    same: frozenset[str]


@dataclass(frozen=True, slots=True)
class Members:
    """The Python files of one part in the order of their uris, as columns of equal length."""

    uris: list[str]
    contents: list[bytes]
    """Content hashes."""
    sizes: list[int]
    """Bytes."""

    def new(self, before: Before | None) -> list[bytes]:
        """The contents of the files that are not the same as before."""
        same = before.same if before is not None else frozenset()
        return [content for uri, content in zip(self.uris, self.contents, strict=True) if uri not in same]


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
    before: Before | None = None

    @property
    def target(self) -> Path:
        """The file to write."""
        return tables.part_path(self.folder, self.part)

    @property
    def unread_bytes(self) -> int:
        """How much source there is to read."""
        if self.whole:
            return 0
        new = {content for content in self.members.new(self.before) if content not in self.places}
        columns = zip(self.members.contents, self.members.sizes, strict=True)
        return sum(size for content, size in columns if content in new)


def members_of(part: Path) -> Members:
    """The Python files of one part of `files`."""
    table = tables.read_part(part, Files, ["uri", "lang", "size", "content_hash", "status"])
    wanted = pc.and_(_is(table["lang"], "python"), _is(table["status"], INDEXED))
    table = table.filter(wanted)
    return Members(*(table[name].to_pylist() for name in ("uri", "content_hash", "size")))


def _is(column: pa.ChunkedArray, word: str) -> pa.ChunkedArray:
    return pc.equal(column.cast(pa.string()), word)


def write(job: Job) -> PartFacts:
    """Write the part of a job."""
    job.folder.mkdir(parents=True, exist_ok=True)
    if job.cache is not None and job.whole and (summary := part_cache.link(job.cache, job.key, job.target)):
        return _facts(job.members, summary)
    summary = _make(job)
    if job.cache is not None:
        part_cache.store(job.cache, job.key, job.members.contents, summary, job.target)
    return _facts(job.members, summary)


def _facts(members: Members, summary: Summary) -> PartFacts:
    without = [uri for uri, rows in zip(members.uris, summary.rows, strict=True) if not rows]
    rejected = dict(zip(without, summary.reasons, strict=True))
    return PartFacts(len(members.uris) - len(rejected), rejected, dict(sorted(summary.kinds.items())))


def _make(job: Job) -> Summary:
    made = _made_before(job)
    known, earlier = _known_before(job)
    if earlier is not None:
        made[_EARLIER] = earlier
    places_of = {content: place for content, place in job.places.items() if not place.rows or place.key in made}
    for uri, content in zip(job.members.uris, job.members.contents, strict=True):
        if uri not in known and content in places_of:
            known[uri] = places_of[content]
    made[_READ_NOW], now = _read_now(job.sources, [uri for uri in job.members.uris if uri not in known])
    places = [known[uri] if uri in known else now[uri] for uri in job.members.uris]
    rows = [place.rows for place in places]
    table = _table(job.members.uris, rows, _pieces(places, made))
    counts = pc.value_counts(table["kind"].cast(pa.string())).to_pylist()
    summary = Summary(
        rows=rows,
        reasons=[place.reason for place in places if place.reason is not None],
        kinds={count["values"]: count["counts"] for count in counts},
    )
    facts = msgspec.to_builtins(_facts(job.members, summary))
    tables.write_part(job.folder, CstNodes, job.part, table, facts=facts)
    return summary


def _known_before(job: Job) -> tuple[dict[str, Place], pa.Table | None]:
    """uri -> where in the part as it was the rows of an unchanged file are, and the rows of that part, where there is one."""
    if job.before is None or not job.before.same:
        return {}, None
    told = read_facts(job.before.table)
    table = tables.read_part(job.before.table, CstNodes)
    found = {uri: Place(_EARLIER, at.start, at.stop - at.start, None) for uri, at in runs(table["uri"]).items()}
    found |= {uri: Place(_EARLIER, 0, 0, why) for uri, why in told.rejected.items()}
    return {uri: place for uri, place in found.items() if uri in job.before.same}, table.drop_columns(["uri"])


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
