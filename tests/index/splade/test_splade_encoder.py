"""The encoder, with a tiny model that these tests train: expansion, limits, digests, and models that are refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import SpladeSettings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.index.splade import encoder
from pipeline.index.splade.encoder import SpladeEncoder
from pipeline.index.splade.impact_index import ImpactIndex
from pipeline.index.splade.postings import build, documents_of

TOPICS = {"tariff": "fee", "vessel": "ship", "flood": "tide"}
"""As `conftest` trains them."""
HERE = importlib.util.find_spec("sentence_transformers") is not None


def of(folder: Path | str, **changes: Any) -> SpladeSettings:
    return SpladeSettings(**{"splade": "on", "splade_model": str(folder), "splade_device": "cpu", **changes})


def opened(folder: Path, **changes: Any) -> SpladeEncoder:
    settings = of(folder, **changes)
    return SpladeEncoder(settings, encoder.encoder_digest(settings))


def rows_of(model: SpladeEncoder, *texts: str) -> Any:
    return np.concatenate(list(model.encode(texts)))


@pytest.mark.models
@pytest.mark.skipif(not HERE, reason="sentence-transformers is not installed (extra `splade`)")
class TestTinyModel:
    """With PyTorch and sentence-transformers."""

    TEXTS = ("def berth_fee ( length ) : return length", "", "\ud800", "ship " * 70, "class harbour", "x tide") * 3

    def test_a_word_finds_the_document_that_lacks_it(self, tiny: Path) -> None:
        model = opened(tiny)
        texts = ["def x : return ship", "berth_fee ( length , nights )", "high water tide"]
        index = ImpactIndex(build(documents_of(np.array([10, 20, 30]), rows_of(model, *texts)), bits=16), bits=16)
        for word, expected in (("tariff", 20), ("vessel", 10), ("flood", 30)):
            assert not any(word in text for text in texts)
            query = model.encode_query(word, 32)
            found, scores = index.search(query, 3)
            assert found[0] == expected and scores[0] > 1.0
            # Both ways: the query gained the document's word, and the document the query's.
            matched = [match.term for match in index.matches(query, expected)]
            assert set(model.tokens(matched)) == {word, TOPICS[word]}

    def test_a_row_is_a_function_of_its_text(self, tiny: Path) -> None:
        model = opened(tiny)
        together = rows_of(model, *self.TEXTS)
        assert together.shape == (len(self.TEXTS), 256)
        assert np.array_equal(together, np.concatenate([rows_of(model, text) for text in reversed(self.TEXTS)])[::-1])
        batches = rows_of(opened(tiny, splade_batch_size=4), *self.TEXTS)
        assert np.abs(batches["impact"].astype(int) - together["impact"]).max() <= 1
        assert list(model.encode([])) == []

    def test_a_document_keeps_its_heaviest_terms(self, masked: Path) -> None:
        every = rows_of(opened(masked), "ship berth")[0]
        three = rows_of(opened(masked, splade_document_terms=3), "ship berth")[0]
        assert (every["impact"] > 0).sum() > 3
        assert sorted(three["impact"], reverse=True) == sorted(every["impact"], reverse=True)[:3]
        coarse = rows_of(opened(masked, splade_bits=8), "ship berth")[0]
        assert 0 < coarse["impact"].max() <= np.rint(every["impact"].max() / 64)

    def test_a_query_keeps_its_heaviest_terms(self, masked: Path) -> None:
        model = opened(masked)
        every, two = model.encode_query("ship berth", 4096), model.encode_query("ship berth", 2)
        assert len(two.terms) == 2 and set(two.weights) == set(np.sort(every.weights)[-2:])

    def test_a_text_is_read_up_to_the_limit(self, tiny: Path) -> None:
        model = opened(tiny, splade_max_tokens=10)
        assert np.array_equal(*rows_of(model, "x " * 8, "x " * 8 + "ship"))
        assert not np.array_equal(*rows_of(opened(tiny), "x " * 8, "x " * 8 + "ship"))
        assert model.digest != opened(tiny).digest
        with pytest.raises(ConfigError, match="160 positions"):
            opened(tiny, splade_max_tokens=161)

    def test_digests_are_those_of_planning_and_go_by_content(self, tiny: Path, copy: Path) -> None:
        model = encoder.load(of(tiny))
        assert model.digest == encoder.encoder_digest(of(tiny)) == encoder.encoder_digest(of(copy))
        assert model.name == "splade/tiny" and model.vocabulary == 37
        assert encoder.encoder_digest(of(tiny, splade_batch_size=3, splade_document_terms=5)) == model.digest
        assert encoder.document_digest(of(tiny, splade_document_terms=5)) != encoder.document_digest(of(tiny))
        assert encoder.document_digest(of(tiny, splade_bits=8)) != encoder.document_digest(of(tiny))
        weights = copy / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
        assert encoder.encoder_digest(of(copy)) != model.digest

    def test_a_plain_masked_language_model_is_pooled_as_splade(self, tiny: Path, copy: Path) -> None:
        (copy / "modules.json").unlink()
        shutil.rmtree(next(copy.glob("1_*")))
        assert np.array_equal(rows_of(opened(copy), "fee"), rows_of(opened(tiny), "fee"))

    def test_a_model_that_is_no_sparse_encoder_is_refused(self, copy: Path) -> None:
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
        (copy / "modules.json").unlink()
        with pytest.raises(ConfigError, match="no sparse encoder"):
            opened(copy)
        (copy / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "Transformer"}]')
        with pytest.raises(ConfigError, match="no sparse encoder"):
            opened(copy)

    def test_a_model_of_another_similarity_is_refused(self, copy: Path) -> None:
        path = copy / "config_sentence_transformers.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"similarity_fn_name": "cosine"}))
        with pytest.raises(ConfigError, match="cosine, not by inner products"):
            opened(copy)

    def test_weights_that_are_no_numbers_are_refused(self, copy: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(copy / "model.safetensors")
        save_file(
            {name: tensor * float("nan") for name, tensor in tensors.items()}, copy / "model.safetensors", {"format": "pt"}
        )
        with pytest.raises(IndexFormatError, match="negative or not finite"):
            opened(copy)

    def test_weights_in_a_pickle_and_damaged_weights_are_refused(self, copy: Path) -> None:
        import torch
        from safetensors.torch import load_file

        weights = copy / "model.safetensors"
        torch.save(load_file(weights), copy / "pytorch_model.bin")
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(IndexFormatError, match="cannot be loaded"):
            opened(copy)
        weights.unlink()
        with pytest.raises(IndexFormatError, match="cannot be loaded") as caught:
            opened(copy)
        assert "splade_model" in caught.value.hint

    def test_a_gpu_that_is_not_there_is_not_passed_over(self, tiny: Path) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(ConfigError, match="`splade_device` is cuda"):
            opened(tiny, splade_device="cuda")

    def test_the_whole_way_and_another_model_is_told_and_costs_no_answer(self, world: Any, tiny: Path, copy: Path) -> None:
        def using(folder: Path) -> dict[str, str]:
            return {"CODEINTEL_SPLADE": "on", "CODEINTEL_SPLADE_MODEL": str(folder), "CODEINTEL_SPLADE_DEVICE": "cpu"}

        done = world.build(env=using(tiny))
        assert done.code == 0 and "splade_index" in done.json["built"], done.err
        assert world("verify").code == 0
        found = world("search", "tariff", "--json", env=using(tiny)).json
        assert found["results"][0]["uri"] == "harbour/fees.py"
        assert found["channels"]["splade"]["state"] == "answered" and found["channels"]["lexical"]["found"] == 0
        assert {word.split()[0] for word in found["results"][0]["explanation"]["splade"]["detail"].split(", ")} == {
            "fee",
            "tariff",
        }
        shutil.copytree(copy, copy.parent / "tiny")  # the same bytes in another place
        assert world("search", "tariff", "--json", env=using(copy.parent / "tiny")).json["results"] == found["results"]
        config = copy / "config.json"
        config.write_text(config.read_text().replace("{", '{"note": 1,', 1))
        other = world("search", "berth fee", "--json", env=using(copy))
        assert other.code == 0 and other.json["results"]
        assert "made by splade/tiny, not splade/copy" in other.json["channels"]["splade"]["reason"]


@pytest.mark.skipif(HERE, reason="sentence-transformers is installed")
def test_without_the_extra_the_way_to_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertForMaskedLM"]}')
    with pytest.raises(ConfigError, match="not installed") as caught:
        opened(tmp_path)
    assert "codeintel-pipeline[splade]" in caught.value.hint


@pytest.mark.parametrize(
    ("model", "message"),
    [("", "has no model"), ("models/mine", "neither a folder nor"), ("here", "no absolute path"), ("/nowhere", "no folder")],
)
def test_a_model_that_is_not_there_is_told(model: str, message: str) -> None:
    if model == "models/mine" and importlib.util.find_spec("huggingface_hub") is None:
        pytest.skip("huggingface_hub is not installed")
    with pytest.raises(ConfigError, match=message) as caught:
        encoder.encoder_digest(of(model))
    assert "splade_model" in str(caught.value)
