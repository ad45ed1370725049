"""`faiss_idmap`, `v_faiss_join` and exports of the idmap, for each way in which FAISS keeps ids, and with a delta."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.catalog.idmap_export import export_idmap, write_idmap
from pipeline.catalog.views import connect
from pipeline.config import FaissFamily, IndexSettings
from pipeline.errors import IndexCorruptionError
from pipeline.index.dense.stage import faiss_idmap
from pipeline.index.dense.updates import UpdatableIndex
from pipeline.schemas import Chunks, FaissIdmap
from pipeline.stage import Artefact, Output

N, D = 200, 8
ADDED, DELETED, UNKNOWN = 5, 7, 3
"""Chunks that are in the delta, that were deleted from the index, and that never were in it."""


@dataclass(frozen=True)
class Indexed:
    """A version of chunks and an idmap; ids of the chunks by where FAISS has them."""

    version: Path
    primary: set[int]
    delta: set[int]
    missing: set[int]
    mapping: str


def _chunks(ids: np.ndarray) -> pa.Table:
    count = len(ids)
    columns = {
        "id": ids, "uri": ["a.py"] * count, "lang": ["python"] * count, "kind": ["function"] * count, "name": [""] * count,
        "start_line": range(1, count + 1), "end_line": range(1, count + 1), "start_byte": range(0, 10 * count, 10),
        "end_byte": range(10, 10 * count + 10, 10), "preview": [""] * count, "content": ["x"] * count,
        "content_hash": [0] * count,
    }  # fmt: skip
    return pa.table({name: pa.array(columns[name], Chunks.schema.field(name).type) for name in Chunks.schema.names})


def _index(folder: Path, family: FaissFamily, *, changed: bool) -> Indexed:
    version, built = folder / "v", folder / "index"
    version.mkdir()
    built.mkdir()
    random = np.random.default_rng(7)
    ids = np.unique(random.integers(1, 1 << 63, N + ADDED + UNKNOWN, dtype=np.int64))
    vectors = random.standard_normal((len(ids), D)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mixed = random.permutation(len(ids))
    primary, delta = np.sort(mixed[:N]), np.sort(mixed[N : N + ADDED]) if changed else np.empty(0, np.int64)
    index = UpdatableIndex.build(ids[primary], vectors[primary], IndexSettings(faiss_family=family, nlist=2))
    dead = ids[primary[:DELETED]] if changed else np.empty(0, np.int64)
    if changed:
        index.add(ids[delta], vectors[delta])
        index.delete(dead)
    meta = index.save(built, arrays=True)
    tables.write_part(version / Chunks.name, Chunks, 0, _chunks(ids), Chunks.schema)
    faiss_idmap(Artefact("r", "faiss_index", "k", built, "", "", {}), Output(version))
    in_primary, in_delta = set(ids[primary].tolist()) - set(dead.tolist()), set(ids[delta].tolist())
    return Indexed(version, in_primary, in_delta, set(ids.tolist()) - in_primary - in_delta, meta.mapping)


FAMILIES: list[tuple[FaissFamily, str]] = [
    ("flat", "idmap2"), ("sq8", "idmap2"), ("hnsw", "idmap2"), ("ivf_flat", "native"), ("ivf_sq8", "native"),
]  # fmt: skip


@pytest.mark.parametrize("changed", [False, True], ids=["fresh", "with a delta"])
@pytest.mark.parametrize(("family", "mapping"), FAMILIES)
def test_every_chunk_shows_where_faiss_has_it_and_null_where_it_has_not(
    tmp_path: Path, family: FaissFamily, mapping: str, changed: bool
) -> None:
    made = _index(tmp_path, family, changed=changed)
    assert made.mapping == mapping and bool(made.delta) == changed and len(made.missing) >= UNKNOWN
    with connect(made.version) as connection:
        idmap = connection.execute("SELECT faiss_row, external_id, source FROM faiss_idmap").fetchall()
        joined = connection.execute("SELECT id, faiss_row, source FROM v_faiss_join").fetchall()
    assert {one for _, one, source in idmap if source == "primary"} == made.primary
    assert {one for _, one, source in idmap if source == "delta"} == made.delta
    assert len(idmap) == len(made.primary) + len(made.delta)
    rows = {one: (row, source) for row, one, source in idmap}
    # One row a chunk: the join neither loses nor doubles any.
    assert sorted(joined) == sorted((one, *rows.get(one, (None, None))) for one in made.primary | made.delta | made.missing)
    assert {one for one, row, _ in joined if row is None} == made.missing


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return _index(tmp_path, "ivf_flat", changed=True).version / FaissIdmap.FILE


def _written(idmap: Path, form: str) -> bytes:
    out = io.BytesIO()
    assert write_idmap(idmap, out, form) == {"primary": N - DELETED, "delta": ADDED}  # type: ignore[arg-type]
    return out.getvalue()


def test_each_format_holds_the_same_rows_in_the_same_order(exported: Path) -> None:
    expected = pq.read_table(exported).to_pylist()
    assert pq.read_table(io.BytesIO(_written(exported, "parquet"))).to_pylist() == expected
    assert pa_csv.read_csv(io.BytesIO(_written(exported, "csv"))).to_pylist() == expected
    lines = [json.loads(line) for line in _written(exported, "jsonl").splitlines()]
    assert all(isinstance(line["external_id"], str) and isinstance(line["faiss_row"], int) for line in lines)
    assert [{**line, "external_id": int(line["external_id"])} for line in lines] == expected


def test_an_empty_idmap_is_exported_as_no_rows(tmp_path: Path) -> None:
    empty = tmp_path / "empty.parquet"
    tables.write_parquet(empty, FaissIdmap.schema.empty_table(), FaissIdmap.tag())
    out = io.BytesIO()
    assert write_idmap(empty, out, "jsonl") == {} and out.getvalue() == b""
    assert write_idmap(empty, out, "csv") == {} and out.getvalue() == b"faiss_row,external_id,source\n"


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"x" * len(raw)])
def test_a_damaged_idmap_exports_nothing(tmp_path: Path, exported: Path, damage: Callable[[bytes], bytes]) -> None:
    exported.write_bytes(damage(exported.read_bytes()))
    target = tmp_path / "out" / "x.csv"
    target.parent.mkdir()
    with pytest.raises(IndexCorruptionError, match="indexctl verify"):
        export_idmap(exported, target, "csv", overwrite=False)
    assert list(target.parent.iterdir()) == []


def test_a_failed_export_leaves_the_file_that_was_there(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "x.jsonl"
    target.parent.mkdir()
    target.write_text("before")

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.catalog.idmap_export._json_lines", full)
    with pytest.raises(OSError, match="No space"):
        export_idmap(exported, target, "jsonl", overwrite=True)
    assert [path.read_text() for path in target.parent.iterdir()] == ["before"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, exported: Path) -> None:
    target = tmp_path / "x.csv"
    target.write_text("theirs")
    with pytest.raises(FileExistsError):
        export_idmap(exported, target, "csv", overwrite=False)
    assert target.read_text() == "theirs"
    export_idmap(exported, target, "csv", overwrite=True)
    assert target.read_text().startswith("faiss_row,")
