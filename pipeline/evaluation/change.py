"""What changed since an earlier evaluation: files by their content, chunks by their ids.

Only the parts of tables that changed are read, so this costs what the change costs.

Belongs here: the difference of two builds, as evaluations need it. Not here: what of an evaluation it touches
(`synthesis.keeping`, `carrying`, `cover`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.artefacts import Artefact, Base
from pipeline.delta import INDEXED, part_digests
from pipeline.index.dense.arrays import Ids
from pipeline.schemas import Chunks, Files, Snapshot, Table


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
    before_source, before_chunks = base.inputs.get(source.asset), base.inputs.get(chunks.asset)
    if before_source is None or before_chunks is None:
        return None
    old, new = part_digests(before_source, Files), part_digests(source, Files)
    count = len(part_digests(chunks, Chunks))
    if not new or len(old) != len(new) or not count or len(part_digests(before_chunks, Chunks)) != count:
        return None
    parts = tuple(part for part, (left, right) in enumerate(zip(old, new, strict=True)) if left != right)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for part in parts:
        before |= _contents(before_source, part)
        after |= _contents(source, part)
    uris = frozenset(uri for uri in before.keys() | after.keys() if before.get(uri) != after.get(uri))
    gone, came = _ids_of(before_chunks, uris), _ids_of(chunks, uris)
    return Change(
        uris, frozenset(after.keys() - before.keys()), frozenset(before.keys() - after.keys()),
        np.setdiff1d(came, gone), np.setdiff1d(gone, came), parts,
    )  # fmt: skip


def _contents(source: Artefact[Any], part: int) -> Mapping[str, tuple[str, bytes]]:
    """Language and content of each indexed file of one part."""
    table = tables.read_part(tables.part_path(source.path / Files.name, part), Files, ["uri", "lang", "content_hash", "status"])
    table = tables.plain(table)
    listed = table.filter(pc.equal(table["status"], INDEXED))
    rows = zip(*(listed[name].to_pylist() for name in ("uri", "lang", "content_hash")), strict=True)
    return {uri: (lang, content) for uri, lang, content in rows}


def rows_of(root: Path, kind: type[Table], uris: Collection[str], columns: Sequence[str]) -> pa.Table:
    """The rows of some files in the order of the table, dictionaries decoded; only the parts that they are in are read."""
    wanted = pa.array(sorted(uris), pa.string())
    paths = tables.parts(root, kind)
    numbers = sorted({tables.part_of(uri, len(paths)) for uri in uris})
    found = [tables.plain(tables.read_part(paths[number], kind, list(columns))) for number in numbers]
    empty = tables.plain(kind.schema.empty_table()).select(list(columns))
    return pa.concat_tables([empty, *(part.filter(pc.is_in(part["uri"], value_set=wanted)) for part in found)])


def _ids_of(chunks: Artefact[Any], uris: Collection[str]) -> Ids:
    return np.sort(rows_of(chunks.path, Chunks, uris, ["id", "uri"])["id"].to_numpy())
