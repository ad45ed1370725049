"""Whether a repository still is what was indexed, by how many files it is not, and where its git says that it stands.

A scan that remembers the last one looks at every file and opens few, so its digest tells for sure. How many files differ is
counted once for each state of the tree and then remembered.

Belongs here: what planning, sensors and every interface ask about a repository without indexing it. Not here: rebuilding, or
asking while something else goes on (`interfaces.looking`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config import SourceSettings
from pipeline.errors import SourceError
from pipeline.files import write_there
from pipeline.source import repository
from pipeline.source.entries import hash_of
from pipeline.source.scan import Scan, scan

_SECONDS = 10e-6
"""A row of a scan that remembers the last one, measured: 8 to 9 microseconds."""
_SECONDS_ANEW = 60e-6
"""A row of one that has nothing to remember but hashes."""
_MOST_KEPT = 32

NOT_CHECKED = "not checked: the repository is large, and was not looked through in time"


class Indexed(msgspec.Struct, frozen=True):
    """What a version says of the tree that it was made from: the digest of its scan, how many rows that had, its commit."""

    scan: str
    rows: int
    commit: str | None


Hashes = Callable[[], Mapping[str, bytes] | None]
"""Uri -> content hash of every file as it was indexed: the version's own table, read only where it is needed. None: it cannot
be read, which is for those to tell who answer from it."""


class Freshness(msgspec.Struct, frozen=True):
    """How a repository compares with what was indexed.

    `stale` is True when it is known to differ. `files`: how many files do (None: not counted; then `reason` says why).
    `commits`: how many the repository has that the version has not (None: not known, or there is no git).
    """

    stale: bool
    files: int | None = 0
    commits: int | None = None
    commit: str | None = None
    reason: str = ""

    @property
    def checked(self) -> bool:
        """Whether all was looked at: only then does `stale` False mean that the version is up to date."""
        return self.reason != NOT_CHECKED

    def as_json(self) -> dict[str, Any]:
        """The object `behind` of `--json`."""
        return {"files": self.files, "commits": self.commits, "reason": self.reason}


def freshness(
    path: Path,
    *,
    rev: str | None,
    settings: SourceSettings,
    indexed: Indexed,
    hashes: Hashes,
    cache: Path | None = None,
    memory: Path | None = None,
    skip: Path | None = None,
) -> Freshness:
    """Compare the tree at `path` (or its revision `rev`) with what was indexed.

    `cache` makes the scan cheap, `memory` the count; `skip` is a folder that is no part of the tree.
    """
    try:
        if not path.is_dir():
            raise SourceError(f"{path} does not exist.")
        location = repository.locate(path.resolve())
        head, commits = _standing(location, rev, indexed)
        if rev is not None or (location is not None and location.work_tree is None):
            # A commit never changes, so that it is scanned once.
            prefix = location.prefix if location is not None else ""
            state = hash_of(msgspec.msgpack.encode((indexed.scan, head, prefix, settings))).hex()
            found = _recall(memory).get(state)
            now = scan(path, rev=rev, settings=settings) if found is None else None
        else:
            now = scan(path, settings=settings, cache=cache, skip=skip)
            state = hash_of(msgspec.msgpack.encode((indexed.scan, now.digest))).hex()
            found = 0 if now.digest == indexed.scan else _recall(memory).get(state)
    except SourceError as error:
        return Freshness(stale=True, files=None, reason=error.message)
    if found is None:
        assert now is not None  # it was scanned because nothing is remembered
        found = 0
        if now.digest != indexed.scan:
            before = hashes()
            if before is None:
                return Freshness(stale=True, files=None, commits=commits, commit=head, reason="they cannot be counted")
            found = _differing(now, before) or _OTHERWISE
        _remember(memory, state, found)
    reason = "the files are the same, but other ones would be indexed" if found == _OTHERWISE else ""
    return Freshness(stale=found != 0, files=max(found, 0), commits=commits, commit=head, reason=reason)


_OTHERWISE = -1
"""In place of a number of files: no file differs, and yet the rows do, because settings or rules are others."""


def seconds_for(cache: Path | None, rows: int) -> float:
    """About how long it takes to compare a tree of so many rows."""
    return rows * (_SECONDS if cache is not None and cache.exists() else _SECONDS_ANEW)


def _standing(location: repository.Location | None, rev: str | None, indexed: Indexed) -> tuple[str | None, int | None]:
    """The commit that the repository is at, and how many it has that what was indexed has not."""
    if location is None:
        return None, None
    found = repository.head_commit(location.repository) if rev is None else repository.resolve(location.repository, rev)
    head = str(found.id) if found is not None else None
    if head is None or indexed.commit is None:
        return head, None
    return head, 0 if head == indexed.commit else repository.commits_between(location.repository, head, indexed.commit)


def _differing(now: Scan, before: Mapping[str, bytes]) -> int:
    """How many files are not as they were indexed, are new, or are gone."""
    after = {uri: content for uri, content in zip(now.uri, now.content_hash, strict=True) if content is not None}
    changed = sum(before.get(uri) != content for uri, content in after.items())
    return changed + sum(uri not in after for uri in before)


def _recall(memory: Path | None) -> dict[str, int]:
    """States that were counted: a digest of what was compared with what -> how many files differ."""
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, int]) if memory is not None else {}
    except (OSError, msgspec.DecodeError):
        return {}


def _remember(memory: Path | None, state: str, found: int) -> None:
    if memory is None:
        return
    kept = [*_recall(memory).items()][1 - _MOST_KEPT :]
    # Only time depends on it.
    with contextlib.suppress(OSError):
        write_there(memory, msgspec.json.encode({**dict(kept), state: found}))


def head_of(path: Path, rev: str | None = None) -> str | None:
    """Full hex of the commit that a build of `path` would be of; None without git or commits. Raises `SourceError`."""
    location = repository.locate(path.resolve())
    if location is None:
        if rev is not None:
            raise SourceError(f"{path} is in no git repository, so there is no revision `{rev}`.", hint="Leave out --rev.")
        return None
    commit = repository.head_commit(location.repository) if rev is None else repository.resolve(location.repository, rev)
    return None if commit is None else str(commit.id)


class GitPlace(msgspec.Struct, frozen=True):
    """Where a folder lies in git: the git folder, which all worktrees of a repository share, and the folder's path below the
    top of its own worktree (empty, or with a slash behind it)."""

    folder: str
    inside: str
    top: str | None
    """The top of the worktree; None where there are objects alone."""


def git_place(path: Path) -> GitPlace | None:
    """Where `path` lies in git; None without git. Raises `SourceError`."""
    location = repository.locate(path.resolve())
    if location is None:
        return None
    shared = os.path.realpath(repository.common_folder(location.repository))
    return GitPlace(shared, location.prefix, location.work_tree)
