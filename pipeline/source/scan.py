"""Scanning: a path, or a revision of it, as one row a file. The result is the external input of the whole graph.

Three ways lead to the same rows: a git work tree as it is (tracked files, and untracked ones that are not ignored), a revision
from the object database, and a folder without git.

Belongs here: choosing the way, reading each file once, and what cannot be scanned. Not here: the rules (`selection`,
`ignoring`), or writing artefacts (`stage`).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config import SourceSettings
from pipeline.errors import SourceError
from pipeline.files import new_hash
from pipeline.source import repository as git
from pipeline.source.entries import Entry, Stamp, hash_of, in_order
from pipeline.source.languages import HEAD_BYTES
from pipeline.source.memory import Finding, recall, remember
from pipeline.source.selection import IGNORED, INDEXED, SKIPPED, SYMLINK, UNREADABLE, judge
from pipeline.source.worktree import Walk, open_regular, read_regular, read_to

_BLOCK = 1 << 20
_EMPTY: Stamp = (0, 0, 0, 0)


@dataclass(frozen=True)
class Scan:
    """One row a file, as columns of equal length, sorted by uri; what they mean is said in `schemas.Files`."""

    root: Path | None
    """The folder that was scanned; None: a revision of a repository."""
    commit: str | None
    """Full hex of the commit that was scanned or that the work tree is based on."""
    dirty: bool
    """Whether the rows are anything else than that commit's."""
    rev: str | None
    uri: tuple[str, ...]
    lang: tuple[str | None, ...]
    size: tuple[int | None, ...]
    content_hash: tuple[bytes | None, ...]
    reason: tuple[str | None, ...]
    _place: tuple[str, ...] = field(repr=False, compare=False)
    _read: Callable[[str], bytes] = field(repr=False, compare=False)

    @cached_property
    def status(self) -> tuple[str, ...]:
        """`indexed`, or `skipped` where there is a reason."""
        return tuple(INDEXED if reason is None else SKIPPED for reason in self.reason)

    @cached_property
    def digest(self) -> str:
        """Hex, of the rows alone: equal trees have equal digests wherever they lie and whichever commit they are of.

        Ignored entries are listed for whoever asks why a file is not found, but they are no input: a new `__pycache__` must
        not make an index stale.
        """
        columns = zip(self.uri, self.lang, self.size, self.content_hash, self.reason, strict=True)
        return hash_of(msgspec.msgpack.encode([row for row in columns if row[-1] != IGNORED])).hex()

    @cached_property
    def _row(self) -> Mapping[str, int]:
        return {uri: row for row, uri in enumerate(self.uri)}

    def read(self, uri: str) -> bytes:
        """The bytes of a regular file as they are now. Raises `SourceError` when they cannot be read, KeyError for no row."""
        place = self._place[self._row[uri]]
        try:
            return self._read(place)
        except OSError as error:
            raise SourceError(f"`{uri}` cannot be read: {error.strerror or error}.", hint="Build again.") from error


def scan(
    path: Path, *, rev: str | None = None, settings: SourceSettings, cache: Path | None = None, skip: Path | None = None
) -> Scan:
    """Scan a folder, or with `rev` the commit of that name in the folder's repository (for a bare one: HEAD).

    `cache` is a file that makes the next scan of an unchanged tree cheap; `skip` a folder without rows (the store). Raises
    `SourceError` when there is nothing at `path`, no such revision, or nothing to index.
    """
    began = time.time_ns()
    root = _folder(path)
    location = git.locate(root)
    if location is None and rev is not None:
        raise SourceError(f"{path} is in no git repository, so there is no revision `{rev}`.", hint="Leave out --rev.")
    before = recall(cache, settings)
    if location is not None and (rev is not None or location.work_tree is None):
        found = _scan_revision(location, rev, settings, before)
    else:
        found = _scan_folder(root, location, settings, before, skip)
    if INDEXED not in found.scan.status:
        raise _nothing_to_index(path, found.scan)
    if not any(size for size, reason in zip(found.scan.size, found.scan.reason, strict=True) if reason is None):
        raise SourceError(f"There is nothing to index in {path}: all files are empty.", hint="Name another folder.")
    remember(cache, settings, before, found.findings(), began)
    return found.scan


@dataclass(frozen=True, slots=True)
class _Found:
    scan: Scan
    stamps: list[Stamp]

    def findings(self) -> list[tuple[str, Finding]]:
        """What is worth remembering: all files whose bytes were read."""
        scan = self.scan
        columns = zip(scan.uri, self.stamps, scan.size, scan.content_hash, scan.lang, scan.reason, strict=True)
        return [
            (uri, Finding(stamp, size, content_hash, lang, reason))
            for uri, stamp, size, content_hash, lang, reason in columns
            if content_hash is not None and size is not None and reason != SYMLINK
        ]


def _folder(path: Path) -> Path:
    """The resolved folder. Raises `SourceError` when it is none, or not readable."""
    try:
        root = path.resolve()
        if not root.exists():
            raise SourceError(f"{path} does not exist.", hint="Name a folder or a git repository.")
        if not root.is_dir():
            raise SourceError(f"{path} is a file.", hint="Name the folder that it is in.")
        with os.scandir(root):
            return root
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path} cannot be read: {reason}.", hint="Check its permissions.") from error


