"""Pinned versions: those that somebody wants to keep, each with a note that says why.

    pins.json   {"version": 1, "pinned": {"v-…": "the note"}}

Collection of garbage leaves them alone. Who cannot read this file does not know what is pinned, so nothing may be
collected then.

Belongs here: the file, and changing it while others do. Not here: the lock of readers, which ends with its process
(`locks`), or collection (`release.collection`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from pipeline import files
from pipeline.errors import IndexFormatError, NotFoundError
from pipeline.store.layout import Repository, is_version_name, not_writable
from pipeline.store.locks import pin as hold

FORMAT = 1
PINS = "pins.json"


class _Pins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    pinned: dict[str, str]


class _Head(msgspec.Struct):
    version: int = 0


def pinned(repository: Repository) -> frozenset[str]:
    """Names of the pinned versions. Raises `IndexFormatError` where that is not known."""
    return frozenset(notes(repository))


def notes(repository: Repository) -> Mapping[str, str]:
    """The pinned versions with their notes. Raises `IndexFormatError` where the file is damaged or of a newer program."""
    path = repository.path / PINS
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    try:
        written = msgspec.json.decode(raw, type=_Head).version
        if written > FORMAT:
            raise IndexFormatError(f"{path} has format {written}; this program reads {FORMAT}.", hint="Update the program.")
        document = msgspec.json.decode(raw, type=_Pins)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    for name in document.pinned:
        if document.version != FORMAT or not is_version_name(name):
            raise _damaged(path, f"`{name[:40]}` is not the name of a version")
    return document.pinned


def _damaged(path: Path, why: str) -> IndexFormatError:
    return IndexFormatError(
        f"{path}, which says what is pinned, is damaged: {why.rstrip('.')}.",
        hint="Nothing is collected until it is deleted, or mended; then pin again what is to stay.",
    )


def pin(repository: Repository, name: str, note: str = "") -> bool:
    """Pin a version that is there, or change its note; returns whether anything changed.

    Raises `NotFoundError`; `IndexFormatError` where the file of pins cannot be read.
    """
    try:
        # What a reader holds is not collected, so the version is there when its pin is.
        descriptor = hold(repository.versions / name)
    except OSError:
        raise NotFoundError(f"`{repository.name}` has no version {name}.", hint="See `indexctl versions`.") from None
    try:
        with _changing(repository):
            before = notes(repository)
            if before.get(name) == note:
                return False
            _write(repository, {**before, name: note})
    finally:
        os.close(descriptor)
    return True


def unpin(repository: Repository, name: str) -> None:
    """Let collection have a version again. Raises `NotFoundError` when it is not pinned."""
    with _changing(repository):
        before = notes(repository)
        if name not in before:
            raise NotFoundError(f"{name} is not pinned.", hint="See `indexctl versions`.")
        _write(repository, {other: note for other, note in before.items() if other != name})


@contextlib.contextmanager
def _changing(repository: Repository) -> Iterator[None]:
    """Be the only one who reads and writes the file. Builders, whose lock is another one, are not waited for."""
    descriptor = os.open(repository.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise not_writable(repository.path, error) from error
    finally:
        os.close(descriptor)


def _write(repository: Repository, pinned: Mapping[str, str]) -> None:
    files.write_json(repository.path / PINS, {"version": FORMAT, "pinned": dict(pinned)})
