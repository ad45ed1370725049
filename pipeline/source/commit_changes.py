"""What each commit changed, remembered, so that a new commit costs what it changed and not all that came before it.

What a commit changed never changes, so this is asked by the commit's id. The file beside the history's cache holds the commits
of the last history that was counted; one that is missing, damaged or of another folder is as good as none.

Belongs here: that file. Not here: which commits count (`history`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.files import read_cache, write_cache

FORMAT = 1
MOST_KEPT = 1_000_000
"""Changed paths; commits beyond that are looked at again."""


class _File(msgspec.Struct, array_like=True, frozen=True):
    format: int
    prefix: bytes
    uris: list[str]
    emails: list[bytes]
    commits: list[bytes]
    authors: bytes
    """Of each commit, uint32."""
    counts: bytes
    """How many paths each commit changed, uint32."""
    paths: bytes
    """Of all commits, one after the other, uint32."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Of one commit: the number of its author, and those of the paths that it changed."""

    author: int
    paths: NDArray[np.uint32]


@dataclass(slots=True)
class Known:
    """What is known of commits, by their raw ids; names by their numbers."""

    uris: dict[str, int] = field(default_factory=dict)
    emails: dict[bytes, int] = field(default_factory=dict)
    commits: dict[bytes, Changes] = field(default_factory=dict)

    def add(self, commit: bytes, email: bytes, uris: Sequence[str]) -> Changes:
        """Learn what a commit changed."""
        number = self.uris.setdefault
        paths = np.array([number(uri, len(self.uris)) for uri in uris], np.uint32)
        self.commits[commit] = Changes(self.emails.setdefault(email, len(self.emails)), paths)
        return self.commits[commit]


def recall(path: Path | None, prefix: bytes) -> Known:
    """What is remembered of the commits of a folder."""
    payload = None if path is None else read_cache(path)
    if payload is None:
        return Known()
    try:
        file = msgspec.msgpack.decode(payload, type=_File)
        if (file.format, file.prefix) != (FORMAT, prefix):
            return Known()
        authors, counts, paths = (np.frombuffer(data, "<u4") for data in (file.authors, file.counts, file.paths))
        pieces = np.split(paths, np.cumsum(counts)[:-1])
        made = [Changes(author, piece) for author, piece in zip(authors.tolist(), pieces, strict=True)]
        commits = dict(zip(file.commits, made, strict=True)) if file.commits else {}
    except (msgspec.DecodeError, ValueError):
        return Known()
    uris = {uri: number for number, uri in enumerate(file.uris)}
    return Known(uris, {email: number for number, email in enumerate(file.emails)}, commits)


def remember(path: Path, prefix: bytes, known: Known, counted: Sequence[bytes]) -> None:
    """Keep what is known of the commits that were counted, the latest first. A file that cannot be written is no error."""
    kept: list[bytes] = []
    total = 0
    for commit in counted:
        total += len(known.commits[commit].paths)
        if total > MOST_KEPT:
            break
        kept.append(commit)
    changes = [known.commits[commit] for commit in kept]
    empty = np.zeros(0, np.uint32)
    paths = np.concatenate([empty, *(one.paths for one in changes)])
    # Names that no kept commit has are dropped.
    used, numbers = np.unique(paths, return_inverse=True)
    authors, author_numbers = np.unique(np.array([one.author for one in changes], np.uint32), return_inverse=True)
    uris, emails = list(known.uris), list(known.emails)
    file = _File(
        FORMAT,
        prefix,
        [uris[number] for number in used.tolist()],
        [emails[number] for number in authors.tolist()],
        kept,
        author_numbers.astype("<u4").tobytes(),
        np.array([len(one.paths) for one in changes], "<u4").tobytes(),
        numbers.astype("<u4").tobytes(),
    )
    payload = msgspec.msgpack.encode(file)
    with contextlib.suppress(OSError):
        write_cache(path, payload)
