"""`xtr.meta.json`: what a token index says about itself, written by the stage and checked by every reader.

Belongs here: the shape of that file, its seal and its reading. Not here: the arrays that it vouches for (`token_index`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.files import canonical_json, digest_bytes
from pipeline.index.dense.description import FileFacts

# The names of `schemas.XtrIndex`, again: importing those loads pyarrow. A test holds both together.
META_FILE = "xtr.meta.json"
DIRECTORY = "xtr"

FORMAT = 1
REBUILD = "Run `indexctl verify`, then `indexctl build`."


class Maker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The encoder that made the tokens."""

    name: str
    digest: str
    dimension: int


class TokenMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of one token index, or that there is none."""

    version: int
    state: str
    """`on`, or `off`: the setting `xtr`, and then there is nothing else."""
    encoder: Maker | None = None
    bits: int = 0
    """Of each stored dimension."""
    chunks: int = 0
    tokens: int = 0
    centroids: int = 0
    files: dict[str, FileFacts] = {}
    seal: str = ""
    """Digest of all the other fields: a description that was damaged vouches for nothing."""


class _Versioned(msgspec.Struct):
    version: int


OFF = TokenMeta(version=FORMAT, state="off")


def _seal(meta: TokenMeta) -> str:
    return digest_bytes(canonical_json(msgspec.structs.replace(meta, seal="")))


def write_meta(folder: Path, meta: TokenMeta) -> None:
    """Write the description, sealed, into the folder of the artefact."""
    (folder / META_FILE).write_bytes(canonical_json(msgspec.structs.replace(meta, seal=_seal(meta))))


def read_meta(folder: Path) -> TokenMeta:
    """The description in `folder`.

    Raises `IndexCorruptionError` when it is missing, unreadable or not as it was sealed, `IndexFormatError` when it is of
    another version.
    """
    path = folder / META_FILE
    try:
        raw = path.read_bytes()
        version = msgspec.json.decode(raw, type=_Versioned).version
        if version != FORMAT:
            raise IndexFormatError(f"{path} is of format {version}, and this program reads format {FORMAT}.", hint=REBUILD)
        meta = msgspec.json.decode(raw, type=TokenMeta)
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=REBUILD) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint=REBUILD) from error
    if meta.seal != _seal(meta):
        raise IndexCorruptionError(f"{path} is damaged: it is not what its seal says.", hint=REBUILD)
    return meta
