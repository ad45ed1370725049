"""The embedder `sentence-transformers`, with a tiny model that these tests make: pooling, prefixes, limits, trust."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import EmbedSettings
from pipeline.embed import registry
from pipeline.embed.interface import TOLERANCE
from pipeline.embed.sentence_transformer import SentenceTransformerEmbedder
from pipeline.errors import ConfigError, IndexFormatError

HERE = importlib.util.find_spec("sentence_transformers") is not None
needs_torch = pytest.mark.skipif(not HERE, reason="sentence-transformers is not installed (extra `sentence-transformers`)")
DIMENSION = 32
WORDS = "def class return self find doc read write ship berth fee harbour tide query set alpha password x : ( ) . _".split()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights, mean pooling, 64 tokens, and a prompt for queries."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **named).save_pretrained(folder / "bert")
    torch.manual_seed(1)
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 80}
    BertModel(BertConfig(vocab_size=len(vocabulary), hidden_size=DIMENSION, **shape)).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(DIMENSION, "mean")], prompts={"query": "find : "}, device="cpu")
    model.save(str(folder / "tiny"))
    return folder / "tiny"


def of(folder: Path, **changes: Any) -> EmbedSettings:
    return EmbedSettings(embedder="sentence-transformers", embed_model=str(folder), embed_device="cpu", **changes)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.models
@needs_torch
class TestTinyModel:
    """With PyTorch and sentence-transformers."""

    TEXTS = ("def read ( self )", "", "\ud800", "ship " * 40, "class harbour", "x") * 9

    def test_rows_are_unit_and_do_not_depend_on_their_batch(self, tiny: Path) -> None:
        embedder = SentenceTransformerEmbedder(of(tiny, embed_batch_size=4))
        vectors = embedder.encode(self.TEXTS)
        assert vectors.dtype == np.float32 and vectors.shape == (len(self.TEXTS), DIMENSION)
        assert np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max() < 1e-6
        alone = np.concatenate([embedder.encode([text]) for text in self.TEXTS])
        assert (1 - (vectors.astype(np.float64) * alone).sum(axis=1)).max() < TOLERANCE
        assert embedder.encode([]).shape == (0, DIMENSION) and embedder.dimension == DIMENSION

    def test_queries_get_the_models_prompt_and_documents_none(self, tiny: Path) -> None:
        embedder = SentenceTransformerEmbedder(of(tiny))
        assert np.allclose(embedder.encode_queries(["ship"]), embedder.encode(["find : ship"]), atol=1e-6)
        assert not np.allclose(embedder.encode_queries(["ship"]), embedder.encode(["ship"]), atol=1e-3)

    def test_prefixes_of_the_settings_win(self, tiny: Path) -> None:
        plain = SentenceTransformerEmbedder(of(tiny, embed_query_prefix=""))
        made = SentenceTransformerEmbedder(of(tiny, embed_query_prefix="", embed_document_prefix="doc : "))
        assert np.allclose(made.encode(["ship"]), plain.encode(["doc : ship"]), atol=1e-6)
        assert np.allclose(made.encode_queries(["ship"]), plain.encode(["ship"]), atol=1e-6)
        assert made.document_digest != plain.document_digest
        assert plain.document_digest == SentenceTransformerEmbedder(of(tiny)).document_digest
        assert plain.digest != SentenceTransformerEmbedder(of(tiny)).digest

    def test_a_text_is_read_up_to_the_limit(self, tiny: Path) -> None:
        embedder = SentenceTransformerEmbedder(of(tiny))
        start = "ship " * 62  # and two special tokens
        assert np.allclose(*embedder.encode([start, start + "password " * 9]), atol=1e-6)
        shorter = SentenceTransformerEmbedder(of(tiny, embed_max_tokens=10))
        assert np.allclose(*shorter.encode(["ship " * 8, "ship " * 8 + "password"]), atol=1e-6)
        assert shorter.digest != embedder.digest
        with pytest.raises(ConfigError, match="80 positions"):
            registry.embedder_digest(of(tiny, embed_max_tokens=81))

    def test_the_folder_says_how_vectors_are_pooled(self, tiny: Path, copy: Path) -> None:
        pooling = next(copy.glob("1_*/config.json"))
        text = pooling.read_text()
        changed = text.replace('"mean"', '"cls"')
        assert changed != text
        pooling.write_text(changed)
        by_mean, by_first = SentenceTransformerEmbedder(of(tiny)), SentenceTransformerEmbedder(of(copy))
        assert by_mean.digest != by_first.digest
        assert not np.allclose(by_mean.encode(["ship berth"]), by_first.encode(["ship berth"]), atol=1e-3)

    def test_the_digest_for_planning_is_that_of_the_loaded_embedder(self, tiny: Path) -> None:
        embedder = registry.load(of(tiny))
        assert registry.embedder_digest(of(tiny)) == embedder.digest and embedder.name == "sentence-transformers/tiny"
        assert registry.embedder_digest(of(tiny, embed_batch_size=1)) == embedder.digest

    def test_another_dimension_than_the_settings_say_is_refused(self, tiny: Path) -> None:
        with pytest.raises(ConfigError, match="32 dimensions, and `embed_dimension` is 31"):
            SentenceTransformerEmbedder(of(tiny, embed_dimension=31))

    def test_a_model_goes_the_whole_way_and_vectors_of_another_of_its_dimension_are_not_compared(
        self, world: Any, tiny: Path, copy: Path
    ) -> None:
        def using(folder: Path) -> dict[str, str]:
            model = {"CODEINTEL_EMBEDDER": "sentence-transformers", "CODEINTEL_EMBED_MODEL": str(folder)}
            return {**model, "CODEINTEL_EMBED_DEVICE": "cpu"}

        done = world.build(env=using(tiny))
        assert done.code == 0, done.err
        assert world("verify").code == 0
        assert world("search", "berth fee", "--json", env=using(tiny)).json["results"][0]["uri"] == "harbour/fees.py"
        shutil.copytree(copy, copy.parent / "tiny")
        assert world("search", "berth fee", env=using(copy.parent / "tiny")).code == 0  # the same bytes in another place
        config = copy / "config_sentence_transformers.json"
        config.write_text(config.read_text().replace("find : ", "doc : "))
        warned = world("search", "berth fee", "--json", env=using(copy))
        told = warned.json["channels"]["dense"]
        assert told["state"] == "broken" and "were made by sentence-transformers/tiny" in told["reason"]
        assert all("dense" not in hit["explanation"] for hit in warned.json["results"])

    def test_weights_in_a_pickle_are_refused(self, copy: Path) -> None:
        import torch
        from safetensors.torch import load_file

        torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
        (copy / "model.safetensors").unlink()
        with pytest.raises(IndexFormatError, match="cannot be loaded") as caught:
            SentenceTransformerEmbedder(of(copy))
        assert "safetensors" in str(caught.value)

    def test_damaged_weights_are_refused(self, copy: Path) -> None:
        weights = copy / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(IndexFormatError, match="cannot be loaded"):
            SentenceTransformerEmbedder(of(copy))

    def test_code_of_a_model_is_not_run_unless_a_setting_says_so(
        self, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from transformers import dynamic_module_utils

        monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
        ran = tmp_path / "ran"
        (copy / "modeling_own.py").write_text(
            f"from pathlib import Path\nPath({str(ran)!r}).write_text('x')\n"
            "from transformers import BertConfig, BertModel\n\n\nclass OwnConfig(BertConfig):\n    model_type = 'own'\n\n\n"
            "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
        )
        config = json.loads((copy / "config.json").read_text())
        config |= {"model_type": "own", "architectures": ["OwnModel"]}
        config["auto_map"] = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match="brings Python code of its own") as caught:
            SentenceTransformerEmbedder(of(copy))
        assert "embed_trust_remote_code" in str(caught.value) and not ran.exists()
        trusting = SentenceTransformerEmbedder(of(copy, embed_trust_remote_code=True))
        assert ran.exists() and trusting.encode(["ship"]).shape == (1, DIMENSION)

    def test_a_gpu_that_is_not_there_is_not_passed_over(self, tiny: Path) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(ConfigError, match="no GPU"):
            SentenceTransformerEmbedder(
                EmbedSettings(embedder="sentence-transformers", embed_model=str(tiny), embed_device="cuda")
            )


@pytest.mark.skipif(HERE, reason="sentence-transformers is installed")
def test_without_the_extra_the_way_to_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not installed") as caught:
        registry.load(of(tmp_path))
    assert "codeintel-pipeline[sentence-transformers]" in str(caught.value)
