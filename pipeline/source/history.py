"""History: how often, and by how many people, each file was changed before a commit.

A commit counts when it is an ancestor of the indexed one (or is that commit), is no merge, and was committed at most so many
days before it: everything counts back from the commit's own date, so that the result is a function of the commit. Renames
are not followed: a moved file starts anew under its new name. A shallow clone has a shorter history; the commits at which it
was cut off are left out, because what they changed cannot be told.

Belongs here: walking commits. Not here: what churn means for a file (`structure.modules`).
"""

from __future__ import annotations

import contextlib
import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pygit2
from pygit2.enums import SortMode

from pipeline.files import read_cache, write_cache
from pipeline.source import commit_changes
from pipeline.source import repository as git
from pipeline.source.commit_changes import Changes, Known
from pipeline.source.entries import hash_of, uri_name

FORMAT = 1
MAX_COMMITS = 5_000
"""No more commits than these, the latest, are looked at, merges included."""

_DAY = 86_400
_KEPT_TREES = 20_000
_SHA256_BYTES = 32
_SHA1_ENTRY = re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL)
_SHA256_ENTRY = re.compile(rb"([0-7]+) ([^\0]+)\0(.{32})", re.DOTALL)
_TREE, _SUBMODULE = b"40000", b"160000"
_Entry = tuple[bytes, bytes, bytes]


@dataclass(frozen=True)
class History:
    """One row a path that was changed in the window, as columns of equal length, sorted by uri."""

    uri: tuple[str, ...] = ()
    churn: tuple[int, ...] = ()
    """Commits that touched the file."""
    authors: tuple[int, ...] = ()
    """Distinct e-mail addresses of their authors."""

    @cached_property
    def digest(self) -> str:
        """Hex, of the rows."""
        return hash_of(msgspec.msgpack.encode((self.uri, self.churn, self.authors))).hex()

    def of(self, uri: str) -> tuple[int, int] | None:
        """(churn, authors) of a file; None: it was not changed in the window."""
        row = bisect_left(self.uri, uri)
        return (self.churn[row], self.authors[row]) if self.uri[row : row + 1] == (uri,) else None


