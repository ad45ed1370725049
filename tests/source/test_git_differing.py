"""Whether one file is as HEAD has it: what is said without git's index is what libgit2 says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest

from pipeline.source import repository as git

BEFORE = {"plain.py": "x = 1\n", "crlf.txt": "a\nb\n", "marked.py": "# $Id$\n", "other.py": "y = 1\n"}


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(content)


def link(root: Path) -> None:
    (root / "plain.py").unlink()
    (root / "plain.py").symlink_to("other.py")


def staged(root: Path) -> None:
    (root / "plain.py").write_text("x = 3\n")
    repository = pygit2.Repository(str(root))
    repository.index.add("plain.py")
    repository.index.write()


def turned(root: Path) -> None:
    pygit2.Repository(str(root)).config["core.autocrlf"] = "true"
    (root / "plain.py").write_bytes(b"x = 1\r\n")


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nothing": ("plain.py", lambda root: None),
    "other bytes": ("plain.py", write("plain.py", b"x = 2\n")),
    "more bytes": ("plain.py", write("plain.py", b"x = 2000\n")),
    "none": ("plain.py", write("plain.py", b"")),
    "the same bytes again": ("plain.py", write("plain.py", b"x = 1\n")),
    "gone": ("plain.py", lambda root: (root / "plain.py").unlink()),
    "executable": ("plain.py", lambda root: (root / "plain.py").chmod(0o755)),
    "a link": ("plain.py", link),
    "staged": ("plain.py", staged),
    "other ends of lines by an attribute": ("crlf.txt", write("crlf.txt", b"a\r\nb\r\n")),
    "other ends of lines, as many bytes": ("crlf.txt", write("crlf.txt", b"a\r\n\n")),
    "other ends of lines by a setting": ("plain.py", turned),
    "a keyword": ("marked.py", write("marked.py", b"# $Id: 1234 $\n")),
    "another file": ("plain.py", write("other.py", b"y = 2\n")),
}


@pytest.fixture
def root(tmp_path: Path, tree, commit) -> Path:
    root: Path = tree(tmp_path / "t", BEFORE | {".gitattributes": "*.txt text\nmarked.py ident\n"})
    commit(pygit2.init_repository(str(root)))
    return root


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_said_of_a_file_is_what_libgit2_says(root: Path, name: str) -> None:
    path, change = CHANGES[name]
    change(root)
    location = git.locate(root)
    assert location is not None
    told = location.repository.status_file(path)
    assert git.one_differs(location, path) is (told not in (pygit2.enums.FileStatus.CURRENT, pygit2.enums.FileStatus.IGNORED))


def test_a_file_that_only_the_index_has_differs(root: Path) -> None:
    (root / "new.py").write_text("z = 1\n")
    repository = pygit2.Repository(str(root))
    repository.index.add("new.py")
    repository.index.write()
    location = git.locate(root)
    assert location is not None and git.one_differs(location, "new.py")


def test_of_an_edited_file_gits_index_is_not_read(root: Path) -> None:
    (root / "plain.py").write_text("x = 2\n")
    (root / ".git/index").write_bytes(b"damaged")
    location = git.locate(root)
    assert location is not None and git.one_differs(location, "plain.py")
    with pytest.raises(pygit2.GitError):
        git.one_differs(location, "other.py")
