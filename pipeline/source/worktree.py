"""Listing a folder on disk, with or without git: what is in it, what is ignored, and how its files are read.

Nothing is followed or opened that is not a regular file or a folder: no symbolic links, FIFOs, sockets or devices.

Belongs here: directory entries and ignore files on disk. Not here: git's own data (`repository`), or judgements about files
(`selection`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipeline.config import SourceSettings
from pipeline.source.entries import Entry, Stamp, uri_name
from pipeline.source.ignoring import GIT_FILE, OWN_FILE, Levels, Patterns, is_ignored, parse_file, parse_lines
from pipeline.source.lstats import SIGNED
from pipeline.source.selection import IGNORED, SUBMODULE, SYMLINK, UNREADABLE, UNSUPPORTED

_METADATA_FOLDERS = frozenset({".git", ".hg", ".svn", ".jj", ".bzr"})
_MOST_PATTERNS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Tracked:
    """What git knows about a work tree; paths relative to it, undecodable bytes as surrogates."""

    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    """Every folder with a tracked file below it."""
    submodules: frozenset[str] = frozenset()
    excludes: Levels = ()
    """The global and the repository's own exclude files, the weakest first."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The rules that apply in one folder."""

    include: Patterns | None
    exclude: Levels
    git: Levels = ()
    own: Levels = ()
    included: bool = False
    """The folder itself matches `include`."""
    in_ignored: bool = False
    """The folder is ignored by git, but holds tracked files."""

    @staticmethod
    def of(settings: SourceSettings, prefix: str) -> Scope:
        """The rules of the settings; patterns start at `prefix`."""
        include = parse_lines(settings.include) if settings.include else None
        exclude: Levels = ((len(prefix), parse_lines(settings.exclude)),) if settings.exclude else ()
        return Scope(include, exclude, included=include is None)

    def drops(self, path: str, name: str, directory: bool) -> bool:
        """Whether settings or `.codeintelignore` ignore `path`, which also counts for tracked files."""
        if self.exclude and is_ignored(self.exclude, path, name, directory):
            return True
        return bool(self.own) and is_ignored(self.own, path, name, directory)

    def takes(self, path: str, name: str, directory: bool, start: int) -> bool:
        """Whether `include` lets `path` in; `start` is the length of the prefix."""
        return self.included or (self.include is not None and self.include.verdict(path[start:], name, directory) is True)


FolderStamp = tuple[int, int, int]
"""Equal stamps of a folder mean equal names in it: inode, time of modification and time of change in ns; zeros: not there."""
_NOT_THERE: FolderStamp = (0, 0, 0)


