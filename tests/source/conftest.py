"""Small worlds for the tests of this folder: trees on disk and git repositories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pygit2
import pytest

Tree = Callable[[Path, Mapping[str, str | bytes]], Path]


@pytest.fixture(autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No exclude files of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for level in (pygit2.enums.ConfigLevel.GLOBAL, pygit2.enums.ConfigLevel.XDG):
        pygit2.settings.search_path[level] = str(home)


@pytest.fixture
def tree() -> Tree:
    """Write files below a folder; returns the folder."""

    def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return write


@pytest.fixture
def commit() -> Callable[..., str]:
    """Commit the named paths (all that git would add, when none is named); returns the commit's hex."""

    def make(repository: pygit2.Repository, *paths: str) -> str:
        for path in paths:
            repository.index.add(path)
        if not paths:
            repository.index.add_all()
        repository.index.write()
        author = pygit2.Signature("Ada", "ada@example.org", 1_700_000_000, 0)
        parents = [] if repository.head_is_unborn else [repository.head.target]
        return str(repository.create_commit("HEAD", author, author, "Change", repository.index.write_tree(), parents))

    return make
