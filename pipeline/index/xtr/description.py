"""`xtr.meta.json`: what a token index says about itself, written by the stage and checked by every reader.

Belongs here: the shape of that file, its seal and its reading. Not here: the arrays that it vouches for (`token_index`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipeline.files import canonical_json
from pipeline.index import sealed
from pipeline.index.dense.description import FileFacts
from pipeline.index.sealed import Sealed

# The names of `schemas.XtrIndex`, again: importing those loads pyarrow. A test holds both together.
META_FILE = "xtr.meta.json"
DIRECTORY = "xtr"

FORMAT = 1


class Maker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The encoder that made the tokens."""

    name: str
    digest: str
    dimension: int


class TokenMeta(Sealed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of one token index, or that there is none."""

    state: str
    """`on`, or `off`: the setting `xtr`, and then there is nothing else."""
    encoder: Maker | None = None
    bits: int = 0
    """Of each stored dimension."""
    chunks: int = 0
    tokens: int = 0
    centroids: int = 0
    files: dict[str, FileFacts] = msgspec.field(default_factory=dict)


OFF = TokenMeta(version=FORMAT, state="off")


def write_meta(folder: Path, meta: TokenMeta) -> None:
    """Write the description, sealed, into the folder of the artefact."""
    (folder / META_FILE).write_bytes(canonical_json(sealed.seal(meta)))


def read_meta(folder: Path) -> TokenMeta:
    """The description in `folder`.

    Raises `IndexCorruptionError` when it is missing, unreadable or not as it was sealed, `IndexFormatError` when it is of
    another version.
    """
    return sealed.read(folder / META_FILE, TokenMeta, FORMAT)
