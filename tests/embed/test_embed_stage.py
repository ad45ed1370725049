"""The stage `embeddings`: files, ids, and independence of the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from pipeline import tables
from pipeline.config import EmbedSettings, Settings
from pipeline.embed import registry
from pipeline.embed.arrays import hashes_of, open_arrays, open_hashes
from pipeline.embed.interface import document_text
from pipeline.embed.stage import STAGE, embeddings, prepare
from pipeline.embed.static import StaticEmbedder
from pipeline.errors import InvariantViolationError
from pipeline.files import digest_file, tree_files
from pipeline.schemas import Chunks, Embeddings
from pipeline.stage import Artefact, Facts, Output
from pipeline.workers import Runtime

if TYPE_CHECKING:
    from tests.embed.conftest import MakeChunks

ROWS = [
    (70, "b.py", "def apply_migration(): pass"),
    (5, "a.py", "class QuerySet: pass"),
    (2**62, "c/d.py", ""),
    (11, "a.py", "日本語"),
]


def build(chunks: Artefact[Chunks], out: Path, shared: Path | None = None) -> Facts:
    out.mkdir()
    return embeddings(chunks, EmbedSettings(), Runtime(shared=shared), Output(out))


def tree(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): digest_file(path) for path in tree_files(root)}


def test_arrays_and_table_hold_the_vector_of_every_chunk(
    tmp_path: Path, make_chunks: MakeChunks, embedder: StaticEmbedder
) -> None:
    facts = build(make_chunks(ROWS), tmp_path / "out")
    ids, vectors = open_arrays(tmp_path / "out")
    assert ids.tolist() == sorted(row[0] for row in ROWS)
    texts = {identifier: document_text("", uri, content) for identifier, uri, content in ROWS}
    assert np.array_equal(open_hashes(tmp_path / "out"), hashes_of(vectors))
    assert vectors[:].tobytes() == embedder.encode([texts[identifier] for identifier in ids.tolist()]).tobytes()
    table = tables.read_table(tmp_path / "out", Embeddings)
    assert table.schema.equals(Embeddings.schema_of(256), check_metadata=False)
    rows = dict(zip(table["id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    assert all(rows[identifier] == vector for identifier, vector in zip(ids.tolist(), vectors[:].tolist(), strict=True))
    assert facts == {"vectors": 4, "embedder": embedder.name, "digest": embedder.digest, "dimension": 256}
    described = msgspec.json.decode((tmp_path / "out" / Embeddings.EMBEDDER).read_bytes())
    assert described == {
        "version": 1,
        "name": embedder.name,
        "digest": embedder.digest,
        "dimension": 256,
        "normalised": True,
    }


def test_a_chunks_vector_lies_in_the_part_of_its_file(tmp_path: Path, make_chunks: MakeChunks) -> None:
    chunks = make_chunks(ROWS)
    build(chunks, tmp_path / "out")
    ours, theirs = tables.parts(tmp_path / "out", Embeddings), tables.parts(chunks.path, Chunks)
    assert len(ours) == len(theirs) == 2
    for mine, other in zip(ours, theirs, strict=True):
        ids = tables.read_part(mine, Embeddings)["id"].to_pylist()
        assert ids == sorted(tables.read_part(other, Chunks)["id"].to_pylist())


def test_the_cache_changes_no_byte_and_no_fact(tmp_path: Path, make_chunks: MakeChunks) -> None:
    chunks, shared = make_chunks(ROWS), tmp_path / "shared"
    facts = [
        build(chunks, tmp_path / "without"),
        build(chunks, tmp_path / "filling", shared),
        build(chunks, tmp_path / "filled", shared),
    ]
    assert facts[0] == facts[1] == facts[2]
    assert tree(tmp_path / "without") == tree(tmp_path / "filling") == tree(tmp_path / "filled")


def test_a_repository_without_chunks_has_empty_arrays(tmp_path: Path, make_chunks: MakeChunks) -> None:
    assert build(make_chunks([]), tmp_path / "out", tmp_path / "shared")["vectors"] == 0
    ids, vectors = open_arrays(tmp_path / "out")
    assert vectors.shape == (0, 256) and ids.dtype == np.int64
    assert len(tables.parts(tmp_path / "out", Embeddings)) == 2


def test_a_repeated_id_is_refused(tmp_path: Path, make_chunks: MakeChunks) -> None:
    with pytest.raises(InvariantViolationError, match="7 is not unique"):
        build(make_chunks([(7, "a.py", "x"), (7, "b.py", "y")]), tmp_path / "out")


def test_vectors_that_are_not_of_unit_length_are_refused(
    tmp_path: Path, make_chunks: MakeChunks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StaticEmbedder, "encode", lambda self, texts: np.full((len(texts), 256), np.nan, np.float32))
    with pytest.raises(InvariantViolationError, match="unit length"):
        build(make_chunks(ROWS), tmp_path / "out")


def test_the_key_names_the_weights() -> None:
    assert STAGE.uses(Settings())["embedder"] == StaticEmbedder().digest


def test_workers_prepare_nothing_for_an_embedder_that_works_in_one_process() -> None:
    # Nobody listens there: asking would raise.
    prepare(EmbedSettings(embedder="http", embed_url="http://127.0.0.1:9/v1", embed_model="m", embed_retries=0))
    prepare(EmbedSettings(embedder="sentence-transformers", embed_model="/nowhere"))


def test_an_embedder_whose_files_change_at_work_is_refused_before_anything_is_stored(
    tmp_path: Path, make_chunks: MakeChunks, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [StaticEmbedder(), StaticEmbedder()]
    monkeypatch.setattr(type(loaded[0]), "digest", property(lambda self: f"{len(loaded)}" * 32))
    monkeypatch.setattr(registry, "load", lambda settings: loaded.pop())
    monkeypatch.setattr(type(loaded[0]), "document_digest", property(lambda self: "d"))
    with pytest.raises(InvariantViolationError, match="changed while it was at work"):
        build(make_chunks(ROWS), tmp_path / "out", tmp_path / "shared")
    assert not list(tmp_path.glob("shared/embeddings/*/seg-*"))
