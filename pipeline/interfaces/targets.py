"""What `indexctl build` and `plan` are given: a folder, or the name of a registered repository.

Belongs here: telling the two apart, and fetching a remote before it is built. Not here: registering (`registration`).
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import CodeIntelError
from pipeline.store.layout import Origin, Repository, open_store, read_origin


def target_of(data: Path, path: Path, rev: str | None, repo: str | None, *, fetch: bool) -> tuple[Path, str | None, str | None]:
    """Folder, revision and name that are meant. A folder goes before a name; a remote is brought up to date with `fetch`.

    Raises `SourceError` when the remote cannot be fetched.
    """
    found = _registered(data, path, repo)
    if found is None:
        return path, rev, repo
    repository, origin = found
    if fetch:
        from pipeline import registration

        registration.refresh(repository, origin)
    return Path(origin.path), rev or origin.rev, repository.name


def _registered(data: Path, path: Path, repo: str | None) -> tuple[Repository, Origin] | None:
    """The repository that `build NAME` means, or `build --repo NAME` of a remote, which has no folder to stand in."""
    by_name = path != Path()
    try:
        if by_name and path.expanduser().exists():
            return None
        name = path.as_posix() if by_name else repo
        if name is None:
            return None
        repository = open_store(data).existing(name)
        origin = read_origin(repository)
    except (CodeIntelError, OSError, RuntimeError, ValueError):
        return None  # What is wrong with it is told by whoever takes it for a folder.
    return (repository, origin) if by_name or origin.remote else None
