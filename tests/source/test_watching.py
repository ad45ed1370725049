"""Noticing that a tree moved: patterns of editors and of git, and what is never noticed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pygit2
import pytest

from pipeline.errors import SourceError
from pipeline.source import watching
from pipeline.source.watching import Bell, Tree, notices, wait_until_quiet

PATIENCE = 20.0


@pytest.fixture
def root(tmp_path: Path, tree: Callable[..., Path]) -> Path:
    made = tree(tmp_path / "repo", {"a.py": "x = 1\n", "pkg/b.py": "y = 1\n"})
    pygit2.init_repository(str(made))
    return made


@contextmanager
def listening(root: Path, store: Path, **keywords: Any) -> Iterator[tuple[Bell, str]]:
    bell = Bell()
    with notices(Tree.at(root, store), bell, **keywords) as source:
        yield bell, source


def write_in_place(path: Path) -> None:
    path.write_text("x = 2\n")


def rename_over(path: Path) -> None:
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text("x = 3\n")
    beside.replace(path)


def delete_and_create(path: Path) -> None:
    path.unlink()
    path.write_text("x = 4\n")


def keep_a_backup(path: Path) -> None:
    path.rename(path.with_name(path.name + "~"))
    path.write_text("x = 5\n")


def in_a_new_folder(path: Path) -> None:
    (path.parent / "new/deep").mkdir(parents=True)
    (path.parent / "new/deep/c.py").write_text("z = 1\n")


@pytest.mark.parametrize("save", [write_in_place, rename_over, delete_and_create, keep_a_backup, in_a_new_folder])
def test_every_way_of_saving_rings(root: Path, tmp_path: Path, save: Callable[[Path], None]) -> None:
    with listening(root, tmp_path / "store") as (bell, source):
        assert "operating system tells" in source
        save(root / "pkg/b.py")
        assert bell.wait(PATIENCE)


def test_a_commit_rings_and_the_store_and_the_objects_of_git_do_not(
    root: Path, tmp_path: Path, commit: Callable[..., str]
) -> None:
    store = root / "data"
    store.mkdir()
    tree = Tree.at(root, store)
    assert not tree.concerns(str(store)) and not tree.concerns(str(store / "repo/CURRENT"))
    assert not tree.concerns(str(root / ".git/objects/ab/cd")) and not tree.concerns(str(root / ".git/index.lock"))
    assert tree.concerns(str(root / ".git/HEAD")) and tree.concerns(str(root / "database.py"))
    with listening(root, store) as (bell, _):
        (store / "CURRENT").write_text("v\n")
        (root / ".git/objects/xy").mkdir()
        assert not bell.wait(0.5)
        commit(pygit2.Repository(str(root)))
        assert bell.wait(PATIENCE)


def test_a_linked_worktree_and_a_folder_inside_have_their_git_folder_watched_too(
    root: Path, tmp_path: Path, commit: Callable[..., str]
) -> None:
    repository = pygit2.Repository(str(root))
    commit(repository)
    repository.add_worktree("feature", str(tmp_path / "feature"))
    linked = Tree.at(tmp_path / "feature", tmp_path / "store")
    assert linked.folders() == [tmp_path / "feature", root / ".git/worktrees/feature"]
    assert Tree.at(root / "pkg", tmp_path / "store").folders() == [root / "pkg", root / ".git"]
    assert Tree.at(root, tmp_path / "store").folders() == [root]
    with listening(tmp_path / "feature", tmp_path / "store") as (bell, _):
        commit(pygit2.Repository(str(tmp_path / "feature")))
        assert bell.wait(PATIENCE)


def test_what_has_no_work_tree_cannot_be_watched(tmp_path: Path) -> None:
    pygit2.init_repository(str(tmp_path / "bare.git"), bare=True)
    with pytest.raises(SourceError, match="no work tree"):
        Tree.at(tmp_path / "bare.git", tmp_path / "store")


def test_without_notices_the_bell_rings_now_and_then_and_the_reason_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import watchfiles

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr(watching, "POLL", 0.01)
    monkeypatch.setattr(watchfiles, "watch", refuse)
    with listening(root, tmp_path / "store") as (bell, source):
        assert "looking every" in source and "OS file watch limit reached" in source
        assert bell.wait(PATIENCE)
    with listening(root, tmp_path / "store", poll=0.01) as (bell, source):
        assert "asked for" in source and bell.wait(PATIENCE)


def test_a_burst_of_any_size_is_two_moments(root: Path, tmp_path: Path) -> None:
    with listening(root, tmp_path / "store") as (bell, _):
        for number in range(3000):
            (root / f"f{number}.py").write_text("x = 1\n")
        assert bell.wait(PATIENCE)
        assert set(vars(bell)) == {"_first", "_last", "_rung"}


def ring_for(bell: Bell, seconds: float, every: float) -> threading.Thread:
    """Ring it from another thread, at once and then again and again."""

    def ring() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            bell.ring()
            time.sleep(every)

    bell.ring()
    thread = threading.Thread(target=ring)
    thread.start()
    return thread


def test_nothing_is_done_before_it_is_quiet(root: Path, tmp_path: Path) -> None:
    bell = Bell()
    thread = ring_for(bell, 0.6, 0.01)
    wait_until_quiet(bell, Tree.at(root, tmp_path / "s"), debounce=0.3, most_delay=PATIENCE)
    assert not thread.is_alive()
    assert not bell.wait(0)


def test_changes_that_never_end_are_waited_for_no_longer_than_the_most_delay(root: Path, tmp_path: Path) -> None:
    bell = Bell()
    thread = ring_for(bell, 2.0, 0.01)
    wait_until_quiet(bell, Tree.at(root, tmp_path / "s"), debounce=0.5, most_delay=0.6)
    assert thread.is_alive()
    thread.join()


def test_a_checkout_that_is_under_way_is_waited_for_and_a_lock_that_was_left_is_not(root: Path, tmp_path: Path) -> None:
    tree, lock, bell = Tree.at(root, tmp_path / "s"), root / ".git/index.lock", Bell()
    lock.write_bytes(b"")
    done = threading.Event()

    def follow() -> None:
        wait_until_quiet(bell, tree, debounce=0.01, most_delay=0.05)
        done.set()

    bell.ring()
    thread = threading.Thread(target=follow)
    thread.start()
    assert not done.wait(0.5)
    os.utime(lock, (1, 1))
    assert done.wait(PATIENCE)
    thread.join()


def test_a_tree_that_says_nothing_is_looked_at_anyway(root: Path, tmp_path: Path) -> None:
    wait_until_quiet(Bell(), Tree.at(root, tmp_path / "s"), debounce=9.0, most_delay=9.0, look_anyway=0.01)
