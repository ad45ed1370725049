"""What an embedder is, and which text of a chunk it is given.

Belongs here: the contract between embedders and everybody who uses vectors. Not here: any particular embedder (`static`), and
which one the settings choose (`registry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]
"""Unit rows, float32 [n, d]."""

BATCH_SIZE = 256


class Embedder(Protocol):
    """Texts in, unit vectors out.

    A row is a pure function of its text, bit for bit: whatever else is in the call, however it is batched, and whatever was
    encoded before. That is why vectors can be shared between commits and repositories, and a delta build equals a full one.
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

    def encode(self, texts: Sequence[str], *, batch_size: int = BATCH_SIZE) -> Vectors:
        """Vectors of documents: float32 [n, d], finite, unit norm, also for empty texts and for texts of no known word."""
        ...

    def encode_queries(self, queries: Sequence[str]) -> Vectors:
        """Vectors of queries, in the same space: float32 [n, d]."""
        ...


def document_text(name: str, uri: str, content: str) -> str:
    """The text of a chunk that is embedded: where it lies, the name that it defines, what it says.

    The name stands there twice, because one definition says more about a chunk than one use. `benchmarks/docstrings.py`
    measures the result.
    """
    return f"{uri}\n{name} {name}\n{content}"
