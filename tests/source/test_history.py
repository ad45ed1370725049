"""History: which commits count, and for which files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pygit2
import pytest

from pipeline.errors import SourceError
from pipeline.source import commit_changes, history
from pipeline.source.history import History, read_history

DAY = 86_400
NOW = 1_700_000_000


class Repo:
    """A repository whose commits are made with a date, an author and parents of one's choice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git: Any = pygit2.init_repository(str(path), initial_head="main")

    def commit(
        self, files: Mapping[str, str | None], *, days_ago: float, by: str = "ada@example.org", parents: list[str] | None = None
    ) -> str:
        """Commit the first parent's tree (HEAD's) with some files changed or, by None, removed; returns the commit's hex."""
        if parents is None:
            parents = [] if self.git.head_is_unborn else [str(self.git.head.target)]
        index = pygit2.Index()
        if parents:
            index.read_tree(self.git[parents[0]].tree)
        for name, text in files.items():
            if text is None:
                index.remove(name)
            else:
                blob = self.git.create_blob(text.encode())
                index.add(pygit2.IndexEntry(name, blob, pygit2.enums.FileMode.BLOB))
        who = pygit2.Signature("Somebody", by, int(NOW - days_ago * DAY), 0)
        tree = index.write_tree(self.git)
        made = self.git.create_commit(None, who, who, "A change", tree, [pygit2.Oid(hex=parent) for parent in parents])
        self.git.references.create("refs/heads/main", made, force=True)
        return str(made)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


def rows(found: History) -> dict[str, tuple[int, int]]:
    return {uri: found.of(uri) for uri in found.uri}


def test_commits_and_distinct_authors_are_counted_for_each_file(repo: Repo) -> None:
    repo.commit({"a.py": "1", "b/c.py": "1"}, days_ago=9)
    repo.commit({"a.py": "2"}, days_ago=8, by="bob@example.org")
    tip = repo.commit({"a.py": "3"}, days_ago=7, by="ADA@example.org")
    assert rows(read_history(repo.path, commit=tip, days=365)) == {"a.py": (3, 2), "b/c.py": (1, 1)}


def test_the_window_counts_back_from_the_date_of_the_commit(repo: Repo) -> None:
    repo.commit({"a.py": "1"}, days_ago=1000)
    middle = repo.commit({"a.py": "2"}, days_ago=700)
    repo.commit({"a.py": "3"}, days_ago=20)
    tip = repo.commit({"b.py": "1"}, days_ago=10)
    assert rows(read_history(repo.path, commit=tip, days=30)) == {"a.py": (1, 1), "b.py": (1, 1)}
    assert rows(read_history(repo.path, commit=tip, days=10)) == {"a.py": (1, 1), "b.py": (1, 1)}
    assert rows(read_history(repo.path, commit=tip, days=9)) == {"b.py": (1, 1)}
    assert rows(read_history(repo.path, commit=middle, days=300)) == {"a.py": (2, 1)}


def test_commits_after_the_indexed_one_do_not_count(repo: Repo) -> None:
    first = repo.commit({"a.py": "1"}, days_ago=3)
    before = read_history(repo.path, commit=first, days=365)
    repo.commit({"a.py": "2"}, days_ago=2)
    assert read_history(repo.path, commit=first, days=365) == before == History(("a.py",), (1,), (1,))


def test_a_merge_does_not_count_but_what_it_merges_does(repo: Repo) -> None:
    base = repo.commit({"a.py": "1"}, days_ago=9)
    left = repo.commit({"a.py": "2"}, days_ago=8, parents=[base])
    right = repo.commit({"b.py": "1"}, days_ago=7, by="bob@example.org", parents=[base])
    merge = repo.commit({"b.py": "1", "c.py": "made by the merge"}, days_ago=6, parents=[left, right])
    assert rows(read_history(repo.path, commit=merge, days=365)) == {"a.py": (2, 1), "b.py": (1, 1)}


def test_a_renamed_file_starts_anew_and_a_removal_touches_the_old_name(repo: Repo) -> None:
    repo.commit({"old.py": "same text"}, days_ago=9)
    tip = repo.commit({"old.py": None, "new.py": "same text"}, days_ago=8)
    assert rows(read_history(repo.path, commit=tip, days=365)) == {"new.py": (1, 1), "old.py": (2, 1)}


def test_a_folder_of_the_repository_has_its_own_files_under_its_own_uris(repo: Repo) -> None:
    repo.commit({"a.py": "1"}, days_ago=9)
    repo.commit({"lib/x/b.py": "1", "a.py": "2"}, days_ago=8)
    repo.commit({"a.py": "3"}, days_ago=7)
    tip = repo.commit({"lib/x/b.py": "2", "lib/c.py": "1"}, days_ago=6)
    (repo.path / "lib" / "x").mkdir(parents=True)
    assert rows(read_history(repo.path / "lib", commit=tip, days=365)) == {"x/b.py": (2, 1), "c.py": (1, 1)}
    assert rows(read_history(repo.path / "lib" / "x", commit=tip, days=365)) == {"b.py": (2, 1)}


def test_names_that_are_not_utf8_are_spelled_as_in_the_scan(repo: Repo) -> None:
    blob = repo.git.create_blob(b"x")
    names = ("é.py".encode(), b"\xff.py")
    tree = repo.git.write(pygit2.enums.ObjectType.TREE, b"".join(b"100644 " + name + b"\0" + blob.raw for name in names))
    who = pygit2.Signature("Ada", "ada@example.org", NOW, 0)
    tip = str(repo.git.create_commit("refs/heads/main", who, who, "m", tree, []))
    assert rows(read_history(repo.path, commit=tip, days=1)) == {"é.py": (1, 1), "\\xff.py": (1, 1)}


