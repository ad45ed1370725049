"""The stage `lexical_index`: a Tantivy index over chunks, with the names that are defined in them.

The parts of the tables are taken in groups, and each group is a segment that is made alone. Where all parts of a group are what
they were, its files are links to those of the earlier index: a change costs the segments of the groups that it falls into.
Every segment costs each search a little, so groups are fewer than parts.

Belongs here: from tables to an index directory whose bytes depend on the tables alone. Not here: the fields and the words
(`lexical`), what is indexed of a chunk (`lexical_rows`), Tantivy's files (`lexical_segments`), searching.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import delta, files, tables
from pipeline.columns import runs
from pipeline.config import Settings
from pipeline.index import chunk_files, lexical
from pipeline.index.chunk_files import PartFiles
from pipeline.index.file_roles import roles_alone, with_replaced
from pipeline.index.lexical import Segment
from pipeline.index.lexical_rows import CHUNK_COLUMNS, DEFINITION_COLUMNS, Row, rows_of
from pipeline.index.lexical_segments import files_by_segment, take_segments, write_lists, write_segments
from pipeline.installed import version
from pipeline.schemas import Chunks, Definitions, LexicalIndex
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.kinds import CLASS_LIKE, FUNCTION_LIKE
from pipeline.workers import Runtime, run_jobs

_CHEAPER_THAN_PARSING = 2
"""The threshold for worker processes is in bytes to parse; chunks are stored compressed, and cutting words costs less."""
_OWN_KINDS = pa.array(sorted(CLASS_LIKE | FUNCTION_LIKE | {"type"}))
"""A file that defines one of these has something of its own."""


@dataclass(frozen=True, slots=True)
class _Group:
    """What became of a group of parts: its segments, whose files lie in the index, and the files of its chunks by part."""

    segments: tuple[Segment, ...]
    files: Sequence[PartFiles]


@dataclass(frozen=True, slots=True)
class _Job:
    """The parts of chunks and of definitions of a group, the index's folder, and one of this job's own on the same device."""

    parts: Sequence[tuple[Path, Path]]
    folder: Path
    scratch: Path


def lexical_index(
    chunks: Artefact[Chunks], definitions: Artefact[Definitions], runtime: Runtime, out: Output[LexicalIndex]
) -> Facts:
    """Index every chunk, in table order: a job for each group of parts that has changed."""
    parts = list(zip(tables.parts(chunks.path, Chunks), tables.parts(definitions.path, Definitions), strict=True))
    folder = out.path / LexicalIndex.DIRECTORY
    folder.mkdir(parents=True)
    groups = _linked(chunks, definitions, runtime, folder, len(parts))
    missing = [number for number in range(group_count(len(parts))) if number not in groups]
    jobs = [_Job([parts[part] for part in parts_of(n, len(parts))], folder, out.path / f"group-{n}") for n in missing]
    work = sum(part.stat().st_size for job in jobs for part, _ in job.parts)
    made = run_jobs(_indexed, jobs, runtime, work_bytes=work // _CHEAPER_THAN_PARSING)
    groups |= dict(zip(missing, made, strict=True))

    every = [group for _, group in sorted(groups.items())]
    segments = [segment for group in every for segment in group.segments]
    before = runtime.earlier.outputs[LexicalIndex.asset].path if runtime.earlier else None
    write_lists(folder, segments, like=before and before / LexicalIndex.DIRECTORY)
    listed = [part for group in every for part in group.files]
    uris = [uri for part in listed for uri in part.uris]
    roles = with_replaced(uris, np.concatenate([part.alone for part in listed]))
    chunk_files.write(out.path / LexicalIndex.FILES, listed, roles)
    meta = lexical.LexicalMeta(
        version=lexical.FORMAT,
        documents=sum(segment.documents for segment in segments),
        fields=(*lexical.TEXT_FIELDS, lexical.DEFINES),
        tantivy=version("tantivy"),
        analyzer=lexical.ANALYZER_VERSION,
        groups=tuple(group.segments for group in every),
    )
    (out.path / LexicalIndex.META).write_bytes(files.canonical_json(meta))
    return {"documents": meta.documents, "segments": len(segments)}


def group_count(parts: int) -> int:
    """How many groups so many parts are taken in: 1, 2, 4, 8, 8, 16, 16, 32, 64 of 1, 2, 4 and so on to 256 parts.

    Of 256 parts each may be of any size: there a group is what costs, and one more segment costs little beside its postings.
    """
    doublings = (parts - 1).bit_length()
    return min(parts, 1 << (1 + (doublings + 1) // 2 + doublings // 8))


def parts_of(group: int, parts: int) -> range:
    """The parts that one of the groups is made of."""
    groups = group_count(parts)
    return range(parts * group // groups, parts * (group + 1) // groups)


def segments_of(root: Path, uris: Iterable[str]) -> frozenset[str]:
    """Names of the segments that hold the chunks of these files, in a version or an object beside its `chunks`."""
    groups, parts = lexical.read_meta(root).groups, tables.parts_in(root, Chunks)
    group_of = {part: number for number in range(len(groups)) for part in parts_of(number, parts)}
    numbers = {group_of[tables.part_of(uri, parts)] for uri in uris}
    return frozenset(segment.name for number in numbers for segment in groups[number])


def _linked(
    chunks: Artefact[Chunks], definitions: Artefact[Definitions], runtime: Runtime, folder: Path, parts: int
) -> dict[int, _Group]:
    """The groups that are what they were, by number: the files of their segments are linked into `folder`."""
    earlier = runtime.earlier
    same = delta.unchanged_parts(earlier, (chunks, Chunks), (definitions, Definitions))
    unchanged = [number for number in range(group_count(parts)) if same.issuperset(parts_of(number, parts))]
    if earlier is None or not unchanged:
        return {}
    before = earlier.outputs[LexicalIndex.asset].path
    meta, listed = lexical.read_meta(before), chunk_files.read_parts(before / LexicalIndex.FILES)
    paths = files_by_segment(before / LexicalIndex.DIRECTORY)
    for number in unchanged:
        for path in (path for segment in meta.groups[number] for path in paths[segment.name]):
            files.link_or_copy(path, folder / path.name)
    return {n: _Group(meta.groups[n], [listed[part] for part in parts_of(n, parts)]) for n in unchanged}


def _indexed(job: _Job) -> _Group:
    """Make the segment of a group; its files are in the index's folder then."""
    listed: list[PartFiles] = []

    def rows() -> Iterable[Row]:
        for chunk_part, definition_part in job.parts:
            table = tables.read_part(chunk_part, Chunks, list(CHUNK_COLUMNS))
            defined = tables.read_part(definition_part, Definitions, list(DEFINITION_COLUMNS))
            listed.append(_files_of(table, defined))
            # Tantivy's thread indexes what it has got while the next part is read and cut.
            yield from rows_of(table, defined)

    segments = write_segments(job.scratch, rows())
    take_segments(job.scratch, job.folder)
    return _Group(tuple(segments), listed)


def _files_of(table: pa.Table, defined: pa.Table) -> PartFiles:
    """The files of one part of chunks, and what they are whatever stands beside them."""
    places = runs(table["uri"])
    uris, starts = list(places), [at.start for at in places.values()]
    languages = table["lang"].take(pa.array(starts, pa.int64())).to_pylist()
    own = set(pc.unique(defined.filter(pc.is_in(defined["kind"], value_set=_OWN_KINDS))["uri"]).to_pylist())
    alone = [roles_alone(uri, lang, defines=uri in own) for uri, lang in zip(uris, languages, strict=True)]
    counts = [at.stop - at.start for at in places.values()]
    return PartFiles(uris, np.array(alone, np.uint16), np.array(counts, np.int32), table["id"].to_numpy().astype(np.int64))


def _uses(settings: Settings) -> Mapping[str, str]:
    return {"tantivy": version("tantivy"), "analyzer": lexical.ANALYZER_VERSION}


STAGE = Stage(lexical_index, code_version="7", uses=_uses)
