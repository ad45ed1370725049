"""How a store is: its disk, and of each repository what is published, what lies around, and what does not fit together.

Reads manifests, records and sizes, and digests nothing: `indexctl verify` does.

Belongs here: looking at a store. Not here: Dagster's home in it (`dagster_home`), whether repositories changed (`status`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.config import Settings
from pipeline.embed import registry
from pipeline.errors import CodeIntelError, NotFoundError
from pipeline.files import TEMPORARY_PREFIX
from pipeline.interfaces.examining.environment import refused
from pipeline.interfaces.examining.findings import Finding, Level
from pipeline.interfaces.observing.readiness import State, readiness
from pipeline.interfaces.output import counts
from pipeline.store import pins, unreported
from pipeline.store.layout import DAGSTER_HOME, SHARED, Repository, Store, open_store, read_origin, settings_of
from pipeline.store.locks import LOCK, is_building
from pipeline.store.objects import OBJECT_FILE, object_path
from pipeline.store.versions import current_or_none, open_version, read_manifest, version_names

AREA = "store"
LEAST_FREE = 1 << 30
"""Bytes below which a disk is about to be full; or twice the largest version, where that is more."""
_LITTER = (TEMPORARY_PREFIX, ".bad-")
_OLD = 3600.0
"""Seconds after which nobody is still writing what is unfinished."""
_LONG_BUILD = 6 * 3600.0
_MANY_VERSIONS = 20
_MANY_WAITING = 10

Free = Callable[[Path], int]


class Examined(NamedTuple):
    """A store that can be read, and the settings of each repository whose settings can."""

    store: Store | None
    settings: dict[str, Settings]
    languages: frozenset[str]


def free_bytes(path: Path) -> int:
    """Bytes that can still be written where `path` lies."""
    return shutil.disk_usage(path).free


def examine_store(root: Path, found: list[Finding], *, free: Free = free_bytes) -> Examined:
    """Look at the store at `root`; findings are added to `found`."""
    try:
        store = open_store(root)
        repositories = store.repositories()
    except NotFoundError as error:
        found.append(Finding(AREA, "place", Level.NOTE, error.message, error.hint))
        return Examined(None, {}, frozenset())
    except (CodeIntelError, OSError) as error:
        found.append(Finding(AREA, "place", Level.PROBLEM, str(error)))
        return Examined(None, {}, frozenset())
    found += _place(store, repositories, free)
    settings: dict[str, Settings] = {}
    languages: set[str] = set()
    states = {one.repo: one for one in readiness(store).repositories}
    for repository in repositories:
        mine = list(_settings_of(store, repository, settings))
        state = states[repository.name]
        mine.append(_published(repository, state.state, state.reason))
        if state.answers:
            with open_version(repository) as version:
                languages |= set(version.manifest.artefacts["source_snapshot"].facts.get("languages", {}))
            mine += _embedder(repository, settings.get(repository.name))
        for look in (_origin, _lock, _leftovers, _refs, _versions, _reports, _pins, _catalog):
            mine += _whatever_lies_there(look, repository)
        found += mine
    return Examined(store, settings, frozenset(languages))


def _whatever_lies_there(look: Callable[[Repository], Iterator[Finding]], repository: Repository) -> list[Finding]:
    """What a look at a repository finds. What is in the way of one look (a folder in place of a file) is a finding itself."""
    try:
        return list(look(repository))
    except (OSError, ValueError) as error:
        text = f"it cannot be looked at: {error}"
        hint = f"Remove what is in the way, or build anew with another --data; the folder is {repository.path}."
        return [Finding(AREA, look.__name__.strip("_"), Level.PROBLEM, text, hint, repository.name)]


def _place(store: Store, repositories: list[Repository], free: Free) -> Iterator[Finding]:
    left, needed = free(store.root), _largest(repositories)
    text = f"{store.root}: {counts(len(repositories), 'repository', 'repositories')}, {_size(left)} free"
    hint = "Free some space: `indexctl gc` removes old versions; or move the store."
    if left < max(LEAST_FREE >> 2, needed):
        yield Finding(AREA, "disk", Level.PROBLEM, f"{text}, which the next build may need", hint, facts={"free": left})
    elif left < max(LEAST_FREE, 2 * needed):
        yield Finding(AREA, "disk", Level.WARNING, text, hint, facts={"free": left})
    else:
        yield Finding(AREA, "disk", Level.OK, text, facts={"free": left})
    if not os.access(store.root, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        hint = "Searches work; to build, run as the owner of the store, or give this user the right to write."
        yield Finding(AREA, "writable", Level.WARNING, f"{store.root} cannot be written by this user", hint)
    known = {repository.path for repository in repositories}
    for entry in sorted(store.root.iterdir()):
        if entry.is_dir() and entry not in known and entry.name not in (SHARED, DAGSTER_HOME):
            litter = entry.name.startswith(_LITTER)
            if litter and _age(entry) < _OLD:
                continue
            text = f"{entry} belongs to no repository: it has no repository.json"
            yield Finding(AREA, "orphan", Level.WARNING, text, "Remove the folder if nobody needs it, or build there again.")


def _largest(repositories: list[Repository]) -> int:
    """Bytes of the largest published version."""
    sizes = [0]
    for repository in repositories:
        try:
            with open_version(repository) as version:
                sizes.append(sum(stored.bytes for stored in version.manifest.all_files()))
        except (CodeIntelError, OSError):
            continue
    return max(sizes)


def _settings_of(store: Store, repository: Repository, settings: dict[str, Settings]) -> Iterator[Finding]:
    try:
        settings[repository.name] = settings_of(store, read_origin(repository))
    except CodeIntelError as error:
        yield refused(error, repository.name)


def _published(repository: Repository, state: State, reason: str) -> Finding:
    version = current_or_none(repository)
    if state is State.BROKEN:
        hint = f"Run `indexctl verify --repo {repository.name}` to see what; `indexctl build` repairs it."
        return Finding(AREA, "published", Level.PROBLEM, reason, hint, repository.name)
    if state is State.MISSING:
        return Finding(AREA, "published", Level.WARNING, "nothing is published", "Run `indexctl build`.", repository.name)
    text = f"{version}: {reason}" if reason else f"{version} is published, its files are all there"
    return Finding(AREA, "published", Level.OK, text, repo=repository.name, facts={"version": version})


def _embedder(repository: Repository, settings: Settings | None) -> Iterator[Finding]:
    """Whether queries can be embedded as the version was."""
    if settings is None:
        return
    try:
        embedder = registry.load(settings.embed.for_queries())
        with open_version(repository) as version:
            registry.require(embedder, version.manifest.embedder, version.name)
    except CodeIntelError as error:
        text = f"queries cannot be embedded: {error.message}"
        yield Finding(AREA, "embedder", Level.PROBLEM, text, error.hint, repository.name)


def _origin(repository: Repository) -> Iterator[Finding]:
    try:
        origin = read_origin(repository)
    except CodeIntelError:
        return  # Its settings could not be read either, which is told.
    if origin.path and not Path(origin.path).is_dir():
        text = f"{origin.path}, which it is indexed from, is gone"
        hint = f"Build it from where it is now: `indexctl build PATH --repo {repository.name}`."
        yield Finding(AREA, "origin", Level.WARNING, text, hint, repository.name)


def _lock(repository: Repository) -> Iterator[Finding]:
    if (repository.path / LOCK).is_dir():
        raise IsADirectoryError(f"{repository.path / LOCK} is a folder, and nobody can build")
    if not is_building(repository):
        return
    lock = repository.path / LOCK
    seconds, holder = _age(lock), lock.read_text("utf-8", "replace").strip() or "somebody"
    if seconds > _LONG_BUILD:
        text = f"{holder} has been building for {seconds / 3600:.0f} hours"
        hint = "See whether that process still works; when it ends, however that is, the lock is free."
        yield Finding(AREA, "lock", Level.WARNING, text, hint, repository.name)
    else:
        yield Finding(AREA, "lock", Level.NOTE, f"being built by {holder}", repo=repository.name)


def _leftovers(repository: Repository) -> Iterator[Finding]:
    """What builders that were killed left; the next one sweeps it."""
    if is_building(repository):
        return
    folders = [repository.path, *_folders(repository.path), *_folders(repository.objects)]
    litter = [entry for folder in folders for entry in _entries(folder) if entry.name.startswith(_LITTER)]
    if not litter:
        return
    total = sum(_bytes_of(Path(entry.path)) for entry in litter)
    text = f"{counts(len(litter), 'leftover')} of builds that did not end, {_size(total)}"
    yield Finding(AREA, "leftovers", Level.WARNING, text, "The next `indexctl build` removes leftovers.", repository.name)


class _Record(msgspec.Struct):
    """What is asked of an object's record here."""

    lineage: dict[str, str] = {}


