"""What an embedder is, and which text of a chunk it is given.

Belongs here: the contract between embedders and everybody who uses vectors. Not here: any particular embedder (`static`), and
which one the settings choose (`registry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.errors import IndexFormatError

Vectors: TypeAlias = npt.NDArray[np.float32]
"""Unit rows, float32 [n, d]."""

TOLERANCE = 1e-5
"""How far the cosine of two vectors of one text may be from 1, made in different batches on one machine, in 32 bits."""


class Embedder(Protocol):
    """Texts in, unit vectors out.

    A row is a function of its text: whatever else is in the call, however it is batched, and whatever was encoded before. That
    is why vectors can be shared between commits and repositories, and a delta build equals a full one. `static` and `onnx`
    keep it bit for bit on one machine. `sentence-transformers` and `http` compute several texts at once in floating point, and
    keep it within `TOLERANCE`.
    """

    @property
    def name(self) -> str:
        """Which embedder this is, for people."""
        ...

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        ...

    @property
    def digest(self) -> str:
        """Of the weights and of the algorithm: equal digests mean equal vectors for equal texts."""
        ...

    @property
    def document_digest(self) -> str:
        """The same of what the vectors of documents depend on: another prefix for queries leaves it as it is."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents: float32 [n, d], finite, unit norm, also for empty texts and for texts of no known word."""
        ...

    def encode_queries(self, queries: Sequence[str]) -> Vectors:
        """Vectors of queries, in the same space: float32 [n, d]."""
        ...


class Spread(NamedTuple):
    """How a stage hands many texts to an embedder."""

    texts: int
    """Texts of one job."""
    cost: float
    """What a byte of text costs to encode; a byte of source costs 1 to parse."""
    processes: bool
    """Whether worker processes may share the work; where not, it has a device, a server or all processors for itself."""
    keep_after: int | None
    """So many new vectors are stored before the rest is computed; None: all at the end, because computing them is cheap."""


def valid_text(text: str) -> str:
    """A text that can be encoded as UTF-8: lone surrogates, which arguments of a command can hold, become `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def unit_rows(rows: npt.NDArray[np.floating], whose: str) -> Vectors:
    """Rows at unit length: float32 [n, d]. Raises `IndexFormatError` for a row that is zero or not finite."""
    exact = rows.astype(np.float64)
    lengths = np.sqrt(np.square(exact).sum(axis=1, keepdims=True))
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise IndexFormatError(
            f"{whose} gave a vector that is zero or not finite.",
            hint="Its weights are damaged, or its precision is too low; use another model or precision.",
        )
    return np.asarray(exact / lengths, np.float32)


def document_text(name: str, uri: str, content: str) -> str:
    """The text of a chunk that is embedded: where it lies, the name that it defines, what it says.

    The name stands there twice, because one definition says more about a chunk than one use. `benchmarks/docstrings.py`
    measures the result.
    """
    return f"{uri}\n{name} {name}\n{content}"
