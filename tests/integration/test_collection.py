"""Garbage collection: what may go goes, and what anybody needs stays."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog.database import write_views
from pipeline.errors import StoreBusyError
from pipeline.release import collection
from pipeline.release.collection import collect
from pipeline.release.verification import verify_folder
from pipeline.store.layout import Repository, open_store
from pipeline.store.locks import builder
from pipeline.store.versions import current_name, open_version, version_names


@pytest.fixture
def repository(world: Any) -> Repository:
    """The demo repository with four versions, the last one published."""
    for number in range(3):
        (world.repo / "harbour" / "buoys.py").write_text(f"def buoy_{number}():\n    return {number}\n")
        assert world.build().code == 0
    return open_store(world.store).repository("demo")


def size_of(folders: list[Path]) -> int:
    """Bytes of files, each inode once."""
    found = {
        (status.st_dev, status.st_ino): status.st_size
        for folder in folders for path in folder.rglob("*") if path.is_file() and (status := path.lstat())
        # What is remembered of files is rewritten, without those that are gone.
        if path.name != "digests.cache"
    }  # fmt: skip
    return sum(found.values())


def test_old_versions_and_what_only_they_need_go_and_the_published_one_is_whole(repository: Repository) -> None:
    published = current_name(repository)
    store = repository.path.parent
    before = size_of([store])
    done = collect(repository, keep=0)
    assert len(done.versions) == 3 and done.objects and version_names(repository) == [published]
    assert [(one.version, one.reason) for one in done.kept] == [(published, "published")]
    assert verify_folder(repository.versions / str(published)).ok
    # Parts of concrete syntax have a second name in the cache that repositories share.
    assert before - size_of([store]) == done.bytes > 0
    # What is left of the objects are other names of the version's files, and their records.
    own = {path.lstat().st_ino for path in (repository.versions / str(published)).rglob("*")}
    left = [path for path in repository.objects.rglob("*") if path.is_file() and path.lstat().st_ino not in own]
    assert {path.name for path in left} == {"object.json", "manifest.json"}
    assert collect(repository, keep=0).bytes == 0


def test_a_dry_run_says_the_same_and_removes_nothing(repository: Repository) -> None:
    files = sorted(path for path in repository.path.rglob("*"))
    told = collect(repository, keep=1, dry_run=True)
    assert sorted(path for path in repository.path.rglob("*")) == files
    done = collect(repository, keep=1)
    assert done == told and len(done.versions) == 2


def test_a_version_that_somebody_reads_stays_until_it_is_closed(repository: Repository) -> None:
    oldest = min(set(version_names(repository)) - {current_name(repository)})
    with open_version(repository, oldest) as version:
        done = collect(repository, keep=0)
        assert oldest not in done.versions and (oldest, "somebody reads it") in {(one.version, one.reason) for one in done.kept}
        assert version.ensure("chunks", "lexical_index").is_dir() and verify_folder(version.path).ok
    assert collect(repository, keep=0).versions == (oldest,)


def test_nothing_is_collected_while_somebody_builds(repository: Repository) -> None:
    held, done = threading.Event(), threading.Event()

    def build() -> None:
        with builder(repository):
            held.set()
            done.wait(60)

    other = threading.Thread(target=build)
    other.start()
    held.wait(60)
    try:
        with pytest.raises(StoreBusyError):
            collect(repository)
    finally:
        done.set()
        other.join()
    assert len(version_names(repository)) == 4


def test_a_version_that_cannot_be_read_or_that_the_catalogue_shows_stays(repository: Repository, world: Any) -> None:
    write_views(repository)
    shown = current_name(repository)
    (world.repo / "harbour" / "buoys.py").write_text("def last():\n    return 0\n")
    assert world.build().code == 0
    damaged = min(set(version_names(repository)) - {current_name(repository), shown})
    (repository.versions / damaged / "manifest.json").unlink()
    done = collect(repository, keep=0)
    assert {(one.version, one.reason) for one in done.kept} == {
        (current_name(repository), "published"), (shown, "catalog.duckdb shows it"), (damaged, "its manifest cannot be read"),
    }  # fmt: skip


@pytest.mark.parametrize("at", range(1, 12, 2))
def test_a_collection_that_is_interrupted_loses_nothing_and_is_finished_later(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    published, calls = str(current_name(repository)), 0
    rmtree = collection.files.shutil.rmtree

    def interrupted(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            next(iter(sorted(file for file in Path(path).rglob("*") if file.is_file()))).unlink()
            raise KeyboardInterrupt
        rmtree(path)

    with monkeypatch.context() as patch:
        patch.setattr(collection.files.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect(repository, keep=0)
    assert verify_folder(repository.versions / published).ok and current_name(repository) == published
    for name in version_names(repository):
        assert verify_folder(repository.versions / name).ok
    collect(repository, keep=0)
    assert version_names(repository) == [published]
    assert not [path for path in repository.path.rglob("*") if path.name.startswith(".tmp-")]


def test_what_is_kept_beside_versions_goes_with_them(repository: Repository, world: Any) -> None:
    for name in version_names(repository):
        assert world("report", "--version", name).code == 0
    collect(repository, keep=0)
    published = str(current_name(repository))
    left = {path.stem for path in (repository.path / "reports").iterdir()}
    assert published in left and len(left) <= 2
    assert {path.stem for path in (repository.path / "verified").iterdir()} == {published}


def test_the_command_says_what_goes_and_the_next_build_reuses_what_is_left(repository: Repository, world: Any) -> None:
    told = world("gc", "--keep", "1", "--dry-run")
    assert told.code == 0 and told.out.count("would go v-") == 2 and "freed" in told.out
    done = world("gc", "--keep", "1", "--json").json
    assert len(done["versions"]) == 2 and len(done["kept"]) == 2 and done["bytes"] > 0
    assert world.build().json["built"] == []
    assert world("search", "berth fee", "--json").json["results"] and world("gc", "--keep", "-1").code == 2


def test_a_file_that_somebody_else_links_is_not_counted_as_freed(repository: Repository, tmp_path: Path) -> None:
    oldest = min(set(version_names(repository)) - {current_name(repository)})
    told = collect(repository, keep=0, dry_run=True).bytes
    path = repository.versions / oldest / "lexical" / "meta.json"
    alone = next(file for file in (repository.versions / oldest).rglob("*") if file.is_file() and file.name == "manifest.json")
    os.link(alone, tmp_path / "kept.json")
    assert path.exists() and collect(repository, keep=0, dry_run=True).bytes == told - alone.stat().st_size
