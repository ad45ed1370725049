"""Versions are opened once, follow CURRENT while requests go on, and are let go."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.errors import NotFoundError
from pipeline.interfaces.serving.shelf import Shelf
from pipeline.release.collection import collect
from pipeline.release.switching import rollback
from pipeline.store.layout import Repository, open_store


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def shelf(world: Any, told: list[str]) -> Iterator[Shelf]:
    made = Shelf(open_store(world.store), told.append)
    yield made
    made.close()


def publish_another(world: Any) -> tuple[str, str]:
    """Build a second version; returns both names."""
    first = world.version
    (world.repo / "harbour/tides.py").write_text("def ebb(hours: float) -> float:\n    return hours\n")
    assert world.build().code == 0
    return first, world.version


def until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to hold")


def name_of(shelf: Shelf) -> str:
    with shelf.taken("demo") as volume:
        return volume.name


def handles(repository: Repository) -> int:
    """Files of a repository that this process has open."""
    count = 0
    for entry in os.scandir("/proc/self/fd"):
        try:
            count += os.readlink(entry.path).startswith(str(repository.path))
        except OSError:
            continue
    return count


def test_a_version_is_opened_once(shelf: Shelf) -> None:
    with shelf.taken("demo") as first, shelf.taken(None) as second:
        assert first is second and first.readers == 2
    assert first.readers == 0
    assert shelf.open_versions() == [("demo", first.name)]


def test_threads_that_come_together_open_it_once(shelf: Shelf) -> None:
    seen, barrier = set(), threading.Barrier(8)

    def take() -> None:
        barrier.wait()
        with shelf.taken("demo") as volume:
            seen.add(id(volume))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1


def test_a_flip_is_followed_while_readers_keep_what_they_have(shelf: Shelf, world: Any) -> None:
    with shelf.taken("demo") as old:
        first, second = publish_another(world)
        until(lambda: name_of(shelf) == second)
        assert old.name == first and old.searcher.search("tide")
        # It is on no shelf any more, and not collected while it is read.
        assert shelf.open_versions() == [("demo", second)]
        assert first not in collect(old.repository, keep=0).versions
    assert first in collect(old.repository, keep=0).versions
    assert shelf.flips == 1


def test_what_is_let_go_leaves_no_file_open(shelf: Shelf, world: Any) -> None:
    repository = open_store(world.store).existing("demo")
    first, second = publish_another(world)
    with shelf.taken("demo") as volume:
        volume.warm()
    one = handles(repository)
    for name in (first, second, first, second):
        rollback(repository, name)
        until(lambda name=name: name_of(shelf) == name)
    until(lambda: handles(repository) <= one)
    shelf.close()
    assert handles(repository) == 0


def test_a_version_may_be_asked_for_by_the_beginning_of_its_name(shelf: Shelf, world: Any) -> None:
    first, second = publish_another(world)
    with shelf.taken("demo", first[2:10]) as old, shelf.taken("demo") as new:
        assert (old.name, new.name) == (first, second)
    with pytest.raises(NotFoundError, match="no version"), shelf.taken("demo", "v-0000000000000000"):
        pass


def test_what_was_asked_longest_ago_is_closed_where_too_much_is_open(world: Any, told: list[str]) -> None:
    first, second = publish_another(world)
    shelf = Shelf(open_store(world.store), told.append, most_open=1)
    with shelf.taken("demo", first) as old:
        with shelf.taken("demo", second):
            assert shelf.open_versions() == [("demo", second)]
        assert old.searcher.search("tide")
    assert old.searcher.version._pin == -1
    shelf.close()


def test_a_new_version_that_cannot_be_opened_leaves_the_old_one_answering(shelf: Shelf, world: Any, told: list[str]) -> None:
    with shelf.taken("demo") as volume:
        first = volume.name
    _, second = publish_another(world)
    manifest = world.home / "versions" / second / "manifest.json"
    content = manifest.read_bytes()
    manifest.unlink()
    manifest.write_bytes(b"{}")
    until(lambda: name_of(shelf) == first and bool(told))
    assert len(told) == 1 and second in told[0] and "still answers" in told[0]
    manifest.unlink()
    manifest.write_bytes(content)
    shelf._failed.clear()  # as if it had rested
    until(lambda: name_of(shelf) == second)


def test_a_version_that_was_made_anew_under_its_name_is_opened_anew(shelf: Shelf, world: Any) -> None:
    with shelf.taken("demo") as old:
        pass
    world.published.rename(world.home / "away")
    shutil.copytree(world.home / "away", world.home / "versions" / old.name)
    with shelf.taken("demo") as new:
        assert new is not old and new.name == old.name and new.searcher.search("tide")
