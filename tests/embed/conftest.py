"""A world for the embedding stage: a small embedder from real files, and chunk tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.embed.static import StaticEmbedder
from pipeline.schemas import Chunks
from pipeline.stage import Artefact

MakeChunks = Callable[[Sequence[tuple[int, str, str]]], Artefact[Chunks]]


@pytest.fixture(scope="session")
def embedder() -> StaticEmbedder:
    return StaticEmbedder()


@pytest.fixture
def make_chunks(tmp_path: Path) -> MakeChunks:
    """Write a `chunks` table of (id, uri, content) in two parts, each file in one part."""

    def make(rows: Sequence[tuple[int, str, str]]) -> Artefact[Chunks]:
        parts = 2
        for part in range(parts):
            own = [
                {
                    "id": identifier,
                    "uri": uri,
                    "lang": "python",
                    "kind": "function",
                    "name": "",
                    "start_line": 1,
                    "end_line": 1,
                    "start_byte": at,
                    "end_byte": at + 1,
                    "preview": content[:20],
                    "content": content,
                    "content_hash": 0,
                }
                for at, (identifier, uri, content) in enumerate(rows)
                if tables.part_of(uri, parts) == part
            ]
            tables.write_part(tmp_path / "in" / Chunks.name, Chunks, part, pa.Table.from_pylist(own, schema=Chunks.schema))
        return Artefact("repo", Chunks.asset, "key", tmp_path / "in", Chunks.tag(), "", {})

    return make