def folder_stamp(path: str) -> FolderStamp:
    """The stamp of a folder, or of an ignore file."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return _NOT_THERE
    return status.st_ino & SIGNED, status.st_mtime_ns, status.st_ctime_ns


class _Named(NamedTuple):
    """Of a directory entry, what a folder is judged by."""

    name: str
    path: str


@dataclass(slots=True)
class Folder:
    """A folder in a walk, with the rules inside of it once it is listed."""

    path: str
    full: str
    """Relative to the work tree, with a slash behind it unless empty."""
    uri: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk from `root`, which lies at `prefix` (empty or with a slash behind it) of its work tree, if it is in one."""

    root: str
    settings: SourceSettings
    prefix: str = ""
    tracked: Tracked | None = None
    skip: str | None = None
    """A folder without rows: the store."""
    known: Tracked = field(init=False)
    visited: list[tuple[str, FolderStamp]] = field(default_factory=list)
    """The folders that were listed, and their stamps from before that."""
    rules: dict[str, FolderStamp] = field(default_factory=dict)
    """The ignore files in them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", self.tracked or Tracked())

    def entries(self, folders: Sequence[Folder] | None = None) -> Iterator[Entry]:
        """Every entry once, in no particular order; of the whole tree, or of these folders and below."""
        stack = [self._top()] if folders is None else list(folders)
        while stack:
            found, below = self.listed(stack.pop())
            stack += below
            yield from found

    def listed(self, folder: Folder) -> tuple[list[Entry], list[Folder]]:
        """The entries of one folder, and the folders in it that are walked on."""
        self.visited.append((folder.uri, folder_stamp(folder.path)))
        entries: list[Entry] = []
        below: list[Folder] = []
        try:
            with os.scandir(folder.path) as found:
                children = list(found)
        except (FileNotFoundError, NotADirectoryError):
            return entries, below
        except OSError:
            return [Entry(folder.uri, folder.path, UNREADABLE)], below
        self._enter(folder, {child.name for child in children})
        for child in children:
            if child.is_dir(follow_symlinks=False):
                entry = self._folder(child, folder, below)
            elif child.name != ".git":
                entry = self._file(child, folder)
            else:
                entry = None
            if entry is not None:
                entries.append(entry)
        return entries, below

    def folder(self, uri: str) -> Folder | None:
        """The folder of a uri (empty, or with a slash behind it) below the root; None where it is not walked."""
        at = self._top()
        for name in uri.split("/")[:-1]:
            self._enter(at, {GIT_FILE, OWN_FILE})
            below: list[Folder] = []
            self._folder(_Named(name, f"{at.path}/{name}"), at, below)
            if not below:
                return None
            at = below[0]
        return at

    def _top(self) -> Folder:
        return Folder(self.root, self.prefix, "", self._scope_above())

    def _enter(self, folder: Folder, names: set[str]) -> None:
        """Take the rules of the ignore files in a folder."""
        for name in {GIT_FILE, OWN_FILE} & names:
            path = f"{folder.path}/{name}"
            stamp = folder_stamp(path)
            if stamp != _NOT_THERE:
                self.rules[path] = stamp
        folder.scope = _enter(folder.path, folder.full, folder.scope, names)

    def _scope_above(self) -> Scope:
        """The rules of the settings and of the ignore files in the folders above `root`, up to the work tree's own."""
        scope = replace(Scope.of(self.settings, self.prefix), git=self.known.excludes)
        if self.prefix:
            parts = self.prefix.rstrip("/").split("/")
            above = self.root
            for _ in parts:
                above = os.path.dirname(above)  # noqa: PTH120 - strings with surrogates, in a hot module
            full = ""
            for part in parts:
                scope = _enter(above, full, scope, {GIT_FILE, OWN_FILE})
                above, full = f"{above}/{part}", f"{full}{part}/"
        return scope

    def _folder(self, child: os.DirEntry[str] | _Named, folder: Folder, stack: list[Folder]) -> Entry | None:
        name = child.name
        if name in _METADATA_FOLDERS or child.path == self.skip:
            return None
        full = folder.full + name
        uri = folder.uri + uri_name(name)
        scope = folder.scope
        if scope.drops(full, name, True):
            return Entry(uri + "/", child.path, IGNORED)
        if full in self.known.submodules:
            return Entry(uri, child.path, SUBMODULE)
        holds_tracked = full in self.known.folders
        ignored = scope.in_ignored or (bool(scope.git) and is_ignored(scope.git, full, name, True))
        if ignored and not holds_tracked:
            return Entry(uri + "/", child.path, IGNORED)
        # Git, too, leaves a repository inside of a work tree alone; in a folder without git it is a folder like any other.
        if self.tracked is not None and not holds_tracked and os.path.lexists(child.path + "/.git"):
            return Entry(uri, child.path, SUBMODULE)
        included = scope.takes(full, name, True, len(self.prefix))
        if included is not scope.included or ignored is not scope.in_ignored:
            scope = replace(scope, included=included, in_ignored=ignored)
        stack.append(Folder(child.path, full + "/", uri + "/", scope))
        return None

    def _file(self, child: os.DirEntry[str], folder: Folder) -> Entry | None:
        name = child.name
        full = folder.full + name
        uri = folder.uri + uri_name(name)
        scope = folder.scope
        ignored = (
            not scope.takes(full, name, False, len(self.prefix))
            or scope.drops(full, name, False)
            or (
                full not in self.known.files
                and (scope.in_ignored or (bool(scope.git) and is_ignored(scope.git, full, name, False)))
            )
        )
        if ignored:
            return Entry(uri, child.path, IGNORED)
        try:
            facts = child.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError:
            return Entry(uri, child.path, UNREADABLE)
        stamp = (facts.st_ino & SIGNED, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        if stat.S_ISREG(facts.st_mode):
            return Entry(uri, child.path, None, stamp)
        return Entry(uri, child.path, SYMLINK if stat.S_ISLNK(facts.st_mode) else UNSUPPORTED, stamp)


def stamp_of(path: str) -> Stamp:
    """The stamp of a file, of a link itself. Raises OSError."""
    facts = os.lstat(path)
    return facts.st_ino & SIGNED, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _enter(path: str, full: str, scope: Scope, names: set[str]) -> Scope:
    """The rules inside of a folder: those above it and those of its ignore files."""
    if GIT_FILE in names:
        scope = replace(scope, git=(*scope.git, (len(full), _patterns(f"{path}/{GIT_FILE}"))))
    if OWN_FILE in names:
        scope = replace(scope, own=(*scope.own, (len(full), _patterns(f"{path}/{OWN_FILE}"))))
    return scope


def _patterns(path: str) -> Patterns:
    """The patterns of an ignore file on disk; none when it is missing, no regular file, or unreadable."""
    try:
        return parse_file(read_regular(path, _MOST_PATTERNS_BYTES))
    except OSError:
        return Patterns()


def open_regular(path: str) -> int:
    """A descriptor for reading a file that was a regular one when it was listed. Raises OSError.

    Should it have become a link or a FIFO since, opening neither follows nor waits.
    """
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def read_regular(path: str, most: int | None = None) -> bytes:
    """The bytes of a regular file, at most `most` of them. Raises OSError, also when it is anything else."""
    descriptor = open_regular(path)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(f"{path} is not a regular file")
        return read_to(descriptor, facts.st_size if most is None else min(facts.st_size, most))
    finally:
        os.close(descriptor)


def read_to(descriptor: int, most: int) -> bytes:
    """The next bytes of a descriptor, up to its end or `most`."""
    block = os.read(descriptor, most)
    if len(block) == most:
        return block
    blocks = [block]
    total = len(block)
    while block and total < most:
        block = os.read(descriptor, most - total)
        blocks.append(block)
        total += len(block)
    return b"".join(blocks)
