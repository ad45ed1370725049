"""Copying what did not change: parts of tables are linked, rows of unchanged files taken as columns.

A stage whose result is a function of its inputs may look at what it made before (`Runtime.earlier`) and at the digests of the
files that it is given. A part of which every input is what it was has the rows that it had; in the other parts, a file with the
same bytes has. Whether a stage takes the short way never shows in its result.

Belongs here: what is the same for every table. Not here: which inputs a table depends on (its stage).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import files, tables
from pipeline.artefacts import Artefact, Earlier
from pipeline.columns import runs
from pipeline.schemas import Files, Table

INDEXED = "indexed"
"""As in `source.selection`; a test holds them equal."""


def part_digests(artefact: Artefact[Any], kind: type[Table]) -> list[str]:
    """The digest of each part of a table, in order; none where the artefact's digests are not known."""
    prefix = f"{kind.name}/part-"
    return [digest for path, digest in sorted(artefact.digests.items()) if path.startswith(prefix)]


def unchanged_parts(earlier: Earlier | None, *inputs: tuple[Artefact[Any], type[Table]]) -> frozenset[int]:
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


def cut_alike(earlier: Earlier | None, artefact: Artefact[Any], kind: type[Table]) -> bool:
    """Whether a table of an input has as many parts as it had when the earlier result was made."""
    before = earlier.inputs.get(artefact.asset) if earlier is not None else None
    return before is not None and len(part_digests(before, kind)) == len(part_digests(artefact, kind)) > 0


def link_part(before: Path, after: Path, kind: type[Table], part: int) -> Path:
    """Link one part of a table of the object in `before` into the one that is being made in `after`; returns its new path."""
    target = tables.part_path(after / kind.name, part)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.link_or_copy(tables.part_path(before / kind.name, part), target)
    return target


def same_files(now: Path, before: Path) -> frozenset[str]:
    """Uris of the indexed files that have the same bytes and language in two parts of `files`."""
    return frozenset(uri for uri, _, _ in _contents(now) & _contents(before))


def _contents(path: Path) -> set[tuple[str, str, bytes]]:
    """(uri, language, content hash) of the indexed files of one part."""
    table = tables.plain(tables.read_part(path, Files, ["uri", "lang", "content_hash", "status"]))
    listed = table.filter(pc.equal(table["status"], INDEXED))
    return set(zip(*(listed[name].to_pylist() for name in ("uri", "lang", "content_hash")), strict=True))


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