def _scan_revision(location: git.Location, rev: str | None, settings: SourceSettings, before: Mapping[str, Finding]) -> _Found:
    repository = location.repository
    commit = git.head_commit(repository) if rev is None else git.resolve(repository, rev)
    if commit is None:
        raise SourceError(f"{repository.path} has no commits.", hint="Commit something first.")
    entries = in_order(git.tree_entries(location, commit, settings))

    def read(oid: str) -> bytes:
        return git.read_blob(repository, oid)

    def find(entry: Entry) -> Finding:
        content = read(entry.place)
        hashed = hash_of(content)
        if entry.reason is not None:
            return Finding(entry.stamp or _EMPTY, len(content), hashed, None, entry.reason)
        return Finding(entry.stamp or _EMPTY, len(content), hashed, *judge(entry.uri, content, len(content), settings))

    return _assemble(entries, before, find, None, str(commit.id), False, rev, read)


def _scan_folder(
    root: Path, location: git.Location | None, settings: SourceSettings, before: Mapping[str, Finding], skip: Path | None
) -> _Found:
    known = git.tracked(location) if location else None
    if location and known and git.is_ignored_folder(location, known):
        location, known = None, None
    prefix = location.prefix if location else ""
    walk = Walk(str(root), settings, prefix, known, None if skip is None else str(skip.resolve()))
    entries = in_order(walk.entries())
    commit = git.head_commit(location.repository) if location else None
    dirty = False
    if location and known:
        untracked = len(entries) > 0 and _any_untracked(entries, root, prefix, known.files)
        dirty = commit is None or untracked or git.differs(location)

    def find(entry: Entry) -> Finding | None:
        return _find_link(entry) if entry.reason == SYMLINK else _find_file(entry, settings)

    return _assemble(entries, before, find, root, str(commit.id) if commit else None, dirty, None, read_regular)


def _any_untracked(entries: list[Entry], root: Path, prefix: str, files: frozenset[str]) -> bool:
    start = len(str(root).rstrip("/")) + 1
    return any(entry.stamp is not None and prefix + entry.place[start:] not in files for entry in entries)


def _find_file(entry: Entry, settings: SourceSettings) -> Finding | None:
    """Read one file from disk; None when it is gone. The stamp was taken before, so that a change in between shows later."""
    stamp = entry.stamp or _EMPTY
    try:
        descriptor = open_regular(entry.place)
    except FileNotFoundError:
        return None
    try:
        hasher = new_hash()
        # One byte more than is wanted tells a file that is over the limit, or that has grown.
        content = read_to(descriptor, min(stamp[1], settings.max_file_bytes) + 1)
        hasher.update(content)
        size = len(content)
        while block := os.read(descriptor, _BLOCK) if size > min(stamp[1], settings.max_file_bytes) else b"":
            if size <= settings.max_file_bytes:
                content += block
            hasher.update(block)
            size += len(block)
    finally:
        os.close(descriptor)
    head = content if size <= settings.max_file_bytes else content[:HEAD_BYTES]
    return Finding(stamp, size, hasher.digest(), *judge(entry.uri, head, size, settings))


def _find_link(entry: Entry) -> Finding | None:
    """A symbolic link is its target's text."""
    try:
        target = os.fsencode(os.readlink(entry.place))  # noqa: PTH115 - bytes, not a path
    except FileNotFoundError:
        return None
    return Finding(entry.stamp or _EMPTY, len(target), hash_of(target), None, SYMLINK)


def _assemble(
    entries: list[Entry],
    before: Mapping[str, Finding],
    find: Callable[[Entry], Finding | None],
    root: Path | None,
    commit: str | None,
    dirty: bool,
    rev: str | None,
    read: Callable[[str], bytes],
) -> _Found:
    """Rows of the entries: remembered where the stamp is the same, else found."""
    rows: list[tuple[str, str | None, int | None, bytes | None, str | None, str]] = []
    stamps: list[Stamp] = []
    for uri, place, reason, stamp in entries:
        if reason is not None and reason != SYMLINK:
            rows.append((uri, None, None, None, reason, place))
            stamps.append(_EMPTY)
            continue
        finding = before.get(uri)
        if finding is None or finding.stamp != stamp:
            try:
                finding = find(Entry(uri, place, reason, stamp))
            except OSError:
                rows.append((uri, None, None, None, UNREADABLE, place))
                stamps.append(_EMPTY)
                continue
            if finding is None:
                continue
        rows.append((uri, finding.lang, finding.size, finding.content_hash, finding.reason, place))
        stamps.append(finding.stamp)
    columns: Any = tuple(zip(*rows, strict=True)) if rows else ((),) * 6
    uri_column, lang, size, content_hash, reasons, places = columns
    return _Found(Scan(root, commit, dirty, rev, uri_column, lang, size, content_hash, reasons, places, read), stamps)


def _nothing_to_index(path: Path, found: Scan) -> SourceError:
    counts = Counter(reason for reason in found.reason if reason is not None)
    if not counts:
        return SourceError(f"There is nothing to index in {path}: it has no files.", hint="Name another folder.")
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common(4))
    total = counts.total()
    files = "its only file is" if total == 1 else f"all of its {total} files are"
    hint = "Look at its ignore files." if counts.most_common(1)[0][0] == IGNORED else "Name another folder."
    return SourceError(f"There is nothing to index in {path}: {files} skipped ({reasons}).", hint=hint)
