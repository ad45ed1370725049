"""What changed since an earlier evaluation: files by their content, chunks by their ids.

Only the parts of tables that changed are read, so this costs what the change costs.

Belongs here: the difference of two builds, as evaluations need it. Not here: what of an evaluation it touches
(`synthesis.keeping`, `carrying`, `cover`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.artefacts import Artefact, Base
from pipeline.delta import contents_of, cut_alike, part_digests, unchanged_parts
from pipeline.index.dense.arrays import Ids
from pipeline.schemas import Chunks, Files, Snapshot, Table

MOST_CHANGED = 0.02
"""The share of the chunks that may change before everything is asked again."""


@dataclass(frozen=True, slots=True)
class Change:
    """Uris of the indexed files that came, went or changed (`came` and `went` are among them); ids of the chunks that are
    `new` and `gone`, ascending; and the parts of tables in which any file changed, indexed or not."""

    uris: frozenset[str]
    came: frozenset[str]
    went: frozenset[str]
    new: Ids
    gone: Ids
    parts: tuple[int, ...]

    @property
    def chunks(self) -> int:
        """How many chunks are not what they were: a changed one counts once."""
        return max(len(self.new), len(self.gone))


def change_since(base: Base[Any], source: Artefact[Snapshot], chunks: Artefact[Chunks]) -> Change | None:
    """What changed since a base was made; None where that cannot be said: there is none, what it was made from is gone, or
    tables were cut into another number of parts."""
    if not (cut_alike(base, source, Files) and cut_alike(base, chunks, Chunks)):
        return None
    before_source, before_chunks = base.inputs[source.asset], base.inputs[chunks.asset]
    same = unchanged_parts(base, (source, Files))
    parts = tuple(part for part in range(len(part_digests(source, Files))) if part not in same)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for part in parts:
        before |= contents_of(tables.part_path(before_source.path / Files.name, part))
        after |= contents_of(tables.part_path(source.path / Files.name, part))
    uris = frozenset(uri for uri in before.keys() | after.keys() if before.get(uri) != after.get(uri))
    gone, came = _ids_of(before_chunks, uris), _ids_of(chunks, uris)
    return Change(
        uris, frozenset(after.keys() - before.keys()), frozenset(before.keys() - after.keys()),
        np.setdiff1d(came, gone), np.setdiff1d(gone, came), parts,
    )  # fmt: skip


def rows_of(root: Path, kind: type[Table], uris: Collection[str], columns: Sequence[str]) -> pa.Table:
    """The rows of some files in the order of the table, dictionaries decoded; only the parts that they are in are read."""
    wanted = pa.array(sorted(uris), pa.string())
    count = tables.parts_in(root, kind)
    paths = [tables.part_path(root / kind.name, number) for number in sorted({tables.part_of(uri, count) for uri in uris})]
    found = [tables.plain(tables.read_part(path, kind, list(columns))) for path in paths]
    empty = tables.plain(kind.schema.empty_table()).select(list(columns))
    return pa.concat_tables([empty, *(part.filter(pc.is_in(part["uri"], value_set=wanted)) for part in found)])


def _ids_of(chunks: Artefact[Any], uris: Collection[str]) -> Ids:
    return np.sort(rows_of(chunks.path, Chunks, uris, ["id", "uri"])["id"].to_numpy())