def _refs(repository: Repository) -> Iterator[Finding]:
    """Whether what the stages settled on is there, and was made from one another."""
    refs: dict[str, str] = {}
    for entry in _entries(repository.refs):
        if not entry.name.startswith("."):
            refs[entry.name] = Path(entry.path).read_text("ascii", "replace").strip()
    hint = "Run `indexctl build`; searches are not touched by it."
    missing, differing = [], []
    for asset, key in refs.items():
        try:
            record = msgspec.json.decode((object_path(repository, asset, key) / OBJECT_FILE).read_bytes(), type=_Record)
        except (OSError, ValueError):
            missing.append(asset)
            continue
        if any(refs.get(other, made_from) != made_from for other, made_from in record.lineage.items()):
            differing.append(asset)
    if missing:
        text = f"what {', '.join(sorted(missing))} settled on is not in the store any more"
        yield Finding(AREA, "refs", Level.WARNING, text, hint, repository.name)
    if differing:
        text = f"{', '.join(sorted(differing))} settled on what was made from other inputs than there are now"
        yield Finding(AREA, "refs", Level.WARNING, text, hint, repository.name)


def _versions(repository: Repository) -> Iterator[Finding]:
    names, current = version_names(repository), current_or_none(repository)
    damaged = []
    for name in names:
        if name != current:
            try:
                read_manifest(repository.versions / name)
            except CodeIntelError:
                damaged.append(name)
    if damaged:
        text = f"{', '.join(damaged)} cannot be read, so nobody can go back to {'it' if len(damaged) == 1 else 'them'}"
        yield Finding(AREA, "versions", Level.WARNING, text, "Run `indexctl gc` to remove what is not needed.", repository.name)
    if len(names) > _MANY_VERSIONS:
        text = f"{len(names)} versions are kept"
        yield Finding(AREA, "versions", Level.NOTE, text, "`indexctl gc --keep 3` removes the oldest.", repository.name)