def test_without_git_or_without_a_commit_the_history_is_empty(tmp_path: Path, repo: Repo) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    empty = History()
    assert read_history(plain, commit="0" * 40, days=365) == empty
    assert read_history(repo.path, commit=None, days=365) == empty
    assert empty.uri == ()
    with pytest.raises(SourceError, match=r"no revision|no commits"):
        read_history(repo.path, commit="0" * 40, days=365)


def test_the_latest_commits_count_where_there_are_too_many(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_COMMITS", 2)
    for number in range(4):
        tip = repo.commit({f"{number}.py": "x"}, days_ago=9 - number)
    assert rows(read_history(repo.path, commit=tip, days=365)) == {"2.py": (1, 1), "3.py": (1, 1)}


def test_where_a_shallow_clone_was_cut_off_nothing_is_counted(repo: Repo) -> None:
    first = repo.commit({"a.py": "1", "b.py": "1"}, days_ago=9)
    tip = repo.commit({"a.py": "2"}, days_ago=8)
    (Path(repo.git.path) / "shallow").write_text(first + "\n")
    assert rows(read_history(repo.path, commit=tip, days=365)) == {"a.py": (1, 1)}


def test_equal_rows_have_equal_digests_and_other_rows_others(repo: Repo) -> None:
    first = repo.commit({"a.py": "1"}, days_ago=9)
    tip = repo.commit({"a.py": "2"}, days_ago=8)
    twice = [read_history(repo.path, commit=tip, days=365) for _ in range(2)]
    assert twice[0].digest == twice[1].digest != read_history(repo.path, commit=first, days=365).digest


def test_a_cache_is_used_for_the_same_history_only_and_never_trusted_when_damaged(repo: Repo, tmp_path: Path) -> None:
    cache = tmp_path / "history.cache"
    first = repo.commit({"a.py": "1"}, days_ago=9)
    tip = repo.commit({"a.py": "2"}, days_ago=8)
    expected = {(commit, days): read_history(repo.path, commit=commit, days=days) for commit in (first, tip) for days in (1, 0)}
    for (commit, days), history_ in expected.items():
        assert read_history(repo.path, commit=commit, days=days, cache=cache) == history_
        kept = cache.read_bytes()
        assert read_history(repo.path, commit=commit, days=days, cache=cache) == history_
        assert cache.read_bytes() == kept
    cache.write_bytes(cache.read_bytes()[:-1] + b"\0")
    assert read_history(repo.path, commit=tip, days=1, cache=cache) == expected[tip, 1]


def test_a_cached_history_is_read_without_walking_commits(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tip = repo.commit({"a.py": "1"}, days_ago=9)
    expected = read_history(repo.path, commit=tip, days=1, cache=tmp_path / "cache")
    monkeypatch.setattr(history, "_count", lambda *_: pytest.fail("walked"))
    assert read_history(repo.path, commit=tip, days=1, cache=tmp_path / "cache") == expected


def test_a_new_commit_is_the_only_one_that_is_looked_at(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "history.cache"
    for number in range(4):
        repo.commit({"a.py": str(number), f"{number}.py": "x"}, days_ago=100 - number, by=f"{number % 2}@example.org")
    last = str(repo.git.head.target)
    read_history(repo.path, commit=last, days=365, cache=cache)
    tip = repo.commit({"a.py": "new"}, days_ago=1, by="2@example.org")
    whole = read_history(repo.path, commit=tip, days=365)
    looked: list[str] = []
    real = history._Trees.changed
    monkeypatch.setattr(history._Trees, "changed", lambda self, commit: looked.append(str(commit.id)) or real(self, commit))
    assert read_history(repo.path, commit=tip, days=365, cache=cache) == whole
    assert looked == [tip]
    assert rows(whole)["a.py"] == (5, 3)


def test_commits_that_left_the_window_no_longer_count(repo: Repo, tmp_path: Path) -> None:
    cache = tmp_path / "history.cache"
    tips = [repo.commit({"a.py": str(number), f"{number}.py": "x"}, days_ago=40 - 10 * number) for number in range(4)]
    for tip in (*tips, *reversed(tips)):
        assert read_history(repo.path, commit=tip, days=15, cache=cache) == read_history(repo.path, commit=tip, days=15)


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "another folder"])
def test_what_is_remembered_of_commits_is_not_believed_when_damaged(repo: Repo, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "history.cache"
    first = repo.commit({"a.py": "1", "lib/b.py": "1"}, days_ago=9)
    (repo.path / "lib").mkdir()
    read_history(repo.path / "lib" if damage == "another folder" else repo.path, commit=first, days=365, cache=cache)
    commits = cache.with_suffix(".commits")
    raw = bytearray(commits.read_bytes())
    if damage == "flipped":
        raw[len(raw) // 2] ^= 1
    elif damage != "another folder":
        del raw[0 if damage == "empty" else -3 :]
    commits.write_bytes(raw)
    tip = repo.commit({"a.py": "2"}, days_ago=8)
    assert rows(read_history(repo.path, commit=tip, days=365, cache=cache)) == {"a.py": (2, 1), "lib/b.py": (1, 1)}


def test_only_so_many_changes_are_kept(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_changes, "MOST_KEPT", 3)
    cache = tmp_path / "history.cache"
    for number in range(4):
        tip = repo.commit({f"{number}a.py": "x", f"{number}b.py": "x"}, days_ago=9 - number)
        assert read_history(repo.path, commit=tip, days=365, cache=cache) == read_history(repo.path, commit=tip, days=365)
    assert list(commit_changes.recall(cache.with_suffix(".commits"), b"").commits) == [pygit2.Oid(hex=tip).raw]
