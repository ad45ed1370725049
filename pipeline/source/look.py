"""One look at a work tree: again at what may have changed since the last one, or at everything.

Belongs here: which of the two, and what the next look is told. Not here: walking (`worktree`), listing again (`folders`), or
what git was asked (`git_memo`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.config import SourceSettings
from pipeline.source import git_memo
from pipeline.source import repository as git
from pipeline.source.entries import in_order
from pipeline.source.folders import Again, Seen, Tree, list_again, rules_moved, stale
from pipeline.source.git_memo import GitMemo
from pipeline.source.memory import RACY_NS, UNREAD, Memory
from pipeline.source.rows import NO_STAMP, Listed, Rows
from pipeline.source.selection import SUBMODULE, UNREADABLE
from pipeline.source.stamps import stamps_of
from pipeline.source.worktree import FolderStamp, Tracked, Walk, folder_stamp

_NO_FOLDER: FolderStamp = (-1, -1, -1)
"""A stamp that no folder has."""


class Look:
    """A look at the folder `root`. `location` becomes None where git has nothing to say about it."""

    def __init__(self, root: str, location: git.Location | None, settings: SourceSettings, skip: str | None) -> None:
        self.root, self.location, self.settings, self.skip = root, location, settings, skip
        # Stamps are taken before what they are of is read, so that a change in between shows later.
        self._index = git_memo.index_stamp(location) if location else None
        excludes = git.exclude_files(location.repository) if location else ()
        self._excludes = [(os.fsencode(path), folder_stamp(path)) for path in excludes]
        self._walk: Walk | None = None
        self.learned = 0
        """Folders that were listed, and need not be the next time."""

    @cached_property
    def known(self) -> Tracked | None:
        """What git tracks."""
        return git.tracked(self.location) if self.location else None

    def walk(self) -> Walk:
        """A walk over everything."""
        if self.location and self.known and git.is_ignored_folder(self.location, self.known):
            self.location = self.known = None
        prefix = self.location.prefix if self.location else ""
        self._walk = Walk(self.root, self.settings, prefix, self.known, self.skip)
        return self._walk

    def again(self, memory: Memory) -> Again | None:
        """What a look at what may have changed sees; None where everything has to be looked at."""
        tree = memory.tree
        if tree is None or (self.location and self.location.prefix) or tree.walked != self._walked() or rules_moved(tree):
            return None
        if (tree.git is None) is not (self.location is None) or (tree.git and not self._tracks_the_same(tree.git, memory)):
            return None
        found = stale(tree, self.root)
        if found is None:
            return None
        seen, changed = found
        if not changed:
            return Again(seen)
        self._walk = Walk(self.root, self.settings, "", self.known, self.skip)
        return list_again(self._walk, tree, seen, changed, memory.uri)

    def _walked(self) -> list[bytes]:
        return [os.fsencode(self.root), os.fsencode(self.skip or ""), *(path for path, _ in self._excludes)]

    def _tracks_the_same(self, memo: GitMemo, memory: Memory) -> bool:
        inside = [uri for uri, reason in zip(memory.uri, memory.reason, strict=True) if reason == SUBMODULE]
        if not all(uri in memo.submodules or os.path.lexists(f"{self.root}/{uri}/.git") for uri in inside):
            return False
        if self._index is not None and memo.index == self._index:
            return True
        return self.known is not None and git_memo.tracks_the_same(memo, memory.uri, memory.reason, self.known)

    def back(
        self, listed: Listed, rows: Rows, memory: Memory, again: Again | None, head: str | None, began: int
    ) -> tuple[Tree | None, bool]:
        """What the next look is told, nothing where that cannot be said; and whether the rows are anything else than HEAD's."""
        memo, dirty = self._git(listed, rows, memory, again, head) if self.location else (None, False)
        if UNREADABLE in rows.reason or (self.location and (self.location.prefix or memo is None)):
            return None, dirty
        if again is None and any(listed.place(uri) != f"{self.root}/{uri.rstrip('/')}" for uri in rows.uri):
            return None, dirty  # names that are no UTF-8
        rules = dict(self._excludes if again is None or memory.tree is None else memory.tree.rules)
        if self._walk is not None:
            rules |= {os.fsencode(path): stamp for path, stamp in self._walk.rules.items()}
        seen = again.seen if again is not None else self._seen()
        racy = seen.stamps[:, 1:].max(axis=1, initial=0) >= began - RACY_NS
        self.learned = int(np.count_nonzero(~racy[len(racy) - len(self._walk.visited) :])) if self._walk is not None else 0
        stamps = np.where(racy[:, None], -1, seen.stamps).astype("<i8").tobytes()
        trusted = [(path, stamp if max(stamp[1:]) < began - RACY_NS else _NO_FOLDER) for path, stamp in rules.items()]
        return Tree(self._walked(), seen.folders, stamps, trusted, memo), dirty

    def _seen(self) -> Seen:
        visited = self._walk.visited if self._walk is not None else []
        return Seen([uri for uri, _ in visited], np.array([stamp for _, stamp in visited], np.int64).reshape(-1, 3))

    def _git(
        self, listed: Listed, rows: Rows, memory: Memory, again: Again | None, head: str | None
    ) -> tuple[GitMemo | None, bool]:
        """What git knows of the rows, and whether they are anything else than HEAD's."""
        assert self.location is not None  # the caller asked
        before = memory.tree.git if memory.tree is not None and again is not None else None
        same = before is not None and before.index == self._index and rows.uri == memory.uri
        names = rows.uri if same else self._names(listed, rows)
        tracked = self._tracked(before, names, same=same)
        if (rows.stamp.any(axis=1) & ~tracked).any() or head is None:
            differing, dirty = None, True
        else:
            own = dict(zip(names, tracked.tolist(), strict=True)) if rows.changed else {}
            touched = [uri for uri in rows.changed if own.get(uri, True)]
            # Where what git said no longer holds, the times in the index tell which files it is asked about.
            holds = before is not None and before.differing is not None and (before.index, before.head) == (self._index, head)
            stamps = {} if before is None or holds else dict(zip(names, rows.stamp.tolist(), strict=True))
            differing = git_memo.differing_now(before, self.location, self._index, head, touched, stamps)
            dirty = differing != ""
        if self._index is None:
            return None, dirty
        if same and before is not None:
            return GitMemo(self._index, before.submodules, before.tracked, before.others, head, differing), dirty
        known = self.known or Tracked()
        others = git_memo.others_of(names, known)
        return GitMemo(self._index, sorted(known.submodules), tracked.tobytes(), others, head, differing), dirty

    def _names(self, listed: Listed, rows: Rows) -> Sequence[str]:
        """The rows as paths in the work tree."""
        prefix = self.location.prefix if self.location else ""
        start = len(self.root.rstrip("/")) + 1
        return [prefix + listed.place(uri)[start:] for uri in rows.uri]

    def _tracked(self, before: GitMemo | None, names: Sequence[str], *, same: bool) -> NDArray[np.bool_]:
        if same and before is not None:
            return np.frombuffer(before.tracked, np.bool_)
        return git_memo.tracked_rows(names, self.known or Tracked())


