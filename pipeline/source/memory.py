"""What the last scan of a tree found, so that the next one opens only what may have changed.

A file that is missing, damaged, of another format, or made under other settings or rules is as good as none, and one that
cannot be written does no harm: only time depends on it. While next to nothing changed it stays as it is, because writing all of
it would cost more than finding the few changes again.

Belongs here: the file's format and when its entries are trusted. Not here: what is remembered means (`selection`), or which
folders are listed again (`folders`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.config import SourceSettings
from pipeline.files import read_cache, write_cache
from pipeline.source.folders import Tree
from pipeline.source.selection import RULES_VERSION, SYMLINK

FORMAT = 2
RACY_NS = 2_000_000_000
"""A file may be changed again without a new time within the resolution of the clock that stamps it."""
_WORTH_WRITING = 1 / 200
"""How many rows must have been found anew, or folders listed again, as a share of all rows."""

UNREAD = -1
"""Instead of a size: no bytes were read."""
_HASH_BYTES = 32


@dataclass(frozen=True)
class Memory:
    """The rows of a scan, as columns of equal length n, sorted by uri."""

    uri: tuple[str, ...] = ()
    stamp: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    """[n, 4]; zeros where there is none; of files that may still change unseen, one that no file has."""
    size: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """In bytes; `UNREAD` where none were read."""
    hashes: bytes = b""
    """32 bytes each."""
    lang: tuple[str | None, ...] = ()
    reason: tuple[str | None, ...] = ()
    place: bytes = b""
    """`tables.place_of` each uri."""
    tree: Tree | None = None

    @cached_property
    def row(self) -> dict[str, int]:
        """uri -> row."""
        return {uri: row for row, uri in enumerate(self.uri)}

    @cached_property
    def size_or_none(self) -> list[int | None]:
        """The sizes; None where no bytes were read."""
        return [None if size == UNREAD else size for size in self.size.tolist()]

    @cached_property
    def reason_of_listing(self) -> Sequence[str | None]:
        """Of the reasons, those that were known without the bytes."""
        unread = (self.size == UNREAD).tolist()
        return [reason if here or reason == SYMLINK else None for reason, here in zip(self.reason, unread, strict=True)]

    @cached_property
    def content_hash(self) -> tuple[bytes | None, ...]:
        """None where no bytes were read."""
        return tuple(
            None if size == UNREAD else self.hashes[at : at + _HASH_BYTES]
            for at, size in zip(range(0, len(self.hashes), _HASH_BYTES), self.size.tolist(), strict=True)
        )


class _File(msgspec.Struct, array_like=True, frozen=True):
    format: int
    rules: str
    settings: SourceSettings
    uris: tuple[str, ...]
    stamps: bytes
    sizes: bytes
    hashes: bytes
    places: bytes
    words: list[str | None]
    """The distinct languages and reasons."""
    langs: bytes
    reasons: bytes
    tree: Tree | None


def recall(path: Path | None, settings: SourceSettings) -> Memory:
    """What is remembered under these settings; nothing when it cannot be trusted."""
    payload = None if path is None else read_cache(path)
    if payload is None:
        return Memory()
    try:
        file = msgspec.msgpack.decode(payload, type=_File)
        if (file.format, file.rules, file.settings) != (FORMAT, RULES_VERSION, settings):
            return Memory()
        found = Memory(
            uri=file.uris,
            stamp=np.frombuffer(file.stamps, "<i8").reshape(-1, 4),
            size=np.frombuffer(file.sizes, "<i8"),
            hashes=file.hashes,
            lang=tuple(map(file.words.__getitem__, np.frombuffer(file.langs, "<u2").tolist())),
            reason=tuple(map(file.words.__getitem__, np.frombuffer(file.reasons, "<u2").tolist())),
            place=file.places,
            tree=file.tree,
        )
    except (msgspec.DecodeError, IndexError, ValueError):
        return Memory()
    lengths = {len(column) for column in (found.stamp, found.size, found.lang, found.reason, found.place)}
    return found if lengths | {len(found.hashes) // _HASH_BYTES} == {len(found.uri)} else Memory()


def untrusted_where_racy(stamp: NDArray[np.int64], began_ns: int) -> NDArray[np.int64]:
    """Stamps [n, 4] of a scan that began then; what was changed just before it is given one that no file has."""
    # A stamp of a git object ends in -1 and has no times.
    racy = (stamp[:, 3] != -1) & (stamp[:, 2] >= began_ns - RACY_NS)
    return np.where(racy[:, None], -2 - np.abs(stamp), stamp)


def worth_writing(changed: int, rows: int, *, moved: bool) -> bool:
    """Whether a scan is remembered in which so much was found anew; `moved`: something else changed that costs more."""
    return moved or changed > rows * _WORTH_WRITING


def remember(path: Path, settings: SourceSettings, now: Memory) -> None:
    """Keep what a scan found. A file that cannot be written is no error."""
    words = list(dict.fromkeys((*now.lang, *now.reason)))
    number = {word: at for at, word in enumerate(words)}
    langs, reasons = (np.array([number[word] for word in column], "<u2").tobytes() for column in (now.lang, now.reason))
    stamps, sizes = now.stamp.astype("<i8").tobytes(), now.size.astype("<i8").tobytes()
    file = _File(
        FORMAT, RULES_VERSION, settings, now.uri, stamps, sizes, now.hashes, now.place, words, langs, reasons, now.tree
    )
    payload = msgspec.msgpack.encode(file)
    with contextlib.suppress(OSError):
        write_cache(path, payload)
