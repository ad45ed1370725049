"""A tiny SPLADE model that these tests make and train until it expands, and an encoder without a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from pipeline.embed import words
from pipeline.files import digest_bytes
from pipeline.index.splade import encoder
from pipeline.index.splade.impact_index import SparseQuery, sparse_query
from pipeline.index.splade.postings import DocumentRows, document_rows

TOPICS = {"tariff": "fee", "vessel": "ship", "flood": "tide"}
"""A word that queries use, and the word that documents use for the same."""
OTHERS = "def class return self name length nights hours high water berth quay harbour x 1 2 4 ( ) : . , _ = *".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, *TOPICS, *TOPICS.values(), *OTHERS, "##s"]
POSITIONS = 160


def _untrained(folder: Path) -> None:
    """A masked language model of one layer with random weights, and its WordPiece tokenizer."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=POSITIONS, **named).save_pretrained(folder)
    torch.manual_seed(5)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "hidden_size": 32}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=POSITIONS, hidden_dropout_prob=0.0, **shape)
    BertForMaskedLM(config).save_pretrained(folder)


def _train(folder: Path) -> None:
    """A text with either word of a topic learns to weigh both words, and every other term nothing."""
    import random

    import torch
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(folder), device="cpu", local_files_only=True)
    random.seed(7)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    pairs = list(TOPICS.items())
    for _ in range(120):
        texts, wanted = [], torch.zeros(8, len(WORDS))
        for number in range(len(wanted)):
            about = pairs[number] if number < len(pairs) else random.choice([*pairs, ()])
            words = [*random.sample(OTHERS, random.choice([0, 3, 12])), *random.sample(about, min(1, len(about)))]
            texts.append(" ".join(random.sample(words, len(words))))
            wanted[number, [WORDS.index(word) for word in about]] = 1.0
        loss = (model(model.preprocess(texts))["sentence_embedding"] - wanted).square().sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save(str(folder.parent / "tiny"))


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain masked language model, untrained."""
    folder = tmp_path_factory.mktemp("models") / "masked"
    _untrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(masked: Path) -> Path:
    """The same, trained, in the layout of the library's sparse encoders."""
    _train(masked)
    return masked.parent / "tiny"


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy of `tiny` that a test may change."""
    shutil.copytree(tiny, tmp_path / "copy")
    return tmp_path / "copy"


class WordEncoder:
    """Stands in for a model: each word is a term and weighs 1; to queries, what their words mean is added."""

    vocabulary = 1 << 16
    meaning: Mapping[str, str] = {"tariff": "fee"}

    def __init__(self, name: str = "splade/words", width: int = 64) -> None:
        self.name, self.width = name, width
        self.digest = digest_bytes(name.encode())
        self.encoded: list[str] = []
        self.written: dict[int, str] = {}

    def _terms(self, text: str) -> list[int]:
        found = {word: crc32(word.encode()) % self.vocabulary for run in words.runs(text) for word in words.terms(run)}
        self.written |= {term: word for word, term in found.items()}
        return sorted(set(found.values()))

    def tokens(self, terms: Sequence[int]) -> list[str]:
        """The words."""
        return [self.written[term] for term in terms]

    def encode(self, texts: Sequence[str]) -> Iterator[DocumentRows]:
        """One document at a time."""
        for text in texts:
            self.encoded.append(text)
            terms = np.array(self._terms(text), np.int32)
            yield document_rows(np.zeros(len(terms), int), terms, np.full(len(terms), 200, np.uint16), 1, self.width)

    def encode_query(self, query: str, most: int) -> SparseQuery:
        """The words, and what they mean."""
        terms = self._terms(" ".join([query, *(self.meaning.get(word, "") for word in query.split())]))
        return sparse_query(terms, np.ones(len(terms)), most)


@pytest.fixture
def words_encoder(monkeypatch: pytest.MonkeyPatch) -> WordEncoder:
    """Every setting of `splade_model` means this encoder, which the test may rename."""
    made = WordEncoder()
    monkeypatch.setattr(encoder, "load", lambda settings: made)
    monkeypatch.setattr(encoder, "encoder_digest", lambda settings: made.digest)
    return made