class _File(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of a history: what it is of, and its columns."""

    of: list[Any]
    uri: tuple[str, ...]
    churn: tuple[int, ...]
    authors: tuple[int, ...]


def read_history(path: Path, *, commit: str | None, days: int, cache: Path | None = None) -> History:
    """The history of the files below `path` (a folder in a work tree, or a bare repository), by uris relative to it.

    `commit` is the full hex of the indexed commit; without one, and outside of git, the history is empty. `cache` is a file
    that makes reading the same history again cheap. Raises `SourceError` when there is a repository that cannot be opened, or
    no such commit in it.
    """
    location = git.locate(path.resolve()) if commit is not None else None
    if location is None or commit is None:
        return History()
    tip = git.resolve(location.repository, commit)
    of = [FORMAT, str(tip.id), location.prefix, days, MAX_COMMITS, sorted(_cut_off(location.repository))]
    known = _recall(cache, of)
    if known is not None:
        return known
    history = _count(location, tip, days, None if cache is None else cache.with_suffix(".commits"))
    if cache is not None:
        payload = msgspec.msgpack.encode(_File(of, history.uri, history.churn, history.authors))
        with contextlib.suppress(OSError):
            write_cache(cache, payload)
    return history


def _recall(cache: Path | None, of: list[Any]) -> History | None:
    """What was kept of the same history; None when there is nothing, or nothing to be trusted."""
    payload = None if cache is None else read_cache(cache)
    if payload is None:
        return None
    try:
        file = msgspec.msgpack.decode(payload, type=_File)
    except msgspec.DecodeError:
        return None
    return History(file.uri, file.churn, file.authors) if file.of == of else None


def _count(location: git.Location, tip: Any, days: int, cache: Path | None) -> History:
    """Count the paths of every commit that counts; only commits that `cache` does not know are looked at."""
    prefix = os.fsencode(location.prefix)
    known = commit_changes.recall(cache, prefix)
    trees = _Trees(location)
    counted: list[bytes] = []
    new = 0
    for commit in _commits(location.repository, tip, days):
        if commit.id.raw not in known.commits:
            try:
                known.add(commit.id.raw, commit.author.raw_email.lower(), trees.changed(commit))
            except (pygit2.GitError, KeyError, ValueError):
                continue  # a partial clone lacks the trees of old commits
            new += 1
        counted.append(commit.id.raw)
    if cache is not None and new:
        commit_changes.remember(cache, prefix, known, counted)
    return _history(known, [known.commits[commit] for commit in counted])


def _history(known: Known, changes: Sequence[Changes]) -> History:
    """The rows of some commits."""
    paths = np.concatenate([np.zeros(0, np.int64), *(one.paths for one in changes)]).astype(np.int64)
    authors = np.repeat(np.array([one.author for one in changes], np.int64), [len(one.paths) for one in changes])
    churn = np.bincount(paths, minlength=len(known.uris))
    pairs = np.unique(paths * max(1, len(known.emails)) + authors)
    distinct = np.bincount(pairs // max(1, len(known.emails)), minlength=len(known.uris))
    uris = list(known.uris)
    rows = sorted((uris[number], number) for number in np.flatnonzero(churn).tolist())
    order = [number for _, number in rows]
    return History(tuple(uri for uri, _ in rows), tuple(churn[order].tolist()), tuple(distinct[order].tolist()))


def _commits(repository: Any, tip: Any, days: int) -> Iterator[Any]:
    """The commits that count, in the order of their dates; like `git log --since`, up to the first that is older."""
    oldest = tip.commit_time - days * _DAY
    cut_off = _cut_off(repository)
    walk = iter(repository.walk(tip.id, SortMode.TIME))
    # A missing parent ends the walk.
    with contextlib.suppress(pygit2.GitError, KeyError):
        for commit in islice(walk, MAX_COMMITS):
            if commit.commit_time < oldest:
                return
            if len(commit.parent_ids) < 2 and str(commit.id) not in cut_off:
                yield commit


def _cut_off(repository: Any) -> frozenset[str]:
    """The commits of a shallow clone whose parents are missing."""
    try:
        listed = Path(git.common_folder(repository), "shallow").read_text("ascii")
    except (OSError, ValueError):
        return frozenset()
    return frozenset(listed.split())


class _Trees:
    """Differences between git trees, read directly: libgit2's own diff costs several times as much a commit.

    Next to each other in a history, commits share all but a few trees, so the latest ones are kept.
    """

    def __init__(self, location: git.Location) -> None:
        self._repository = location.repository
        self._prefix = tuple(os.fsencode(name) for name in location.prefix.rstrip("/").split("/")) if location.prefix else ()
        self._kept: dict[bytes, frozenset[_Entry]] = {}

    def changed(self, commit: Any) -> list[str]:
        """The uris that a commit adds, changes or removes, against its first parent; for the first commit of all: its files."""
        new = self._below(commit.tree_id.raw)
        old = self._below(commit.parents[0].tree_id.raw) if commit.parent_ids else None
        found: set[str] = set()
        pending: list[tuple[bytes | None, bytes | None, str]] = [(old, new, "")] if old != new else []
        while pending:
            before, after, folder = pending.pop()
            old_entries, new_entries = self._entries(before), self._entries(after)
            differing: dict[bytes, list[bytes | None]] = {}
            for side, entries in enumerate((old_entries - new_entries, new_entries - old_entries)):
                for mode, name, oid in entries:
                    if mode == _TREE:
                        differing.setdefault(name, [None, None])[side] = oid
                    elif mode != _SUBMODULE:
                        found.add(folder + uri_name(os.fsdecode(name)))
            for name, (gone, come) in differing.items():
                pending.append((gone, come, folder + uri_name(os.fsdecode(name)) + "/"))
        return sorted(found)

    def _entries(self, oid: bytes | None) -> frozenset[_Entry]:
        """(mode, name, id) of the entries of a tree; none for None."""
        if oid is None:
            return frozenset()
        known = self._kept.get(oid)
        if known is None:
            if len(self._kept) >= _KEPT_TREES:
                self._kept.clear()
            _, data = self._repository.read(pygit2.Oid(raw=oid))
            known = frozenset((_SHA256_ENTRY if len(oid) == _SHA256_BYTES else _SHA1_ENTRY).findall(data))
            self._kept[oid] = known
        return known

    def _below(self, oid: bytes) -> bytes | None:
        """The tree of the folder that is indexed, or None where a commit has no such folder."""
        for part in self._prefix:
            found = next((child for mode, name, child in self._entries(oid) if name == part and mode == _TREE), None)
            if found is None:
                return None
            oid = found
        return oid
