"""Which repositories a store knows: registering local ones and git remotes, by command and by file, and letting go of them.

`repositories.toml` in the store registers many at once:

    [[repository]]
    name = "team/service"
    url = "https://git.example.org/team/service.git"   # or: path = "../checkouts/service"
    rev = "main"                                       # may be left out

Belongs here: what is registered, and bringing a remote's mirror up to date. Not here: talking to remotes (`source.remotes`),
building.
"""

from __future__ import annotations

import contextlib
import os
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pipeline import files
from pipeline.errors import CodeIntelError, ConfigError, SourceError, StoreBusyError
from pipeline.planning import folder_at, locate
from pipeline.source import remotes
from pipeline.source.freshness import git_place, head_of
from pipeline.store.layout import (
    REPOSITORIES_FILE,
    Origin,
    Repository,
    Store,
    not_writable,
    read_origin,
    repository_name_from,
    write_origin,
)
from pipeline.store.locks import builder, sole, unread
from pipeline.store.versions import version_names

_FETCH_LOCK = "mirror.lock"
_MOST_WAIT = 300.0
"""Seconds that a fetch waits for another one of the same repository."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[repository]]` of the file."""

    name: str
    path: str | None = None
    url: str | None = None
    rev: str | None = None


def register(store: Store, where: str, *, name: str | None = None, rev: str | None = None) -> Repository:
    """Register a folder or a git remote, which is fetched. What is registered already is watched again.

    Raises `ConfigError` for a name that is taken and for URLs that cannot be kept, `SourceError` for what cannot be read.
    """
    if remotes.is_url(where):
        url = remotes.checked_url(where)
        name = name or _name_of_remote(store, url)
        repository, origin = _remote(store, Entry(name, url=url, rev=rev))
        _fetch_first(repository, origin)
    else:
        repository, origin = locate(store, Path(where), rev=rev, name=name)
        if rev is not None:
            head_of(Path(origin.path), rev)
    _refuse_declared(repository)
    write_origin(repository, msgspec.structs.replace(origin, watched=True))
    return repository


def _fetch_first(repository: Repository, origin: Origin) -> None:
    """Fetch what is to be registered; where that fails, nothing of it stays."""
    is_new = not repository.path.exists()
    try:
        repository.path.mkdir(parents=True, exist_ok=True)
        refresh(repository, origin)
        remotes.local_standing(repository.mirror, origin.rev)
    except OSError as error:
        raise not_writable(repository.path, error) from error
    except CodeIntelError:
        if is_new:
            files.remove(repository.path)
        raise


def _name_of_remote(store: Store, url: str) -> str:
    """What a remote is registered as, or could be."""
    known = ((repository.name, _known(repository)) for repository in store.repositories())
    same = (name for name, origin in known if origin is not None and origin.remote == url)
    return next(same, repository_name_from(Path("/", remotes.name_in(url))))


def release(repository: Repository) -> None:
    """Stop building a repository by sensor and schedule; its index stays, and answers. Raises `ConfigError`."""
    _refuse_declared(repository)
    write_origin(repository, msgspec.structs.replace(read_origin(repository), watched=False))


def delete(repository: Repository) -> None:
    """Remove a repository with its index and its mirror. Raises `StoreBusyError` while somebody builds or reads it."""
    _refuse_declared(repository)
    with builder(repository), contextlib.ExitStack() as stack:
        for name in version_names(repository):
            if not stack.enter_context(unread(repository.versions / name)):
                raise StoreBusyError(
                    f"`{repository.name}` is being read by another process.", hint="End searches and servers that use it."
                )
        try:
            aside = files.temporary_sibling(repository.path)
            repository.path.rename(aside)
            files.fsync_directory(repository.path.parent)
            files.remove(aside)
        except OSError as error:
            raise not_writable(repository.path, error) from error


def _refuse_declared(repository: Repository) -> None:
    known = _known(repository)
    if known is not None and known.declared:
        file = repository.path.parent / REPOSITORIES_FILE
        raise ConfigError(f"`{repository.name}` is registered by {file}.", hint="Change it there.")


def refresh(repository: Repository, origin: Origin) -> None:
    """Fetch the mirror of a remote; a repository that is read where it lies needs none. Raises `SourceError`."""
    if origin.remote is None:
        return
    with _only_fetcher(repository):
        remotes.fetch(origin.remote, repository.mirror)


