"""Whether a repository still is what was indexed, by how many files it is not, and where its git says that it stands.

Two costs, both known before: a look at the stamps that the last scan left (`glance`), and a scan. Whoever has no time for what
is needed gets an answer that says so, and never a guess.

Belongs here: what planning, sensors and every interface ask about a repository without indexing it. Not here: rebuilding, or
asking while something else goes on (`interfaces.looking`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config import SourceSettings
from pipeline.errors import SourceError
from pipeline.files import write_file
from pipeline.source import glance, repository
from pipeline.source.ignoring import GIT_FILE, OWN_FILE
from pipeline.source.scan import Scan, Witness, scan

_LOOK_SECONDS = 4e-6
"""A file or a folder, measured: 2.5 to 3 microseconds."""
_SCAN_SECONDS = 50e-6
"""A row of a scan whose files are all remembered, measured: 38 microseconds."""
_WORTH_KEEPING = 16
"""So many stamps that a look had to look behind make it worth while to write the record again."""

NOT_CHECKED = "not checked: the repository is large, and was not looked through in time"


class Indexed(msgspec.Struct, frozen=True):
    """What a version says of the tree that it was made from: the digest of its scan, how many rows that had, its commit."""

    scan: str
    rows: int
    commit: str | None


Hashes = Callable[[], Mapping[str, bytes]]
"""Uri -> content hash of every file as it was indexed: the version's own table, read only where it is needed."""


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
    record: Path | None = None,
    skip: Path | None = None,
    patience: float = math.inf,
) -> Freshness:
    """Compare the tree at `path` (or its revision `rev`) with what was indexed.

    `cache` and `record` are files that make it cheap, `skip` a folder that is no part of the tree. What would take longer than
    `patience` seconds is not done.
    """
    try:
        if not path.is_dir():
            raise SourceError(f"{path} does not exist.")
        location = repository.locate(path.resolve())
        if rev is not None or (location is not None and location.work_tree is None):
            return _of_revision(path, location, rev, settings, indexed, hashes, record, patience)
        return _of_folder(path, location, settings, indexed, hashes, cache, record, skip, patience)
    except SourceError as error:
        return Freshness(stale=True, files=None, reason=error.message)


def seconds_for(record: Path | None, rows: int) -> float:
    """About how long a comparison takes: a look where there is a record, else a scan of so many rows."""
    try:
        # A hundred bytes a row; reading the record to know better would cost as much as the look.
        entries = (record.stat().st_size if record else 0) // 100
    except OSError:
        entries = 0
    return entries * 1.7 * _LOOK_SECONDS if entries else rows * _SCAN_SECONDS


def _of_folder(
    path: Path,
    location: repository.Location | None,
    settings: SourceSettings,
    indexed: Indexed,
    hashes: Hashes,
    cache: Path | None,
    kept: Path | None,
    skip: Path | None,
    patience: float,
) -> Freshness:
    root, around = path.resolve(), _around(path.resolve(), location)
    head, commits = _standing(location, None, indexed)
    record = glance.read_record(kept, root, settings)
    if record is not None and record.base == indexed.scan and record.entries * _LOOK_SECONDS <= patience:
        sight = glance.look(record, around)
        # When the last difference went, something may be left that has no bytes, like a submodule: only a scan can tell.
        if not sight.moved and (sight.differs or not record.differs):
            if kept is not None and _worth_keeping(record, sight):
                glance.write_record(kept, glance.renewed(record, sight, time.time_ns()))
            return _told(bool(sight.differs) or record.otherwise, len(sight.differs), commits, head)
    if indexed.rows * _SCAN_SECONDS > patience:
        return Freshness(stale=False, files=None, commits=commits, commit=head, reason=NOT_CHECKED)
    witness = Witness()
    now = scan(path, settings=settings, cache=cache, skip=skip, witness=witness)
    made = glance.record_of(now, witness, settings, around, indexed.scan, skip)
    if now.digest != indexed.scan:
        known = record if record is not None and record.base == indexed.scan else None
        differs = _differences(now, hashes() if known is None else dict(glance.hashes_of(known)))
        made = msgspec.structs.replace(made, differs=differs, otherwise=not differs)
    if kept is not None and kept.parent.is_dir():
        glance.write_record(kept, made)
    return _told(now.digest != indexed.scan, len(made.differs), commits, now.commit)


