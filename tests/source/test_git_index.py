"""Git's index file, read directly: it says what libgit2 says, or nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest

from pipeline.config import SourceSettings
from pipeline.source import look, memory, repository
from pipeline.source.git_index import read_index
from pipeline.source.scan import scan

Git = Callable[..., str]


@pytest.fixture
def root(tmp_path: Path, tree, git: Git) -> Path:
    names = [f"d{n % 3}/{'long' * (n % 40)}{n}.py" for n in range(90)]
    root: Path = tree(tmp_path / "r", {name: f"x = {name!r}\n" for name in names} | {"é/ü.py": "x\n", "z": "", "d0.py": "x\n"})
    (root / os.fsdecode(b"\xff.py")).write_text("x\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    return root


def paths(root: Path) -> list[str]:
    return [entry.path for entry in pygit2.Repository(str(root)).index]


def test_names_and_the_tree_are_those_that_libgit2_reads(root: Path) -> None:
    found = read_index(root / ".git/index")
    assert found is not None
    assert [os.fsdecode(name) for name in found.names] == paths(root)
    assert found.tree == pygit2.Repository(str(root)).head.peel(pygit2.Commit).tree_id.raw
    assert not found.is_submodule.any()
    assert not found.has_special


def test_an_index_that_is_ahead_of_its_tree_says_so(root: Path, git: Git) -> None:
    (root / "d0.py").write_text("edited\n")
    git(root, "add", "d0.py")
    found = read_index(root / ".git/index")
    assert found is not None
    assert found.tree is None


@pytest.mark.parametrize("how", ["compressed", "conflict", "unwatched"])
def test_of_other_kinds_libgit2_is_asked(root: Path, git: Git, how: str) -> None:
    match how:
        case "compressed":
            git(root, "update-index", "--index-version", "4")
        case "conflict":
            git(root, "checkout", "-qb", "other")
            (root / "d0.py").write_text("other\n")
            git(root, "commit", "-qam", "other")
            git(root, "checkout", "-q", "main")
            (root / "d0.py").write_text("main\n")
            git(root, "commit", "-qam", "main")
            with pytest.raises(subprocess.CalledProcessError):
                git(root, "merge", "-q", "other")
        case "unwatched":
            git(root, "update-index", "--assume-unchanged", "d0.py")
    found = read_index(root / ".git/index")
    assert found is None or found.has_special
    location = repository.locate(root)
    assert location is not None
    assert repository.tracked(location).files == frozenset(paths(root))


@pytest.mark.parametrize("damage", ["empty", "truncated", "foreign", "count"])
def test_a_damaged_index_is_not_believed(tmp_path: Path, root: Path, damage: str) -> None:
    raw = bytearray((root / ".git/index").read_bytes())
    match damage:
        case "empty":
            raw.clear()
        case "truncated":
            del raw[-30:]
        case "foreign":
            raw[:4] = b"XXXX"
        case "count":
            raw[11] += 1
    (tmp_path / "index").write_bytes(raw)
    assert read_index(tmp_path / "index") is None
    assert read_index(tmp_path / "missing") is None


def test_after_a_commit_git_is_asked_only_about_files_that_the_index_does_not_vouch_for(
    tmp_path: Path, root: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "RACY_NS", 0)
    monkeypatch.setattr(look, "RACY_NS", 0)
    (root / os.fsdecode(b"\xff.py")).unlink()
    git(root, "commit", "-qam", "two")
    cache = tmp_path / "scan"
    for _ in range(2):
        time.sleep(0.02)
        scan(root, settings=SourceSettings(), cache=cache)
    (root / "d0.py").write_text("edited\n")
    time.sleep(0.02)
    git(root, "commit", "-qam", "three")
    monkeypatch.setattr(repository, "differing", lambda _: pytest.fail("all files were looked at"))
    assert not scan(root, settings=SourceSettings(), cache=cache).dirty
    (root / "z").write_text("edited after the commit\n")
    assert scan(root, settings=SourceSettings(), cache=cache).dirty
