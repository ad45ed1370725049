"""What a token encoder is, and the one way from a text to its token vectors.

A text longer than the model reads is read in windows, one after the other. A row is a function of its window alone, so the
vectors of a text depend on nothing else.

Belongs here: the contract, windows, markers and what is left out. Not here: models (`minilm`, `colbert`), which one the
settings mean (`registry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.embed.interface import unit_rows, valid_text

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Vectors = npt.NDArray[np.float32]
Spans = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int64]

NOWHERE = -1
"""Both ends of the span of a token that stands for no text: a marker, a mask."""


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The tokens of n texts, t in all: those of text i are rows offsets[i] to offsets[i + 1].

    offsets int64 [n + 1]; vectors float32 [t, d], unit rows; spans int32 [t, 2], half-open, in bytes of the text as UTF-8;
    tokens, as the model's vocabulary writes them.
    """

    offsets: Numbers
    vectors: Vectors
    spans: Spans
    tokens: list[str]


class TokenEncoder(Protocol):
    """Texts in, a unit vector for each of their tokens out."""

    @property
    def name(self) -> str:
        """Which encoder this is, for people."""
        ...

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        ...

    @property
    def digest(self) -> str:
        """Of weights, tokenizer and algorithm: equal digests mean equal vectors for equal texts."""
        ...

    def encode(self, texts: Sequence[str]) -> TokenVectors:
        """The tokens of documents; a text of nothing but what the encoder leaves out has none."""
        ...

    def encode_query(self, query: str) -> TokenVectors:
        """The tokens of one query, cut at as many as the encoder reads of one."""
        ...


class Model(Protocol):
    """What computes vectors."""

    @property
    def dimension(self) -> int:
        """Length of a token's vector."""
        ...

    def run(self, windows: Sequence[Numbers], masks: Sequence[Numbers]) -> list[Vectors]:
        """The vectors of each window's tokens int64 [t]: float32 [t, d], not yet of unit length. Masks are 0 where a token is
        not attended to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model wants its texts, and which of its tokens count."""

    name: str
    window: int
    """Tokens of one window, with markers."""
    windows: int
    """Read of one document."""
    query_window: int
    document_marker: int | None = None
    """A token put before the text, after the token that the tokenizer starts with; so for queries."""
    query_marker: int | None = None
    keeps_special: bool = False
    """Whether the vectors of markers and separators count."""
    skipped: frozenset[int] = frozenset()
    """Tokens of documents that do not count."""
    skips_in_queries: bool = False
    """Whether they do not count in queries either, unless a query has no others."""
    mask: int | None = None
    """The token that short queries are filled up with; None: they stay short."""
    attends_masks: bool = False


class _Window(NamedTuple):
    ids: Numbers
    attended: Numbers
    special: npt.NDArray[np.bool_]
    spans: Spans
    """In characters of the text."""
    tokens: list[str]


