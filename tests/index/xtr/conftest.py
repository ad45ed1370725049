"""Token indexes of hand-made vectors, and an encoder whose tokens are words, so that nothing here needs a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.index.xtr import registry
from pipeline.index.xtr.building import build
from pipeline.index.xtr.description import Maker
from pipeline.index.xtr.encoder import TokenVectors
from pipeline.index.xtr.encodings import Gathered, rounded
from pipeline.index.xtr.token_index import TokenIndex

Chunk = tuple[int, Any]
"""Id, and vectors [t, d]."""
DIMENSION = 32


def unit(rows: Any) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def write(folder: Path, chunks: Sequence[Chunk], *, bits: int = 8, roles: Any = None, dimension: int | None = None) -> Path:
    """An index of these chunks in `folder`, in ascending order of ids."""
    chunks = sorted(chunks, key=lambda chunk: chunk[0])
    size = dimension or chunks[0][1].shape[1]
    rows = np.concatenate([np.empty((0, size), np.float32), *(unit(vectors).reshape(-1, size) for _, vectors in chunks)])
    offsets = np.concatenate([[0], np.cumsum([len(vectors) for _, vectors in chunks])]).astype(np.int64)
    spans = np.stack([np.arange(len(rows)), np.arange(len(rows)) + 1], axis=1).astype(np.int32)
    tokens = rounded(TokenVectors(offsets, rows, spans, [""] * len(rows)))
    gathered = Gathered.of([tokens], np.zeros(len(chunks), np.int64), np.arange(len(chunks)))
    folder.mkdir(parents=True)
    ids = np.array([identifier for identifier, _ in chunks], np.int64)
    given = np.zeros(len(rows), np.uint8) if roles is None else np.asarray(roles, np.uint8)
    build(folder, ids, gathered, given, Maker(name="test", digest="d", dimension=size), bits)
    return folder


MakeIndex = Callable[..., TokenIndex]


@pytest.fixture
def make_index(tmp_path: Path) -> MakeIndex:
    """`make_index(chunks, bits=8, roles=[…])`: the index of (id, vectors [t, d]), opened. Roles in the order of ids."""
    made = iter(range(1000))
    return lambda chunks, **given: TokenIndex.open(write(tmp_path / f"index{next(made)}", chunks, **given))


class WordEncoder:
    """A token for each word: a direction drawn from its spelling in lower case. Counts the texts that it was given."""

    name = "xtr/words"
    dimension = DIMENSION

    def __init__(self, digest: str = "words-1") -> None:
        self.digest = digest
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> TokenVectors:
        self.encoded.extend(texts)
        found = [self._tokens(text) for text in texts]
        return TokenVectors(
            np.cumsum([0, *(len(tokens) for tokens in found)]).astype(np.int64),
            unit([_direction(word) for tokens in found for word, _, _ in tokens] or np.ones((1, DIMENSION)))[
                : sum(map(len, found))
            ],
            np.array([span for tokens in found for _, *span in tokens], np.int32).reshape(-1, 2),
            [word for tokens in found for word, _, _ in tokens],
        )

    def encode_query(self, query: str) -> TokenVectors:
        made = self.encode([query])
        self.encoded.pop()
        return made

    def _tokens(self, text: str) -> list[tuple[str, int, int]]:
        return [
            (found[0].lower(), len(text[: found.start()].encode()), len(text[: found.end()].encode()))
            for found in re.finditer(r"[^\W_]+", text)
        ]


def _direction(word: str) -> np.ndarray:
    seed = int.from_bytes(blake2b(word.encode(), digest_size=4).digest(), "little")
    return np.random.default_rng(seed).standard_normal(DIMENSION)


def use(encoder: WordEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it the encoder that the settings mean, in this process."""
    room = SimpleNamespace(LIBRARIES=(), load=lambda settings: encoder, digest_of=lambda settings: encoder.digest)
    monkeypatch.setattr(registry, "_room", lambda settings: room)
    registry._loaded.cache_clear()


@pytest.fixture
def word_encoder(monkeypatch: pytest.MonkeyPatch) -> WordEncoder:
    """The encoder that the settings mean."""
    encoder = WordEncoder()
    use(encoder, monkeypatch)
    return encoder
