"""Which store, repository and version a command is about.

Belongs here: the rules that every command shares. Not here: what commands do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import CodeIntelError, NotFoundError, QueryError, SourceError
from pipeline.source.freshness import git_place, head_of
from pipeline.store import revisions
from pipeline.store.layout import Origin, Repository, Store, open_store, read_origin
from pipeline.store.place import data_folder


def choose_store(given: Path | None) -> Store:
    """The store that is there. Raises `NotFoundError`."""
    return open_store(data_folder(given))


def choose_repository(store: Store, name: str | None) -> Repository:
    """`--repo`; else the repository that the working directory lies in, in whichever of its worktrees; else the only one.

    Raises `NotFoundError`.
    """
    if name is not None:
        return store.existing(name)
    known = store.repositories()
    if len(known) == 1:
        return known[0]
    here = Path.cwd().resolve()
    origins: dict[str, Origin] = {}
    for repository in known:
        # The damage of one repository's record is no reason to refuse the others.
        with contextlib.suppress(CodeIntelError):
            origins[repository.name] = read_origin(repository)
    around = [origin for origin in origins.values() if here.is_relative_to(origin.path)] or _in_worktrees(here, origins)
    if around:
        return store.repository(max(around, key=lambda origin: (len(origin.path), len(origin.inside))).name)
    if not known:
        raise NotFoundError(f"Nothing is indexed in {store.root}.", hint="Build an index with `indexctl build PATH`.")
    names = ", ".join(repository.name for repository in known)
    raise NotFoundError("Several repositories are indexed here.", hint=f"Choose one with --repo: {names}.")


def choose_version(repository: Repository, version: str | None, rev: str | None) -> str | None:
    """The version that `--version` (a name, or the beginning of one) or `--rev` (a revision) means; None: the published one.

    Raises `QueryError`, `NotFoundError`, `SourceError`.
    """
    if version is not None and rev is not None:
        raise QueryError("Give --version or --rev, and not both.")
    if version is not None:
        return revisions.named(repository, version)
    if rev is None:
        return None
    path = read_origin(repository).path
    try:
        commit = head_of(Path(path), rev)
    except SourceError:
        # The repository may be gone, or have forgotten a commit that the store still has.
        found = revisions.of_commit_beginning(repository, rev)
        if found is None:
            raise
        return found
    found = None if commit is None else revisions.of_commit(repository, commit)
    if found is None:
        raise revisions.not_built(repository, path, rev, commit)
    return found


def _in_worktrees(here: Path, origins: Mapping[str, Origin]) -> list[Origin]:
    """Those that have a worktree around a folder."""
    try:
        place = git_place(here)
    except CodeIntelError:
        return []
    if place is None:
        return []
    return [one for one in origins.values() if one.git == place.folder and place.inside.startswith(one.inside)]