def scan_to_build(path: Path, *, settings: SourceSettings, cache: Path | None, record: Path, skip: Path | None) -> Scan:
    """Scan a work tree that will be indexed so, and keep what makes the next `freshness` cheap."""
    try:
        root = path.resolve()
        around, witness = _around(root, repository.locate(root)), Witness()
    except OSError:
        return scan(path, settings=settings, cache=cache, skip=skip)
    found = scan(path, settings=settings, cache=cache, skip=skip, witness=witness)
    known = glance.read_record(record, root, settings)
    if found.root is not None and (known is None or known.base != found.digest or known.differs or known.otherwise):
        glance.write_record(record, glance.record_of(found, witness, settings, around, found.digest, skip))
    return found


def _told(stale: bool, files: int, commits: int | None, commit: str | None) -> Freshness:
    """An answer that is complete."""
    reason = "" if files or not stale else "the files are the same, but other ones would be indexed"
    return Freshness(stale=stale, files=files, commits=commits, commit=commit, reason=reason)


def _worth_keeping(record: glance.Record, sight: glance.Sight) -> bool:
    return len(sight.files) + len(sight.folders) >= _WORTH_KEEPING and sight != glance.Sight(record.differs)


def _around(root: Path, location: repository.Location | None) -> glance.Around:
    """What decides about a tree from outside of it."""
    if location is None or location.work_tree is None:
        return glance.Around()
    folders, above = [], Path(location.work_tree)
    for part in Path(location.prefix).parts:
        folders.append(above)
        above /= part
    rules = [str(folder / name) for folder in folders for name in (GIT_FILE, OWN_FILE)]
    index = os.path.join(str(location.repository.path), "index")  # noqa: PTH118 - may hold any bytes
    return glance.Around.of(index, [*repository.exclude_files(location.repository), *rules])


def _standing(location: repository.Location | None, rev: str | None, indexed: Indexed) -> tuple[str | None, int | None]:
    """The commit that the repository is at, and how many it has that what was indexed has not."""
    if location is None:
        return None, None
    found = repository.head_commit(location.repository) if rev is None else repository.resolve(location.repository, rev)
    head = str(found.id) if found is not None else None
    if head is None or indexed.commit is None:
        return head, None
    return head, 0 if head == indexed.commit else repository.commits_between(location.repository, head, indexed.commit)


def _differences(now: Scan, before: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files that are not as they were indexed, with the hash that was indexed."""
    after = {uri: content for uri, content in zip(now.uri, now.content_hash, strict=True) if content is not None}
    differs = {uri: before.get(uri, glance.NOTHING) for uri, content in after.items() if before.get(uri) != content}
    return differs | {uri: content for uri, content in before.items() if uri not in after}


class _Compared(msgspec.Struct, frozen=True):
    """What came of comparing a commit, which never changes, with what was indexed."""

    indexed: str
    commit: str
    prefix: str
    settings: SourceSettings
    stale: bool
    files: int


def _of_revision(
    path: Path,
    location: repository.Location | None,
    rev: str | None,
    settings: SourceSettings,
    indexed: Indexed,
    hashes: Hashes,
    kept: Path | None,
    patience: float,
) -> Freshness:
    if location is None:
        raise SourceError(f"{path} is in no git repository, so there is no revision `{rev}`.", hint="Leave out --rev.")
    commit, commits = _standing(location, rev, indexed)
    if commit is None:
        raise SourceError(f"{path} has no commits.", hint="Commit something first.")
    memory = kept.with_suffix(".revision") if kept is not None else None
    compared = _recall(memory)
    asked = (indexed.scan, commit, location.prefix, settings)
    if compared is None or (compared.indexed, compared.commit, compared.prefix, compared.settings) != asked:
        if indexed.rows * 4 * _SCAN_SECONDS > patience:
            return Freshness(stale=False, files=None, commits=commits, commit=commit, reason=NOT_CHECKED)
        now = scan(path, rev=rev, settings=settings)
        differs = _differences(now, hashes()) if now.digest != indexed.scan else {}
        compared = _Compared(*asked, now.digest != indexed.scan, len(differs))
        if memory is not None and memory.parent.is_dir():
            _keep(memory, compared)
    return _told(compared.stale, compared.files, commits, commit)


def _recall(path: Path | None) -> _Compared | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Compared) if path is not None else None
    except (OSError, msgspec.DecodeError):
        return None


def _keep(path: Path, compared: _Compared) -> None:
    try:
        write_file(path, msgspec.json.encode(compared))
    except OSError:
        return  # Only time depends on it.


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
