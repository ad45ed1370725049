"""Listing a tree again: folders that nobody added to or took from are as they were, and are not listed.

A folder's time of change moves when an entry comes, goes or is renamed, so a folder of the same inode and times has the entries
that it had; what they are to us depends besides on the rules: settings, ignore files, and what git tracks. Where any of that
moved, the tree is walked from the start.

Belongs here: which folders are listed again, and what is known then. Not here: what entries are (`worktree`), their bytes
(`scan`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.source.entries import Entry
from pipeline.source.git_memo import GitMemo
from pipeline.source.stamps import stamps_of
from pipeline.source.worktree import FolderStamp, Walk, folder_stamp

_MOST = 64
"""So many folders may be listed again, and a sixteenth of all."""
_OF_FOLDERS = [0, 2, 3]
"""Of a stamp, what is a folder's: its size tells nothing of its names."""


class Tree(msgspec.Struct, array_like=True, frozen=True):
    """What a walk saw beside its rows."""

    walked: list[bytes]
    """From where, without what, and with which exclude files."""
    folders: list[str]
    """Uris with a slash behind them; the root's is empty."""
    stamps: bytes
    """Of the folders, int64 [m, 3]."""
    rules: list[tuple[bytes, FolderStamp]]
    """Ignore files, in the tree and outside of it; zeros: not there."""
    git: GitMemo | None


@dataclass(frozen=True, slots=True)
class Seen:
    """Folders [m] as they are now."""

    folders: list[str]
    stamps: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Again:
    """A tree that was listed again: `kept` says which of the rows are as they were (None: all); the others are `entries`."""

    seen: Seen
    kept: NDArray[np.bool_] | None = None
    entries: Sequence[Entry] = ()


def moved(before: Tree | None, now: Tree | None) -> bool:
    """Whether two trees differ in more than some folders, which are soon listed again."""
    if before is None or now is None:
        return before is not now
    if (before.walked, before.rules) != (now.walked, now.rules):
        return True
    old, new = before.git, now.git
    if old is None or new is None:
        return old is not new
    if (old.index, old.head, old.submodules, old.others) != (new.index, new.head, new.submodules, new.others):
        return True
    return old.differing is None and new.differing is not None


def rules_moved(tree: Tree) -> bool:
    """Whether an ignore file is not what it was."""
    return any(folder_stamp(os.fsdecode(path)) != tuple(stamp) for path, stamp in tree.rules)


def stale(tree: Tree, root: str) -> tuple[Seen, list[str]] | None:
    """The folders as they are now, and those that have to be listed again; None where a walk from the start is cheaper."""
    then = np.frombuffer(tree.stamps, "<i8").reshape(-1, 3)
    now = stamps_of(root, tree.folders)[:, _OF_FOLDERS]
    changed = np.flatnonzero((now != then).any(axis=1)).tolist()
    if len(changed) > _MOST + len(then) // 16:
        return None
    return Seen(tree.folders, now), [tree.folders[number] for number in changed]


def list_again(walk: Walk, tree: Tree, seen: Seen, changed: Iterable[str], uris: Sequence[str]) -> Again | None:
    """List some folders, and all that are new below them; None where that is not all that happened."""
    stale, known = set(changed), set(tree.folders)
    children: defaultdict[str, set[str]] = defaultdict(set)
    for folder in tree.folders:
        if folder and (above := _above(folder)) in stale:
            children[above].add(folder)
    gone: list[str] = []
    entries: list[Entry] = []
    for uri in sorted(stale):
        if uri.startswith(tuple(gone)):
            continue
        at = walk.folder(uri)
        if at is None:
            return None
        found, below = walk.listed(at)
        entries += found
        gone += sorted(children[uri] - {child.uri for child in below})
        entries += walk.entries([child for child in below if child.uri not in known])
        if uri and walk.tracked is not None and os.path.lexists(f"{at.path}/.git"):
            return None  # it is another repository now
    read = {os.fsencode(path) for path in walk.rules}
    if not read <= {path for path, _ in tree.rules}:
        return None  # a new ignore file
    dropped = tuple(gone)
    kept = [not (uri.startswith(dropped) or _above(uri) in stale) for uri in uris]
    return Again(_merged(seen, walk, stale, dropped), np.array(kept, np.bool_), entries)


def _merged(seen: Seen, walk: Walk, stale: set[str], dropped: tuple[str, ...]) -> Seen:
    """The folders that stay, and those that were listed."""
    stay = [not (folder.startswith(dropped) or folder in stale) for folder in seen.folders]
    folders = [folder for folder, stays in zip(seen.folders, stay, strict=True) if stays]
    new = np.array([stamp for _, stamp in walk.visited], np.int64).reshape(-1, 3)
    return Seen([*folders, *(folder for folder, _ in walk.visited)], np.concatenate((seen.stamps[stay], new)))


def _above(uri: str) -> str:
    """The folder that a row, or a folder, is in."""
    return uri[: uri.rfind("/", 0, -1) + 1]
