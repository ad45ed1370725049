"""Planning: what a build of a path would do, decided without Dagster and without building anything.

Belongs here: finding the repository's name and settings, scanning it, and comparing the planned keys with the store. Not here:
running the graph (`interfaces.run`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.config import Settings
from pipeline.errors import CodeIntelError, ConfigError, SourceError
from pipeline.source.freshness import GitPlace, git_place
from pipeline.source.history import History, read_history
from pipeline.source.scan import Scan, scan
from pipeline.stages import KINDS, plan_version
from pipeline.store import bases, versions
from pipeline.store.layout import Origin, Repository, Store, read_origin, repository_name_from, settings_of
from pipeline.store.objects import OBJECT_FILE


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would make. `missing` are the assets whose objects are not in the store."""

    repository: Repository
    origin: Origin
    settings: Settings
    scan: Scan
    history: History
    version: str
    keys: dict[str, str]
    missing: tuple[str, ...]
    current: str | None

    @property
    def published(self) -> bool:
        """Whether the planned version is current already."""
        return self.current == self.version

    @property
    def known(self) -> bool:
        """Whether the planned version exists, current or not."""
        return (self.repository.versions / self.version).is_dir()


def locate(store: Store, path: Path, *, rev: str | None = None, name: str | None = None) -> tuple[Repository, Origin]:
    """The repository that a path belongs to in the store, and where it is read from. Registers nothing.

    The worktrees of a git repository are one repository of the store. Raises `ConfigError` when the name is taken by something
    else.
    """
    path = folder_at(path)
    place = git_place(path)
    if name is None:
        origins = [origin for known in store.repositories() if (origin := _origin_or_none(known)) is not None]
        name = next((origin.name for origin in origins if origin.path == str(path)), None)
        name = name or next((origin.name for origin in origins if is_same_place(origin, place)), None)
    repository = store.repository(repository_name_from(path) if name is None else name)
    known = _origin_or_none(repository)
    if known is not None and known.path != str(path) and (place is None or known.git != place.folder):
        raise ConfigError(
            f"`{repository.name}` is already in this store, from {known.shown}.",
            hint="Give this one another name with --repo NAME.",
        )
    git, inside = (place.folder, place.inside) if place is not None else (None, "")
    origin = Origin(repository.name, str(path), git, rev, inside)
    if known is None:
        return repository, origin
    # How it was registered stays, whoever builds it.
    remote = known.remote if known.path == str(path) else None
    return repository, msgspec.structs.replace(origin, remote=remote, watched=known.watched, declared=known.declared)


def is_same_place(origin: Origin, place: GitPlace | None) -> bool:
    """Whether a folder is, in some worktree, what a repository of the store is indexed from."""
    return place is not None and (origin.git, origin.inside) == (place.folder, place.inside)


def folder_at(path: Path) -> Path:
    """The absolute folder that a path names. Raises `SourceError` when it names none."""
    try:
        path = path.expanduser()
        if not path.exists():
            raise SourceError(f"{path} does not exist.", hint="Give the folder of a repository.")
        path = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        # A name that is too long, a user that is not there, a null byte.
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{str(path)[:200]} cannot be read: {reason}.", hint="Give the folder of a repository.") from None
    if not path.is_dir():
        raise SourceError(f"{path} is a file.", hint=f"Give the folder that it is in: {path.parent}.")
    return path


def _origin_or_none(repository: Repository) -> Origin | None:
    """Where a repository comes from; None where that is unknown or damaged, which a build of it repairs."""
    try:
        return read_origin(repository)
    except CodeIntelError:
        return None


def history_of(repository: Repository, origin: Origin, commit: str | None, days: int) -> History:
    """Who changed what in the days before a commit; the store remembers it, because planning asks every time."""
    cache = repository.path / "history.cache" if repository.path.is_dir() else None
    return read_history(Path(origin.path), commit=commit, days=days, cache=cache)


_handed_over: dict[Path, Scan] = {}


def is_handed_over(repository: Repository) -> bool:
    """Whether this process has planned by a scan that no run has used yet."""
    return repository.path in _handed_over


def hand_over(repository: Repository, scan: Scan) -> None:
    """Let the run that this process starts next use a scan that it has just planned by, instead of scanning again.

    Nothing is lost by it: the snapshot refuses every file that is no longer what was scanned.
    """
    _handed_over[repository.path] = scan


def scan_origin(
    store: Store,
    repository: Repository,
    origin: Origin,
    settings: Settings,
    *,
    skip: Path | None = None,
    building: bool = False,
) -> Scan:
    """Scan the repository as it is now; the store's folder (or `skip`) is no part of it.

    With `building`, the scan of a repository that is new to the store is remembered too.
    """
    handed = _handed_over.pop(repository.path, None)
    if handed is not None and handed.rev == origin.rev:
        return handed
    cache = repository.scan_cache if origin.rev is None and (building or repository.path.is_dir()) else None
    skip = skip or store.root
    return scan(Path(origin.path), rev=origin.rev, settings=settings.source, cache=cache, new=building, skip=skip)


def plan(
    store: Store,
    repository: Repository,
    origin: Origin,
    settings: Settings | None = None,
    *,
    skip: Path | None = None,
    building: bool = False,
    full: bool = False,
    afresh: Collection[str] = (),
) -> Plan:
    """What a build would do now. `skip` is the store's folder where that is not where `store` lies.

    With `full`, nothing is built on what was built before, nor are the assets `afresh`; with `building` too, that is decided
    for good.
    """
    settings = settings or settings_of(store, origin)
    scanned = scan_origin(store, repository, origin, settings, skip=skip, building=building)
    current = versions.current_or_none(repository)
    history = history_of(repository, origin, scanned.commit, settings.modules.churn_days)
    version, choices = plan_version(settings, scanned, history, repository, full=full, afresh=afresh)
    keys = {asset: choice.key for asset, choice in choices.items()}
    if building:
        for asset in choices if full else afresh:
            bases.remember(repository, asset, choices[asset])
    missing = tuple(asset for asset in KINDS if not (repository.objects / asset / keys[asset] / OBJECT_FILE).is_file())
    return Plan(repository, origin, settings, scanned, history, version, keys, missing, current)
