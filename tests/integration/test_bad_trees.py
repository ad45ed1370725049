"""Trees that nobody would make on purpose: each gives a clear sentence, or an index in which every file is accounted for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LONG_LINE = b"x = '" + b"abc def " * 112_500 + b"'\n"
NASTY: dict[bytes, tuple[bytes, str | None]] = {
    # name: (content, reason; None where it is indexed)
    b"empty.py": (b"", None),
    b"huge.py": (b"x = 1\n" * (2 * (1 << 20) // 6), "too large"),
    b"line.py": (LONG_LINE, None),
    b"nul.py": (b"x = 1\n\0\0\0y = 2\n", "binary"),
    b"latin.py": (b"# caf\xe9\nx = 1\n", "undecodable"),
    b"cookie.py": (b"# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n", None),
    b"badcookie.py": (b"# -*- coding: no-such-thing -*-\nname = 'caf\xe9'\n", "undecodable"),
    b"utf16.py": ("x = 1\n".encode("utf-16"), "undecodable"),
    b"bom.py": (b"\xef\xbb\xbfdef marked():\n    pass\n", None),
    b"cr.py": (b"def one():\r    pass\rdef two():\r    pass\r", None),
    b"crlf.py": (b"def three():\r\n    pass\r\n", None),
    b"broken.py": (b"def (((:\n  class\n\t\tif else ''' \n", None),
    b"broken.js": (b"function { ] ) => `${", None),
    b"nested.py": (b"x = " + b"[" * 2000 + b"]" * 2000 + b"\n", None),
    b"nested.json": (b"[" * 2000 + b"]" * 2000, None),
    b"with space.py": (b"spaced = 1\n", None),
    b"quo'te\"s`$(x).py": (b"quoted = 1\n", None),
    b"new\nline.py": (b"lined = 1\n", None),
    b"back\\slash.py": (b"slashed = 1\n", None),
    "日本語/имя.py".encode(): (b"named = 1\n", None),
    b"inv\xff\xfealid.py": (b"invalid = 1\n", None),
    b"-rf.py": (b"dashed = 1\n", None),
    b"noend.py": (b"def unfinished():\n    return 1", None),
    b"controls.py": (b"x = '\x1b[2J\x07'\n\x0c\ny = 2\n", None),
    b"surrogate.json": (b'{"k": "\\ud800"}\n', None),
    b"picture.png": (b"\x89PNG\r\n\x1a\n\0\0", "binary"),
    b"package-lock.json": (b"{}", "lock file"),
    b"node_modules/m/index.js": (b"module.exports = 1\n", "vendored"),
    b"de.po": (b'msgid ""\nmsgstr ""\n', "message catalogue"),
}


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    root = tmp_path / "nasty"
    for name, (content, _) in NASTY.items():
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    (tmp_path / "outside.py").write_text("SECRET = 'outside of the tree'\n")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("..")
    (root / "self").symlink_to(".")
    (root / "escape.py").symlink_to(tmp_path / "outside.py")
    (root / "dangling.py").symlink_to("nowhere.py")
    os.mkfifo(root / "pipe.py")
    (root / "hollow").mkdir()
    return root


@pytest.mark.parametrize("versioned", [False, True], ids=["folder", "git"])
def test_every_nasty_file_is_accounted_for_and_the_index_verifies(
    nasty: Path, tmp_path: Path, indexctl: Any, git: Callable[..., str], versioned: bool
) -> None:
    if versioned:
        git(nasty, "init", "-q")
        git(nasty, "add", "-A")
        git(nasty, "commit", "-qm", "All of it")
    store = tmp_path / "store"
    done = indexctl("build", nasty, "--data", store, "--json", "--ephemeral")
    assert done.code == 0, done.err

    def rows(query: str) -> list[Any]:
        answer = indexctl("sql", query, "--data", store, "--json")
        assert answer.code == 0, answer.err
        found: list[Any] = answer.jsons
        return found

    files = {row["uri"]: row for row in rows("SELECT uri, status, reason, size, lang FROM files")}
    for name, (content, reason) in NASTY.items():
        uri = name.decode("utf-8", "backslashreplace")
        row = files.pop(uri)
        assert row["reason"] == reason, uri
        assert row["status"] == ("indexed" if reason is None else "skipped")
        assert row["size"] == len(content), uri
    for link in ("loop", "up", "self", "escape.py", "dangling.py"):
        assert files.pop(link)["reason"] == "symlink"
    if not versioned:
        assert files.pop("pipe.py")["reason"] == "unsupported"
    assert not {uri for uri in files if uri != "pipe.py"}

    chunks: dict[str, list[Any]] = {}
    for row in rows("SELECT uri, start_byte, end_byte, start_line, end_line FROM chunks ORDER BY uri, start_byte"):
        chunks.setdefault(row["uri"], []).append(row)
    for name, (content, reason) in NASTY.items():
        pieces = chunks.pop(name.decode("utf-8", "backslashreplace"), [])
        ends = [0, *(piece["end_byte"] for piece in pieces)]
        assert [piece["start_byte"] for piece in pieces] == ends[:-1]
        assert ends[-1] == (len(content) if reason is None else 0)
    assert not chunks
    assert not any("outside of the tree" in row["content"] for row in rows("SELECT content FROM chunks"))

    verified = indexctl("verify", "--data", store, "--json")
    assert verified.code == 0, verified.json["problems"]
    for query, uri in (("unfinished", "noend.py"), ("marked", "bom.py"), ("two", "cr.py"), ("named", "日本語/имя.py")):
        hits = indexctl("search", query, "--data", store, "--json").json["results"]
        assert uri in [hit["uri"] for hit in hits[:5]]
        for hit in hits:
            assert indexctl("show", hit["id"], "--data", store).code == 0
    assert indexctl("build", nasty, "--data", store, "--json").json["built"] == []


def test_what_cannot_be_indexed_is_said_in_one_sentence_with_a_way_out(
    tmp_path: Path, indexctl: Any, git: Callable[..., str]
) -> None:
    (tmp_path / "file.py").write_text("x = 1\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/a.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "unborn").mkdir()
    git(tmp_path / "unborn", "init", "-q")
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/a.py").write_text("x = 1\n")
    (tmp_path / "loop").symlink_to("loop")
    for arguments, named in (
        (["none"], "does not exist"),
        (["file.py"], "is a file"),
        (["empty"], "no files"),
        (["blobs"], "binary"),
        (["unborn"], "no files"),
        (["unborn", "--rev", "HEAD"], "no commits"),
        (["bare.git"], "no commits"),
        (["plain", "--rev", "HEAD"], "no git repository"),
        (["loop"], "loop"),
        (["plain/a.py/b"], "a.py"),
        (["x" * 5000], "too long"),
        (["~nobody-of-this-name/x"], "cannot be read"),
    ):
        for command in ("build", "plan"):
            done = indexctl(command, *arguments, "--data", tmp_path / "store", cwd=tmp_path)
            assert (done.code, done.out) == (3, ""), (command, arguments, done)
            assert named in done.err and done.err.count("\n") == 1 and "unexpected" not in done.err, (arguments, done.err)


def test_an_unknown_revision_is_refused_and_the_published_version_stays(world: Any) -> None:
    before = world.version
    for revision in ("nosuch", "0" * 40, "", "HEAD:README.md", "--all", "\x1b[31m", "HEAD~100"):
        done = world.build(f"--rev={revision}")
        assert done.code == 3 and done.err.count("\n") == 1 and "\x1b" not in done.err, (revision, done)
    assert world.version == before


def test_a_tree_whose_only_change_is_a_bad_file_still_builds(world: Any) -> None:
    (world.repo / "bad.py").write_bytes(b"\xff\xfe\0\0" * 10)
    done = world.build()
    assert done.code == 0
    [row] = world("sql", "SELECT status, reason FROM files WHERE uri = 'bad.py'", "--json").jsons
    assert row["status"] == "skipped" and row["reason"] in ("binary", "undecodable")


def test_work_that_is_removed_leaves_the_index(world: Any) -> None:
    (world.repo / "harbour/fees.py").unlink()
    assert world.build().code == 0
    hits = world("search", "berth_fee discount for long stays", "--json").json["results"]
    assert "harbour/fees.py" not in [hit["uri"] for hit in hits]
    assert not world("sql", "SELECT 1 FROM chunks WHERE uri = 'harbour/fees.py'", "--json").jsons
