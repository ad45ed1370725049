"""The idmap is exported from the index itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.config import IndexSettings
from pipeline.embed.arrays import write_arrays
from pipeline.errors import IndexCorruptionError
from pipeline.index.dense.stage import faiss_idmap, faiss_index
from pipeline.schemas import FaissIdmap
from pipeline.stage import Artefact, Base, Output
from pipeline.workers import Runtime


@pytest.fixture
def index(tmp_path: Path) -> Artefact[Any]:
    source, built = tmp_path / "e", tmp_path / "i"
    source.mkdir()
    built.mkdir()
    write_arrays(source, np.arange(1, 101) * (1 << 55), np.tile(np.float32([0.6, 0.8]), (100, 1)))
    (source / "embedder.json").write_text('{"digest": "abc"}')

    def artefact(path: Path, asset: str) -> Artefact[Any]:
        return Artefact(repo="r", asset=asset, key="k", path=path, schema="", digest="", lineage={})

    faiss_index(artefact(source, "embeddings"), IndexSettings(), Base(), Runtime(), Output(built))
    return artefact(built, "faiss_index")


def test_every_row_names_its_id_in_row_order(tmp_path: Path, index: Artefact[Any]) -> None:
    (tmp_path / "m").mkdir()
    assert faiss_idmap(index, Output(tmp_path / "m")) == {"rows": 100}
    table = pq.read_table(tmp_path / "m" / "faiss_idmap.parquet")
    assert table.schema.metadata[b"codeintel.kind"] == b"faiss_idmap/1"
    assert table.schema.equals(FaissIdmap.schema)
    assert table["faiss_row"].to_pylist() == list(range(100))
    assert table["external_id"].to_pylist() == [(row + 1) << 55 for row in range(100)]
    assert table["source"].to_pylist() == ["primary"] * 100


def test_a_damaged_index_has_no_idmap(tmp_path: Path, index: Artefact[Any]) -> None:
    path = index.path / "faiss.rows.npy"
    raw = bytearray(path.read_bytes())
    raw[-20] ^= 1
    path.write_bytes(raw)
    (tmp_path / "m").mkdir()
    with pytest.raises(IndexCorruptionError):
        faiss_idmap(index, Output(tmp_path / "m"))
