"""Sealed descriptions: the JSON file beside an index that says what it is, and vouches for itself.

Belongs here: writing and reading one. Not here: what it says (`dense.description`, `splade.index_files`, `xtr.description`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline import files
from pipeline.errors import IndexCorruptionError, IndexFormatError

REBUILD = "Run `indexctl verify`, then `indexctl build`."


class Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of descriptions."""

    version: int
    seal: str = ""
    """Digest of all the other fields: a description that was damaged vouches for nothing."""


M = TypeVar("M", bound=Sealed)


class _Versioned(msgspec.Struct):
    version: int


def seal(meta: M) -> M:
    """`meta` with its seal."""
    return msgspec.structs.replace(meta, seal=_seal_of(meta))


def _seal_of(meta: Sealed) -> str:
    return files.digest_bytes(files.canonical_json(msgspec.structs.replace(meta, seal="")))


def read(path: Path, kind: type[M], version: int) -> M:
    """The description in a file.

    Raises `IndexCorruptionError` when it is missing, unreadable or not as it was sealed, `IndexFormatError` when it is of
    another version.
    """
    try:
        raw = path.read_bytes()
        found = msgspec.json.decode(raw, type=_Versioned).version
        if found != version:
            raise IndexFormatError(f"{path} is of format {found}, and this program reads format {version}.", hint=REBUILD)
        meta = msgspec.json.decode(raw, type=kind)
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=REBUILD) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint=REBUILD) from error
    if meta.seal != _seal_of(meta):
        raise IndexCorruptionError(f"{path} is damaged: it is not what its seal says.", hint=REBUILD)
    return meta