class ModelEncoder:
    """A `TokenEncoder` over any model; as safe between threads as the model is."""

    def __init__(self, recipe: Recipe, digest: str, tokenizer: Tokenizer, model: Model) -> None:
        """`tokenizer` cuts at any length; this sets it."""
        self._recipe, self._digest, self._tokenizer, self._model = recipe, digest, tokenizer, model
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(recipe.window - (recipe.document_marker is not None))

    @property
    def name(self) -> str:
        """As its recipe says."""
        return self._recipe.name

    @property
    def dimension(self) -> int:
        """As the model says."""
        return self._model.dimension

    @property
    def digest(self) -> str:
        """Of all that its vectors depend on."""
        return self._digest

    def encode(self, texts: Sequence[str]) -> TokenVectors:
        """Documents, in windows; raises `IndexFormatError` for a vector that is zero or not finite."""
        windows = [self._windows(text) for text in texts]
        flat = [window for own in windows for window in own]
        rows = iter(self._model.run([window.ids for window in flat], [window.attended for window in flat]))
        return _joined(
            [self._kept(text, own, [next(rows) for _ in own], query=False) for text, own in zip(texts, windows, strict=True)],
            self.dimension,
        )

    def encode_query(self, query: str) -> TokenVectors:
        """The first window of a query, filled up with masks where the recipe says so."""
        recipe = self._recipe
        window = _cut(self._window(self._tokenizer.encode(valid_text(query)), recipe.query_marker), recipe.query_window)
        if recipe.mask is not None:
            window = _filled(window, recipe.query_window, recipe.mask, attended=recipe.attends_masks)
        rows = self._model.run([window.ids], [window.attended])
        return _joined([self._kept(query, [window], rows, query=True)], self.dimension)

    def _windows(self, text: str) -> list[_Window]:
        """The first windows of a document."""
        first = self._tokenizer.encode(valid_text(text))
        encodings = (first, *first.overflowing)[: self._recipe.windows]
        return [self._window(encoding, self._recipe.document_marker) for encoding in encodings]

    def _window(self, encoding: Encoding, marker: int | None) -> _Window:
        ids = np.array(encoding.ids, np.int64)
        special = np.array(encoding.special_tokens_mask, bool)
        spans = np.array(encoding.offsets, np.int32).reshape(len(ids), 2)
        spans[special] = NOWHERE
        tokens = list(encoding.tokens)
        if marker is not None:
            at = 1 if len(special) and special[0] else 0
            ids, special = np.insert(ids, at, marker), np.insert(special, at, True)
            spans = np.insert(spans, at, NOWHERE, axis=0)
            tokens.insert(at, self._tokenizer.id_to_token(marker) or "")
        return _Window(ids, np.ones_like(ids), special, spans, tokens)

    def _kept(self, text: str, windows: Sequence[_Window], rows: Sequence[Vectors], *, query: bool) -> TokenVectors:
        """What counts of a text: unit rows, spans in bytes."""
        recipe = self._recipe
        ids, special = (np.concatenate([getattr(window, name) for window in windows]) for name in ("ids", "special"))
        keep = np.ones(len(ids), bool) if recipe.keeps_special else ~special
        if not query or recipe.skips_in_queries:
            told = keep & ~np.isin(ids, list(recipe.skipped))
            keep = told if not query or told.any() else keep
        spans = np.concatenate([window.spans for window in windows])[keep]
        tokens = [token for window in windows for token in window.tokens]
        vectors = unit_rows(np.concatenate(rows)[keep], f"The model {recipe.name}")
        offsets = np.array([0, len(vectors)], np.int64)
        return TokenVectors(offsets, vectors, _bytes(valid_text(text), spans), [tokens[row] for row in np.flatnonzero(keep)])


def _cut(window: _Window, most: int) -> _Window:
    """At most so many tokens, the last one kept: it separates."""
    if len(window.ids) <= most:
        return window
    rows = np.r_[0 : most - 1, len(window.ids) - 1]
    tokens = [window.tokens[row] for row in rows]
    return _Window(window.ids[rows], window.attended[rows], window.special[rows], window.spans[rows], tokens)


def _filled(window: _Window, length: int, mask: int, *, attended: bool) -> _Window:
    """Up to `length` tokens, with masks."""
    lacking = max(length - len(window.ids), 0)
    return _Window(
        np.r_[window.ids, np.full(lacking, mask, np.int64)],
        np.r_[window.attended, np.full(lacking, int(attended), np.int64)],
        np.r_[window.special, np.ones(lacking, bool)],
        np.r_[window.spans, np.full((lacking, 2), NOWHERE, np.int32)],
        [*window.tokens, *["[MASK]"] * lacking],
    )


def _bytes(text: str, spans: Spans) -> Spans:
    """Spans in characters as spans in bytes of UTF-8."""
    if text.isascii() or not len(spans):
        return spans
    lengths = np.array([len(character.encode()) for character in text], np.int64)
    places = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return np.where(spans < 0, NOWHERE, places[np.maximum(spans, 0)])


def _joined(texts: Sequence[TokenVectors], dimension: int) -> TokenVectors:
    """One text after the other."""
    counts = [len(text.vectors) for text in texts]
    return TokenVectors(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.empty((0, dimension), np.float32), *(text.vectors for text in texts)]),
        np.concatenate([np.empty((0, 2), np.int32), *(text.spans for text in texts)]),
        [token for text in texts for token in text.tokens],
    )
