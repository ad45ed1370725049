"""Small tables of chunks and definitions, cut into parts as a build cuts them, and the lexical index over them.

Belongs here: what several tests of the lexical index write. Not here: what they expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import tables
from pipeline.artefacts import Artefact, Earlier, Output
from pipeline.files import digest_file, tree_files
from pipeline.index.lexical_stage import lexical_index
from pipeline.schemas import Chunks, Definitions, LexicalIndex
from pipeline.workers import Runtime

Row = tuple[int, str, str, list[str]]
"""Id, uri, content, names defined in it."""


def write_tables(root: Path, rows: Sequence[Row], parts: int = 2) -> Artefact[Any]:
    """Both tables in one folder; the artefact stands for either."""
    ends = dict[str, int]()
    chunks: list[list[dict[str, object]]] = [[] for _ in range(parts)]
    definitions: list[list[dict[str, object]]] = [[] for _ in range(parts)]
    for identifier, uri, content, names in rows:
        part, start = tables.part_of(uri, parts), ends.get(uri, 0)
        ends[uri] = end = start + max(len(content.encode()), 1)
        lines = {"start_line": 1, "end_line": 2}
        span = {"start_byte": start, "end_byte": end}
        chunk = {"id": identifier, "uri": uri, "lang": "python", "kind": "function", "name": " ".join(names), **lines, **span}
        chunks[part].append({**chunk, "preview": content[:12], "content": content, "content_hash": 0})
        for at, name in enumerate(names):
            what = {"uri": uri, "name": name, "qualified_name": name, "kind": "function", "signature": "", "doc": "", **lines}
            where = {"start_byte": start + at, "end_byte": end, "name_start_byte": start, "node_id": start + at, "parent": None}
            definitions[part].append({**what, **where})
    for kind, table in ((Chunks, chunks), (Definitions, definitions)):
        for part in range(parts):
            ordered = sorted(table[part], key=lambda row: (str(row["uri"]), int(str(row["start_byte"]))))
            tables.write_part(root / kind.name, kind, part, pa.Table.from_pylist(ordered, schema=kind.schema))
    return Artefact("repo", Chunks.asset, "key", root, Chunks.tag(), "", {}, digests=digests(root))


def digests(root: Path) -> dict[str, str]:
    """The digest of every file."""
    return {path.relative_to(root).as_posix(): digest_file(path) for path in tree_files(root)}


@dataclass(frozen=True, slots=True)
class Built:
    """An index, what was told of it, and the tables that it is of."""

    path: Path
    facts: Mapping[str, Any]
    source: Artefact[Any]

    @property
    def earlier(self) -> Earlier:
        """As the next build is handed it."""
        made: Artefact[Any] = Artefact("repo", LexicalIndex.asset, "key", self.path, LexicalIndex.tag(), "", {})
        return Earlier({LexicalIndex.asset: made}, {Chunks.asset: self.source, Definitions.asset: self.source})


def build_index(out: Path, source: Artefact[Any], earlier: Earlier | None = None) -> Built:
    """The index over these tables in `out`."""
    out.mkdir(parents=True)
    definitions: Artefact[Any] = Artefact("repo", Definitions.asset, "key", source.path, "", "", {}, digests=source.digests)
    return Built(out, lexical_index(source, definitions, Runtime(earlier=earlier), Output(out)), source)
