"""Git repositories: which one a path lies in, what its index and its objects hold, and whether the work tree differs.

Belongs here: everything that asks libgit2. Not here: walking a disk (`worktree`), or judgements about files (`selection`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import FileMode, FileStatus

from pipeline.config import SourceSettings
from pipeline.errors import SourceError
from pipeline.source.entries import Entry, Stamp, uri_name
from pipeline.source.git_index import IndexFile, read_index
from pipeline.source.ignoring import OWN_FILE, Levels, parse_file
from pipeline.source.selection import IGNORED, SUBMODULE, SYMLINK
from pipeline.source.worktree import Scope, Tracked, read_regular


@dataclass(frozen=True, slots=True)
class Location:
    """A path in a repository. `work_tree` is None where only objects are to be had; `prefix` is the path below its top."""

    repository: Any
    work_tree: str | None
    prefix: str


def locate(path: Path) -> Location | None:
    """The repository that `path` (resolved) lies in, or is; None when there is none.

    Raises `SourceError` when there is one that cannot be opened.
    """
    try:
        found = pygit2.discover_repository(str(path))
        if found is None:
            return None
        repository = pygit2.Repository(found)
    except UnicodeEncodeError:
        return None
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        raise SourceError(
            f"The git repository of {path} cannot be opened: {_sentence(error)}.",
            hint="If it is another user's, run `git config --global --add safe.directory PATH`.",
        ) from error
    database = Path(os.path.realpath(repository.path))
    if path == database:
        return Location(repository, None, "")
    # Inside of git's own folders there is nothing to index, and a bare repository has nothing else.
    if repository.is_bare or path.is_relative_to(database):
        return None
    work_tree = os.path.realpath(repository.workdir)
    if not path.is_relative_to(work_tree):
        return None
    inside = path.relative_to(work_tree).as_posix()
    return Location(repository, work_tree, "" if inside == "." else inside + "/")


def _sentence(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def head_commit(repository: Any) -> Any | None:
    """The commit of HEAD, or None while there is none."""
    try:
        return None if repository.head_is_unborn else repository.head.peel(pygit2.Commit)
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise SourceError(f"HEAD of {repository.path} cannot be read: {_sentence(error)}.", hint="Run `git fsck`.") from error


def commits_between(repository: Any, now: str, then: str) -> int | None:
    """How many commits `now` has that `then` has not; None when one of them is not there, as in a shallow clone."""
    try:
        ahead, _ = repository.ahead_behind(now, then)
    except (pygit2.GitError, KeyError, ValueError):
        return None
    return int(ahead)


def resolve(repository: Any, rev: str) -> Any:
    """The commit of a revision. Raises `SourceError` when there are no commits, or none by that name."""
    try:
        return repository.revparse_single(rev).peel(pygit2.Commit)
    except (pygit2.GitError, KeyError, ValueError) as error:
        if "ambiguous" in str(error):
            raise SourceError(
                f"Several objects in {repository.path} begin with `{rev}`.", hint="Give more of the hash."
            ) from error
        if next(iter(repository.references), None) is None:
            raise SourceError(
                f"{repository.path} has no commits, so there is no revision `{rev}`.", hint="Leave out --rev."
            ) from error
        raise SourceError(
            f"There is no revision `{rev}` in {repository.path}.",
            hint="Name a branch, a tag or a commit that `git log` shows; a shallow clone has only some.",
        ) from error


def tracked(location: Location) -> Tracked:
    """What the index of a work tree holds. Raises `SourceError` when it cannot be read."""
    repository = location.repository
    files: list[str] = []
    submodules: set[str] = set()
    folders: set[str] = set()
    try:
        for path, is_submodule in _tracked_paths(repository):
            if is_submodule:
                submodules.add(path)
            else:
                files.append(path)
            folder = path.rpartition("/")[0]
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
    except (pygit2.GitError, ValueError, OSError) as error:
        raise SourceError(
            f"The git index of {location.work_tree} cannot be read: {_sentence(error)}.", hint="Run `git status`."
        ) from error
    return Tracked(frozenset(files), frozenset(folders), frozenset(submodules), _excludes(repository))


def index_file(repository: Any) -> IndexFile | None:
    """The index, where it is of the kind that is read directly."""
    return read_index(Path(repository.path, "index"))


def _tracked_paths(repository: Any) -> Iterable[tuple[str, bool]]:
    """Every path in the index, and whether it is a submodule."""
    index = index_file(repository)
    if index is None:
        return [(entry.path, entry.mode == FileMode.COMMIT) for entry in repository.index]
    return zip(map(os.fsdecode, index.names), index.is_submodule.tolist(), strict=True)


def exclude_files(repository: Any) -> tuple[str, str]:
    """The exclude files outside of the tree, the weakest first: the user's, then the repository's. They need not be there."""
    try:
        users = os.path.expanduser(repository.config["core.excludesFile"])  # noqa: PTH111 - may hold anything
    except (KeyError, ValueError, pygit2.GitError):
        home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
        users = f"{home}/git/ignore"
    own = os.path.join(common_folder(repository), "info", "exclude")  # noqa: PTH118
    return _resolved(users), _resolved(own)


def _resolved(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def _excludes(repository: Any) -> Levels:
    levels: Levels = ()
    for path in exclude_files(repository):
        try:
            levels = (*levels, (0, parse_file(read_regular(path))))
        except (OSError, ValueError):
            continue
    return levels


def common_folder(repository: Any) -> str:
    """Where linked worktrees have what they share."""
    own = str(repository.path)
    try:
        shared = Path(own, "commondir").read_text().strip()
    except OSError:
        return own
    return os.path.join(own, shared)  # noqa: PTH118


_SAME = (FileStatus.CURRENT, FileStatus.IGNORED)
_REGULAR = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


def differing(location: Location) -> str | None:
    """A tracked file below the location's prefix that is not as HEAD has it; empty: none; None: nothing says so.

    Untracked files are not looked at.
    """
    try:
        status = location.repository.status(untracked_files="no")
    except (pygit2.GitError, ValueError, OSError):
        return None
    return next((path for path, flags in status.items() if flags not in _SAME and path.startswith(location.prefix)), "")


def one_differs(location: Location, path: str) -> bool:
    """Whether one tracked file is not as HEAD has it. Raises KeyError and others where git cannot say."""
    return _surely_differs(location, path) or location.repository.status_file(path) not in _SAME


def _surely_differs(location: Location, path: str) -> bool:
    """Whether a file has other bytes than HEAD has, and none of libgit2's filters (ends of lines, `$Id$`) could have made them.

    To say more, libgit2 reads its whole index. False says nothing.
    """
    repository, work_tree = location.repository, location.work_tree
    try:
        entry = repository.head.peel().tree[path]
        if work_tree is None or entry.filemode not in _REGULAR:
            return False
        content = read_regular(os.path.join(work_tree, path))  # noqa: PTH118 - as git has it
    except (KeyError, OSError):
        return False
    return b"\r" not in content and b"$Id" not in content and bool(pygit2.hash(content) != entry.id)


def is_ignored_folder(location: Location, known: Tracked) -> bool:
    """Whether git ignores the location itself and tracks nothing below it, so that git has nothing to say about it."""
    folder = location.prefix.rstrip("/")
    if not folder or folder in known.folders:
        return False
    try:
        return bool(location.repository.path_is_ignored(folder + "/"))
    except (UnicodeEncodeError, pygit2.GitError):
        return False


def tree_entries(location: Location, commit: Any, settings: SourceSettings) -> Iterator[Entry]:
    """Every entry of a commit's tree below the location's prefix, in no particular order. Raises `SourceError`."""
    scope = Scope.of(settings, location.prefix)
    tree = commit.tree
    full = ""
    scope = _enter(location.repository, tree, full, scope)
    for part in location.prefix.rstrip("/").split("/") if location.prefix else ():
        tree = next((child for child in _children(tree) if _name(child) == part and child.filemode == FileMode.TREE), None)
        if tree is None:
            raise SourceError(
                f"The commit {str(commit.id)[:12]} has no folder `{location.prefix.rstrip('/')}`.",
                hint="Index the whole repository.",
            )
        full += part + "/"
        scope = _enter(location.repository, tree, full, scope)
    stack = [(tree, full, "", scope)]
    while stack:
        tree, full, uri, scope = stack.pop()
        for child in _children(tree):
            name = _name(child)
            path, child_uri = full + name, uri + uri_name(name)
            directory = child.filemode == FileMode.TREE
            if scope.drops(path, name, directory):
                yield Entry(child_uri + "/" if directory else child_uri, str(child.id), IGNORED)
            elif directory:
                inside = _enter(location.repository, child, path + "/", scope)
                inside = replace(inside, included=scope.takes(path, name, True, len(location.prefix)))
                stack.append((child, path + "/", child_uri + "/", inside))
            elif child.filemode == FileMode.COMMIT:
                yield Entry(child_uri, str(child.id), SUBMODULE)
            elif not scope.takes(path, name, False, len(location.prefix)):
                yield Entry(child_uri, str(child.id), IGNORED)
            else:
                reason = SYMLINK if child.filemode == FileMode.LINK else None
                yield Entry(child_uri, str(child.id), reason, _stamp(str(child.id)))


def _children(tree: Any) -> list[Any]:
    try:
        return list(tree)
    except (pygit2.GitError, KeyError) as error:
        raise SourceError(f"The git tree {tree.id} cannot be read: {_sentence(error)}.", hint="Run `git fsck`.") from error


def _name(child: Any) -> str:
    return os.fsdecode(child.raw_name)


def _enter(repository: Any, tree: Any, full: str, scope: Scope) -> Scope:
    """The rules inside of a tree: `.gitignore` says nothing about what is committed, our own file does."""
    try:
        own = tree[OWN_FILE]
    except KeyError:
        return scope
    if own.filemode not in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE):
        return scope
    return replace(scope, own=(*scope.own, (len(full), parse_file(read_blob(repository, str(own.id))))))


def _stamp(oid: str) -> Stamp:
    # Words of 60 bits, which int64 holds.
    return int(oid[:15], 16), int(oid[15:30], 16), int(oid[30:45], 16), -1


def read_blob(repository: Any, oid: str) -> bytes:
    """The bytes of a git object. Raises `SourceError` when it is missing, as in a partial clone, or damaged."""
    try:
        return bytes(repository[oid].data)
    except (pygit2.GitError, KeyError, ValueError, AttributeError) as error:
        raise SourceError(
            f"The git object {oid} in {repository.path} cannot be read.",
            hint="Run `git fsck`; a partial clone needs `git fetch`.",
        ) from error
