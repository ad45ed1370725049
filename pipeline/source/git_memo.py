"""What git was asked about a work tree, so that it is asked again only about what may have changed since.

While the index file is the same, git tracks the same; while HEAD is the same too, a file that was as HEAD has it still is,
unless it was touched.

Belongs here: remembering git's answers. Not here: asking (`repository`), the walk (`worktree`, `folders`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import pygit2
from numpy.typing import NDArray

from pipeline.source import repository as git
from pipeline.source.entries import Stamp, hash_of
from pipeline.source.selection import IGNORED
from pipeline.source.worktree import Tracked, stamp_of

_MOST_ASKED = 64
"""Files that git is asked about one by one; for more, it looks at all."""
_NO_FILE = (-1, -1, -1, -1)
_WORD = 0xFFFFFFFF


class GitMemo(msgspec.Struct, array_like=True, frozen=True):
    """What git knew of the rows of a tree."""

    index: Stamp
    """Of the index file."""
    submodules: list[str]
    tracked: bytes
    """Of each row, 1 where git tracks it."""
    others: bytes
    """Digest of what git tracks that has no row."""
    head: str | None
    differing: str | None
    """A tracked file that is not as HEAD has it; empty: none; None: unknown."""


def index_stamp(location: git.Location) -> Stamp | None:
    """The stamp of the index file; None where there is none."""
    try:
        return stamp_of(os.path.join(location.repository.path, "index"))  # noqa: PTH118 - may hold surrogates
    except OSError:
        return None


def tracked_rows(uris: Sequence[str], known: Tracked) -> NDArray[np.bool_]:
    """Which rows [n] of the whole work tree git tracks."""
    return np.fromiter(map(known.files.__contains__, uris), np.bool_, len(uris))


def others_of(uris: Iterable[str], known: Tracked) -> bytes:
    """What git tracks that has no row, in short."""
    names = sorted(known.files.difference(uris))
    return hash_of(b"\0".join(name.encode("utf-8", "surrogateescape") for name in names))


def tracks_the_same(memo: GitMemo, uris: Sequence[str], reasons: Sequence[str | None], known: Tracked) -> bool:
    """Whether the rows would be the same with what git tracks now: it may track more files of those that it did not ignore."""
    if sorted(known.submodules) != memo.submodules or others_of(uris, known) != memo.others:
        return False
    before, now = np.frombuffer(memo.tracked, np.bool_), tracked_rows(uris, known)
    ignored = np.fromiter((reason == IGNORED for reason in reasons), np.bool_, len(uris))
    return not ((before & ~now) | (ignored & (before != now))).any()


def differing_now(
    memo: GitMemo | None,
    location: git.Location,
    index: Stamp | None,
    head: str | None,
    touched: Sequence[str],
    stamps: Mapping[str, Sequence[int]],
) -> str | None:
    """A tracked file that is not as HEAD has it; empty: none; None: unknown.

    `touched` are the tracked files that may be other than when the memo was made, `stamps` those of all files that have a row.
    """
    if memo is None:
        return git.differing(location)
    if memo.differing is None or (memo.index, memo.head) != (index, head):
        suspects = _suspects(location, index, stamps)
    else:
        suspects = list(touched)
    if suspects is None or len(suspects) > _MOST_ASKED:
        return git.differing(location)
    same = (memo.index, memo.head) == (index, head)
    try:
        asked = [memo.differing, *suspects] if same and memo.differing else suspects
        found = next((path for path in asked if git.one_differs(location, path)), "")
    except (pygit2.GitError, KeyError, ValueError, OSError):
        return git.differing(location)
    # What differed no longer does; others may.
    return git.differing(location) if same and memo.differing and not found else found


def _suspects(location: git.Location, stamp: Stamp | None, stamps: Mapping[str, Sequence[int]]) -> list[str] | None:
    """The tracked files that may not be as HEAD has them, by the times in the index; None where they do not tell."""
    index = git.index_file(location.repository)
    commit = git.head_commit(location.repository)
    if index is None or stamp is None or commit is None or index.has_special or index.tree != commit.tree_id.raw:
        return None
    names = list(map(os.fsdecode, index.names))
    now = np.array([stamps.get(name, _NO_FILE) for name in names], np.int64).reshape(-1, 4)
    second = 1_000_000_000
    changed, modified = (index.stat[:, at] * second + index.stat[:, at + 1] for at in (0, 2))
    inode, size = index.stat[:, 5], index.stat[:, 9]
    same = (now[:, 0] & _WORD == inode) & (now[:, 1] & _WORD == size) & (now[:, 2] == modified) & (now[:, 3] == changed)
    # As git has it: what was changed when the index was written, or since, may have been changed again.
    same &= modified < stamp[2]
    return [names[row] for row in np.flatnonzero(~same).tolist()]
