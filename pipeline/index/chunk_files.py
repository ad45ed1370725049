"""`lexical.files`: which file each chunk is of and where in it, and that file's roles.

For a search, which weighs candidates by their files.

MessagePack of one struct; a search process reads it whole, and asks it for hundreds of chunks at once without a row being
unpacked.

Belongs here: the format. Not here: what a role is (`file_roles`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.errors import IndexCorruptionError, IndexFormatError

FILE = "lexical.files"
"""As in `schemas.LexicalIndex`."""
FORMAT = 2
ROLES = ("test", "docs", "example", "superseded", "vendored", "generated", "private", "stub", "reexport")
"""In the order of the bits that a file's roles are stored as."""
_REBUILD = "Run `indexctl verify`, then `indexctl build`."


class _Stored(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    version: int
    uris: list[str]
    roles: bytes
    """uint16 [files], little-endian."""
    ids: bytes
    """int64 [chunks], little-endian, ascending."""
    files: bytes
    """int32 [chunks], little-endian."""
    ordinals: bytes
    """int32 [chunks], little-endian: how many chunks of its file stand before."""


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """Files of chunks: uris [m] and role bits uint16 [m]; chunk ids int64 [n], ascending, the number of each one's file
    (int32 [n]), and how many chunks stand before it there (int32 [n])."""

    uris: list[str]
    roles: npt.NDArray[np.uint16]
    ids: npt.NDArray[np.int64]
    files: npt.NDArray[np.int32]
    ordinals: npt.NDArray[np.int32]

    def of(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The numbers of the files of chunks of this version, int32 as many."""
        return self.files[np.searchsorted(self.ids, ids)]

    def holds(self, chunk: int) -> bool:
        """Whether this version has a chunk."""
        place = int(np.searchsorted(self.ids, chunk))
        return place < len(self.ids) and int(self.ids[place]) == chunk


def write(path: Path, uris: list[str], roles: list[int], ids: npt.NDArray[np.int64], files: npt.NDArray[np.int64]) -> None:
    """Write the file; `ids` and `files` [n] in the order of chunks in their files."""
    order = np.argsort(ids)
    stored = _Stored(
        version=FORMAT,
        uris=uris,
        roles=np.asarray(roles, "<u2").tobytes(),
        ids=ids[order].astype("<i8").tobytes(),
        files=files[order].astype("<i4").tobytes(),
        ordinals=_ordinals(files)[order].astype("<i4").tobytes(),
    )
    path.write_bytes(msgspec.msgpack.encode(stored))


def _ordinals(files: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each chunk how many of its file stand before it."""
    order = np.argsort(files, kind="stable")
    together = files[order]
    ordinals = np.empty(len(files), np.int64)
    ordinals[order] = np.arange(len(files)) - np.searchsorted(together, together)
    return ordinals


def read(path: Path, documents: int) -> ChunkFiles:
    """Raises `IndexCorruptionError` for a file that is missing or damaged, or not of so many documents; `IndexFormatError`."""
    try:
        raw = path.read_bytes()
        if msgspec.msgpack.decode(raw, type=list)[0] != FORMAT:
            raise IndexFormatError(f"{path} is not of format {FORMAT}.", hint="Build again with this version.")
        stored = msgspec.msgpack.decode(raw, type=_Stored)
        found = ChunkFiles(
            stored.uris,
            np.frombuffer(stored.roles, "<u2"),
            np.frombuffer(stored.ids, "<i8"),
            np.frombuffer(stored.files, "<i4"),
            np.frombuffer(stored.ordinals, "<i4"),
        )
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=_REBUILD) from error
    except (msgspec.DecodeError, ValueError, IndexError) as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint=_REBUILD) from None
    count = len(found.uris)
    whole = len(found.roles) == count and len(found.ids) == len(found.files) == len(found.ordinals) == documents
    if not whole or (documents and not 0 <= found.files.min() <= found.files.max() < count):
        raise IndexCorruptionError(f"{path} does not fit its index.", hint=_REBUILD)
    return found
