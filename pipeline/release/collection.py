"""Garbage collection: what no kept version and no ref needs is removed, and nothing that anybody reads.

Kept are the published version, the versions published last, those that are pinned or that a reader holds, and those that cannot
be read, because nobody knows what they are; the objects that these versions and the refs name, and those that the next build
may build on; and of everything that is kept beside versions (reports, remembered digests, choices of bases) what belongs to one
of them. A thing is renamed before its files go, so an interrupted collection leaves litter that the next builder sweeps, never
half a version.

Belongs here: what is reachable, and removing the rest. Not here: caches across repositories (`embed.cache`,
`structure.cst.part_cache`), and runs that Dagster records.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pipeline import files
from pipeline.catalog.database import read_contents
from pipeline.errors import CodeIntelError
from pipeline.release import reporting
from pipeline.schemas import EvalMetrics
from pipeline.store import bases, digests, pins, versions
from pipeline.store.layout import Repository, not_writable
from pipeline.store.locks import builder, unread
from pipeline.store.objects import OBJECT_FILE

KEEP = 3
"""Versions beside the published one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that stays, and why."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection removed, or would remove: versions, objects as `asset/key`, files beside them, and bytes freed."""

    kept: tuple[Kept, ...]
    versions: tuple[str, ...]
    objects: tuple[str, ...]
    beside: tuple[str, ...]
    bytes: int
    """Of files that have no other name left: versions and objects share theirs by hard links."""


def collect(repository: Repository, *, keep: int = KEEP, dry_run: bool = False) -> Collection:
    """Remove what is not reachable. Raises `StoreBusyError` while somebody builds; readers are never waited for.

    With `dry_run` nothing is removed, and nothing is locked for longer than a look.
    """
    with builder(repository):
        try:
            kept = _kept(repository, keep)
            names = {one.version for one in kept}
            doomed = [name for name in versions.version_names(repository) if name not in names]
            removed, counted = [], _Counted()
            for name in doomed:
                with unread(repository.versions / name) as free:
                    if free and name in pins.pinned(repository):  # since a moment ago
                        kept.append(Kept(name, "pinned"))
                    elif free:
                        removed.append(name)
                        counted.take(repository.versions / name, remove=not dry_run)
                    else:
                        kept.append(Kept(name, "somebody reads it"))
            names = {one.version for one in kept}
            wanted, recipes = _wanted_objects(repository, names)
            objects = [path for path in _objects(repository) if path.relative_to(repository.objects).as_posix() not in wanted]
            for path in objects:
                counted.take(path, remove=not dry_run)
            beside = [path for path in _beside(repository) if not _belongs(path, names, wanted)]
            beside += bases.pointless(repository, recipes)
            for path in beside:
                counted.take(path, remove=not dry_run)
            if not dry_run:
                digests.trim(repository, _inodes(repository))
        except OSError as error:
            raise not_writable(repository.path, error) from error
    return Collection(
        kept=tuple(sorted(kept, key=lambda one: one.version)),
        versions=tuple(removed),
        objects=tuple(path.relative_to(repository.objects).as_posix() for path in objects),
        beside=tuple(path.relative_to(repository.path).as_posix() for path in beside),
        bytes=counted.bytes,
    )


def _kept(repository: Repository, keep: int) -> list[Kept]:
    """The versions that stay whoever reads what."""
    current = versions.current_or_none(repository)
    names = versions.version_names(repository)
    kept = [Kept(current, "published")] if current in names else []
    stay = pins.pinned(repository)
    kept += [Kept(name, "pinned") for name in names if name in stay and name != current]
    others = [name for name, _ in versions.newest_first(repository, [name for name in names if name != current])]
    others = [name for name in others if name not in stay]
    kept += [Kept(name, "published before") for name in others[:keep]]
    shown = _shown(repository)
    for name in others[keep:]:
        if name == shown:
            kept.append(Kept(name, "catalog.duckdb shows it"))
            continue
        try:
            versions.read_manifest(repository.versions / name)
        except CodeIntelError:
            # Of a newer program, or damaged: what its objects are is not known, and it may be somebody's last resort.
            kept.append(Kept(name, "its manifest cannot be read"))
    return kept


