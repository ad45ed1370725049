"""Which store, repository and version a command is about.

Belongs here: the rules that every command shares. Not here: what commands do.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pipeline.config import Settings
from pipeline.errors import CodeIntelError, NotFoundError
from pipeline.source.freshness import Freshness, freshness
from pipeline.store.layout import Repository, Store, open_store, read_origin
from pipeline.store.place import default_data
from pipeline.store.versions import Version


def data_folder(given: Path | None) -> Path:
    """`--data`, or the default place, absolute: what is stored and shown must not depend on the working directory."""
    return (given.expanduser() if given else default_data(Path.cwd(), os.environ)).absolute()


def choose_store(given: Path | None) -> Store:
    """The store that is there. Raises `NotFoundError`."""
    return open_store(data_folder(given))


def choose_repository(store: Store, name: str | None) -> Repository:
    """`--repo`; else the repository that the working directory lies in; else the only one. Raises `NotFoundError`."""
    if name is not None:
        return store.existing(name)
    known = store.repositories()
    if len(known) == 1:
        return known[0]
    here = Path.cwd().resolve()
    around: dict[str, Repository] = {}
    for repository in known:
        # The damage of one repository's record is no reason to refuse the others.
        with contextlib.suppress(CodeIntelError):
            around[read_origin(repository).path] = repository
    inside = [path for path in around if here.is_relative_to(path)]
    if inside:
        return around[max(inside, key=len)]
    if not known:
        raise NotFoundError(f"Nothing is indexed in {store.root}.", hint="Build an index with `indexctl build PATH`.")
    names = ", ".join(repository.name for repository in known)
    raise NotFoundError("Several repositories are indexed here.", hint=f"Choose one with --repo: {names}.")


def freshness_of(store: Store, repository: Repository, version: Version, settings: Settings) -> Freshness:
    """Whether the repository has moved on since a version was built."""
    origin = read_origin(repository)
    return freshness(
        Path(origin.path),
        rev=origin.rev,
        settings=settings.source,
        cache=repository.scan_cache,
        skip=store.root,
        indexed=version.manifest.artefacts["source_snapshot"].recipe["external"]["scan"],
    )
