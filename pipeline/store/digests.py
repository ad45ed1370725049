"""What is known of files that were digested before: by inode, size and modification time, whatever name they are reached by.

Objects and versions are hard links to one another, and so are the parts that a small build leaves alone: a byte is read once,
by whoever wrote it. `digests.cache` keeps that for the processes that follow, sealed by its own digest; where it is damaged or
missing, files are read again. `verify` reads everything, and what it learns is remembered.

Belongs here: remembering digests. Not here: whether a digest is the right one (`objects`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container
from pathlib import Path

import msgspec

from pipeline import files
from pipeline.store.caches import RepositoryCache
from pipeline.store.layout import Repository
from pipeline.store.locks import Stamp

FORMAT = 1
MOST_KEPT = 100_000
"""Files remembered beyond those of the present process; the rest are forgotten."""

_known: dict[int, tuple[Stamp, str]] = {}
"""Inode -> what its file looked like, and the digest of its bytes then."""
_used: set[int] = set()
"""Inodes that this process asked for or digested."""


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """`digests.cache`: rows of (inode, size, mtime in ns, digest)."""

    format: int
    device: int
    rows: list[tuple[int, int, int, bytes]]


_cache = RepositoryCache("digests.cache", _Kept)


def known(status: os.stat_result) -> str | None:
    """The digest of the file with this status, where that is known."""
    found = _known.get(status.st_ino)
    if found is None or found[0] != Stamp.of(status):
        return None
    _used.add(status.st_ino)
    return found[1]


def note(status: os.stat_result, digest: str) -> None:
    """The file that had this status when it was digested has this digest."""
    _known[status.st_ino] = (Stamp.of(status), digest)
    _used.add(status.st_ino)


def digest(path: Path, *, reread: bool = False) -> str:
    """The digest of a file, read only where it is not known, or always with `reread`. Raises OSError."""
    status = path.lstat()
    found = None if reread else known(status)
    if found is None:
        found = files.digest_file(path)
        note(status, found)
    return found


def forget() -> None:
    """Drop everything that this process remembers."""
    _known.clear()
    _used.clear()
    _cache.forget()


def recall(repository: Repository) -> None:
    """Learn what earlier processes remembered of the files of a repository, unless that is as it was when last read."""
    if _cache.is_of_another(repository):
        forget()
    kept = _cache.news(repository)
    # On another device the same numbers are other files.
    if kept is not None and kept.format == FORMAT and kept.device == repository.path.stat().st_dev:
        for inode, size, mtime, found in kept.rows:
            _known.setdefault(inode, (Stamp(inode, size, mtime), found.hex()))


def remember(repository: Repository) -> None:
    """Keep what this process knows for those that follow. A store that cannot be written is no reason to fail."""
    others = [inode for inode in _known if inode not in _used][-MOST_KEPT:]
    rows = []
    for inode in sorted({*_used, *others}):
        stamp, found = _known[inode]
        rows.append((inode, stamp.size, stamp.mtime_ns, bytes.fromhex(found)))
    with contextlib.suppress(OSError):
        _cache.write(repository, _Kept(FORMAT, repository.path.stat().st_dev, rows))


def trim(repository: Repository, inodes: Container[int]) -> None:
    """Forget the files of a repository that are none of these, here and for those that follow."""
    recall(repository)
    for inode in [inode for inode in _known if inode not in inodes]:
        del _known[inode]
        _used.discard(inode)
    remember(repository)
