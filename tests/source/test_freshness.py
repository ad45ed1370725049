"""Freshness: what is told of a tree is what a scan would tell, and mostly without one."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pygit2
import pytest

from pipeline.config import SourceSettings
from pipeline.source import freshness as module
from pipeline.source.freshness import Freshness, Indexed, freshness
from pipeline.source.scan import Scan, scan

SETTINGS = SourceSettings()
FILES = {
    ".gitignore": "*.log\nbuild/\n",
    "a.py": "def first(): pass\n",
    "pkg/__init__.py": "",
    "pkg/b.py": "def second(): pass\n",
    "pkg/deep/c.py": "def third(): pass\n",
    "pkg/deep/d.md": "# Four\n",
    "docs/e.txt": "five\n",
    "build/out.py": "ignored = 1\n",
}


@dataclass
class Yard:
    """A tree, and what an index of it would remember."""

    root: Path
    cache: Path
    indexed: Indexed
    before: dict[str, bytes]

    def ask(self, **given: Any) -> Freshness:
        """As an interface asks."""
        keywords = {
            "rev": None,
            "settings": SETTINGS,
            "indexed": self.indexed,
            "cache": self.cache,
            "memory": self.memory,
        } | given
        return freshness(self.root, **{"hashes": lambda: self.before} | keywords)

    @property
    def memory(self) -> Path:
        """Where counts are remembered."""
        return self.cache.with_name("compared.cache")

    def truth(self) -> tuple[bool, int]:
        """By a scan that remembers nothing: whether the tree is another one, and how many files are."""
        now = scan(self.root, settings=SETTINGS)
        after = hashes(now)
        differing = {uri for uri in self.before.keys() | after.keys() if self.before.get(uri) != after.get(uri)}
        return now.digest != self.indexed.scan, len(differing)


def hashes(found: Scan) -> dict[str, bytes]:
    return {uri: content for uri, content in zip(found.uri, found.content_hash, strict=True) if content is not None}


def age(root: Path) -> None:
    """Make a tree old, so that its stamps are trusted."""
    for folder, names, files in os.walk(root, topdown=False):
        for name in [*names, *files]:
            os.utime(os.path.join(folder, name), ns=(10**18, 10**18), follow_symlinks=False)
    os.utime(root, ns=(10**18, 10**18))


@pytest.fixture
def yard(tmp_path: Path, tree: Callable[..., Path], commit: Callable[..., str]) -> Yard:
    root = tree(tmp_path / "repo", FILES)
    commit(pygit2.init_repository(str(root)))
    age(root)
    return index(root, tmp_path / "scan.cache")


def index(root: Path, cache: Path) -> Yard:
    found = scan(root, settings=SETTINGS, cache=cache)
    return Yard(root, cache, Indexed(found.digest, len(found.uri), found.commit), hashes(found))


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("this was not to be called")


def test_an_unchanged_tree_is_fresh_and_the_index_is_not_read_for_it(yard: Yard) -> None:
    assert yard.ask(hashes=refuse) == Freshness(stale=False, files=0, commits=0, commit=yard.indexed.commit)


def test_edits_deletions_and_atomic_saves_are_counted_and_each_state_only_once(yard: Yard) -> None:
    (yard.root / "a.py").write_text("def first(): return 1\n")
    saved = yard.root / "pkg/.b.py.swp"
    saved.write_text("def second(): return 2\n")
    saved.replace(yard.root / "pkg/b.py")
    (yard.root / "pkg/deep/c.py").unlink()
    shutil.rmtree(yard.root / "docs")
    found = yard.ask()
    assert (found.stale, found.files) == (True, 4)
    assert yard.ask(hashes=refuse) == found
    (yard.root / "a.py").write_text(FILES["a.py"])
    assert yard.ask().files == 3


def test_an_edit_that_keeps_size_and_time_is_seen(yard: Yard) -> None:
    path = yard.root / "a.py"
    facts = path.stat()
    path.write_text(FILES["a.py"].replace("first", "fifth"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert yard.ask().files == 1


def test_a_file_that_was_just_written_when_it_was_indexed_is_read_again(tmp_path: Path, tree: Callable[..., Path]) -> None:
    young = index(tree(tmp_path / "young", {"a.py": "x = 1\n", "b.py": "y = 1\n"}), tmp_path / "cache")
    before = (young.root / "a.py").stat()
    (young.root / "a.py").write_text("x = 2\n")
    os.utime(young.root / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert young.ask().files == 1


def test_touching_files_makes_nothing_stale(yard: Yard) -> None:
    for name in ("a.py", "pkg/b.py", "pkg/deep/c.py"):
        os.utime(yard.root / name, ns=(10**18, 11 * 10**17))
    assert yard.ask(hashes=refuse).stale is False


def test_ignored_files_and_empty_folders_make_nothing_stale(yard: Yard) -> None:
    (yard.root / "build/more.py").write_text("ignored = 2\n")
    (yard.root / "noise.log").write_text("tick\n")
    (yard.root / "pkg/empty").mkdir()
    assert yard.ask(hashes=refuse) == Freshness(stale=False, files=0, commits=0, commit=yard.indexed.commit)


def test_a_new_file_in_a_folder_that_had_none_is_found(yard: Yard) -> None:
    (yard.root / "pkg/empty").mkdir()
    yard.ask()
    age(yard.root)
    yard.ask()
    (yard.root / "pkg/empty/new.py").write_text("new = 1\n")
    assert (yard.ask().stale, yard.ask().files) == (True, 1)


def test_commits_are_counted_and_alone_make_nothing_stale(yard: Yard, commit: Callable[..., str]) -> None:
    repository = pygit2.Repository(str(yard.root))
    commit(repository)
    head = commit(repository)
    assert yard.ask() == Freshness(stale=False, files=0, commits=2, commit=head)


def test_a_tree_that_was_indexed_with_its_changes_is_not_stale_for_them(yard: Yard) -> None:
    (yard.root / "a.py").write_text("uncommitted = 1\n")
    (yard.root / "untracked.py").write_text("also = 1\n")
    again = index(yard.root, yard.cache)
    assert again.ask().stale is False
    (yard.root / "a.py").write_text(FILES["a.py"])
    assert (again.ask().stale, again.ask().files) == (True, 1)


def test_other_settings_make_an_index_stale_though_no_file_changed(yard: Yard) -> None:
    found = yard.ask(settings=SourceSettings(exclude=("docs/",)))
    assert found.stale and found.files == 1
    (yard.root / "pkg/b.py").write_text("# @generated by hand\ngenerated = 1\n")
    again = index(yard.root, yard.cache)
    found = again.ask(settings=SourceSettings(index_generated=True))
    assert found.stale and found.files == 0 and "other" in found.reason


def test_a_folder_that_is_gone_is_stale_and_the_reason_is_told(yard: Yard) -> None:
    yard.root.rename(yard.root.with_name("moved"))
    found = yard.ask()
    assert found.stale and found.files is None and "does not exist" in found.reason


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"\x00" * 4096, b"[1]", b'{"a": "b"}'])
def test_damaged_memories_cost_time_alone(yard: Yard, damage: bytes) -> None:
    yard.cache.write_bytes(damage)
    yard.memory.write_bytes(damage)
    assert yard.ask().stale is False
    (yard.root / "a.py").write_text("changed = 1\n")
    assert yard.ask().files == 1
    yard.memory.write_bytes(damage)
    assert yard.ask().files == 1


def test_where_the_index_cannot_be_read_nothing_is_counted_and_nothing_remembered(yard: Yard) -> None:
    (yard.root / "a.py").write_text("changed = 1\n")
    found = yard.ask(hashes=lambda: None)
    assert found.stale and found.files is None and found.reason
    assert yard.ask().files == 1


def test_a_repository_that_was_removed_meanwhile_does_not_come_back(yard: Yard) -> None:
    # A server compares while somebody removes the repository from the store.
    home = yard.cache.with_name("home")
    home.mkdir()
    yard = replace(yard, cache=home / "scan.cache")
    (yard.root / "a.py").write_text("changed = 1\n")

    def hashes() -> dict[str, bytes]:
        shutil.rmtree(home)
        return yard.before

    assert yard.ask(hashes=hashes).files == 1
    assert yard.ask().files == 1
    assert not home.exists()


def test_what_is_remembered_is_bounded(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KEPT", 3)
    for number in range(6):
        (yard.root / "a.py").write_text(f"x = {number}\n")
        yard.ask()
    assert len(json.loads(yard.memory.read_bytes())) == 3


def test_a_revision_is_compared_once_and_then_remembered(
    yard: Yard, commit: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert yard.ask(rev="HEAD").stale is False
    (yard.root / "a.py").write_text("changed = 1\n")
    assert yard.ask(rev="HEAD").stale is False
    commit(pygit2.Repository(str(yard.root)))
    found = yard.ask(rev="HEAD")
    assert (found.stale, found.files, found.commits) == (True, 1, 1)
    monkeypatch.setattr(module, "scan", refuse)
    assert yard.ask(rev="HEAD") == found


class Mischief:
    """Random changes to a tree, of every kind that the record must not be fooled by."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.random = root, random.Random(seed)

    def _file(self) -> Path | None:
        found = [path for path in sorted(self.root.rglob("*")) if path.is_file() and ".git" not in path.parts]
        return self.random.choice(found) if found else None

    def _folder(self) -> Path:
        found = [path for path in sorted(self.root.rglob("*")) if path.is_dir() and ".git" not in path.parts]
        return self.random.choice([self.root, *found])

    def edit(self) -> None:
        if (path := self._file()) and not path.is_symlink():
            path.write_text(f"x = {self.random.randrange(9)}\n")

    def revert(self) -> None:
        name = self.random.choice(sorted(FILES))
        if (self.root / name).parent.is_dir() and not (self.root / name).is_dir():
            (self.root / name).write_text(FILES[name])

    def delete(self) -> None:
        if path := self._file():
            path.unlink()

    def create(self) -> None:
        name = self.random.choice(["n.py", "noise.log", "build", "new.md", "e.txt", "b.py"])
        if not (path := self._folder() / name).is_dir():
            path.write_text(f"y = {self.random.randrange(9)}\n")

    def create_folder(self) -> None:
        folder = self._folder() / self.random.choice(["build", "fresh", "deep"])
        if not folder.exists():
            folder.mkdir()

    def drop_folder(self) -> None:
        if (folder := self._folder()) != self.root:
            shutil.rmtree(folder)

    def move(self) -> None:
        source, target = self._file(), self._folder() / "moved.py"
        if source and not target.is_dir():
            source.replace(target)

    def save_atomically(self) -> None:
        if path := self._file():
            beside = path.with_name("4913")
            beside.write_text(f"z = {self.random.randrange(9)}\n")
            beside.replace(path)

    def link(self) -> None:
        if not (path := self._folder() / "link.py").exists() and not path.is_symlink():
            path.symlink_to(self.random.choice(["a.py", "../a.py", "nowhere"]))

    def ignore(self) -> None:
        folder = self._folder()
        rules = self.random.choice(["*.log\n", "*.md\n", "deep/\n", "", "*\n", "!*.py\n"])
        (folder / self.random.choice([".gitignore", ".codeintelignore"])).write_text(rules)

    def exclude(self) -> None:
        (self.root / ".git/info").mkdir(exist_ok=True)
        (self.root / ".git/info/exclude").write_text(self.random.choice(["*.txt\n", "", "pkg/\n"]))

    def stage(self) -> None:
        index = pygit2.Repository(str(self.root)).index
        if path := self._file():
            index.add(path.relative_to(self.root).as_posix())
            index.write()

    def nest(self) -> None:
        if (folder := self._folder()) != self.root and not (folder / ".git").exists():
            pygit2.init_repository(str(folder))

    def rest(self) -> None:
        age(self.root)


@pytest.mark.parametrize("seed", range(12))
def test_over_random_histories_the_answer_is_that_of_a_scan(
    seed: int, tmp_path: Path, tree: Callable[..., Path], commit: Callable[..., str]
) -> None:
    root = tree(tmp_path / "repo", FILES)
    commit(pygit2.init_repository(str(root)))
    age(root)
    yard = index(root, tmp_path / "scan.cache")
    mischief = Mischief(root, seed)
    kinds = sorted(name for name in vars(Mischief) if not name.startswith("_"))
    done = []
    for _ in range(40):
        done.append(mischief.random.choice(kinds))
        getattr(mischief, done[-1])()
        try:
            expected = yard.truth()
        except Exception:
            continue  # Nothing is left to index.
        found = yard.ask()
        assert (found.stale, found.files) == expected, done
        if mischief.random.random() < 0.1:
            yard = index(root, tmp_path / "scan.cache")
            done.append("index")
