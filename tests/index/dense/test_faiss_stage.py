"""What the FAISS stages write, and what they refuse to index."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline import files
from pipeline.config import IndexSettings
from pipeline.embed.arrays import write_arrays
from pipeline.errors import IndexCorruptionError, InvariantViolationError
from pipeline.index.dense.stage import IDMAP_STAGE, INDEX_STAGE, faiss_idmap, faiss_index
from pipeline.schemas import Embeddings, FaissIdmap, FaissIndex
from pipeline.stage import Artefact, Base, Output
from pipeline.workers import Runtime


def artefact(path: Path, asset: str) -> Artefact[Any]:
    return Artefact(repo="r", asset=asset, key="k", path=path, schema=f"{asset}/1", digest="d", lineage={})


def unit(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def embeddings(folder: Path, ids: np.ndarray, vectors: np.ndarray) -> Artefact[Embeddings]:
    folder.mkdir()
    write_arrays(folder, ids, vectors)
    (folder / Embeddings.EMBEDDER).write_text('{"name": "test", "digest": "abc", "dimension": 8}')
    return artefact(folder, "embeddings")


def build(source: Artefact[Embeddings], folder: Path) -> tuple[Artefact[FaissIndex], Any]:
    folder.mkdir()
    facts = faiss_index(source, IndexSettings(), Base(), Runtime(), Output(folder))
    return artefact(folder, "faiss_index"), facts


def test_the_description_says_what_was_built_and_of_which_bytes(tmp_path: Path) -> None:
    source = embeddings(tmp_path / "e", np.arange(1, 51), unit(50))
    index, facts = build(source, tmp_path / "i")
    meta = msgspec.json.decode((index.path / "faiss.meta.json").read_bytes())
    stored = index.path / "faiss.index"
    assert {path.name for path in index.path.iterdir()} == {"faiss.index", "faiss.rows.npy", "faiss.meta.json"}
    assert (meta["version"], meta["family"], meta["factory"], meta["mapping"]) == (3, "flat", "IDMap2,Flat", "idmap2")
    assert (meta["metric"], meta["normalisation"]) == ("inner_product", "l2")
    assert (meta["count"], meta["dimension"], meta["training"], meta["parameters"]) == (50, 8, None, "")
    assert (meta["primary"], meta["delta"], meta["deleted"]) == (50, 0, 0)
    rows = index.path / "faiss.rows.npy"
    assert meta["files"] == {
        path.name: {"bytes": path.stat().st_size, "digest": files.digest_file(path)} for path in (stored, rows)
    }
    assert meta["embedder_digest"] == "abc"
    assert facts["family"] == "flat"
    assert (facts["rows"], facts["dimension"], facts["bytes"]) == (50, 8, stored.stat().st_size + rows.stat().st_size)


def test_equal_embeddings_give_equal_bytes(tmp_path: Path) -> None:
    folders = []
    for name in "ab":
        source = embeddings(tmp_path / f"e{name}", np.arange(1, 301), unit(300))
        index, _ = build(source, tmp_path / f"i{name}")
        (tmp_path / f"m{name}").mkdir()
        faiss_idmap(index, Output(tmp_path / f"m{name}"))
        folders.append((index.path, tmp_path / f"m{name}"))
    for one, other in zip(*folders, strict=True):
        for path in files.tree_files(one):
            assert path.read_bytes() == (other / path.name).read_bytes()


def test_no_chunks_make_an_empty_index(tmp_path: Path) -> None:
    index, facts = build(embeddings(tmp_path / "e", np.empty(0, np.int64), np.empty((0, 8), np.float32)), tmp_path / "i")
    (tmp_path / "m").mkdir()
    assert facts["rows"] == 0
    assert faiss_idmap(index, Output(tmp_path / "m")) == {"rows": 0}


def _at(row: int, value: float) -> Callable[[np.ndarray, np.ndarray], None]:
    def change(ids: np.ndarray, vectors: np.ndarray) -> None:
        vectors[row, 0] = value

    return change


def _scaled(ids: np.ndarray, vectors: np.ndarray) -> None:
    vectors[4] *= 1.01


def _zero(ids: np.ndarray, vectors: np.ndarray) -> None:
    vectors[4] = 0


def _duplicate(ids: np.ndarray, vectors: np.ndarray) -> None:
    ids[5] = ids[4]


def _negative(ids: np.ndarray, vectors: np.ndarray) -> None:
    ids[0] = -3


def _unsorted(ids: np.ndarray, vectors: np.ndarray) -> None:
    ids[4], ids[5] = ids[5], ids[4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_at(4, float("nan")), "id 50 is not finite"),
        (_at(4, float("inf")), "id 50 is not finite"),
        (_at(4, 3e38), "id 50 has length"),
        (_scaled, "id 50 has length 1.01"),
        (_zero, "id 50 has length 0"),
        (_duplicate, "id 50 occurs twice"),
        (_negative, "id -3 is negative"),
        (_unsorted, "not in ascending order"),
    ],
)
def test_what_may_not_be_indexed_is_refused_by_name(
    tmp_path: Path, change: Callable[[np.ndarray, np.ndarray], None], message: str
) -> None:
    ids, vectors = np.arange(1, 11) * 10, unit(10)
    change(ids, vectors)
    with pytest.raises(InvariantViolationError, match=message):
        build(embeddings(tmp_path / "e", ids, vectors), tmp_path / "i")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (Embeddings.IDS, b""),
        (Embeddings.IDS, b"not an array"),
        ("vectors/shard-000.npy", b"\x93NUMPY\x01\x00\x10\x00{(((           \n"),
        (Embeddings.EMBEDDER, b"{}"),
        (Embeddings.EMBEDDER, b"\xff"),
    ],
)
def test_damaged_embeddings_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    source = embeddings(tmp_path / "e", np.arange(1, 11), unit(10))
    (source.path / name).write_bytes(content)
    with pytest.raises(IndexCorruptionError, match=name):
        build(source, tmp_path / "i")


@pytest.mark.parametrize(
    ("ids", "vectors"),
    [
        (np.arange(1, 10), unit(10)),
        (np.arange(1, 11, dtype=np.int32), unit(10)),
        (np.arange(1, 11), unit(10).astype(np.float64)),
        (np.arange(1, 11), unit(10)[0]),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(tmp_path: Path, ids: np.ndarray, vectors: np.ndarray) -> None:
    source = embeddings(tmp_path / "e", np.arange(1, 11), unit(10))
    np.save(source.path / Embeddings.IDS, ids)
    np.save(source.path / Embeddings.VECTORS / "shard-000.npy", vectors)
    with pytest.raises(IndexCorruptionError):
        build(source, tmp_path / "i")


def test_a_full_disk_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = embeddings(tmp_path / "e", np.arange(1, 301), unit(300))
    real = Path.open

    def full(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        # What is written to this device is refused with ENOSPC.
        return builtins.open("/dev/full", "wb", buffering=0) if mode == "xb" else real(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        build(source, tmp_path / "i")


def test_the_stages_read_only_what_their_signatures_say() -> None:
    assert INDEX_STAGE.inputs == {"embeddings": Embeddings}
    assert INDEX_STAGE.outputs == {"out": FaissIndex}
    assert INDEX_STAGE.sections == {"settings": IndexSettings}
    assert IDMAP_STAGE.inputs == {"index": FaissIndex}
    assert IDMAP_STAGE.outputs == {"out": FaissIdmap}
