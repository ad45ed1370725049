"""Scanning again: what is remembered of folders and of git spares work, and never changes what a scan finds."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pygit2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import SourceSettings
from pipeline.source import folders, look, memory, worktree
from pipeline.source import repository as git
from pipeline.source.scan import scan

DEFAULT = SourceSettings()
TICK = 0.012
"""Longer than the clock that stamps files takes for one tick."""


@pytest.fixture(autouse=True)
def _fine_clock() -> Iterator[None]:
    """Trust what was changed just before a scan: these tests wait for the clock."""
    with mock.patch.object(memory, "RACY_NS", 0), mock.patch.object(look, "RACY_NS", 0):
        yield


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders that are listed, from here on."""
    found: list[str] = []
    real = worktree.Walk.listed

    def watch(self: worktree.Walk, folder: worktree.Folder) -> Any:
        found.append(folder.uri)
        return real(self, folder)

    monkeypatch.setattr(worktree.Walk, "listed", watch)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What git is asked, from here on: `index`, `all`, or the one file that it is asked about."""
    found: list[str] = []

    def watch(name: str, say: Callable[..., str]) -> None:
        real = getattr(git, name)
        monkeypatch.setattr(git, name, lambda *arguments: found.append(say(*arguments)) or real(*arguments))

    watch("tracked", lambda _: "index")
    watch("differing", lambda _: "all")
    watch("one_differs", lambda _, path: path)
    return found


@pytest.fixture
def root(tmp_path: Path, tree, commit) -> Path:
    files = {f"d{n % 3}/e{n % 5}/f{n}.py": f"x = {n}\n" for n in range(60)} | {".gitignore": "out/\n*.tmp\n", "out/x.py": "x"}
    root = tree(tmp_path / "t", files)
    commit(pygit2.init_repository(str(root)))
    time.sleep(TICK)
    return root


def again(root: Path, cache: Path) -> Any:
    """Scan with what is remembered; it must find what a scan without it finds."""
    found = scan(root, settings=DEFAULT, cache=cache)
    assert found == scan(root, settings=DEFAULT)
    time.sleep(TICK)
    return found


def settled(root: Path, cache: Path) -> None:
    """Scan until everything is remembered."""
    for _ in range(2):
        again(root, cache)


def test_no_folder_is_listed_and_git_is_asked_nothing_when_nothing_changed(
    tmp_path: Path, root: Path, listed: list[str], asked: list[str]
) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    listed.clear()
    asked.clear()
    assert not scan(root, settings=DEFAULT, cache=cache).dirty
    assert (listed, asked) == ([], [])


def test_of_an_edited_file_git_is_asked_alone_and_no_folder_is_listed(
    tmp_path: Path, root: Path, listed: list[str], asked: list[str]
) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    (root / "d0/e0/f0.py").write_text("edited\n")
    time.sleep(TICK)
    listed.clear()
    asked.clear()
    assert scan(root, settings=DEFAULT, cache=cache).dirty
    assert (listed, asked) == ([], ["d0/e0/f0.py"])


def test_only_the_folder_of_a_new_file_is_listed(tmp_path: Path, root: Path, listed: list[str]) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    (root / "d0/e0/new.py").write_text("new\n")
    (root / "d1/fresh/deep").mkdir(parents=True)
    (root / "d1/fresh/deep/new.py").write_text("new\n")
    time.sleep(TICK)
    listed.clear()
    scan(root, settings=DEFAULT, cache=cache)
    assert sorted(listed) == ["d0/e0/", "d1/", "d1/fresh/", "d1/fresh/deep/"]


def test_a_commit_of_what_was_edited_lists_no_folder(tmp_path: Path, root: Path, commit, listed: list[str]) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    (root / "d0/e0/f0.py").write_text("edited\n")
    commit(pygit2.Repository(str(root)), "d0/e0/f0.py")
    time.sleep(TICK)
    listed.clear()
    assert not scan(root, settings=DEFAULT, cache=cache).dirty
    assert listed == []


def test_a_file_that_is_put_back_as_it_was_leaves_the_tree_clean(tmp_path: Path, root: Path) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    for text, dirty in (("edited\n", True), ("x = 0\n", False), ("again\n", True)):
        (root / "d0/e0/f0.py").write_text(text)
        assert again(root, cache).dirty is dirty


def test_a_repository_that_appears_inside_of_a_folder_is_left_alone(tmp_path: Path, root: Path) -> None:
    cache = tmp_path / "scan"
    (root / "inner").mkdir()
    (root / "inner/a.py").write_text("x = 1\n")
    settled(root, cache)
    pygit2.init_repository(str(root / "inner"))
    time.sleep(TICK)
    assert "submodule" in again(root, cache).reason
    shutil.rmtree(root / "inner/.git")
    time.sleep(TICK)
    assert "submodule" not in again(root, cache).reason


def test_ignore_files_count_from_the_moment_they_change(tmp_path: Path, root: Path) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    for name, text in (
        (".gitignore", "*.log\n"),
        ("d0/.gitignore", "e0/\n"),
        ("d1/.codeintelignore", "e1/\n"),
        ("d0/.gitignore", ""),
    ):
        (root / name).write_text(text)
        time.sleep(TICK)
        again(root, cache)
    (root / "d1/.codeintelignore").unlink()
    time.sleep(TICK)
    again(root, cache)


def test_what_git_starts_or_stops_to_track_counts_at_once(tmp_path: Path, root: Path) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    repository = pygit2.Repository(str(root))
    (root / "d0/note.tmp").write_text("ignored\n")
    for name in ("out/x.py", "d0/note.tmp"):
        assert name not in indexed(again(root, cache))
        repository.index.add(name)
        repository.index.write()
        time.sleep(TICK)
        assert name in indexed(again(root, cache))
        repository.index.remove(name)
        repository.index.write()
        time.sleep(TICK)
        assert name not in indexed(again(root, cache))


def indexed(found: Any) -> set[str]:
    """The uris that are indexed."""
    return {uri for uri, reason in zip(found.uri, found.reason, strict=True) if reason is None}


def test_few_changes_are_found_again_rather_than_written(tmp_path: Path, root: Path) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    written = cache.stat().st_ino
    with mock.patch.object(memory, "_WORTH_WRITING", 0.1):
        (root / "d0/e0/f0.py").write_text("edited\n")
        again(root, cache)
        assert cache.stat().st_ino == written
        for n in range(0, 60, 3):
            (root / f"d0/e{n % 5}/f{n}.py").write_text("edited\n")
        again(root, cache)
    assert cache.stat().st_ino != written


def test_a_memory_of_folders_is_of_one_place(tmp_path: Path, root: Path) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    moved = root.rename(tmp_path / "moved")
    (moved / "d0/e0/f0.py").unlink()
    again(moved, cache)


def test_of_very_many_changed_folders_the_tree_is_walked(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "scan"
    settled(root, cache)
    monkeypatch.setattr(folders, "_MOST", 0)
    for n in range(10):
        (root / f"d{n % 3}/e{n % 5}/more{n}.py").write_text("x")
    time.sleep(TICK)
    again(root, cache)


FOLDERS = ("", "a/", "a/b/", "out/")
FILES = ("x.py", "z.tmp")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(FOLDERS), st.sampled_from(FILES), st.sampled_from(["1\n", "two\n", "3"])),
        st.tuples(st.just("replace"), st.sampled_from(FOLDERS), st.sampled_from(FILES), st.just("replaced\n")),
        st.tuples(st.just("remove"), st.sampled_from(FOLDERS), st.sampled_from(FILES), st.just("")),
        st.tuples(st.just("drop"), st.sampled_from(FOLDERS[1:]), st.just(""), st.just("")),
        st.tuples(st.just("move"), st.sampled_from(FOLDERS[1:]), st.sampled_from(["moved", "a/moved"]), st.just("")),
        st.tuples(st.just("link"), st.sampled_from(FOLDERS), st.sampled_from(FILES), st.just("")),
        st.tuples(st.just("rule"), st.sampled_from(FOLDERS), st.sampled_from([".gitignore", ".codeintelignore"]),
                  st.sampled_from(["out/\n", "*.tmp\n!z.tmp\n", "b\n", ""])),
        st.tuples(st.just("add"), st.sampled_from(FOLDERS), st.sampled_from(FILES), st.just("")),
        st.tuples(st.just("commit"), st.just(""), st.just(""), st.just("")),
        st.tuples(st.just("untrack"), st.sampled_from(FOLDERS), st.sampled_from(FILES), st.just("")),
        st.tuples(st.just("repository"), st.sampled_from(FOLDERS[1:]), st.just(""), st.just("")),
    ),
    min_size=4, max_size=12,
)  # fmt: skip
numbers = itertools.count()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, with_git=st.booleans())
def test_whatever_happens_between_two_scans_the_second_sees_it(
    tmp_path: Path, commit, steps: list[Any], with_git: bool
) -> None:
    root = tmp_path / f"r{next(numbers)}"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/x.py").write_text("first\n")
    (root / "keep.py").write_text("keep\n")
    repository = pygit2.init_repository(str(root)) if with_git else None
    if repository is not None:
        commit(repository)
    cache = root.with_suffix(".cache")
    time.sleep(TICK)
    again(root, cache)
    for what, folder, name, text in steps:
        happen(root, repository, commit, what, folder, name, text)
        time.sleep(TICK)
        again(root, cache)


def happen(root: Path, repository: Any, commit: Any, what: str, folder: str, name: str, text: str) -> None:
    """One thing that people and programs do to a tree."""
    path = root / folder / name
    inside = (root / folder).is_dir() and not (root / folder).is_symlink()
    if what in ("write", "rule", "replace", "link"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "link":
            path.unlink(missing_ok=True)
            path.symlink_to("keep.py")
        elif what == "replace":
            beside = path.with_name("beside")
            beside.write_text(text)
            os.replace(beside, path)
        elif not path.is_symlink():
            path.write_text(text)
    elif what == "remove":
        path.unlink(missing_ok=True)
    elif what == "drop" and inside:
        shutil.rmtree(root / folder)
    elif what == "move" and inside and (root / name).parent.is_dir() and not (root / name).exists():
        if not str(root / name).startswith(str(root / folder)):
            (root / folder).rename(root / name)
    elif what == "repository" and inside:
        pygit2.init_repository(str(root / folder))
    elif repository is not None:
        relative = folder + name
        if what == "commit":
            commit(repository, "keep.py")
        elif what == "add" and path.is_file() and not path.is_symlink():
            try:
                repository.index.add(relative)
            except (OSError, pygit2.GitError):
                return  # inside of another repository
            repository.index.write()
        elif what == "untrack" and relative in repository.index:
            repository.index.remove(relative)
            repository.index.write()
