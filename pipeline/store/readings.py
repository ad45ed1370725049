"""What was read of files, by their digests: how many rows they have, which ids, that a check found nothing wrong.

A reading is a function of bytes, so it holds for every file with these digests, in every version. A small build asks of new
files alone what a whole publication asks of all. `readings.cache` keeps readings for the processes that follow, sealed by its
own digest and bounded; where it is damaged or missing, files are read again. `verify` takes nothing from it.

Belongs here: remembering readings. Not here: what is read (whoever asks), and digests of files (`digests`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pipeline.store.caches import RepositoryCache
from pipeline.store.layout import Repository

FORMAT = 1
MOST_KEPT, MOST_BYTES = 20_000, 8 << 20
"""Readings that the present process did not ask for, and their bytes; the oldest beyond either are forgotten."""
_KEY_BYTES = 16

_known: dict[bytes, bytes] = {}
"""Key -> the reading, as MessagePack; the ones that were asked for last come last."""
_used: set[bytes] = set()
"""Keys that this process asked for or noted since it last remembered."""
_fresh: set[bytes] = set()
"""Keys that were noted since it last remembered."""


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """`readings.cache`: keys and readings, those that were asked for last at the end."""

    format: int
    rows: list[tuple[bytes, bytes]]


_cache = RepositoryCache("readings.cache", _Kept)


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
    for kept in (_known, _used, _fresh):
        kept.clear()
    _cache.forget()


def recall(repository: Repository) -> None:
    """Learn what earlier processes remembered for a repository, unless that is as it was when last read."""
    if _cache.is_of_another(repository):
        forget()
    kept = _cache.news(repository)
    if kept is not None and kept.format == FORMAT:
        for key, found in kept.rows:
            _known.setdefault(key, found)


def remember(repository: Repository) -> None:
    """Keep what this process knows for those that follow. A store that cannot be written is no reason to fail."""
    if not _fresh:
        return
    used = [(key, found) for key, found in _known.items() if key in _used]
    if _cache.write(repository, _Kept(FORMAT, [*_lately(), *used])):
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
