"""Models in folders: what a folder says of itself, and a tiny ColBERT that these tests make."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from pipeline.config import XtrSettings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.index.xtr import colbert, registry

HERE = all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers", "safetensors"))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
WORDS = ["ship", "berth", "fee", "harbour", "def", "(", ")", ".", ":"]
NUMBER = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
HIDDEN, DIMENSION = 16, 8


def tokenizer() -> Tokenizer:
    made = Tokenizer(WordLevel(NUMBER, unk_token="[UNK]"))
    made.pre_tokenizer = BertPreTokenizer()
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return made


def of(folder: Path, **changes: Any) -> XtrSettings:
    return XtrSettings(xtr="on", xtr_model=str(folder), xtr_device="cpu", **changes)


PYLATE = {
    "document_prefix": "[unused1]",
    "query_prefix": "[unused0]",
    "document_length": 12,
    "query_length": 8,
    "skiplist_words": ["(", ")", ".", "nothing like it"],
    "do_query_expansion": True,
    "attend_to_expansion_tokens": False,
}
STANFORD = {
    "doc_token_id": "[unused1]",
    "query_token_id": "[unused0]",
    "doc_maxlen": 12,
    "query_maxlen": 8,
    "mask_punctuation": True,
}


def test_both_ways_to_describe_a_colbert_give_one_recipe(tmp_path: Path) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(PYLATE))
    pylate = colbert.recipe_of(tmp_path, tmp_path, tokenizer(), of(tmp_path, xtr_max_tokens=30))
    assert (pylate.window, pylate.windows, pylate.query_window) == (12, 3, 8)
    assert (pylate.document_marker, pylate.query_marker) == (NUMBER["[unused1]"], NUMBER["[unused0]"])
    assert pylate.skipped == {NUMBER[word] for word in "()."} and pylate.keeps_special
    assert pylate.mask == NUMBER["[MASK]"] and not pylate.attends_masks
    (tmp_path / "config_sentence_transformers.json").unlink()
    (tmp_path / "artifact.metadata").write_text(json.dumps(STANFORD))
    stanford = colbert.recipe_of(tmp_path, tmp_path, tokenizer(), of(tmp_path, xtr_max_tokens=30))
    assert stanford.skipped == {NUMBER[word] for word in "().:"}
    assert {
        name: getattr(stanford, name) for name in ("window", "query_window", "document_marker", "query_marker", "mask")
    } == {name: getattr(pylate, name) for name in ("window", "query_window", "document_marker", "query_marker", "mask")}


def test_a_folder_that_says_nothing_is_an_encoder_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    recipe = colbert.recipe_of(tmp_path, tmp_path, tokenizer(), of(tmp_path))
    assert (recipe.window, recipe.windows, recipe.mask, recipe.document_marker) == (64, 8, None, None)
    assert not recipe.keeps_special and not recipe.skipped


def test_a_marker_that_is_no_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "artifact.metadata").write_text(json.dumps({**STANFORD, "doc_token_id": "[none]"}))
    with pytest.raises(IndexFormatError, match=r"marker '\[none\]'"):
        colbert.recipe_of(tmp_path, tmp_path, tokenizer(), of(tmp_path))


MODULES = [
    ([{"path": "", "type": "x.Transformer"}, {"path": "1_Dense", "type": "x.Dense"}, {"path": "2", "type": "x.CNN"}], "CNN"),
    ([{"path": "../..", "type": "x.Transformer"}], "outside of the model"),
    ([{"path": "/etc", "type": "x.Transformer"}], "outside of the model"),
    ([{"path": "1_Dense", "type": "x.Dense"}, {"path": "2_Dense", "type": "x.Dense"}], "two projections"),
    ([{"path": "3_Dense", "type": "x.Dense"}], "is missing"),
    ({"path": ""}, "cannot be read"),
]


@pytest.mark.parametrize(("modules", "problem"), MODULES)
def test_modules_that_token_encoders_do_not_have_are_refused(tmp_path: Path, modules: Any, problem: str) -> None:
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    for name in ("1_Dense", "2_Dense"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"")
    with pytest.raises(IndexFormatError, match=problem):
        colbert.parts_of(tmp_path)


def test_a_projection_with_an_activation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "1_Dense", "type": "pylate.models.Dense.Dense"}]))
    (tmp_path / "1_Dense").mkdir()
    (tmp_path / "1_Dense" / "config.json").write_text('{"activation_function": "torch.nn.modules.activation.Tanh"}')
    with pytest.raises(IndexFormatError, match=r"not linear: it has torch\.nn\.modules\.activation\.Tanh"):
        colbert.parts_of(tmp_path)


@pytest.mark.parametrize("path", ["relative/folder", "/no/such/folder"])
def test_a_folder_that_is_not_there_is_told(path: str) -> None:
    with pytest.raises(ConfigError, match=f"`xtr_model` is {path}, which is no"):
        registry.digest_of(XtrSettings(xtr="on", xtr_model=path))


@pytest.mark.skipif(HERE, reason="PyTorch and transformers are installed")
def test_without_pytorch_the_way_to_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not installed") as caught:
        registry.load(of(tmp_path))
    assert "codeintel-pipeline[sentence-transformers]" in str(caught.value)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights, a projection in a module of its own, and PyLate's configuration."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(1)
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
    BertModel(BertConfig(vocab_size=len(NUMBER), hidden_size=HIDDEN, **shape)).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(PYLATE))
    (folder / "modules.json").write_text(
        json.dumps([{"path": "", "type": "x.Transformer"}, {"path": "1_Dense", "type": "pylate.models.Dense.Dense"}])
    )
    (folder / "1_Dense").mkdir()
    save_file({"linear.weight": torch.randn(DIMENSION, HIDDEN)}, folder / "1_Dense" / "model.safetensors")
    (folder / "1_Dense" / "config.json").write_text('{"activation_function": "torch.nn.modules.linear.Identity"}')
    return folder


@pytest.mark.models
@pytest.mark.skipif(not HERE, reason="PyTorch is not installed (extra `sentence-transformers`)")
class TestTinyColBert:
    """With PyTorch and transformers."""

    TEXTS = ("def ship ( berth ) : fee .", "ship", "", "harbour fee " * 20, "berth") * 3

    def test_documents_have_markers_projected_vectors_and_no_skipped_words(self, tiny: Path) -> None:
        made = colbert.load(of(tiny)).encode(["def ship ( berth )", "ship"])
        assert made.tokens == ["[CLS]", "[unused1]", "def", "ship", "berth", "[SEP]", "[CLS]", "[unused1]", "ship", "[SEP]"]
        assert made.vectors.shape == (10, DIMENSION) and np.abs(np.linalg.norm(made.vectors, axis=1) - 1).max() < 1e-5

    def test_vectors_are_those_of_the_transformer_and_the_projection(self, tiny: Path) -> None:
        import torch
        from safetensors.torch import load_file
        from transformers import BertModel

        ids = [2, NUMBER["[unused1]"], NUMBER["ship"], NUMBER["fee"], 3]
        with torch.inference_mode():
            states = BertModel.from_pretrained(tiny).eval()(torch.tensor([ids])).last_hidden_state[0]
        projected = states @ load_file(tiny / "1_Dense" / "model.safetensors")["linear.weight"].T
        expected = torch.nn.functional.normalize(projected, dim=-1).numpy()
        assert np.allclose(colbert.load(of(tiny)).encode(["ship fee"]).vectors, expected, atol=1e-5)

    def test_a_text_has_the_same_tokens_in_any_batch(self, tiny: Path) -> None:
        encoder = colbert.load(of(tiny, xtr_batch_size=4))
        together = encoder.encode(self.TEXTS)
        alone = np.concatenate([encoder.encode([text]).vectors for text in self.TEXTS])
        assert np.allclose(together.vectors, alone, atol=1e-5)

    def test_queries_are_filled_up_with_masks_that_nothing_attends_to(self, tiny: Path) -> None:
        made = colbert.load(of(tiny)).encode_query("ship fee")
        assert made.tokens == ["[CLS]", "[unused0]", "ship", "fee", "[SEP]", "[MASK]", "[MASK]", "[MASK]"]
        config = json.loads((tiny / "config_sentence_transformers.json").read_text())
        assert config["query_length"] == len(made.vectors)

    def test_a_projection_beside_the_transformers_own_weights_is_found(self, tiny: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        copy = tmp_path / "tiny"
        shutil.copytree(tiny, copy)
        (copy / "modules.json").unlink()
        (copy / "config_sentence_transformers.json").unlink()
        (copy / "artifact.metadata").write_text(json.dumps(STANFORD))
        weights = {f"bert.{name}": array for name, array in load_file(copy / "model.safetensors").items()}
        weights |= load_file(copy / "1_Dense" / "model.safetensors")
        shutil.rmtree(copy / "1_Dense")
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        ours, theirs = colbert.load(of(copy)), colbert.load(of(tiny))
        assert ours.digest != theirs.digest
        assert np.allclose(ours.encode(["ship fee"]).vectors, theirs.encode(["ship fee"]).vectors, atol=1e-5)

    @pytest.mark.parametrize("name", ["model.safetensors", "1_Dense/model.safetensors"])
    def test_damaged_weights_are_refused(self, tiny: Path, tmp_path: Path, name: str) -> None:
        copy = tmp_path / "tiny"
        shutil.copytree(tiny, copy)
        (copy / name).write_bytes((copy / name).read_bytes()[:100])
        with pytest.raises(IndexFormatError, match="cannot be"):
            colbert.load(of(copy))

    def test_weights_in_a_pickle_are_refused(self, tiny: Path, tmp_path: Path) -> None:
        import torch
        from safetensors.torch import load_file

        copy = tmp_path / "tiny"
        shutil.copytree(tiny, copy)
        torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
        (copy / "model.safetensors").unlink()
        with pytest.raises(IndexFormatError, match="cannot be loaded") as caught:
            colbert.load(of(copy))
        assert "safetensors" in str(caught.value)

    def test_a_folder_without_a_tokenizer_and_a_gpu_that_is_not_there_are_told(self, tiny: Path, tmp_path: Path) -> None:
        import torch

        copy = tmp_path / "tiny"
        shutil.copytree(tiny, copy)
        (copy / "tokenizer.json").unlink()
        with pytest.raises(IndexFormatError, match=r"no tokenizer\.json"):
            colbert.load(of(copy))
        if not torch.cuda.is_available():
            with pytest.raises(ConfigError, match="no GPU"):
                colbert.load(XtrSettings(xtr="on", xtr_model=str(tiny), xtr_device="cuda"))

    def test_the_folder_goes_the_whole_way(self, world: Any, tiny: Path) -> None:
        env = {"CODEINTEL_XTR": "on", "CODEINTEL_XTR_MODEL": str(tiny), "CODEINTEL_XTR_DEVICE": "cpu"}
        done = world.build(env=env)
        assert done.code == 0, done.err
        answer = world("search", "berth fee", "--explain", "--json", env=env).json
        assert answer["channels"]["xtr"]["state"] == "answered"
        assert [match["query"] for match in answer["results"][0]["tokens"]][:4] == ["[CLS]", "[unused0]", "berth", "fee"]
