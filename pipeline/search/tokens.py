"""Token vectors of an open version: its index, and queries through the encoder that made it.

Belongs here: opening, and which token of a chunk answered which of a query, in the words of its file. Not here: the
channel and the late stage (`channels.xtr`), arithmetic (`index.xtr`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.config import SearchSettings, XtrSettings
from pipeline.index.dense.arrays import Ids
from pipeline.index.xtr import registry
from pipeline.index.xtr.encoder import TokenEncoder, TokenVectors
from pipeline.index.xtr.narrow import Focus, Scored, score
from pipeline.index.xtr.places import MASKS, file_spans
from pipeline.index.xtr.token_index import TokenIndex
from pipeline.search.opened import OpenVersion

_REMEMBERED = 64
"""Queries: the channel, the late stage and the explanation ask for the same one."""


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """The token of a chunk that answers a token of the query best: its text, and where it stands in the file.

    Bytes are half-open, lines 1-based; all of it None for a marker, and bytes where the file's encoding hides them.
    """

    query: str
    similarity: float
    text: str | None
    line: int | None
    start_byte: int | None
    end_byte: int | None

    def as_json(self) -> dict[str, Any]:
        """As `search --explain --json` prints it."""
        return {
            "query": self.query,
            "similarity": round(self.similarity, 6),
            "text": self.text,
            "line": self.line,
            "start_byte": self.start_byte,
            "end_byte": self.end_byte,
        }


@dataclass
class TokenSearch:
    """An index and its encoder; many threads may use it at once."""

    index: TokenIndex
    encoder: TokenEncoder
    _queries: dict[str, TokenVectors] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def query(self, text: str) -> TokenVectors:
        """The tokens of a query."""
        with self._lock:
            found = self._queries.get(text)
        if found is None:
            found = self.encoder.encode_query(text)
            with self._lock:
                while len(self._queries) >= _REMEMBERED:
                    self._queries.pop(next(iter(self._queries)))
                self._queries[text] = found
        return found

    def score(self, text: str, ids: Ids, settings: SearchSettings) -> Scored:
        """How well each chunk (ids int64 [n]) answers a query, by all its tokens, as `xtr_spans` weighs them."""
        mask = MASKS.get(settings.xtr_spans)
        return score(self.index, self.query(text).vectors, ids, None if mask is None else Focus(mask, settings.xtr_span_bonus))

    def matches(self, text: str, chunk: Mapping[str, Any], settings: SearchSettings) -> list[TokenMatch]:
        """For each token of a query the one that answers it in `chunk` (id, content, start_byte, end_byte, start_line)."""
        scored = self.score(text, np.array([chunk["id"]], np.int64), settings)
        content, raw = chunk["content"], chunk["content"].encode()
        tokens = scored.tokens[0]
        spans = self.index.spans[np.maximum(tokens, 0)] if self.index.tokens else np.full((len(tokens), 2), -1, np.int32)
        places = file_spans(content, chunk["start_byte"], chunk["end_byte"], spans)
        found = []
        for name, token, similarity, (start, end), place in zip(
            self.query(text).tokens,
            tokens.tolist(),
            scored.similarities[0].tolist(),
            spans.tolist(),
            places.tolist(),
            strict=True,
        ):
            if token < 0 or start < 0:
                found.append(TokenMatch(name, similarity, None, None, None, None))
                continue
            line = chunk["start_line"] + raw[:start].count(b"\n")
            known = place if place[0] >= 0 else (None, None)
            found.append(TokenMatch(name, similarity, raw[start:end].decode("utf-8", "replace"), line, *known))
        return found


def open_tokens(version: OpenVersion, settings: XtrSettings) -> TokenSearch:
    """The token vectors of a version. Raises `IndexFormatError` when they are of another encoder than the settings mean."""
    index = TokenIndex.open(version.ensure("xtr_index"), verified=True)
    encoder = registry.load(settings)
    registry.require(encoder, index.maker, version.name)
    return TokenSearch(index, encoder)
