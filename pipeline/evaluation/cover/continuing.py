"""Coverage carried on: what lies in the index is counted again for the files that changed, and asked is for their definitions.

Counts add up over the parts of the tables, so those of the parts that changed are exchanged. Of the definitions that were asked
for, those of files that changed are asked again, and a few of the others, to see that nothing else moved them: where more than
one of those fares otherwise, or an index lacks a chunk, or much has changed since all were asked, nothing is carried on.

Belongs here: what is exchanged, and when it is not. Not here: counting and asking themselves (`covering`, `looking`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.artefacts import Base
from pipeline.columns import among
from pipeline.delta import link_parts
from pipeline.evaluation.change import MOST_CHANGED, Change
from pipeline.evaluation.cover.answered import Answered, Place, read_answered
from pipeline.evaluation.cover.covering import (
    Counts,
    answered,
    answers_of,
    counts_of,
    definition_rows,
    document_of,
    module_rows,
    named_places,
)
from pipeline.evaluation.cover.looking import Search, Seen, Wanted, look
from pipeline.evaluation.cover.modules import channels_in, exchanged
from pipeline.evaluation.cover.reasons import Namesakes, of_search, structural
from pipeline.evaluation.cover.structure import (
    LEXICAL,
    Indexes,
    Numbers,
    Roots,
    Structure,
    array_indexes_of,
    structure_of,
)
from pipeline.evaluation.cover.wording import sentence_query
from pipeline.evaluation.document import FORMAT, CoverageDocument, read_coverage
from pipeline.evaluation.synthesis.sampling import draw
from pipeline.index.lexical import LexicalReader
from pipeline.schemas import Chunks, Coverage, CoverageRows, Embeddings, Files, LexicalIndex, Snapshot
from pipeline.search.fusion import Ids
from pipeline.source.selection import IGNORED
from pipeline.workers import Runtime

MOST_DROPPED = 0.1
"""The share of the definitions asked for that may be gone, or changed so that what was asked no longer asks for them."""
SAMPLE = 8
_MOVED = 1
"""Definitions of the sample that may be found, or lost, by something that changed elsewhere."""


@dataclass(frozen=True, slots=True)
class Continued:
    """What is new: the parts that are written, with their rows and counts; the rest is linked from the base."""

    document: CoverageDocument
    parts: Mapping[int, tuple[pa.Table, Counts]]
    modules: pa.Table
    asked: list[Answered]
    counts: Counts
    drift: int
    """Chunks that changed since all were asked."""


def continued(base: Base[Coverage], change: Change, search: Search, runtime: Runtime, *, seed: str) -> Continued | None:
    """Coverage as the base has it, but for what changed; None where all is to be counted and asked anew. `seed` draws the
    sample."""
    roots = {artefact.asset: artefact.path for artefact in search.artefacts}
    chunks = next(artefact for artefact in search.artefacts if artefact.asset == Chunks.asset).facts["chunks"]
    if base.artefact is None or not base.artefact.facts["complete"]:
        return None
    before, made, folder = read_coverage(base.artefact.path), base.artefact.facts["full"], base.artefact.path
    drift = base.artefact.facts["drift"] + change.chunks
    if (before.version, before.k) != (FORMAT, search.k) or drift > MOST_CHANGED * made["chunks"]:
        return None
    arrays = array_indexes_of(roots)
    if not _complete(arrays, roots, change, chunks):
        return None
    names: Indexes = dict.fromkeys((LEXICAL, *arrays))
    structures = {part: structure_of(roots, names, [part]) for part in change.parts}
    known = read_answered(folder)
    kept = [one for one in known if one.uri not in change.uris]
    changed = [one for one in known if one.uri in change.uris]
    again = [one for structure in structures.values() for one in _again(structure, changed)]
    if len(kept) + len(again) < (1 - MOST_DROPPED) * made["asked"]:
        return None
    sample = sorted(kept, key=lambda one: draw("sample", seed, *map(str, one.place)))[:SAMPLE]
    fresh = _asked(search, names, [*again, *(_without(one, change) for one in sample)], runtime)
    moved = [one for one, other in zip(fresh[len(again) :], sample, strict=True) if one.told != other.told]
    if len(moved) > _MOVED:
        return None
    key = base.artefact.key
    asked = {one.place: one if one.since else msgspec.structs.replace(one, since=key) for one in kept}
    asked |= {one.place: one for one in fresh}
    for uri in {one.uri for one in moved}:
        part = tables.part_of(uri, tables.parts_in(folder, CoverageRows))
        structures.setdefault(part, structure_of(roots, names, [part]))
    return _exchanged(base, asked, structures, search.k, drift)


def _complete(arrays: Mapping[str, Numbers], roots: Roots, change: Change, chunks: int) -> bool:
    """Whether every index has every chunk and nothing else, given that it was so before: as many as there are, all the same,
    with those that came and without those that went."""
    ids = np.load(roots[Embeddings.asset] / Embeddings.IDS, mmap_mode="r")
    came_and_went = among(change.new, ids).all() and not among(change.gone, ids).any()
    if len(ids) != chunks or not came_and_went or not all(np.array_equal(ids, np.sort(one)) for one in arrays.values()):
        return False
    with LexicalReader(roots[LexicalIndex.asset]) as reader:
        return len(reader) == chunks and bool(reader.has(change.new).all()) and not reader.has(change.gone).any()


def _again(structure: Structure, changed: Sequence[Answered]) -> list[Answered]:
    """The definitions of changed files that are still there and still asked for by what they were asked by, with the chunks
    that answer now."""
    found = structure.definitions
    row_of = {place: row for row, place in enumerate(named_places(structure))}
    there = [(row_of[one.place], one) for one in changed if one.place in row_of]
    there = [(row, one) for row, one in there if one.by_name or sentence_query(found.docs[row]) == one.query]
    answers = answers_of(structure, np.array([row for row, _ in there], np.int64))
    return [
        msgspec.structs.replace(one, answers=list(map(str, ids.tolist())), kind=found.kinds[row])
        for (row, one), ids in zip(there, answers, strict=True)
    ]


def _without(one: Answered, change: Change) -> Answered:
    """Without copies of its chunks that are gone."""
    gone = set(map(str, change.gone.tolist()))
    return msgspec.structs.replace(one, answers=[answer for answer in one.answers if answer not in gone])


def _asked(search: Search, indexes: Indexes, asked: Sequence[Answered], runtime: Runtime) -> list[Answered]:
    """What became of these definitions now."""
    wanted = [Wanted(one.query, np.sort(np.array(list(map(int, one.answers)), np.int64))) for one in asked]
    everyone = _Everyone(
        {artefact.asset: artefact.path for artefact in search.artefacts}, indexes, [one.place for one in asked]
    )
    told = enumerate(zip(asked, look(search, wanted, runtime).seen, strict=True))
    return [answered(one, seen, search.k, _reason(one, row, seen, search.k, everyone)) for row, (one, seen) in told]


class _Everyone:
    """All definitions of the repository, read when something is missed for the first time."""

    def __init__(self, roots: Roots, indexes: Indexes, places: Sequence[Place]) -> None:
        self._roots, self._indexes, self._places = roots, indexes, places
        self._known: tuple[Structure, Namesakes, dict[Place, int]] | None = None

    def _whole(self) -> tuple[Structure, Namesakes, dict[Place, int]]:
        if self._known is None:
            whole = structure_of(self._roots, self._indexes)
            self._known = whole, Namesakes(whole), {place: row for row, place in enumerate(named_places(whole))}
        return self._known

    def chunks(self, row: int) -> Ids:
        """As `Namesakes` has them."""
        _, namesakes, rows = self._whole()
        return namesakes.chunks(rows[self._places[row]])

    def lacking(self, row: int) -> str | None:
        """As `structural` has it."""
        whole, _, rows = self._whole()
        return structural(whole.definitions, rows[self._places[row]])


def _reason(one: Answered, row: int, seen: Seen, k: int, everyone: _Everyone) -> str | None:
    if seen.rank is not None and seen.rank <= k:
        return None
    if one.reason is not None:
        # It was missed before, and what it was missed for is known.
        return one.reason
    return everyone.lacking(row) or of_search(seen, row, k, by_name=one.by_name, namesakes=everyone)


def _exchanged(
    base: Base[Coverage], asked: Mapping[Place, Answered], structures: Mapping[int, Structure], k: int, drift: int
) -> Continued:
    """The document and tables with what is new in place of what was, for the parts that have a new structure."""
    assert base.artefact is not None  # else there is nothing to carry on
    folder = base.artefact.path
    modules = pq.read_table(folder / Coverage.MODULES)
    channels = channels_in(modules)
    parts: dict[int, tuple[pa.Table, Counts]] = {}
    new = [modules.slice(0, 0)]
    for part, structure in sorted(structures.items()):
        places = {row: place for row, place in enumerate(named_places(structure)) if place in asked}
        rows = {row: asked[place] for row, place in places.items()}
        parts[part] = definition_rows(structure, rows), counts_of(structure)
        new.append(module_rows(structure, rows, channels))
    counts = msgspec.convert(base.artefact.facts["counts"], type=Counts)
    for part, (_, now) in parts.items():
        before = msgspec.convert(tables.part_facts(tables.part_path(folder / CoverageRows.name, part)), type=Counts)
        counts = counts.plus(now).plus(before, -1)
    every = list(asked.values())
    document = document_of(counts, every, channels, k, sum(one.since is None for one in every))
    gone = [uri for part in parts for uri in _uris(base.inputs[Snapshot.asset].path, part)]
    return Continued(document, parts, exchanged(modules, gone, new, channels), every, counts, drift)


def _uris(source: Path, part: int) -> list[str]:
    """The files of one part that are not ignored."""
    table = tables.read_part(tables.part_path(source / Files.name, part), Files, ["uri", "reason"])
    return [
        uri for uri, reason in zip(*(table[name].to_pylist() for name in ("uri", "reason")), strict=True) if reason != IGNORED
    ]


def write_continued(folder: Path, base: Base[Coverage], made: Continued) -> None:
    """The tables in `folder`: new parts written, the others linked."""
    assert base.artefact is not None  # else nothing is carried on
    for part, (rows, counts) in made.parts.items():
        tables.write_part(folder / CoverageRows.name, CoverageRows, part, rows, facts=msgspec.to_builtins(counts))
    others = set(range(tables.parts_in(base.artefact.path, CoverageRows))).difference(made.parts)
    link_parts(base.artefact.path, folder, CoverageRows, sorted(others))
