from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pipeline.config import SourceSettings
from pipeline.errors import SourceError
from pipeline.files import digest_bytes
from pipeline.source.scan import Scan, scan

DEFAULT = SourceSettings()


def reasons(found: Scan) -> dict[str, str | None]:
    return dict(zip(found.uri, found.reason, strict=True))


def row(found: Scan, uri: str) -> tuple[object, ...]:
    at = found.uri.index(uri)
    content_hash = found.content_hash[at]
    return found.lang[at], found.size[at], content_hash and content_hash.hex(), found.status[at], found.reason[at]


def test_every_file_has_a_row_in_order_with_its_hash(tmp_path: Path, tree) -> None:
    root = tree(tmp_path / "t", {"b.py": "x = 1\n", "a/z.md": "# Z\n", "empty.py": "", "logo.png": b"\x89PNG\0"})
    found = scan(root, settings=DEFAULT)
    assert found.uri == ("a/z.md", "b.py", "empty.py", "logo.png")
    assert row(found, "b.py") == ("python", 6, digest_bytes(b"x = 1\n"), "indexed", None)
    assert row(found, "empty.py") == ("python", 0, digest_bytes(b""), "indexed", None)
    assert row(found, "logo.png") == (None, 5, digest_bytes(b"\x89PNG\0"), "skipped", "binary")
    assert (found.root, found.commit, found.dirty, found.rev) == (root, None, False, None)
    assert found.read("a/z.md") == b"# Z\n"


def test_equal_trees_have_equal_digests_wherever_they_lie(tmp_path: Path, tree) -> None:
    files = {"a.py": "x = 1\n", "b/c.go": "package b\n"}
    one, two = (scan(tree(tmp_path / name, files), settings=DEFAULT) for name in ("one", "two"))
    assert one.digest == two.digest
    assert scan(tree(tmp_path / "two", {"a.py": "x = 2\n"}), settings=DEFAULT).digest != one.digest


def test_content_of_every_kind_gets_its_reason(tmp_path: Path, tree) -> None:
    root = tree(
        tmp_path / "t",
        {
            "ok.py": "x = 1\n",
            "latin.py": b"s = '\xe9'\n",
            "declared.py": b"# coding: latin-1\ns = '\xe9'\n",
            "wide.py": "x = 1\n".encode("utf-16"),
            "bom.py": b"\xef\xbb\xbfx = 1\n",
            "cr.py": b"x = 1\ry = 2\r",
            "binary.py": b"\x7fELF\0\0",
            "line.json": b"[" + b"1," * 2_500_000 + b"1]",
            "big.py": b"#" * (DEFAULT.max_file_bytes + 1),
            "limit.py": b"#" * DEFAULT.max_file_bytes,
        },
    )
    assert reasons(scan(root, settings=DEFAULT)) == {
        "ok.py": None,
        "latin.py": "undecodable",
        "declared.py": None,
        "wide.py": "undecodable",
        "bom.py": None,
        "cr.py": None,
        "binary.py": "binary",
        "line.json": "too large",
        "big.py": "too large",
        "limit.py": None,
    }


def test_too_large_files_are_still_hashed_whole(tmp_path: Path, tree) -> None:
    data = bytes(range(256)) * 20_000
    root = tree(tmp_path / "t", {"a.py": "x = 1", "big.txt": data})
    found = scan(root, settings=SourceSettings(max_file_bytes=1000))
    assert row(found, "big.txt") == ("text", len(data), digest_bytes(data), "skipped", "too large")


def test_a_huge_single_line_under_the_limit_is_indexed(tmp_path: Path, tree) -> None:
    root = tree(tmp_path / "t", {"a.json": b"[" + b"1," * 2_500_000 + b"1]"})
    assert reasons(scan(root, settings=SourceSettings(max_file_bytes=8_000_000))) == {"a.json": None}


def test_names_of_every_kind_work(tmp_path: Path, tree) -> None:
    names = ["a b.py", "q'\"uote.py", "new\nline.py", "naïve/日本.py", "back\\slash.py", "-rf.py", "tab\t.py", "~.py", "*.py"]
    root = tree(tmp_path / "t", {name: name for name in names})
    found = scan(root, settings=DEFAULT)
    assert sorted(names) == list(found.uri)
    assert all(found.read(name) == name.encode() for name in names)


