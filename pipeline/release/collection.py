"""Garbage collection: what no kept version and no ref needs is removed, and nothing that anybody reads.

Kept are the published version, the versions published last, those that are pinned or that a reader holds, and those that
cannot be read, because nobody knows what they are; the objects that these versions and the refs name; and of everything that
is kept beside versions (reports, remembered digests) what belongs to one of them. A thing is renamed before its files go, so
an interrupted collection leaves litter that the next builder sweeps, never half a version.

Belongs here: what is reachable, and removing the rest. Not here: caches across repositories (`embed.cache`,
`structure.cst.part_cache`), and runs that Dagster records.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline import files
from pipeline.catalog.database import read_contents
from pipeline.errors import CodeIntelError
from pipeline.release import reporting
from pipeline.schemas import EvalMetrics
from pipeline.store import versions
from pipeline.store.layout import Repository, not_writable
from pipeline.store.locks import builder, unread
from pipeline.store.pins import pinned

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
                    if free and name in pinned(repository):  # since a moment ago
                        kept.append(Kept(name, "pinned"))
                    elif free:
                        removed.append(name)
                        counted.take(repository.versions / name, remove=not dry_run)
                    else:
                        kept.append(Kept(name, "somebody reads it"))
            names = {one.version for one in kept}
            wanted = _wanted_objects(repository, names)
            objects = [path for path in _objects(repository) if path.relative_to(repository.objects).as_posix() not in wanted]
            for path in objects:
                counted.take(path, remove=not dry_run)
            beside = [path for path in _beside(repository) if not _belongs(path, names, wanted)]
            for path in beside:
                counted.take(path, remove=not dry_run)
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
    stay = pinned(repository)
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


def _wanted_objects(repository: Repository, names: set[str]) -> set[str]:
    """`asset/key` of what kept versions are made of, and of what the stages last settled on."""
    wanted = set()
    for name in names:
        with contextlib.suppress(CodeIntelError):
            document = versions.read_manifest(repository.versions / name)
            wanted |= {f"{asset}/{artefact.key}" for asset, artefact in document.artefacts.items()}
    if repository.refs.is_dir():
        for ref in repository.refs.iterdir():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                wanted.add(f"{ref.name}/{ref.read_text('ascii').strip()}")
    return wanted


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
    path.rename(aside)
    files.fsync_directory(path.parent)
    if aside.is_dir():
        shutil.rmtree(aside)
    else:
        aside.unlink()
