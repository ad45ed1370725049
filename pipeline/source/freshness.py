"""Whether a repository still is what was indexed, and where its git says that it stands.

Belongs here: what planning, sensors and every interface ask about a repository without indexing it. Not here: rebuilding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import SourceSettings
from pipeline.errors import SourceError
from pipeline.source import repository
from pipeline.source.scan import scan


@dataclass(frozen=True, slots=True)
class Freshness:
    """`stale` is True when the files differ from the indexed ones; `reason` says why when they could not be compared."""

    stale: bool
    commit: str | None = None
    reason: str = ""


def freshness(
    path: Path, *, rev: str | None, settings: SourceSettings, cache: Path | None, skip: Path | None, indexed: str
) -> Freshness:
    """Compare the tree at `path` (or its revision `rev`) with the digest of the scan that was indexed."""
    try:
        now = scan(path, rev=rev, settings=settings, cache=cache, skip=skip)
    except SourceError as error:
        return Freshness(stale=True, reason=error.message)
    return Freshness(stale=now.digest != indexed, commit=now.commit)


def head_of(path: Path, rev: str | None = None) -> str | None:
    """Full hex of the commit that a build of `path` would be of; None without git or commits. Raises `SourceError`."""
    location = repository.locate(path.resolve())
    if location is None:
        if rev is not None:
            raise SourceError(f"{path} is in no git repository, so there is no revision `{rev}`.", hint="Leave out --rev.")
        return None
    commit = repository.head_commit(location.repository) if rev is None else repository.resolve(location.repository, rev)
    return None if commit is None else str(commit.id)


def git_folder(path: Path) -> Path | None:
    """The git folder that all worktrees of the repository around `path` share; None without git."""
    location = repository.locate(path.resolve())
    return None if location is None else Path(repository.common_folder(location.repository)).resolve()
