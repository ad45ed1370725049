"""Traces of searches on disk: whether they are on, and the record sets that searches left.

    trace/on                       there while tracing is on
    trace/<time>-<process>-<random>/<table>.parquet

A *set* is what one process wrote at one time: a directory with one file for each table, made by an atomic rename, so that any
number of processes may write at once and a reader sees all of a set or nothing. Queries are what people typed, so nobody but
the owner of the store can read them. `folder` is a repository's (`Repository.traces`) everywhere here.

Belongs here: names, the switch, rotation. Not here: what is in the tables (`schemas`), making them (`search.trace`), reading
them (`catalog`).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline import files
from pipeline.store.layout import not_writable

_SWITCH = "on"
_SET = re.compile(r"[0-9]{20}-[0-9]+-[0-9a-f]{8}")
_OWN_FOLDER, _OWN_FILE = 0o700, 0o600
_ABANDONED = 3600.0
"""Seconds after which a temporary folder is one that a killed process left."""


def is_on(folder: Path) -> bool:
    """Whether searches leave traces; where that cannot be seen, they do not."""
    return os.path.exists(folder / _SWITCH)  # noqa: PTH110 - unlike a Path's, it raises nothing


def switch(folder: Path, *, on: bool) -> None:
    """Turn tracing on or off; off keeps what there is. Raises `CodeIntelError` where the store cannot be written."""
    try:
        if on:
            files.make_directory(folder)
            folder.chmod(_OWN_FOLDER)
            files.write_file(folder / _SWITCH, b"")
        else:
            (folder / _SWITCH).unlink(missing_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def sets(folder: Path) -> list[Path]:
    """The folders of all sets, oldest first; none where there is no folder, or none that can be read."""
    try:
        names = [entry.name for entry in os.scandir(folder) if _SET.fullmatch(entry.name)]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def size_of(one: Path) -> int:
    """Bytes of a set; 0 for one that is gone."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(one))
    except OSError:
        return 0


@contextlib.contextmanager
def new_set(folder: Path) -> Iterator[Path]:
    """A directory to write tables into, which becomes the newest set when the block ends well. Raises OSError."""
    name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
    with files.directory_commit(folder / name) as made:
        made.chmod(_OWN_FOLDER)
        yield made
        for path in made.iterdir():
            path.chmod(_OWN_FILE)


def rotate(folder: Path, *, most_sets: int, most_bytes: int) -> int:
    """Remove the oldest sets beyond these bounds, but never the newest one; returns how many. Raises OSError."""
    found = sets(folder)
    kept, total = 0, 0
    for one in reversed(found):
        total += size_of(one)
        if kept and (kept == most_sets or total > most_bytes):
            break
        kept += 1
    outdated = found[: len(found) - kept]
    for one in outdated:
        _remove(one)
    _sweep(folder)
    return len(outdated)


def clear(folder: Path) -> int:
    """Remove all sets; returns how many. Tracing stays on or off. Raises `CodeIntelError` where the store cannot be written."""
    found = sets(folder)
    try:
        for one in found:
            _remove(one)
    except OSError as error:
        raise not_writable(folder, error) from error
    _sweep(folder)
    return len(found)


def _remove(one: Path) -> None:
    """Take a set away at once. Another process may be faster."""
    aside = files.temporary_sibling(one)
    with contextlib.suppress(FileNotFoundError):
        one.rename(aside)
        shutil.rmtree(aside)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half written or half removed."""
    for entry in folder.glob(f"{files.TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > _ABANDONED:
                shutil.rmtree(entry)
