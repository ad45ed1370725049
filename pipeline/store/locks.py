"""Locks: one builder a repository, any number of readers, none of whom wait for a builder.

The locks are `flock`s, so the system drops them with their process, however it ends. A builder holds an exclusive lock on
`builder.lock`; a reader a shared lock on the directory of the version that it reads, which collection of garbage respects.

Belongs here: taking and asking about locks. Not here: what is done under them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline import files
from pipeline.errors import StoreBusyError
from pipeline.store.layout import SHARED, Repository, not_writable

LOCK = "builder.lock"
"""In the folder of a repository: whoever holds it locked builds."""
_NOT_SWEPT = frozenset({"trace"})
"""Searches write there without a lock, and sweep themselves."""
_ABANDONED = 3600.0
"""Seconds after which nobody is still writing what other builders cannot see is being written."""
_held: dict[Path, tuple[int, int]] = {}
"""Lock file -> (thread that took it, how many blocks it is in)."""
_terms: dict[Path, tuple[Path, int]] = {}
"""Folder of a repository -> its lock file, and how often this process has become its builder."""
_guard = threading.Lock()


@contextlib.contextmanager
def builder(repository: Repository) -> Iterator[None]:
    """Be the only builder of a repository; re-entrant in a thread, so that the steps of a run share their command's lock.

    Sweeps what crashed builders left. Raises `StoreBusyError` at once when somebody else builds.
    """
    path = repository.path.resolve() / LOCK
    thread = threading.get_ident()
    descriptor = None
    with _guard:
        owner, depth = _held.get(path, (thread, 0))
        if owner != thread:
            raise _busy(repository, f"another thread of process {os.getpid()}")
        if depth == 0:
            descriptor = _acquire(repository, path)
            _terms[repository.path] = (path, _terms.get(repository.path, (path, 0))[1] + 1)
        _held[path] = (thread, depth + 1)
    try:
        yield
    finally:
        with _guard:
            if depth:
                _held[path] = (thread, depth)
            else:
                del _held[path]
        if descriptor is not None:
            os.close(descriptor)


def term(repository: Repository) -> int | None:
    """A number that stays while this thread is the builder of a repository, and never returns; None where it is not."""
    path, count = _terms.get(repository.path, (None, 0))
    owner = None if path is None else _held.get(path)
    return count if owner is not None and owner[0] == threading.get_ident() else None


def _busy(repository: Repository, holder: str) -> StoreBusyError:
    return StoreBusyError(
        f"`{repository.name}` is being built by {holder}.", hint="Wait for it to end; searches go on meanwhile."
    )


def _acquire(repository: Repository, path: Path) -> int:
    try:
        repository.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise not_writable(repository.path, error) from error
    try:
        _lock_soon(descriptor)
    except BlockingIOError:
        holder = os.pread(descriptor, 4096, 0).decode("utf-8", "replace").strip() or "another process"
        os.close(descriptor)
        raise _busy(repository, holder) from None
    except OSError as error:
        os.close(descriptor)
        raise not_writable(repository.path, error) from error
    # Who holds the lock is a courtesy to others: on a full disk, room must still be made.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    try:
        _sweep(repository)
    except OSError as error:
        os.close(descriptor)
        raise not_writable(repository.path, error) from error
    return descriptor


def _lock_soon(descriptor: int) -> None:
    """Lock, allowing for those who only ask whether somebody builds: asking takes the lock for a moment."""
    for pause in (0.005, 0.02):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(repository: Repository) -> None:
    """Remove what dead builders left, and what anybody left long ago where repositories share."""
    inside = [folder for folder in _folders(repository.path) if folder.name not in _NOT_SWEPT]
    deeper = [folder for name in ("objects", "bases") for folder in _folders(repository.path / name)]
    for folder in (repository.path, *inside, *deeper):
        files.sweep_temporaries(folder)
    root = repository.path.parent
    caches = _folders(root / SHARED)
    for folder in (root, *caches, *(folder for cache in caches for folder in _folders(cache))):
        files.sweep_temporaries(folder, older=_ABANDONED)


def _folders(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def is_building(repository: Repository) -> bool:
    """Whether some process holds the builder's lock right now."""
    try:
        descriptor = os.open(repository.path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def pin(directory: Path) -> int:
    """A descriptor that keeps a version from being collected until it is closed. Raises OSError when it is not there."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def unread(directory: Path) -> Iterator[bool]:
    """Whether no reader holds a version (`pin`); where none does, none can begin to while the block lasts."""
    with sole(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as free:
        yield free


@contextlib.contextmanager
def sole(descriptor: int) -> Iterator[bool]:
    """Whether nobody else has a lock on an open file; then nobody gets one while the block lasts. Closes the descriptor."""
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """What a file looked like when its digest was checked."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """From a stat result."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)
