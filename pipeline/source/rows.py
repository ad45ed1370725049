"""From a listing to rows: what is remembered of files with the same stamp, and what is found in the others.

Belongs here: the columns of a scan, and how they come about. Not here: listing (`worktree`, `folders`), or reading (`scan`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.source.entries import Entry, Stamp
from pipeline.source.folders import Tree
from pipeline.source.memory import UNREAD, Memory, untrusted_where_racy
from pipeline.source.selection import SYMLINK, UNREADABLE
from pipeline.tables import place_of

NO_STAMP: Stamp = (0, 0, 0, 0)
_NO_HASH = bytes(32)


class Finding(NamedTuple):
    """What is known about the bytes of one file."""

    stamp: Stamp
    size: int
    content_hash: bytes
    lang: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A listing as columns of equal length n, sorted by uri."""

    uri: Sequence[str]
    reason: Sequence[str | None]
    """Why a row is skipped, where that is known without its bytes."""
    stamp: NDArray[np.int64]
    """[n, 4], zeros for none."""
    row: NDArray[np.int64]
    """The row of the same uri in the memory; -1: none."""
    place: Callable[[str], str]
    """Where the bytes of a uri are: a path on disk, or a git object id in hex."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a scan, as columns of equal length n."""

    uri: tuple[str, ...]
    lang: tuple[str | None, ...]
    size: tuple[int | None, ...]
    content_hash: tuple[bytes | None, ...]
    reason: tuple[str | None, ...]
    place: bytes
    stamp: NDArray[np.int64]
    changed: Sequence[str]
    """Uris that are gone, new, or had to be looked at again."""

    def memory(self, tree: Tree | None, began_ns: int) -> Memory:
        """What the next scan is told by this one, which began then."""
        size = np.array([UNREAD if size is None else size for size in self.size], np.int64)
        hashes = b"".join(content_hash or _NO_HASH for content_hash in self.content_hash)
        stamp = untrusted_where_racy(self.stamp, began_ns)
        return Memory(self.uri, stamp, size, hashes, self.lang, self.reason, self.place, tree)


def from_entries(entries: Sequence[Entry], memory: Memory) -> Listed:
    """A listing from the start."""
    places = {entry.uri: entry.place for entry in entries}
    stamp = np.array([entry.stamp or NO_STAMP for entry in entries], np.int64).reshape(-1, 4)
    known = memory.row.get
    row = np.fromiter((known(entry.uri, -1) for entry in entries), np.int64, len(entries))
    return Listed(tuple(places), [entry.reason for entry in entries], stamp, row, places.__getitem__)


def assemble(listed: Listed, memory: Memory, find: Callable[[Entry], Finding | None]) -> Rows:
    """Rows of a listing: remembered where the stamp is the same, else found. What is gone meanwhile has no row."""
    count = len(listed.uri)
    is_known = listed.row >= 0
    static = np.fromiter((reason is not None and reason != SYMLINK for reason in listed.reason), np.bool_, count)
    at = np.where(is_known, listed.row, 0)
    if len(memory.uri):
        is_known &= (memory.stamp[at] == listed.stamp).all(axis=1) & (memory.size[at] != UNREAD) & ~static
    # Most scans see the very files of the last one.
    rows = None if np.array_equal(listed.row, np.arange(len(memory.uri))) else listed.row.tolist()
    lang, size, content_hash, reason = (
        _taken(column, rows) for column in (memory.lang, memory.size_or_none, memory.content_hash, memory.reason)
    )
    stamp = listed.stamp.copy()
    changed = [] if rows is None else _gone(memory, rows)
    for row in np.flatnonzero(static).tolist():
        if listed.row[row] < 0 or reason[row] != listed.reason[row] or size[row] is not None:
            changed.append(listed.uri[row])
        lang[row], size[row], content_hash[row], reason[row] = None, None, None, listed.reason[row]
    gone: list[int] = []
    for row in np.flatnonzero(~is_known & ~static).tolist():
        uri = listed.uri[row]
        changed.append(uri)
        given: Any = tuple(listed.stamp[row].tolist())
        try:
            finding = find(Entry(uri, listed.place(uri), listed.reason[row], given))
        except OSError:
            lang[row], size[row], content_hash[row], reason[row], stamp[row] = None, None, None, UNREADABLE, NO_STAMP
            continue
        if finding is None:
            gone.append(row)
            continue
        stamp[row], size[row], content_hash[row], lang[row], reason[row] = finding
    place = bytearray(memory.place) if rows is None else _places(listed, memory)
    uris = list(listed.uri)
    columns: tuple[Any, ...] = (uris, lang, size, content_hash, reason, place)
    for row in reversed(gone):
        for column in columns:
            del column[row]
    stamp = np.delete(stamp, gone, axis=0)
    return Rows(tuple(uris), tuple(lang), tuple(size), tuple(content_hash), tuple(reason), bytes(place), stamp, changed)


def _taken(column: Sequence[Any], rows: Sequence[int] | None) -> list[Any]:
    """What a column of the memory has in some rows (None: in all), and None for -1."""
    return list(column) if rows is None else [column[row] if row >= 0 else None for row in rows]


def _gone(memory: Memory, rows: Sequence[int]) -> list[str]:
    """The uris of the other rows of the memory."""
    left = np.ones(len(memory.uri) + 1, np.bool_)
    left[list(rows)] = False
    return [memory.uri[row] for row in np.flatnonzero(left[:-1]).tolist()]


def _places(listed: Listed, memory: Memory) -> bytearray:
    known = memory.place
    rows = zip(listed.uri, listed.row.tolist(), strict=True)
    return bytearray(known[row] if row >= 0 else place_of(uri) for uri, row in rows)