def listed_again(root: str, memory: Memory, again: Again) -> Listed | None:
    """The rows of a tree that was listed again, with stamps as they are now; None where a file has gone meanwhile."""
    row = np.arange(len(memory.uri)) if again.kept is None else np.flatnonzero(again.kept)
    uri, reason = memory.uri, memory.reason_of_listing
    stamp = memory.stamp[row]
    read = np.flatnonzero(memory.size[row] != UNREAD).tolist()
    rows = row.tolist()
    if again.kept is not None:
        uri, reason = tuple(uri[at] for at in rows), [reason[at] for at in rows]
    stamp[read] = now = stamps_of(root, [uri[at] for at in read])
    if not now.any(axis=1).all():
        return None
    if again.entries:
        entries = in_order(again.entries)
        known = memory.row.get
        uri = (*uri, *(entry.uri for entry in entries))
        reason = [*reason, *(entry.reason for entry in entries)]
        stamp = np.concatenate((stamp, np.array([entry.stamp or NO_STAMP for entry in entries], np.int64).reshape(-1, 4)))
        row = np.concatenate((row, np.array([known(entry.uri, -1) for entry in entries], np.int64)))
        order = sorted(range(len(uri)), key=uri.__getitem__)
        uri, reason, stamp, row = tuple(uri[at] for at in order), [reason[at] for at in order], stamp[order], row[order]
        if any(entry.place != f"{root}/{entry.uri.rstrip('/')}" for entry in entries) or len(set(uri)) < len(uri):
            return None
    return Listed(uri, reason, stamp, row, lambda name: f"{root}/{name}")
