from __future__ import annotations

import os
from pathlib import Path

import pygit2
import pytest

from pipeline.config import SourceSettings
from pipeline.errors import SourceError
from pipeline.files import digest_bytes
from pipeline.source.scan import Scan, scan

DEFAULT = SourceSettings()


def reasons(found: Scan) -> dict[str, str | None]:
    return dict(zip(found.uri, found.reason, strict=True))


@pytest.fixture
def root(tmp_path: Path, tree) -> Path:
    return tree(tmp_path / "repo", {"a.py": "x = 1\n", "lib/b.go": "package b\n"})


@pytest.fixture
def repository(root: Path) -> pygit2.Repository:
    return pygit2.init_repository(str(root), initial_head="main")


def test_a_clean_work_tree_is_its_commit(root: Path, repository, commit) -> None:
    head = commit(repository)
    found = scan(root, settings=DEFAULT)
    assert (found.commit, found.dirty, found.root) == (head, False, root)
    assert reasons(found) == {"a.py": None, "lib/b.go": None}
    assert found.digest == scan(root, rev="main", settings=DEFAULT).digest


@pytest.mark.parametrize("change", ["modify", "add", "delete", "stage"])
def test_any_difference_from_the_commit_is_dirt(root: Path, repository, commit, tree, change: str) -> None:
    head = commit(repository)
    if change == "modify":
        tree(root, {"a.py": "x = 2 + 3\n"})
    elif change == "delete":
        (root / "a.py").unlink()
    else:
        tree(root, {"new.py": "x"})
        if change == "stage":
            repository.index.add("new.py")
            repository.index.write()
    found = scan(root, settings=DEFAULT)
    assert (found.commit, found.dirty) == (head, True)
    assert found.digest != scan(root, rev="HEAD", settings=DEFAULT).digest


def test_untracked_files_count_and_ignored_ones_do_not(root: Path, repository, commit, tree) -> None:
    tree(root, {".gitignore": "*.log.py\nout/\n!keep.log.py\n"})
    commit(repository)
    tree(root, {"new.py": "x", "a.log.py": "x", "out/x/y.py": "x", "lib/keep.log.py": "x"})
    found = scan(root, settings=DEFAULT)
    assert reasons(found) == {
        ".gitignore": None,
        "a.py": None,
        "a.log.py": "ignored",
        "lib/b.go": None,
        "lib/keep.log.py": None,
        "new.py": None,
        "out/": "ignored",
    }
    assert found.dirty


def test_ignored_files_are_no_dirt(root: Path, repository, commit, tree) -> None:
    tree(root, {".gitignore": "out/\n"})
    commit(repository)
    tree(root, {"out/x.py": "x"})
    assert not scan(root, settings=DEFAULT).dirty


def test_tracked_files_count_though_a_pattern_ignores_them(root: Path, repository, commit, tree) -> None:
    tree(root, {"gen/kept.py": "x", "gen/deep/kept.py": "x"})
    commit(repository)
    tree(root, {".gitignore": "gen/\n!gen/other.py\n", "gen/other.py": "x", "gen/new/z.py": "x"})
    found = reasons(scan(root, settings=DEFAULT))
    assert (found["gen/kept.py"], found["gen/deep/kept.py"]) == (None, None)
    assert (found["gen/other.py"], found["gen/new/"]) == ("ignored", "ignored")


def test_our_own_ignore_file_counts_for_tracked_files_and_revisions(root: Path, repository, commit, tree) -> None:
    tree(root, {".codeintelignore": "b.go\n", "sub/.codeintelignore": "deep/\n", "sub/deep/c.py": "x", "sub/d.py": "x"})
    commit(repository)
    for found in (scan(root, settings=DEFAULT), scan(root, rev="HEAD", settings=DEFAULT)):
        assert reasons(found) == {
            ".codeintelignore": None,
            "a.py": None,
            "lib/b.go": "ignored",
            "sub/.codeintelignore": None,
            "sub/d.py": None,
            "sub/deep/": "ignored",
        }
    settings = SourceSettings(exclude=("lib/",), include=("*.py",))
    assert reasons(scan(root, rev="HEAD", settings=settings))["lib/"] == "ignored"
    assert scan(root, rev="HEAD", settings=settings).digest == scan(root, settings=settings).digest


