"""Readiness tells what will pass from what will not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.interfaces.observing.readiness import Readiness, RepositoryState, readiness
from pipeline.source.freshness import NOT_CHECKED, Freshness
from pipeline.store.layout import Store, create_store, open_store
from pipeline.store.locks import builder


def _of(world: Any, **known: Any) -> tuple[Readiness, RepositoryState]:
    found = readiness(open_store(world.store), **known)
    return found, found.repositories[0]


def test_what_is_published_and_whole_is_ready(built: Any) -> None:
    found, one = _of(built)
    assert (found.ready, one.state, one.reason, one.answers) == (True, "ready", "", True)
    assert found.as_json() == {
        "ready": True, "reason": "", "repositories": [{"repo": "demo", "state": "ready", "reason": "", "answers": True}],
    }  # fmt: skip


def test_a_build_over_a_published_version_is_no_reason_not_to_answer(world: Any) -> None:
    repository = open_store(world.store).existing("demo")
    with builder(repository):
        found, one = _of(world)
    assert (found.ready, one.state, one.answers) == (True, "building", True)
    assert world.version in one.reason


def test_a_first_build_is_slow_and_none_at_all_is_missing(world: Any) -> None:
    shutil.rmtree(world.home / "versions")
    (world.home / "CURRENT").unlink()
    with builder(open_store(world.store).existing("demo")):
        found, one = _of(world)
    assert (found.ready, one.state, one.answers) == (False, "building", False)
    assert "goes on" in found.reason
    found, one = _of(world)
    assert (found.ready, one.state) == (False, "missing") and "indexctl build" in one.reason


def test_an_index_that_is_being_opened_is_slow_and_says_for_how_long(built: Any) -> None:
    found, one = _of(built, opening={"demo": 12.4})
    assert (found.ready, one.state, one.answers) == (False, "building", False)
    assert "12 s" in one.reason


def test_what_is_behind_still_answers_and_what_nobody_checked_is_not_called_behind(built: Any) -> None:
    found, one = _of(built, fresh={"demo": Freshness(stale=True, files=3)})
    assert (found.ready, one.state, one.answers) == (True, "stale", True) and "3 files" in one.reason
    assert _of(built, fresh={"demo": Freshness(stale=False, files=None, reason=NOT_CHECKED)})[1].state == "ready"


def _current_is_junk(world: Any) -> None:
    (world.home / "CURRENT").write_text("junk\n")


def _version_is_gone(world: Any) -> None:
    shutil.rmtree(world.published)


def _manifest_is_cut(world: Any) -> None:
    path = world.published / "manifest.json"
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[: len(raw) // 2])


def _index_is_cut(world: Any) -> None:
    path = world.published / "faiss.index"
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[:100])


def _file_is_gone(world: Any) -> None:
    next(world.published.rglob("part-*.parquet")).unlink()


@pytest.mark.parametrize("spoil", [_current_is_junk, _version_is_gone, _manifest_is_cut, _index_is_cut, _file_is_gone])
def test_damage_is_broken_and_says_what_to_do(world: Any, spoil: Any) -> None:
    spoil(world)
    found, one = _of(world)
    assert (found.ready, one.state, one.answers) == (False, "broken", False)
    assert "indexctl" in one.reason


def test_what_a_server_failed_at_is_broken_although_the_files_look_right(built: Any) -> None:
    _, one = _of(built, failures={"demo": "The index cannot be mapped."})
    assert (one.state, one.reason) == ("broken", "The index cannot be mapped.")


def test_one_broken_repository_does_not_take_the_others_away(world: Any) -> None:
    shutil.copytree(world.home, world.store / "other", symlinks=True)
    origin = world.store / "other" / "repository.json"
    origin.write_text(origin.read_text().replace('"name": "demo"', '"name": "other"'))
    _current_is_junk(world)
    found = readiness(open_store(world.store))
    assert found.ready
    assert {one.repo: one.state.value for one in found.repositories} == {"demo": "broken", "other": "ready"}


def test_an_empty_store_and_one_that_is_gone_are_not_ready_and_say_why(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    assert readiness(store) == Readiness(False, "Nothing is indexed yet.", ())
    shutil.rmtree(store.root)
    gone = readiness(Store(store.root))
    assert not gone.ready and str(store.root) in gone.reason


def test_asking_leaves_no_version_held(world: Any) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(5):
        _of(world)
    assert not before or len(os.listdir("/proc/self/fd")) <= before
