"""Copying what did not change: parts of tables are linked, rows of unchanged files taken as columns.

A stage whose result is a function of its inputs may look at what it made before (`Runtime.earlier`) and at the digests of the
files that it is given. A part of which every input is what it was has the rows that it had; in the other parts, a file with the
same bytes has. Whether a stage takes the short way never shows in its result.

Belongs here: what is the same for every table. Not here: which inputs a table depends on (its stage).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import files, tables
from pipeline.artefacts import Artefact, Base, Earlier, Facts
from pipeline.columns import runs
from pipeline.schemas import Files, Table

INDEXED = "indexed"
"""As in `source.selection`; a test holds them equal."""


def part_digests(artefact: Artefact[Any], kind: type[Table]) -> list[str]:
    """The digest of each part of a table, in order; none where the artefact's digests are not known."""
    prefix = f"{kind.name}/part-"
    return [digest for path, digest in sorted(artefact.digests.items()) if path.startswith(prefix)]


def unchanged_parts(earlier: Earlier | Base[Any] | None, *inputs: tuple[Artefact[Any], type[Table]]) -> frozenset[int]:
    """Parts of which each of these inputs is, byte for byte, what it was when the earlier result was made.

    None at all where tables were cut into another number of parts.
    """
    if earlier is None:
        return frozenset()
    same: set[int] | None = None
    for artefact, kind in inputs:
        before = earlier.inputs.get(artefact.asset)
        old, new = (part_digests(one, kind) if one is not None else [] for one in (before, artefact))
        if len(old) != len(new) or not new:
            return frozenset()
        equal = {part for part, (left, right) in enumerate(zip(old, new, strict=True)) if left == right}
        same = equal if same is None else same & equal
    return frozenset(same or ())


def cut_alike(earlier: Earlier | Base[Any] | None, artefact: Artefact[Any], kind: type[Table]) -> bool:
    """Whether a table of an input has as many parts as it had when the earlier result was made."""
    before = earlier.inputs.get(artefact.asset) if earlier is not None else None
    return before is not None and len(part_digests(before, kind)) == len(part_digests(artefact, kind)) > 0


def link_part(before: Path, after: Path, kind: type[Table], part: int) -> None:
    """Link one part of a table of the object in `before` into the one that is being made in `after`."""
    link_parts(before, after, kind, (part,))


def link_parts(before: Path, after: Path, kind: type[Table], parts: Iterable[int]) -> None:
    """Link some parts of a table of the object in `before` into the one that is being made in `after`."""
    # As text: of all that a small build does to most parts, making paths of them would take longest.
    old, new = f"{before}/{kind.name}", f"{after}/{kind.name}"
    os.makedirs(new, exist_ok=True)  # noqa: PTH103
    for part in parts:
        name = tables.part_name(part)
        files.link_or_copy(f"{old}/{name}", f"{new}/{name}")


def totals(before: Facts, gone: Iterable[Facts], come: Iterable[Facts]) -> dict[str, Any]:
    """What all parts say together: counts by name, and counts by word by name.

    `before` is what they said before (nothing: none was there); parts that are `gone` no longer count, those that have `come`
    do. So it costs what changed, and a part that was linked is not opened.
    """
    found: dict[str, Any] = {}
    for facts, sign in ((before, 1), *((one, -1) for one in gone), *((one, 1) for one in come)):
        for name, told in facts.items():
            if isinstance(told, Mapping):
                words = found.setdefault(name, Counter())
                for word, count in told.items():
                    words[word] += sign * count
            else:
                found[name] = found.get(name, 0) + sign * told
    return {
        name: {word: told[word] for word in sorted(told) if told[word]} if isinstance(told, Counter) else told
        for name, told in found.items()
    }


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the indexed files of a part: those that are the `same`, and how many `bytes` the other ones have now."""

    same: frozenset[str]
    bytes: int


def part_changes(earlier: Earlier, source: Artefact[Any], part: int) -> Changes:
    """What became of the files of one part of the snapshot since an earlier result that was cut alike."""
    before = earlier.inputs[source.asset]
    return changes(*(tables.part_path(one.path / Files.name, part) for one in (source, before)))


def changes(now: Path, before: Path) -> Changes:
    """What became of the files of one part of `files`: the same are those with the same bytes and language."""
    new, old = contents_of(now), contents_of(before)
    same = frozenset(uri for uri, content in new.items() if old.get(uri) == content)
    return Changes(same, sum(size for uri, (size, _, _) in new.items() if uri not in same))


def contents_of(path: Path) -> dict[str, tuple[int, str, bytes]]:
    """uri -> (size, language, content hash) of the indexed files of one part."""
    table = tables.plain(tables.read_part(path, Files, ["uri", "lang", "size", "content_hash", "status"]))
    listed = table.filter(pc.equal(table["status"], INDEXED))
    columns = (listed[name].to_pylist() for name in ("size", "lang", "content_hash"))
    return dict(zip(listed["uri"].to_pylist(), zip(*columns, strict=True), strict=True))


def carried(path: Path, kind: type[Table], uris: Collection[str]) -> pa.Table:
    """The rows of these files out of one part of a table, in their order there."""
    table = tables.read_part(path, kind)
    return table.filter(pc.is_in(table["uri"], value_set=pa.array(sorted(uris), pa.string())))


def woven(uris: Sequence[str], *found: pa.Table) -> pa.Table:
    """The rows of tables of one schema, each file's together, files in the order of `uris`. A file is in one of the tables."""
    places: dict[str, tuple[pa.Table, slice]] = {}
    for table in found:
        places |= {uri: (table, at) for uri, at in runs(table["uri"]).items()}
    pieces = [table.slice(at.start, at.stop - at.start) for table, at in _in_order(places, uris)]
    if not pieces:
        return found[0].slice(0, 0)
    return pa.concat_tables(pieces).unify_dictionaries().combine_chunks()


def _in_order(places: Mapping[str, Any], uris: Sequence[str]) -> Iterator[Any]:
    return (places[uri] for uri in uris if uri in places)
