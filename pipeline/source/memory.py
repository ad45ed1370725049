"""What the last scan of a tree found, so that the next one opens only what may have changed.

A file that is missing, damaged, of another format, or made under other settings or rules is as good as none, and one that
cannot be written does no harm: only time depends on it.

Belongs here: the file's format and when its entries are trusted. Not here: what is remembered means (`selection`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.config import SourceSettings
from pipeline.files import write_file
from pipeline.source.entries import Stamp, hash_of
from pipeline.source.selection import RULES_VERSION

FORMAT = 1
RACY_NS = 2_000_000_000
"""A file may be changed again without a new time within the resolution of the clock that stamps it."""

_HASH_BYTES = 32


class Finding(NamedTuple):
    """What is known about the bytes of one file."""

    stamp: Stamp
    size: int
    content_hash: bytes
    lang: str | None
    reason: str | None


class _File(msgspec.Struct, array_like=True, frozen=True):
    format: int
    rules: str
    settings: SourceSettings
    uris: list[str]
    stamps: list[Stamp]
    sizes: list[int]
    hashes: bytes
    words: list[str | None]
    """The distinct languages and reasons."""
    langs: list[int]
    reasons: list[int]


def recall(path: Path | None, settings: SourceSettings) -> Mapping[str, Finding]:
    """What is remembered under these settings, by uri; empty when nothing can be trusted."""
    if path is None:
        return {}
    try:
        raw = path.read_bytes()
    except OSError:
        return {}
    payload = raw[_HASH_BYTES:]
    if hash_of(payload) != raw[:_HASH_BYTES]:
        return {}
    try:
        file = msgspec.msgpack.decode(payload, type=_File)
        if (file.format, file.rules, file.settings) != (FORMAT, RULES_VERSION, settings):
            return {}
        hashes = [file.hashes[at : at + _HASH_BYTES] for at in range(0, len(file.hashes), _HASH_BYTES)]
        langs = [file.words[word] for word in file.langs]
        reasons = [file.words[word] for word in file.reasons]
        columns = zip(file.stamps, file.sizes, hashes, langs, reasons, strict=True)
        return dict(zip(file.uris, map(Finding._make, columns), strict=True))
    except (msgspec.DecodeError, IndexError, ValueError):
        return {}


def remember(
    path: Path | None,
    settings: SourceSettings,
    before: Mapping[str, Finding],
    found: Iterable[tuple[str, Finding]],
    now_ns: int,
) -> None:
    """Keep what a scan that began at `now_ns` found, unless it is what was known `before`."""
    if path is None:
        return
    # A stamp of a git object ends in -1 and has no times.
    kept = {uri: finding for uri, finding in found if finding.stamp[3] == -1 or finding.stamp[2] < now_ns - RACY_NS}
    if kept == before:
        return
    words = list(dict.fromkeys(word for finding in kept.values() for word in (finding.lang, finding.reason)))
    number = {word: at for at, word in enumerate(words)}
    file = _File(
        FORMAT,
        RULES_VERSION,
        settings,
        list(kept),
        [finding.stamp for finding in kept.values()],
        [finding.size for finding in kept.values()],
        b"".join(finding.content_hash for finding in kept.values()),
        words,
        [number[finding.lang] for finding in kept.values()],
        [number[finding.reason] for finding in kept.values()],
    )
    payload = msgspec.msgpack.encode(file)
    with contextlib.suppress(OSError):
        write_file(path, hash_of(payload) + payload)