def test_names_that_are_not_utf8_are_escaped_and_stay_distinct(tmp_path: Path) -> None:
    root = tmp_path / "t"
    (root / os.fsdecode(b"d\xfe")).mkdir(parents=True)
    names = {b"d\xfe/a.py": "d\\xfe/a.py", b"b\xff.py": "b\\xff.py", b"b\\xff.py": "b\\xff.py~", b"c\\\xff.py": "c\\\\\\xff.py"}
    try:
        for name in names:
            (root / os.fsdecode(name)).write_bytes(name)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    found = scan(root, settings=DEFAULT, cache=tmp_path / "cache")
    assert sorted(names.values()) == list(found.uri)
    assert {found.read(uri) for uri in found.uri} == set(names)
    assert found.digest == scan(root, settings=DEFAULT, cache=tmp_path / "cache").digest
    found.digest.encode()
    assert all(uri.encode() for uri in found.uri)


def test_links_are_rows_and_never_followed(tmp_path: Path, tree) -> None:
    root = tree(tmp_path / "t", {"a.py": "x"})
    outside = tree(tmp_path / "outside", {"secret.py": "x"})
    (root / "loop").symlink_to(root)
    (root / "out").symlink_to(outside)
    (root / "file").symlink_to("a.py")
    (root / "dangling").symlink_to("nowhere")
    found = scan(root, settings=DEFAULT)
    assert reasons(found) == {"a.py": None, "loop": "symlink", "out": "symlink", "file": "symlink", "dangling": "symlink"}
    assert row(found, "file") == (None, 4, digest_bytes(b"a.py"), "skipped", "symlink")


def test_a_link_to_the_folder_itself_is_followed(tmp_path: Path, tree) -> None:
    root = tree(tmp_path / "t", {"a.py": "x"})
    (tmp_path / "link").symlink_to(root)
    assert scan(tmp_path / "link", settings=DEFAULT).root == root


def test_fifos_and_sockets_are_never_opened(tmp_path: Path, tree) -> None:
    root = tree(tmp_path / "t", {"a.py": "x"})
    os.mkfifo(root / "pipe.py")
    os.mkfifo(root / ".gitignore")
    os.mkfifo(root / ".codeintelignore")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)
        try:
            server.bind("sock")
        finally:
            os.chdir(here)
        found = scan(root, settings=DEFAULT)
    assert {uri for uri, reason in reasons(found).items() if reason == "unsupported"} == {
        "pipe.py",
        ".gitignore",
        ".codeintelignore",
        "sock",
    }
    assert found.content_hash[found.uri.index("pipe.py")] is None


def test_unreadable_files_and_folders_are_rows(tmp_path: Path, tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "t", {"a.py": "x", "closed.py": "x", "shut/b.py": "x"})
    really_open, really_scandir = os.open, os.scandir

    def refuse(path, *args, **kwargs):
        if str(path).endswith("closed.py"):
            raise PermissionError(13, "Permission denied", path)
        return really_open(path, *args, **kwargs)

    def refuse_folder(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return really_scandir(path)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse_folder)
    found = scan(root, settings=DEFAULT)
    assert reasons(found) == {"a.py": None, "closed.py": "unreadable", "shut/": "unreadable"}
    assert row(found, "closed.py")[2] is None


def test_ignore_files_count_at_every_level_with_negation(tmp_path: Path, tree) -> None:
    root = tree(
        tmp_path / "t",
        {
            ".gitignore": "*.log\nbuild/\n/top.py\n",
            "a.log": "x",
            "top.py": "x",
            "sub/top.py": "x",
            "sub/.gitignore": "!keep.log\nlocal.py\n",
            "sub/keep.log.py": "x",
            "sub/local.py": "x",
            "sub/keep.log": "x",
            "build/x.py": "x",
            "sub/build/deep/y.py": "x",
        },
    )
    assert reasons(scan(root, settings=DEFAULT)) == {
        ".gitignore": None,
        "a.log": "ignored",
        "top.py": "ignored",
        "sub/top.py": None,
        "sub/.gitignore": None,
        "sub/keep.log.py": None,
        "sub/local.py": "ignored",
        "sub/keep.log": "unsupported",
        "build/": "ignored",
        "sub/build/": "ignored",
    }


