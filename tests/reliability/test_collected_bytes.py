"""What collection leaves is what is reachable, to within a twentieth, and what anybody needs is not in what goes."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from pipeline.release.collection import collect
from pipeline.release.verification import verify_folder
from pipeline.store import pins
from pipeline.store.layout import Repository
from pipeline.store.versions import current_name, open_version, read_manifest, version_names

RECORDS = 32 << 10
"""Bytes of what is remembered of files and flips: next to nothing, but for a store of twenty small files."""


@pytest.fixture
def repository(tmp_path: Path, engine: ModuleType) -> Repository:
    """Six versions, each of another commit."""
    root, store = engine.write_repository(tmp_path / "repo"), tmp_path / "store"
    engine.build(store, root)
    for number in range(5):
        engine.edit(root, number)
        engine.build(store, root)
    return engine.repository_in(store)


def size_of(paths: list[Path]) -> int:
    """Bytes in files, each inode once. (Blocks would round up files of a few bytes, of which a small store has many.)"""
    found = {(status.st_dev, status.st_ino): status.st_size for path in paths if path.is_file() for status in [path.lstat()]}
    return sum(found.values())


def reachable(repository: Repository) -> list[Path]:
    """The files of all versions that are there, of the objects that they or the refs name, and of what these are based on."""
    wanted = {f"{ref.name}/{ref.read_text().strip()}" for ref in repository.refs.iterdir()}
    records = [msgspec.json.decode((repository.objects / one / "object.json").read_bytes()) for one in wanted]
    wanted |= {f"{one['asset']}/{base}" for one in records for base in (one["base"], one["facts"].get("base")) if base}
    for name in version_names(repository):
        wanted |= {f"{asset}/{made.key}" for asset, made in read_manifest(repository.versions / name).artefacts.items()}
    folders = [
        *(repository.versions / name for name in version_names(repository)),
        *(repository.objects / one for one in wanted),
    ]
    return [path for folder in folders for path in [folder, *folder.rglob("*")]]


def everything(repository: Repository) -> list[Path]:
    return [Path(folder, name) for folder, folders, names in os.walk(repository.path) for name in [*folders, *names]]


@pytest.mark.parametrize("keep", [0, 2])
def test_a_collection_leaves_little_more_than_what_is_reachable(keep: int, repository: Repository) -> None:
    before = size_of(everything(repository))
    collect(repository, keep=keep)
    needed, left = size_of(reachable(repository)), size_of(everything(repository))
    assert len(version_names(repository)) == keep + 1
    assert needed <= left <= needed * 1.05 + RECORDS < before
    assert all(verify_folder(repository.versions / name).ok for name in version_names(repository))


def test_a_pinned_version_stays_until_it_is_not(repository: Repository) -> None:
    oldest = min(set(version_names(repository)) - {current_name(repository)})
    pins.pin(repository, oldest, "release 1")
    kept = collect(repository, keep=0).kept
    assert {(one.version, one.reason) for one in kept} == {(oldest, "pinned"), (current_name(repository), "published")}
    with open_version(repository, oldest) as version:
        assert version.ensure(*version.manifest.artefacts).is_dir()
    pins.unpin(repository, oldest)
    assert collect(repository, keep=0).versions == (oldest,)


def test_after_a_collection_a_kept_tree_is_known_and_the_next_build_still_builds_on_what_was(
    repository: Repository, engine: ModuleType, tmp_path: Path
) -> None:
    published = current_name(repository)
    objects = {path.relative_to(repository.objects) for path in repository.objects.glob("*/*")}
    collect(repository, keep=0)
    assert engine.build(tmp_path / "store", tmp_path / "repo") == published
    kept = {path.relative_to(repository.objects) for path in repository.objects.glob("*/*")}
    assert kept < objects
    # What was chosen for results that are kept is still chosen, and nothing else is remembered.
    known = {path.parent.name for path in repository.path.glob("bases/*/*")}
    assert all(len(list((repository.path / "bases" / asset).iterdir())) <= 2 for asset in known)
