"""What was read of files, by their digests: how many rows they have, which ids, that a check found nothing wrong.

A reading is a function of bytes, so it holds for every file with these digests, in every version. A small build asks of new
files alone what a whole publication asks of all. `readings.cache` keeps readings for the processes that follow, sealed by its
own digest and bounded; where it is damaged or missing, files are read again. `verify` takes nothing from it.

Belongs here: remembering readings. Not here: what is read (whoever asks), and digests of files (`digests`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline import files
from pipeline.store.layout import Repository
from pipeline.store.locks import Stamp

FORMAT = 1
MOST_KEPT, MOST_BYTES = 20_000, 8 << 20
"""Readings that the present process did not ask for, and their bytes; the oldest beyond either are forgotten."""
_SEAL_BYTES = 32
_KEY_BYTES = 16

_known: dict[bytes, bytes] = {}
"""Key -> the reading, as MessagePack; the ones that were asked for last come last."""
_used: set[bytes] = set()
"""Keys that this process asked for or noted since it last remembered."""
_fresh: set[bytes] = set()
"""Keys that were noted since it last remembered."""
_recalled: dict[Path, Stamp] = {}
"""Files of readings that this process has read or written, as they were then."""
_of: Path | None = None
"""Where all of this is kept: it is about one repository at a time, so that none keeps what is another's."""


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """`readings.cache`: keys and readings, those that were asked for last at the end."""

    format: int
    rows: list[tuple[bytes, bytes]]


def key_of(what: str, digests: Sequence[str]) -> bytes:
    """The key of a reading of files with these digests, in this order. `what` names the reading and the code that makes it."""
    return hashlib.blake2b("\n".join([what, *digests]).encode(), digest_size=_KEY_BYTES).digest()


def known(key: bytes) -> Any:
    """A reading, or None where it is not known."""
    found = _known.get(key)
    if found is None:
        return None
    _used.add(key)
    return msgspec.msgpack.decode(found)


def note(key: bytes, reading: Any) -> None:
    """Remember a reading: numbers, words, bytes, and lists and mappings of them; not None."""
    _known[key] = msgspec.msgpack.encode(reading)
    _used.add(key)
    _fresh.add(key)


def reading(what: str, digests: Sequence[str] | None, read: Callable[[], Any]) -> Any:
    """A reading of files with these digests, made where it is not known; always made where digests are not known (None)."""
    if digests is None:
        return read()
    key = key_of(what, digests)
    found = known(key)
    if found is None:
        found = read()
        note(key, found)
    return found


def forget() -> None:
    """Drop everything that this process remembers."""
    global _of
    for kept in (_known, _used, _fresh, _recalled):
        kept.clear()
    _of = None


def recall(repository: Repository) -> None:
    """Learn what earlier processes remembered for a repository, unless that is as it was when last read."""
    global _of
    path = _path(repository)
    if _of not in (None, path):
        forget()
    _of = path
    try:
        stamp = Stamp.of(path.stat())
        if _recalled.get(path) == stamp:
            return
        raw = path.read_bytes()
        payload = raw[_SEAL_BYTES:]
        if files.seal_of(payload) != raw[:_SEAL_BYTES]:
            return
        kept = msgspec.msgpack.decode(payload, type=_Kept)
    except (OSError, msgspec.DecodeError):
        return
    _recalled[path] = stamp
    if kept.format == FORMAT:
        for key, found in kept.rows:
            _known.setdefault(key, found)


def remember(repository: Repository) -> None:
    """Keep what this process knows for those that follow. A store that cannot be written is no reason to fail."""
    if not _fresh:
        return
    path = _path(repository)
    used = [(key, found) for key, found in _known.items() if key in _used]
    with contextlib.suppress(OSError):
        payload = msgspec.msgpack.encode(_Kept(FORMAT, [*_lately(), *used]))
        files.write_file(path, files.seal_of(payload) + payload)
        _recalled[path] = Stamp.of(path.stat())
        _used.clear()
        _fresh.clear()
        # The next ones come after those of today.
        for key, found in used:
            del _known[key]
            _known[key] = found


def _lately() -> list[tuple[bytes, bytes]]:
    """Readings that were not asked for since, within bounds, the oldest first."""
    kept: list[tuple[bytes, bytes]] = []
    room = MOST_BYTES
    for key in reversed(_known):
        if key in _used:
            continue
        room -= len(_known[key])
        if room < 0 or len(kept) == MOST_KEPT:
            break
        kept.append((key, _known[key]))
    return kept[::-1]


def _path(repository: Repository) -> Path:
    return repository.path / "readings.cache"