def test_our_own_ignore_file_counts_at_every_level(tmp_path: Path, tree) -> None:
    root = tree(
        tmp_path / "t",
        {
            ".codeintelignore": "*.gen.py\n",
            "a.gen.py": "x",
            "s/.codeintelignore": "!b.gen.py\nt/\n",
            "s/b.gen.py": "x",
            "s/t/c.py": "x",
        },
    )
    found = reasons(scan(root, settings=DEFAULT))
    assert (found["a.gen.py"], found["s/b.gen.py"], found["s/t/"]) == ("ignored", None, "ignored")


def test_what_is_ignored_is_not_an_input(tmp_path: Path, tree) -> None:
    root = tree(tmp_path / "t", {".gitignore": "*.tmp\nout/\n", "a.py": "x", "a.tmp": "1", "out/b": "1"})
    before = scan(root, settings=DEFAULT)
    assert row(before, "a.tmp") == (None, None, None, "skipped", "ignored")
    tree(root, {"a.tmp": "changed", "out/c/d.py": "new"})
    assert scan(root, settings=DEFAULT).digest == before.digest


def test_include_and_exclude_settings_choose(tmp_path: Path, tree) -> None:
    root = tree(tmp_path / "t", {"src/a.py": "x", "src/b.md": "x", "src/gen/c.py": "x", "d.py": "x", "lib/e.go": "x"})
    found = reasons(scan(root, settings=SourceSettings(include=("/src/", "*.go"), exclude=("gen/", "*.md"))))
    assert found == {"src/a.py": None, "src/b.md": "ignored", "src/gen/": "ignored", "d.py": "ignored", "lib/e.go": None}


def test_version_control_folders_and_the_store_have_no_rows(tmp_path: Path, tree) -> None:
    root = tree(
        tmp_path / "t",
        {"a.py": "x", ".hg/b.py": "x", "data/objects/c.py": "x", "data.py": "x", "nested/.git/config": "x", "nested/d.py": "x"},
    )
    found = scan(root, settings=DEFAULT, skip=root / "data")
    assert found.uri == ("a.py", "data.py", "nested/d.py")
    assert scan(root / "data", settings=DEFAULT, skip=root / "data").uri == ("objects/c.py",)


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({}, "t", "it has no files"),
        ({"a.py": "x"}, "t/none", "does not exist"),
        ({"a.py": "x"}, "t/a.py", "is a file"),
        ({"a.png": "x", "b.png": "x", "c.csv": "x"}, "t", r"all of its 3 files are skipped \(binary 2, unsupported 1\)"),
        ({"a.csv": "x"}, "t", "its only file is skipped"),
    ],
)
def test_what_cannot_be_scanned_is_said_in_a_sentence(tmp_path: Path, tree, files, path: str, message: str) -> None:
    tree(tmp_path / "t", files)
    with pytest.raises(SourceError, match=message) as raised:
        scan(tmp_path / path, settings=DEFAULT)
    assert raised.value.hint


def test_an_unreadable_or_impossible_path_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError):
        scan(Path("bad\0path"), settings=DEFAULT)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(SourceError):
        scan(loop, settings=DEFAULT)

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match="Permission denied"):
        scan(tmp_path, settings=DEFAULT)


def test_a_revision_of_a_folder_without_git_is_an_error(tmp_path: Path, tree) -> None:
    with pytest.raises(SourceError, match="no git repository"):
        scan(tree(tmp_path / "t", {"a.py": "x"}), rev="HEAD", settings=DEFAULT)


def test_reading_what_became_a_fifo_or_vanished_is_an_error(tmp_path: Path, tree) -> None:
    root = tree(tmp_path / "t", {"a.py": "x", "b.py": "x"})
    found = scan(root, settings=DEFAULT)
    (root / "a.py").unlink()
    (root / "b.py").unlink()
    os.mkfifo(root / "b.py")
    for uri in found.uri:
        with pytest.raises(SourceError, match="cannot be read"):
            found.read(uri)


def test_a_tree_of_empty_files_has_nothing_to_index(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "b.py").touch()
    with pytest.raises(SourceError, match="all files are empty"):
        scan(tmp_path, settings=SourceSettings())
