from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from pipeline.config import SourceSettings
from pipeline.files import seal_of
from pipeline.source import memory
from pipeline.source import scan as scanning
from pipeline.source.scan import scan

DEFAULT = SourceSettings()


@pytest.fixture
def root(tmp_path: Path, tree) -> Path:
    """Files that have not been touched for a while."""
    root = tree(tmp_path / "t", {f"d{n % 3}/f{n}.py": f"x = {n}\n" for n in range(20)} | {"logo.png": b"\0"})
    then = time.time() - 3600
    for path in root.rglob("*"):
        os.utime(path, (then, then))
    return root


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that scans open, from here on."""
    found: list[str] = []
    really = scanning.open_regular

    def watch(path: str) -> int:
        found.append(Path(path).name)
        return really(path)

    monkeypatch.setattr(scanning, "open_regular", watch)
    return found


def test_an_unchanged_tree_is_scanned_again_without_opening_a_file(tmp_path: Path, root: Path, opened: list[str]) -> None:
    cache = tmp_path / "caches" / "scan"
    first = scan(root, settings=DEFAULT, cache=cache)
    assert not cache.parent.exists()  # What is looked at and no longer there is not brought back.
    opened.clear()
    assert scan(root, settings=DEFAULT, cache=cache, new=True) == first
    assert len(opened) == 21
    opened.clear()
    written = cache.stat()
    second = scan(root, settings=DEFAULT, cache=cache)
    assert opened == []
    assert second == first
    assert second.digest == first.digest
    assert cache.stat().st_ino == written.st_ino


def test_only_what_changed_is_opened(tmp_path: Path, root: Path, tree, opened: list[str]) -> None:
    cache = tmp_path / "scan"
    first = scan(root, settings=DEFAULT, cache=cache)
    opened.clear()
    tree(root, {"d0/f0.py": "x = 9\n", "new.py": "x"})
    (root / "d1/f1.py").unlink()
    second = scan(root, settings=DEFAULT, cache=cache)
    assert sorted(opened) == ["f0.py", "new.py"]
    assert second.digest == scan(root, settings=DEFAULT).digest != first.digest


def test_a_change_of_equal_size_and_time_is_seen(tmp_path: Path, root: Path) -> None:
    cache = tmp_path / "scan"
    path = root / "d0/f0.py"
    first = scan(root, settings=DEFAULT, cache=cache)
    before = path.stat()
    time.sleep(0.02)
    path.write_text("y = 0\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scan(root, settings=DEFAULT, cache=cache).digest != first.digest


def test_files_that_were_just_written_are_not_trusted(tmp_path: Path, root: Path, tree, opened: list[str]) -> None:
    cache = tmp_path / "scan"
    tree(root, {"fresh.py": "x"})
    future = time.time() + 3600
    os.utime(root / "logo.png", (future, future))
    scan(root, settings=DEFAULT, cache=cache)
    opened.clear()
    scan(root, settings=DEFAULT, cache=cache)
    assert sorted(opened) == ["fresh.py", "logo.png"]


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "foreign", "newer", "rules", "folder"])
def test_a_memory_that_cannot_be_trusted_is_as_good_as_none(
    tmp_path: Path, root: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cache = tmp_path / "scan"
    first = scan(root, settings=DEFAULT, cache=cache)
    raw = bytearray(cache.read_bytes())
    match damage:
        case "empty":
            raw.clear()
        case "truncated":
            del raw[-10:]
        case "flipped":
            raw[len(raw) // 2] ^= 1
        case "foreign":
            payload = msgspec.msgpack.encode({"some": "thing"})
            raw[:] = seal_of(payload) + payload
        case "newer":
            monkeypatch.setattr(memory, "FORMAT", memory.FORMAT + 1)
        case "rules":
            monkeypatch.setattr(memory, "RULES_VERSION", "another")
    cache.write_bytes(raw)
    if damage == "folder":
        cache.unlink()
        cache.mkdir()
    opened.clear()
    assert scan(root, settings=DEFAULT, cache=cache) == first
    assert len(opened) == 21
    opened.clear()
    assert scan(root, settings=DEFAULT, cache=cache) == first
    assert (opened == []) is (damage != "folder")


def test_nothing_is_remembered_across_settings(tmp_path: Path, root: Path, opened: list[str]) -> None:
    cache = tmp_path / "scan"
    scan(root, settings=DEFAULT, cache=cache)
    opened.clear()
    small = scan(root, settings=SourceSettings(max_file_bytes=6), cache=cache)
    assert len(opened) == 21
    assert "too large" in small.reason
    assert "too large" not in scan(root, settings=DEFAULT, cache=cache).reason


def test_a_memory_that_cannot_be_written_is_no_error(tmp_path: Path, root: Path) -> None:
    (tmp_path / "file").write_text("")
    assert scan(root, settings=DEFAULT, cache=tmp_path / "file" / "scan").uri


def test_revisions_are_remembered_by_object(tmp_path: Path, root: Path, commit, monkeypatch: pytest.MonkeyPatch) -> None:
    import pygit2

    commit(pygit2.init_repository(str(root)))
    cache = tmp_path / "scan"
    first = scan(root, rev="HEAD", settings=DEFAULT, cache=cache)

    def refuse(repository: object, oid: str) -> bytes:
        raise AssertionError(oid)

    monkeypatch.setattr(scanning.git, "read_blob", refuse)
    assert scan(root, rev="HEAD", settings=DEFAULT, cache=cache) == first
