"""Registering repositories by path, by URL and by file, and letting go of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import registration
from pipeline.errors import ConfigError, SourceError, StoreBusyError
from pipeline.planning import locate
from pipeline.source.remotes import local_standing
from pipeline.store.layout import REPOSITORIES_FILE, Store, create_store, open_store, read_origin
from pipeline.store.locks import pin

Git = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


def write(store: Store, text: str) -> None:
    (store.root / REPOSITORIES_FILE).write_text(text)


def watched(store: Store) -> dict[str, bool]:
    return {repository.name: read_origin(repository).watched for repository in store.repositories()}


def test_a_remote_is_fetched_into_its_folder_of_the_store(store: Store, upstream: Path, git: Git) -> None:
    repository = registration.register(store, upstream.as_uri())
    assert repository.name == "service"
    origin = read_origin(repository)
    assert (origin.remote, origin.path) == (upstream.as_uri(), str(repository.mirror.resolve()))
    assert local_standing(repository.mirror, None).commit == git(upstream, "rev-parse", "HEAD")
    assert registration.register(store, upstream.as_uri()) == repository, "the same again is the same"


def test_a_store_that_moves_takes_its_mirrors_with_it(store: Store, upstream: Path) -> None:
    registration.register(store, upstream.as_uri())
    moved = open_store(Path(shutil.move(store.root, store.root.with_name("moved"))))
    origin = read_origin(moved.existing("service"))
    assert Path(origin.path).is_relative_to(moved.root)
    registration.refresh(moved.existing("service"), origin)


def test_a_remote_that_cannot_be_fetched_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        registration.register(store, (tmp_path / "gone").as_uri())
    assert store.repositories() == [] and not (store.root / "gone").exists()


def test_a_revision_that_is_not_there_is_refused_at_once(store: Store, upstream: Path) -> None:
    for where in (str(upstream), upstream.as_uri()):
        with pytest.raises(SourceError, match="no revision `nothing`"):
            registration.register(store, where, rev="nothing")
    assert store.repositories() == []


def test_a_name_that_is_taken_is_refused_with_what_has_it(store: Store, upstream: Path, tmp_path: Path, git: Git) -> None:
    registration.register(store, upstream.as_uri(), name="mine")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    for where in (str(other), other.as_uri()):
        with pytest.raises(ConfigError, match="already in this store, from file://"):
            registration.register(store, where, name="mine")


def test_building_keeps_what_registration_said(store: Store, upstream: Path) -> None:
    repository = registration.register(store, upstream.as_uri(), rev="main")
    registration.release(repository)
    _, origin = locate(store, repository.mirror)
    assert (origin.remote, origin.watched) == (upstream.as_uri(), False)


def test_released_repositories_stay_and_are_watched_again_when_added(store: Store, upstream: Path) -> None:
    repository = registration.register(store, str(upstream))
    registration.release(repository)
    assert watched(store) == {"service": False}
    registration.register(store, str(upstream))
    assert watched(store) == {"service": True}


def test_deleting_waits_for_nobody_who_reads(store: Store, upstream: Path) -> None:
    repository = registration.register(store, str(upstream))
    version = repository.versions / "v-0123456789abcdef"
    version.mkdir(parents=True)
    descriptor = pin(version)
    with pytest.raises(StoreBusyError, match="being read"):
        registration.delete(repository)
    assert version.exists()
    os.close(descriptor)
    registration.delete(repository)
    assert store.repositories() == [] and not repository.path.exists()


def test_the_file_registers_many_and_lets_go_of_those_that_leave_it(store: Store, upstream: Path, tmp_path: Path) -> None:
    shutil.copytree(upstream, tmp_path / "second")
    by_path = '[[repository]]\nname = "team/a"\npath = "../service"\nrev = "main"\n'
    by_url = f'[[repository]]\nname = "b"\nurl = "{(tmp_path / "second").as_uri()}"\n'
    write(store, by_path + by_url)
    assert registration.synchronise(store) == []
    assert watched(store) == {"b": True, "team/a": True}
    assert read_origin(store.existing("team/a")).path == str(upstream)
    write(store, by_path)
    assert registration.synchronise(store) == []
    assert watched(store) == {"b": False, "team/a": True}
    (store.root / REPOSITORIES_FILE).unlink()
    registration.synchronise(store)
    assert watched(store) == {"b": False, "team/a": False}


def test_entries_that_are_wrong_are_told_and_keep_no_other_from_being_registered(store: Store, upstream: Path) -> None:
    write(
        store,
        f'[[repository]]\nname = "good"\npath = "{upstream}"\n'
        '[[repository]]\nname = "gone"\npath = "../nowhere"\n'
        '[[repository]]\nname = "both"\npath = "x"\nurl = "https://example.org/x"\n'
        '[[repository]]\nname = "neither"\n'
        '[[repository]]\npath = "x"\n'
        '[[repository]]\nname = "typo"\npaht = "x"\n'
        '[[repository]]\nname = "../up"\npath = "../service"\n'
        '[[repository]]\nname = "secret"\nurl = "https://a:s3cret@example.org/x"\n'
        '[[repository]]\nname = "inside"\npath = "."\n'
        f'[[repository]]\nname = "good"\npath = "{upstream}"\n',
    )
    problems = registration.synchronise(store)
    assert watched(store) == {"good": True}
    assert len(problems) == 9
    for number in range(2, 11):
        assert sum(f"repository {number}:" in text or f"repository {number} (" in text for text in problems) == 1
    assert "s3cret" not in " ".join(problems)


@pytest.mark.parametrize("text", ["[[repository]\n", "repository = 3\n", '[settings]\nname = "x"\n', "\xff"])
def test_a_file_that_is_wrong_as_a_whole_changes_nothing(store: Store, upstream: Path, text: str) -> None:
    write(store, f'[[repository]]\nname = "good"\npath = "{upstream}"\n')
    registration.synchronise(store)
    (store.root / REPOSITORIES_FILE).write_bytes(text.encode("latin-1"))
    [problem] = registration.synchronise(store)
    assert REPOSITORIES_FILE in problem and "stay as they are" in problem
    assert watched(store) == {"good": True}


def test_an_entry_that_becomes_wrong_stays_what_it_was(store: Store, upstream: Path) -> None:
    write(store, f'[[repository]]\nname = "good"\npath = "{upstream}"\n')
    registration.synchronise(store)
    write(store, '[[repository]]\nname = "good"\npath = "../nowhere"\n')
    assert len(registration.synchronise(store)) == 1
    assert watched(store) == {"good": True}


def test_what_the_file_registers_is_let_go_of_there_and_nowhere_else(store: Store, upstream: Path) -> None:
    write(store, f'[[repository]]\nname = "good"\npath = "{upstream}"\n')
    registration.synchronise(store)
    repository = store.existing("good")
    for let_go in (registration.release, registration.delete):
        with pytest.raises(ConfigError, match="is registered by"):
            let_go(repository)


def test_the_file_does_not_take_over_what_a_command_registered_from_elsewhere(
    store: Store, upstream: Path, tmp_path: Path
) -> None:
    registration.register(store, str(upstream), name="mine")
    (tmp_path / "other").mkdir()
    write(store, '[[repository]]\nname = "mine"\npath = "../other"\n')
    [problem] = registration.synchronise(store)
    assert "already in this store" in problem
    assert read_origin(store.existing("mine")).path == str(upstream)
