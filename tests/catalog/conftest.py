"""A small version directory with every table, written as the stages write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.catalog.views import connect
from pipeline.schemas import AstNodes, Chunks, Definitions, Embeddings, FaissIdmap, Files, Sources, Table

D = 4
PARTS = 2
FILES = {"src/a.py": "python", "src/deep/b.py": "python", "web/c.js": "javascript", "it's [odd]\n.txt": "text"}
CHUNKS_A_FILE = 3


def chunk_id(uri: str, ordinal: int) -> int:
    """The id of a file's chunk: neither ascending by file nor small."""
    return (list(FILES).index(uri) * 7919 + ordinal * 104729 + 1) << 40


def _split(folder: Path, kind: type[Table], rows: list[dict[str, object]], schema: pa.Schema | None = None) -> None:
    schema = schema or kind.schema
    for part in range(PARTS):
        mine = [row for row in rows if tables.part_of(str(row["uri"]), PARTS) == part]
        names = schema.names
        table = pa.table(
            {name: pa.array([row[name] for row in mine], schema.field(name).type) for name in names}, schema=schema
        )
        tables.write_part(folder / kind.name, kind, part, table, schema)


def _chunk(uri: str, lang: str, ordinal: int) -> dict[str, object]:
    return {
        "id": chunk_id(uri, ordinal),
        "uri": uri,
        "lang": lang,
        "kind": ("module", "class", "function")[ordinal],
        "name": f"n{ordinal}",
        "start_line": ordinal * 10 + 1,
        "end_line": ordinal * 10 + 10,
        "start_byte": ordinal * 100,
        "end_byte": ordinal * 100 + 100,
        "preview": f"{uri} {ordinal}",
        "content": "x" * 100,
        "content_hash": (1 << 64) - 1 - ordinal,
    }


def write_version(folder: Path, *, without: tuple[str, ...] = (), unmapped: int = 0) -> Path:
    """A version directory. `without` names tables to leave out; the first `unmapped` ids are not in the idmap."""
    folder.mkdir(parents=True)
    files = [
        {"uri": uri, "lang": lang, "size": 300, "content_hash": b"h" * 32, "status": "indexed", "reason": None}
        for uri, lang in FILES.items()
    ]
    chunks = [_chunk(uri, lang, ordinal) for uri, lang in FILES.items() for ordinal in range(CHUNKS_A_FILE)]
    nodes = [
        {"uri": uri, "node_id": node, "parent_id": -1 if node == 0 else 0, "type": kind, "field": None}
        | {"start_byte": start, "end_byte": end, "depth": min(node, 1), "named": True}
        for uri in FILES
        for node, (kind, start, end) in enumerate(
            (("module", 0, 300), ("class", 50, 250), ("name", 100, 120), ("empty", 200, 200))
        )
    ]
    definitions = [
        {"uri": uri, "name": name, "qualified_name": name, "kind": "class", "signature": "", "doc": "", "start_byte": start}
        | {"end_byte": end, "start_line": 1, "end_line": 2, "name_start_byte": start, "node_id": 1, "parent": None}
        for uri in FILES
        for name, start, end in (("Wide", 50, 250), ("Inner", 110, 120))
    ]
    sources = [{"uri": uri, "lang": lang, "content": b"\xffx" * 150} for uri, lang in FILES.items()]
    ids = sorted(int(str(row["id"])) for row in chunks)
    vectors = {one: [float(row == place) for place in range(D)] for row, one in zip(np.arange(len(ids)) % D, ids, strict=True)}
    embeddings = [{"id": row["id"], "embedding": vectors[int(str(row["id"]))], "uri": row["uri"]} for row in chunks]
    for kind, rows in ((Files, files), (Sources, sources), (AstNodes, nodes), (Definitions, definitions), (Chunks, chunks)):
        if kind.name not in without:
            _split(folder, kind, rows)
    if Embeddings.name not in without:
        _split(folder, Embeddings, embeddings, Embeddings.schema_of(D))
    if FaissIdmap.asset not in without:
        mapped = ids[unmapped:]
        idmap = pa.table({"faiss_row": range(len(mapped)), "external_id": mapped, "source": ["primary"] * len(mapped)})
        tables.write_parquet(folder / FaissIdmap.FILE, idmap.cast(FaissIdmap.schema), FaissIdmap.tag())
    return folder


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that tests only read."""
    return write_version(tmp_path_factory.mktemp("store") / "versions" / "v-1", unmapped=2)


@pytest.fixture
def connection(version: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection over it."""
    with connect(version) as opened:
        yield opened


@pytest.fixture
def make_version() -> Callable[..., Path]:
    """`write_version`, for tests that need one of their own."""
    return write_version


@pytest.fixture
def id_of() -> Callable[[str, int], int]:
    """(uri, ordinal) -> the id of a chunk."""
    return chunk_id
