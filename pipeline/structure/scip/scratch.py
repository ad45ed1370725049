"""Folders that indexers work in, which are gone after every end of a build, even one that nobody could announce.

Belongs here: making and removing them. Not here: what is put into them (`indexers`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import CodeIntelError

PREFIX = "codeintel-indexer-"
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of its own among the temporary files, for the length of the block.

    It is locked meanwhile; what a killed process left behind is not, and is removed before. Raises CodeIntelError when the
    folder, or what is written into it, does not fit on the disk.
    """
    _sweep()
    folder, lock = _locked()
    try:
        yield folder
    except OSError as error:
        # A write that fails does not say into what.
        if error.errno in FULL and (error.filename is None or folder in Path(error.filename).parents):
            raise _full(str(folder.parent), error) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _full(place: str, error: OSError) -> CodeIntelError:
    return CodeIntelError(
        f"The indexer cannot work in {place}: {error.strerror}.",
        hint="Free some space there, set TMPDIR to another folder, or build with --no-scip; nothing published is lost.",
    )


def _locked() -> tuple[Path, int]:
    """A new folder, and the descriptor that locks it."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        except OSError as error:
            raise _full(tempfile.gettempdir(), error) from error
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
