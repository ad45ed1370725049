"""`faiss.meta.json`: what a stored FAISS index says about itself, written by the stage and checked by every reader.

Belongs here: the shape of that file and its reading. Not here: what is checked against it (`vectors`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pipeline import files
from pipeline.errors import IndexCorruptionError, IndexFormatError

# The names of `schemas.FaissIndex` and `schemas.Embeddings`, again: importing those loads pyarrow, which a cold search
# process does without. A test holds both together.
INDEX_FILE = "faiss.index"
META_FILE = "faiss.meta.json"
IDS_FILE = "ids.npy"
VECTORS_FILE = "vectors.npy"
EMBEDDER_FILE = "embedder.json"

META_VERSION = 1
METRIC = "inner_product"
NORMALISATION = "l2"
"""All vectors have length 1, so that the inner product is the cosine."""


class IndexMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of one `faiss.index`. `bytes` and `digest` are those of that file; `parameters` is FAISS's own string."""

    version: int
    family: str
    factory: str
    mapping: str
    metric: str
    normalisation: str
    dimension: int
    count: int
    training: dict[str, Any] | None
    parameters: str
    bytes: int
    digest: str
    embedder_digest: str
    """Of the embedder that made the vectors."""
    faiss: str
    """The version of FAISS that wrote the index."""


class _Versioned(msgspec.Struct):
    version: int


def write_meta(folder: Path, meta: IndexMeta) -> None:
    """Write the description beside its index, deterministically."""
    files.write_json(folder / META_FILE, meta)


def read_meta(folder: Path) -> IndexMeta:
    """The description in `folder`.

    Raises `IndexCorruptionError` when it is missing or unreadable, `IndexFormatError` when it is of another version.
    """
    path = folder / META_FILE
    try:
        raw = path.read_bytes()
        version = msgspec.json.decode(raw, type=_Versioned).version
        if version != META_VERSION:
            raise IndexFormatError(
                f"{path} is of format {version}, and this program reads format {META_VERSION}.",
                hint="Run `indexctl build` again.",
            )
        return msgspec.json.decode(raw, type=IndexMeta)
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint="Run `indexctl build` again.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint="Run `indexctl build` again.") from error


def read_embedder_digest(folder: Path) -> str:
    """The embedder's digest in `embedder.json` of an embeddings object. Raises `IndexCorruptionError` when there is none."""
    path = folder / EMBEDDER_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Embedder).digest
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IndexCorruptionError(
            f"{path} does not say who made the vectors: {error}.", hint="Run `indexctl build` again."
        ) from error


class _Embedder(msgspec.Struct):
    digest: str