def test_exclude_files_outside_of_the_tree_count(root: Path, repository, commit, tree) -> None:
    commit(repository)
    tree(root / ".git", {"info/exclude": "local.py\n"})
    tree(Path(os.environ["HOME"]), {".config/git/ignore": "*.mine.py\n", "other": "*.theirs.py\n"})
    tree(root, {"local.py": "x", "a.mine.py": "x", "a.theirs.py": "x"})
    found = reasons(scan(root, settings=DEFAULT))
    assert (found["local.py"], found["a.mine.py"], found["a.theirs.py"]) == ("ignored", "ignored", None)
    repository.config["core.excludesFile"] = "~/other"
    found = reasons(scan(root, settings=DEFAULT))
    assert (found["local.py"], found["a.mine.py"], found["a.theirs.py"]) == ("ignored", None, "ignored")


def test_a_subfolder_has_uris_of_its_own_and_the_rules_from_above(root: Path, repository, commit, tree) -> None:
    tree(root, {".gitignore": "/lib/no.py\n", "lib/sub/c.py": "x"})
    commit(repository)
    tree(root, {"lib/no.py": "x"})
    found = scan(root / "lib", settings=DEFAULT)
    assert reasons(found) == {"b.go": None, "no.py": "ignored", "sub/c.py": None}
    assert not found.dirty
    assert found.read("sub/c.py") == b"x"
    at_head = scan(root / "lib", rev="HEAD", settings=DEFAULT)
    assert at_head.uri == ("b.go", "sub/c.py")
    tree(root, {"a.py": "changed outside"})
    assert not scan(root / "lib", settings=DEFAULT).dirty
    tree(root, {"lib/b.go": "changed inside"})
    assert scan(root / "lib", settings=DEFAULT).dirty
    (root / "fresh").mkdir()
    with pytest.raises(SourceError, match="no folder `fresh`"):
        scan(root / "fresh", rev="HEAD", settings=DEFAULT)


def test_a_folder_that_git_ignores_is_a_folder_without_git(root: Path, repository, commit, tree) -> None:
    tree(root, {".gitignore": "unpacked/\n"})
    commit(repository)
    tree(root, {"unpacked/pkg/x.py": "x"})
    found = scan(root / "unpacked", settings=DEFAULT)
    assert (reasons(found), found.commit) == ({"pkg/x.py": None}, None)


def test_a_revision_is_read_from_the_objects_alone(root: Path, repository, commit, tree) -> None:
    first = commit(repository)
    tree(root, {"a.py": "x = 2\n"})
    commit(repository)
    repository.create_tag("v1", first, pygit2.enums.ObjectType.COMMIT, pygit2.Signature("A", "a@b.c"), "One")
    (root / "a.py").unlink()
    for rev in ("v1", "HEAD~1", first[:10], f"{first}^{{commit}}"):
        found = scan(root, rev=rev, settings=DEFAULT)
        assert (found.commit, found.dirty, found.root, found.rev) == (first, False, None, rev)
        assert found.read("a.py") == b"x = 1\n"
    assert not (root / "a.py").exists()


def test_revisions_have_links_submodules_and_strange_names_too(root: Path, repository) -> None:
    def tree_of(*entries: tuple[bytes | str, pygit2.Oid, int]) -> pygit2.Oid:
        builder = repository.TreeBuilder()
        for entry in entries:
            builder.insert(*entry)
        return builder.write()

    blob = repository.create_blob(b"x = 1\n")
    top = tree_of(
        ("link", repository.create_blob(b"../out"), 0o120000),
        ("sub", pygit2.Oid(hex="1" * 40), 0o160000),
        ("new\nline.py", blob, 0o100644),
        ("run", repository.create_blob(b"#!/bin/sh\n"), 0o100755),
        ("big.py", repository.create_blob(b"#" * 2_000_000), 0o100644),
    )
    author = pygit2.Signature("A", "a@b.c")
    repository.create_commit("HEAD", author, author, "m", top, [])
    found = scan(root, rev="HEAD", settings=DEFAULT)
    assert reasons(found) == {"big.py": "too large", "link": "symlink", "new\nline.py": None, "run": None, "sub": "submodule"}
    assert found.content_hash[found.uri.index("link")] == bytes.fromhex(digest_bytes(b"../out"))
    assert found.lang[found.uri.index("run")] == "bash"
    assert found.size[found.uri.index("big.py")] == 2_000_000


def test_names_that_are_not_utf8_are_the_same_on_disk_and_in_a_revision(root: Path, repository, commit) -> None:
    name = os.fsdecode(b"b\xff.py")
    try:
        (root / name).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    blob = repository.create_blob(b"x")
    raw = b"100644 b\xff.py\0" + bytes.fromhex(str(blob))
    top = repository.write(pygit2.enums.ObjectType.TREE, raw)
    author = pygit2.Signature("A", "a@b.c")
    repository.create_commit("HEAD", author, author, "m", top, [])
    assert scan(root, rev="HEAD", settings=DEFAULT).uri == ("b\\xff.py",)
    found = scan(root, settings=DEFAULT)
    assert found.uri == ("a.py", "b\\xff.py", "lib/b.go")
    assert found.dirty