def _shown(repository: Repository) -> str | None:
    """The version whose tables the DuckDB file for people's own tools reads."""
    try:
        contents = read_contents(repository)
    except CodeIntelError:
        return None
    return contents.version if contents is not None else None


_Recipes = dict[str, list[Mapping[str, Any]]]
"""What results were made from, by asset."""


def _wanted_objects(repository: Repository, names: set[str]) -> tuple[set[str], _Recipes]:
    """`asset/key` of what kept versions are made of, and of what the stages last settled on or build on; recipes of it all."""
    wanted: set[str] = set()
    recipes: _Recipes = {}
    for name in names:
        with contextlib.suppress(CodeIntelError):
            for asset, artefact in versions.read_manifest(repository.versions / name).artefacts.items():
                wanted.add(f"{asset}/{artefact.key}")
                recipes.setdefault(asset, []).append(artefact.recipe)
    for ref in repository.refs.iterdir() if repository.refs.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            key = ref.read_text("ascii").strip()
            wanted.add(f"{ref.name}/{key}")
            record = msgspec.json.decode((repository.objects / ref.name / key / OBJECT_FILE).read_bytes(), type=_Made)
            recipes.setdefault(ref.name, []).append(record.recipe)
            # The next build builds on this one, or on what this one says that it is still based on.
            if base := record.facts.get(bases.BASE_FACT):
                wanted.add(f"{ref.name}/{base}")
    return wanted, recipes


class _Made(msgspec.Struct, frozen=True):
    """Of `object.json`, what an object was made from."""

    recipe: dict[str, Any]
    facts: dict[str, Any]


def _inodes(repository: Repository) -> frozenset[int]:
    """Of every file whose digest may be asked for again."""
    folders = (repository.objects, repository.versions)
    return frozenset(path.lstat().st_ino for folder in folders for path in files.tree_files(folder))


def _objects(repository: Repository) -> list[Path]:
    if not repository.objects.is_dir():
        return []
    return sorted(path for asset in repository.objects.iterdir() if asset.is_dir() for path in asset.iterdir())


def _beside(repository: Repository) -> list[Path]:
    """Files that are kept for one version or one evaluation each."""
    folders = (repository.path / reporting.FOLDER, repository.path / "verified")
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir())


def _belongs(path: Path, names: set[str], wanted: set[str]) -> bool:
    evaluated = (key for asset, _, key in (one.partition("/") for one in wanted) if asset == EvalMetrics.asset)
    return path.stem in names or path.stem in map(reporting.evaluation_name, evaluated)


class _Counted:
    """Bytes that become free, name by name: a file is gone with the last of its names."""

    def __init__(self) -> None:
        self.bytes = 0
        self._left: dict[tuple[int, int], int] = {}

    def take(self, path: Path, *, remove: bool) -> None:
        """Count a file or folder, and remove it."""
        found = [path] if path.is_file() else files.tree_files(path)
        for file in found:
            status = file.lstat()
            inode = status.st_dev, status.st_ino
            self._left[inode] = self._left.get(inode, status.st_nlink) - 1
            if not self._left[inode]:
                self.bytes += status.st_size
        if remove:
            _remove(path)


def _remove(path: Path) -> None:
    """First away from its name, then away."""
    aside = files.temporary_sibling(path)
    try:
        path.rename(aside)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # There may be no room for another name even. What says what it is goes last: half of it is told, and collected again.
        for file in files.tree_files(path) if path.is_dir() else ():
            if file.name not in (versions.MANIFEST, OBJECT_FILE):
                file.unlink()
        files.remove(path)
        return
    files.fsync_directory(path.parent)
    files.remove(aside)
