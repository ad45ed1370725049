"""`lexical.files`: which file each chunk is of and where in it, and that file's roles.

For a search, which weighs candidates by their files.

MessagePack of one struct of columns, in the order of the tables' parts. A build takes those of unchanged parts from the file
that it made before; a search process reads it whole, and asks it for hundreds of chunks at once without a row being unpacked.

Belongs here: the format. Not here: what a role is (`file_roles`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.errors import IndexCorruptionError, IndexFormatError

FILE = "lexical.files"
"""As in `schemas.LexicalIndex`."""
FORMAT = 3
ROLES = ("test", "docs", "example", "superseded", "vendored", "generated", "private", "stub", "reexport")
"""In the order of the bits that a file's roles are stored as."""
_REBUILD = "Run `indexctl verify`, then `indexctl build`."


class _Head(msgspec.Struct, frozen=True, array_like=True):
    version: int


class _Stored(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    version: int
    uris: list[str]
    """Of all files that have chunks, part by part."""
    roles: bytes
    """uint16 [files], little-endian."""
    alone: bytes
    """uint16 [files], little-endian: those roles that do not depend on other files."""
    chunks: bytes
    """int32 [files], little-endian: how many chunks each has."""
    parts: bytes
    """int32 [parts], little-endian: how many files each has."""
    ids: bytes
    """int64 [chunks], little-endian, in the order of their files and of where they start there."""
    order: bytes
    """int32 [chunks], little-endian: the places of the ids, those ascending."""


@dataclass(frozen=True, slots=True)
class PartFiles:
    """The files of one part of the table of chunks that have some: uris [m], the role bits that each has alone
    (uint16 [m]), how many chunks (int32 [m]); and the ids of these, file by file (int64 [n])."""

    uris: list[str]
    alone: npt.NDArray[np.uint16]
    chunks: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int64]


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


def write(path: Path, parts: Sequence[PartFiles], roles: npt.NDArray[np.uint16]) -> None:
    """Write the file of all parts, in their order; `roles` uint16 [m] of all their files."""
    ids = np.concatenate([part.ids for part in parts])
    stored = _Stored(
        version=FORMAT,
        uris=[uri for part in parts for uri in part.uris],
        roles=roles.astype("<u2").tobytes(),
        alone=np.concatenate([part.alone for part in parts]).astype("<u2").tobytes(),
        chunks=np.concatenate([part.chunks for part in parts]).astype("<i4").tobytes(),
        parts=np.array([len(part.uris) for part in parts], "<i4").tobytes(),
        ids=ids.astype("<i8").tobytes(),
        order=np.argsort(ids).astype("<i4").tobytes(),
    )
    path.write_bytes(msgspec.msgpack.encode(stored))


def read(path: Path, documents: int) -> ChunkFiles:
    """Raises `IndexCorruptionError` for a file that is missing or damaged, or not of so many documents; `IndexFormatError`."""
    uris, columns = _read(path)
    if len(columns.ids) != documents:
        raise IndexCorruptionError(f"{path} does not fit its index.", hint=_REBUILD)
    files = np.repeat(np.arange(len(uris), dtype=np.int32), columns.chunks)
    starts = np.cumsum(columns.chunks, dtype=np.int32) - columns.chunks
    ordinals = np.arange(documents, dtype=np.int32) - np.repeat(starts, columns.chunks)
    ids = columns.ids[columns.order]
    if (np.diff(ids) <= 0).any():
        raise IndexCorruptionError(f"{path} is damaged: its ids are not in order.", hint=_REBUILD)
    return ChunkFiles(uris, columns.roles, ids, files[columns.order], ordinals[columns.order])


def read_parts(path: Path) -> list[PartFiles]:
    """What was written, part by part. Raises what `read` does."""
    uris, columns = _read(path)
    ends = np.cumsum(columns.parts)
    edges = np.concatenate([[0], np.cumsum(columns.chunks)])
    found = []
    for start, end in zip((ends - columns.parts).tolist(), ends.tolist(), strict=True):
        ids = columns.ids[edges[start] : edges[end]]
        found.append(PartFiles(uris[start:end], columns.alone[start:end], columns.chunks[start:end], ids))
    return found


@dataclass(frozen=True, slots=True)
class _Columns:
    roles: npt.NDArray[np.uint16]
    alone: npt.NDArray[np.uint16]
    chunks: npt.NDArray[np.int32]
    parts: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int64]
    order: npt.NDArray[np.int32]


def _read(path: Path) -> tuple[list[str], _Columns]:
    """The uris, and the columns, which fit each other."""
    try:
        raw = path.read_bytes()
        if msgspec.msgpack.decode(raw, type=_Head).version != FORMAT:
            raise IndexFormatError(f"{path} is not of format {FORMAT}.", hint="Build again with this version.")
        stored = msgspec.msgpack.decode(raw, type=_Stored)
        columns = _Columns(
            np.frombuffer(stored.roles, "<u2"),
            np.frombuffer(stored.alone, "<u2"),
            np.frombuffer(stored.chunks, "<i4"),
            np.frombuffer(stored.parts, "<i4"),
            np.frombuffer(stored.ids, "<i8"),
            np.frombuffer(stored.order, "<i4"),
        )
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=_REBUILD) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint=_REBUILD) from None
    if not _fits(len(stored.uris), columns):
        raise IndexCorruptionError(f"{path} is damaged: its columns do not fit each other.", hint=_REBUILD)
    return stored.uris, columns


def _fits(files: int, columns: _Columns) -> bool:
    chunks = len(columns.ids)
    return (
        len(columns.roles) == len(columns.alone) == len(columns.chunks) == files
        and min(columns.chunks.min(initial=0), columns.parts.min(initial=0), columns.order.min(initial=0)) >= 0
        and int(columns.chunks.sum(dtype=np.int64)) == chunks == len(columns.order)
        and int(columns.parts.sum(dtype=np.int64)) == files
        and int(columns.order.max(initial=0)) < max(chunks, 1)
    )