def test_bare_repositories_are_read_at_head(tmp_path: Path, root: Path, repository, commit) -> None:
    head = commit(repository)
    bare = tmp_path / "bare.git"
    pygit2.clone_repository(str(root), str(bare), bare=True)
    found = scan(bare, settings=DEFAULT)
    assert (found.commit, found.dirty, found.root) == (head, False, None)
    assert found.digest == scan(root, settings=DEFAULT).digest
    assert scan(root / ".git", settings=DEFAULT).digest == found.digest


def test_linked_worktrees_work(tmp_path: Path, root: Path, repository, commit, tree) -> None:
    head = commit(repository)
    tree(root / ".git", {"info/exclude": "local.py\n"})
    repository.add_worktree("linked", str(tmp_path / "linked"))
    tree(tmp_path / "linked", {"local.py": "x"})
    found = scan(tmp_path / "linked", settings=DEFAULT)
    assert (found.commit, found.dirty) == (head, False)
    assert reasons(found) == {"a.py": None, "lib/b.go": None, "local.py": "ignored"}


def test_submodules_and_repositories_inside_are_one_row(root: Path, repository, commit, tree) -> None:
    commit(repository)
    repository.index.add(pygit2.IndexEntry("mod", pygit2.Oid(hex="1" * 40), pygit2.enums.FileMode.COMMIT))
    repository.index.write()
    tree(root, {"mod/x.py": "x", "other/y.py": "x"})
    pygit2.init_repository(str(root / "other"))
    found = scan(root, settings=DEFAULT)
    assert reasons(found) == {"a.py": None, "lib/b.go": None, "mod": "submodule", "other": "submodule"}
    assert found.content_hash[found.uri.index("mod")] is None


def test_a_store_inside_of_the_tree_changes_nothing(root: Path, repository, commit, tree) -> None:
    commit(repository)
    before = scan(root, settings=DEFAULT, skip=root / "store")
    tree(root, {"store/objects/x.py": "x"})
    after = scan(root, settings=DEFAULT, skip=root / "store")
    assert (after.digest, after.dirty) == (before.digest, False)


def test_a_repository_without_commits_is_its_work_tree(root: Path, repository) -> None:
    found = scan(root, settings=DEFAULT)
    assert (reasons(found), found.commit, found.dirty) == ({"a.py": None, "lib/b.go": None}, None, True)


@pytest.mark.parametrize("rev", ["HEAD", "main", "nope", "deadbeef"])
def test_without_commits_there_are_no_revisions(root: Path, repository, rev: str) -> None:
    with pytest.raises(SourceError, match="no commits"):
        scan(root, rev=rev, settings=DEFAULT)


@pytest.mark.parametrize("rev", ["nope", "", "HEAD~9", "..", "a..b", "@{", "f" * 40, "HEAD:a.py", "bad\nname", "\udcff"])
def test_unknown_revisions_are_named(root: Path, repository, commit, rev: str) -> None:
    commit(repository)
    with pytest.raises(SourceError, match="no revision") as raised:
        scan(root, rev=rev, settings=DEFAULT)
    assert raised.value.hint


def test_an_empty_bare_repository_has_nothing(tmp_path: Path) -> None:
    pygit2.init_repository(str(tmp_path / "bare.git"), bare=True)
    with pytest.raises(SourceError, match="no commits"):
        scan(tmp_path / "bare.git", settings=DEFAULT)


def test_an_empty_commit_has_nothing_to_index(root: Path, repository) -> None:
    author = pygit2.Signature("A", "a@b.c")
    repository.create_commit("HEAD", author, author, "m", repository.TreeBuilder().write(), [])
    with pytest.raises(SourceError, match="nothing to index"):
        scan(root, rev="HEAD", settings=DEFAULT)


def test_missing_objects_are_an_error_of_the_repository(root: Path, repository, commit) -> None:
    commit(repository)
    oid = str(repository.head.peel(pygit2.Commit).tree["a.py"].id)
    (root / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(SourceError, match=oid):
        scan(root, rev="HEAD", settings=DEFAULT)


@pytest.mark.parametrize("name", ["HEAD", "config", "index"])
def test_a_damaged_repository_is_an_error_that_names_it(root: Path, repository, commit, name: str) -> None:
    commit(repository)
    (root / ".git" / name).write_bytes(b"\xff\0garbage [")
    with pytest.raises(SourceError, match="repo"):
        scan(root, settings=DEFAULT)
