"""`faiss.meta.json`: what a stored FAISS index says about itself, written by the stage and checked by every reader.

Belongs here: the shape of that file, its seal and its reading. Not here: what is checked against it (`index_files`, `vectors`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pipeline import files
from pipeline.errors import IndexCorruptionError
from pipeline.index import sealed
from pipeline.index.sealed import REBUILD, Sealed

# The names of `schemas.FaissIndex` and `schemas.Embeddings`, again: importing those loads pyarrow, which a cold search
# process does without. A test holds both together.
INDEX_FILE = "faiss.index"
ROWS_FILE = "faiss.rows.npy"
DELTA_FILE = "faiss.delta.index"
DELETIONS_FILE = "deletions.npy"
META_FILE = "faiss.meta.json"
EMBEDDER_FILE = "embedder.json"

META_VERSION = 3
METRIC = "inner_product"
NORMALISATION = "l2"
"""All vectors have length 1, so that the inner product is the cosine."""

_SHORT = 16
"""Digits of a digest that are shown."""


class FileFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file of the index must be."""

    bytes: int
    digest: str


class IndexMeta(Sealed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of one stored index."""

    family: str
    factory: str
    mapping: str
    metric: str
    normalisation: str
    dimension: int
    count: int
    """Vectors that can be found: those of `primary` and `delta`, less the deleted."""
    primary: int
    """Rows of `faiss.index`."""
    delta: int
    """Rows of `faiss.delta.index`; 0 when there is none."""
    deleted: int
    """Ids in `deletions.npy`: rows of the primary that may not be found. 0 when there is none."""
    training: dict[str, Any] | None
    """On what the family was trained, and with which seed; None for one that does not train."""
    parameters: str
    """The parameters to search with, as FAISS writes them."""
    k_factor: float
    files: dict[str, FileFacts]
    embedder_digest: str
    """Of the embedder that made the vectors."""
    faiss: str
    """The version of FAISS that wrote the index."""

    @property
    def summary(self) -> str:
        """All of it in a line; of digests, the beginning."""
        point = ",".join(filter(None, [self.parameters, f"k_factor={self.k_factor:g}"]))
        digests = " ".join(f"{name} {facts.digest[:_SHORT]}" for name, facts in sorted(self.files.items()))
        return (
            f"{self.family} {self.factory} ({self.mapping}, {self.metric}, {self.normalisation}, dimension {self.dimension}), "
            f"{self.count} vectors ({self.primary} rows, {self.delta} in the delta, {self.deleted} deleted), {point}, "
            f"by FAISS {self.faiss}, {digests}, sealed {self.seal[:_SHORT]}"
        )


def write_meta(folder: Path, meta: IndexMeta) -> None:
    """Write the description, sealed, beside its index, deterministically."""
    files.write_json(folder / META_FILE, sealed.seal(meta))


def read_meta(folder: Path) -> IndexMeta:
    """The description in `folder`.

    Raises `IndexCorruptionError` when it is missing, unreadable or not as it was sealed, `IndexFormatError` when it is of
    another version.
    """
    return sealed.read(folder / META_FILE, IndexMeta, META_VERSION)


def read_embedder_digest(folder: Path) -> str:
    """The embedder's digest in `embedder.json` of an embeddings object. Raises `IndexCorruptionError` when there is none."""
    path = folder / EMBEDDER_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Embedder).digest
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IndexCorruptionError(f"{path} does not say who made the vectors: {error}.", hint=REBUILD) from error


class _Embedder(msgspec.Struct):
    digest: str