@contextlib.contextmanager
def _only_fetcher(repository: Repository) -> Iterator[None]:
    until = time.monotonic() + _MOST_WAIT
    while True:
        descriptor = os.open(repository.path / _FETCH_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with sole(descriptor) as mine:
            if mine:
                yield
                return
        if time.monotonic() > until:
            raise StoreBusyError(f"`{repository.name}` is being fetched by another process.", hint="Wait for it to end.")
        time.sleep(0.1)


def synchronise(store: Store) -> list[str]:
    """Make what is registered what `repositories.toml` says. Fetches and removes nothing.

    Whoever is no longer in the file is no longer watched. Returns what is wrong with the file, a sentence each; an entry
    that is wrong stays registered as it was, and keeps no other from being registered.
    """
    path = store.root / REPOSITORIES_FILE
    try:
        entries, problems, named = _read(path)
    except ConfigError as error:
        return [str(error)]
    for number, entry in entries:
        try:
            repository, origin = _remote(store, entry) if entry.url is not None else _local(store, entry)
            origin = msgspec.structs.replace(origin, watched=True, declared=True)
            if _known(repository) != origin:
                write_origin(repository, origin)
        except CodeIntelError as error:
            problems.append(f"{path}, repository {number} (`{entry.name}`): {error}")
    for repository in store.repositories():
        known = _known(repository)
        if known is not None and known.declared and repository.name not in named:
            write_origin(repository, msgspec.structs.replace(known, watched=False, declared=False))
    return problems


def _read(path: Path) -> tuple[list[tuple[int, Entry]], list[str], set[str]]:
    """The entries that can be understood, with their numbers; what is wrong with the others; every name that occurs."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return [], [], set()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", hint="Repositories stay as they are.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", hint="Repositories stay as they are.") from None
    tables = document.pop("repository", [])
    if document or not isinstance(tables, list):
        stray = next(iter(document), "repository")
        raise ConfigError(f"{path}: `{stray}` is no `[[repository]]`.", hint="Repositories stay as they are.")
    entries: list[tuple[int, Entry]] = []
    problems: list[str] = []
    named: set[str] = set()
    for number, table in enumerate(tables, 1):
        name = table.get("name") if isinstance(table, dict) else None
        where = f"{path}, repository {number}{f' (`{name}`)' if isinstance(name, str) else ''}"
        twice = name in named
        if isinstance(name, str):
            named.add(name)
        try:
            entry = msgspec.convert(table, Entry)
        except msgspec.ValidationError as error:
            problems.append(f"{where}: {error}.")
            continue
        if twice:
            problems.append(f"{where}: the name occurs twice; the first one counts.")
        elif (entry.path is None) == (entry.url is None):
            problems.append(f"{where}: it needs `path` or `url`, and not both.")
        else:
            entries.append((number, entry))
    return entries, problems, named


def _local(store: Store, entry: Entry) -> tuple[Repository, Origin]:
    """What an entry with a path means. A relative path starts at the store."""
    repository = store.repository(entry.name)
    path = folder_at(store.root / Path(entry.path or "").expanduser())
    if path.is_relative_to(store.root.resolve()):
        raise SourceError(f"{path} lies in the store.", hint="Name a repository outside of it.")
    place = git_place(path)
    git, inside = (place.folder, place.inside) if place is not None else (None, "")
    if entry.rev is not None:
        head_of(path, entry.rev)
    _refuse_another(repository, str(path), git)
    return repository, Origin(entry.name, str(path), git, entry.rev, inside)


def _remote(store: Store, entry: Entry) -> tuple[Repository, Origin]:
    """What an entry with a URL means."""
    url = remotes.checked_url(entry.url or "")
    repository = store.repository(entry.name)
    _refuse_another(repository, url, None)
    mirror = os.path.realpath(repository.mirror)
    return repository, Origin(entry.name, mirror, mirror, entry.rev, "", remote=url)


def _refuse_another(repository: Repository, shown: str, git: str | None) -> None:
    """What the file registers may move; what a command registered may not become something else."""
    known = _known(repository)
    if known is not None and not known.declared and known.shown != shown and (git is None or known.git != git):
        raise ConfigError(
            f"`{repository.name}` is already in this store, from {known.shown}.", hint="Give this one another name."
        )


def _known(repository: Repository) -> Origin | None:
    try:
        return read_origin(repository)
    except CodeIntelError:
        return None


def described(repository: Repository) -> dict[str, Any]:
    """Where a repository is read from and whether it is watched, as plain values."""
    origin = read_origin(repository)
    source = {"url": origin.remote} if origin.remote else {"path": origin.path}
    return {"repo": repository.name, **source, "rev": origin.rev, "watched": origin.watched, "declared": origin.declared}
