"""Scanning: a path, or a revision of it, as one row a file. The result is the external input of the whole graph.

Three ways lead to the same rows: a git work tree as it is (tracked files, and untracked ones that are not ignored), a revision
from the object database, and a folder without git.

Belongs here: choosing the way, reading each file once, and what cannot be scanned. Not here: the rules (`selection`,
`ignoring`), or writing artefacts (`stage`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.config import SourceSettings
from pipeline.errors import SourceError
from pipeline.files import make_directory, new_hash
from pipeline.source import repository as git
from pipeline.source.entries import Entry, hash_of, in_order
from pipeline.source.folders import Tree, moved
from pipeline.source.languages import HEAD_BYTES
from pipeline.source.look import Look, listed_again
from pipeline.source.memory import Memory, recall, remember, worth_writing
from pipeline.source.rows import NO_STAMP, Finding, Rows, assemble, from_entries
from pipeline.source.selection import IGNORED, INDEXED, SKIPPED, SYMLINK, judge
from pipeline.source.worktree import open_regular, read_regular, read_to

_BLOCK = 1 << 20


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
    places: bytes = field(repr=False, compare=False)
    """`tables.place_of` each uri, a byte each."""
    _place: Callable[[str], str] = field(repr=False, compare=False)
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
        columns = [self.uri, self.lang, self.size, self.content_hash, self.reason]
        if IGNORED in self.reason:
            kept = [reason != IGNORED for reason in self.reason]
            columns = [tuple(compress(column, kept)) for column in columns]
        return hash_of(msgspec.msgpack.encode(columns)).hex()

    def read(self, uri: str) -> bytes:
        """The bytes of the regular file of a row as they are now. Raises `SourceError` when they cannot be read."""
        try:
            return self._read(self._place(uri))
        except OSError as error:
            raise SourceError(f"`{uri}` cannot be read: {error.strerror or error}.", hint="Build again.") from error


def scan(
    path: Path, *, rev: str | None = None, settings: SourceSettings, cache: Path | None = None, new: bool = False,
    skip: Path | None = None,
) -> Scan:  # fmt: skip
    """Scan a folder, or with `rev` the commit of that name in the folder's repository (for a bare one: HEAD).

    `cache` is a file that makes the next scan of an unchanged tree cheap; with `new`, its folder is made for it. `skip` is a
    folder without rows (the store). Raises `SourceError` when there is nothing at `path`, no such revision, or nothing to
    index.
    """
    began = time.time_ns()
    root = _folder(path)
    location = git.locate(root)
    if location is None and rev is not None:
        raise SourceError(f"{path} is in no git repository, so there is no revision `{rev}`.", hint="Leave out --rev.")
    memory = recall(cache, settings)
    if location is not None and (rev is not None or location.work_tree is None):
        found = _scan_revision(location, rev, settings, memory)
    else:
        found = _scan_folder(root, location, settings, memory, skip, began)
    if None not in found.scan.reason:
        raise _nothing_to_index(path, found.scan)
    if not any(size for size, reason in zip(found.scan.size, found.scan.reason, strict=True) if reason is None):
        raise SourceError(f"There is nothing to index in {path}: all files are empty.", hint="Name another folder.")
    changed = len(found.rows.changed) + found.learned
    if cache is not None and worth_writing(changed, len(found.rows.uri), moved=moved(memory.tree, found.tree)):
        if new:
            with contextlib.suppress(OSError):
                make_directory(cache.parent)
        remember(cache, settings, found.rows.memory(found.tree, began))
    return found.scan


def _scan(
    root: Path | None, commit: str | None, dirty: bool, rev: str | None, rows: Rows,
    place: Callable[[str], str], read: Callable[[str], bytes],
) -> Scan:  # fmt: skip
    columns = (rows.uri, rows.lang, rows.size, rows.content_hash, rows.reason)
    return Scan(root, commit, dirty, rev, *columns, rows.place, place, read)


class _Found(NamedTuple):
    scan: Scan
    rows: Rows
    tree: Tree | None = None
    learned: int = 0
    """Folders that were listed, and need not be the next time."""


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


def _scan_revision(location: git.Location, rev: str | None, settings: SourceSettings, memory: Memory) -> _Found:
    repository = location.repository
    commit = git.head_commit(repository) if rev is None else git.resolve(repository, rev)
    if commit is None:
        raise SourceError(f"{repository.path} has no commits.", hint="Commit something first.")
    listed = from_entries(in_order(git.tree_entries(location, commit, settings)), memory)

    def read(oid: str) -> bytes:
        return git.read_blob(repository, oid)

    def find(entry: Entry) -> Finding:
        content = read(entry.place)
        hashed = hash_of(content)
        if entry.reason is not None:
            return Finding(entry.stamp or NO_STAMP, len(content), hashed, None, entry.reason)
        return Finding(entry.stamp or NO_STAMP, len(content), hashed, *judge(entry.uri, content, len(content), settings))

    rows = assemble(listed, memory, find)
    return _Found(_scan(None, str(commit.id), False, rev, rows, listed.place, read), rows)


def _scan_folder(
    root: Path, location: git.Location | None, settings: SourceSettings, memory: Memory, skip: Path | None, began: int
) -> _Found:
    def find(entry: Entry) -> Finding | None:
        return _find_link(entry) if entry.reason == SYMLINK else _find_file(entry, settings)

    look = Look(str(root), location, settings, None if skip is None else str(skip.resolve()))
    again = look.again(memory)
    listed = None if again is None else listed_again(str(root), memory, again)
    if listed is None:
        again, listed = None, from_entries(in_order(look.walk().entries()), memory)
    rows = assemble(listed, memory, find)
    commit = git.head_commit(look.location.repository) if look.location else None
    head = str(commit.id) if commit else None
    tree, dirty = look.back(listed, rows, memory, again, head, began)
    return _Found(_scan(root, head, dirty, None, rows, listed.place, read_regular), rows, tree, look.learned)


def _find_file(entry: Entry, settings: SourceSettings) -> Finding | None:
    """Read one file from disk; None when it is gone. The stamp was taken before, so that a change in between shows later."""
    stamp = entry.stamp or NO_STAMP
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
    return Finding(entry.stamp or NO_STAMP, len(target), hash_of(target), None, SYMLINK)


def _nothing_to_index(path: Path, found: Scan) -> SourceError:
    counts = Counter(reason for reason in found.reason if reason is not None)
    if not counts:
        return SourceError(f"There is nothing to index in {path}: it has no files.", hint="Name another folder.")
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common(4))
    total = counts.total()
    files = "its only file is" if total == 1 else f"all of its {total} files are"
    hint = "Look at its ignore files." if counts.most_common(1)[0][0] == IGNORED else "Name another folder."
    return SourceError(f"There is nothing to index in {path}: {files} skipped ({reasons}).", hint=hint)