def _reports(repository: Repository) -> Iterator[Finding]:
    """Builds that Dagster has not heard of."""
    waiting = list(unreported.waiting(repository))
    unreadable = [path.name for path, build in waiting if build is None]
    if unreadable:
        text = f"{counts(len(unreadable), 'report')} of builds cannot be read, for example {unreadable[0]}"
        hint = f"Remove {repository.path / 'unreported' / unreadable[0]}: only the Dagster UI misses it."
        yield Finding(AREA, "unreported", Level.WARNING, text, hint, repository.name)
    readable = len(waiting) - len(unreadable)
    if readable > _MANY_WAITING:
        text = f"{readable} builds wait to be told to Dagster"
        hint = f"See {DAGSTER_HOME}/reporting.log in the store for why; `indexctl ui` reports them."
        yield Finding(AREA, "unreported", Level.WARNING, text, hint, repository.name)
    elif readable:
        text = f"{counts(readable, 'build')} not told to Dagster yet"
        yield Finding(AREA, "unreported", Level.NOTE, text, repo=repository.name)


def _pins(repository: Repository) -> Iterator[Finding]:
    try:
        pins.notes(repository)
    except CodeIntelError as error:
        yield Finding(AREA, "pins", Level.PROBLEM, error.message, error.hint, repository.name)


def _catalog(repository: Repository) -> Iterator[Finding]:
    if not repository.catalog.exists():
        return
    from pipeline.catalog.database import read_contents

    try:
        contents = read_contents(repository)
    except CodeIntelError as error:
        yield Finding(AREA, "catalog", Level.WARNING, error.message, error.hint, repository.name)
        return
    if contents is not None and contents.version != current_or_none(repository):
        text = f"catalog.duckdb is of {contents.version or 'another format'}, not of what is published"
        yield Finding(AREA, "catalog", Level.NOTE, text, "Run `indexctl idmap views`.", repository.name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _bytes_of(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(_bytes_of(Path(entry.path)) for entry in _entries(path))
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _size(count: int) -> str:
    from pipeline.evaluation.report.figures import size

    return size(count)
