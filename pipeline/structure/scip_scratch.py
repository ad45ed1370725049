"""Folders that indexers work in, which are gone after every end of a build, even one that nobody could announce.

Belongs here: making and removing them. Not here: what is put into them (`scip_indexers`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "codeintel-indexer-"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of its own among the temporary files, for the length of the block.

    It is locked meanwhile; what a killed process left behind is not, and is removed before.
    """
    _sweep()
    folder, lock = _locked()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked() -> tuple[Path, int]:
    """A new folder, and the descriptor that locks it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Before it has its lock, another build may take it for one that was left behind.
        with contextlib.suppress(FileNotFoundError):
            lock = _open(folder)
            try:
                with contextlib.suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_SH)
                if os.path.samestat(os.fstat(lock), folder.stat()):
                    return folder, lock
            except FileNotFoundError:
                pass
            os.close(lock)


def _sweep() -> None:
    """Remove folders that no process has locked. What belongs to somebody else, or is no folder, cannot be removed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _open(folder)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
