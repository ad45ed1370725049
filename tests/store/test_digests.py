"""Digests remembered by inode: never wrong, never needed."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest

from pipeline import files
from pipeline.store import digests
from pipeline.store.layout import Repository


@pytest.fixture(autouse=True)
def fresh() -> None:
    """A process that has digested nothing yet."""
    digests.forget()


def test_a_file_is_read_once_under_whatever_name(tmp_path: Path, digested: list[str]) -> None:
    (tmp_path / "one").write_text("text")
    os.link(tmp_path / "one", tmp_path / "two")
    assert digests.digest(tmp_path / "one") == digests.digest(tmp_path / "two") == files.digest_bytes(b"text")
    assert digested == ["one"]


def test_a_file_that_was_replaced_or_changed_is_read_again(tmp_path: Path, digested: list[str]) -> None:
    path = tmp_path / "one"
    path.write_text("text")
    digests.digest(path)
    files.write_file(path, b"next")
    assert digests.digest(path) == files.digest_bytes(b"next")
    with path.open("r+b") as file:
        file.write(b"last")
    os.utime(path, ns=(1, 1))
    assert digests.digest(path) == files.digest_bytes(b"last")
    assert digested == ["one"] * 3


def test_rereading_reads_and_corrects_what_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("text")
    before = path.stat()
    digests.digest(path)
    with path.open("r+b") as file:
        file.write(b"last")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests.digest(path) == files.digest_bytes(b"text")
    assert digests.digest(path, reread=True) == files.digest_bytes(b"last")
    assert digests.digest(path) == files.digest_bytes(b"last")


def test_the_next_process_knows_what_this_one_read(repository: Repository, digested: list[str]) -> None:
    path = repository.path / "one"
    path.write_text("text")
    expected = digests.digest(path)
    digests.remember(repository)
    digests.forget()
    digests.recall(repository)
    assert digests.digest(path) == expected
    assert digested == ["one"]


def test_what_another_process_remembered_is_kept(repository: Repository, digested: list[str]) -> None:
    for name in ("one", "two"):
        (repository.path / name).write_text(name)
    digests.digest(repository.path / "one")
    digests.remember(repository)
    digests.forget()
    digests.recall(repository)
    digests.digest(repository.path / "two")
    digests.remember(repository)
    digests.forget()
    digests.recall(repository)
    for name in ("one", "two"):
        digests.digest(repository.path / name)
    assert digested == ["one", "two"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "gone", "folder"])
def test_a_damaged_memory_costs_reading_and_nothing_else(repository: Repository, digested: list[str], damage: str) -> None:
    path = repository.path / "one"
    path.write_text("text")
    expected = digests.digest(path)
    digests.remember(repository)
    kept = repository.path / "digests.cache"
    raw = kept.read_bytes()
    kept.unlink()
    match damage:
        case "truncated":
            kept.write_bytes(raw[:-1])
        case "flipped":
            kept.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        case "empty":
            kept.write_bytes(b"")
        case "folder":
            kept.mkdir()
        case _:
            pass
    digests.forget()
    digests.recall(repository)
    assert digests.digest(path) == expected
    assert digested == ["one", "one"]


def test_a_result_that_is_settled_again_by_another_process_is_not_read(
    repository: Repository, toys: ModuleType, digested: list[str]
) -> None:
    toys.settle_text(repository, "one")
    digests.remember(repository)
    digests.forget()
    digested.clear()
    assert toys.settle_text(repository, "one").reused
    assert not digested


def test_no_repository_keeps_what_is_anothers(repository: Repository, toys: ModuleType, tmp_path: Path) -> None:
    other = toys.make_repository(tmp_path / "elsewhere", "other")
    digests.recall(repository)
    (repository.path / "one").write_text("text")
    digests.digest(repository.path / "one")
    digests.recall(other)
    digests.remember(other)
    digests.forget()
    digests.recall(other)
    assert digests.known((repository.path / "one").stat()) is None
