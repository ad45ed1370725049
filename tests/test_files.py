"""Durable files: all of a thing or nothing of it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import files


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made durable and what is renamed, in order."""
    seen: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def note(descriptor: int) -> None:
        seen.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def moved(genuine: Callable[..., None]) -> Callable[..., None]:
        def move(source: Any, target: Any) -> None:
            seen.append(f"-> {Path(target).name}")
            genuine(source, target)

        return move

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "rename", moved(rename))
    monkeypatch.setattr(os, "replace", moved(replace))
    return seen


def test_a_written_file_is_durable_before_it_is_visible(tmp_path: Path, synced: list[str]) -> None:
    files.write_file(tmp_path / "a", b"data")
    temporary, moved, parent = synced
    assert temporary.startswith(files.TEMPORARY_PREFIX) and moved == "-> a" and parent == tmp_path.name
    assert (tmp_path / "a").read_bytes() == b"data" and _names(tmp_path) == ["a"]


def test_a_committed_directory_is_durable_before_it_is_visible(tmp_path: Path, synced: list[str]) -> None:
    with files.directory_commit(tmp_path / "kind" / "key") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"x")
    at = synced.index("-> key")
    assert synced[0] == tmp_path.name
    assert {"file", "deep", folder.name} <= set(synced[:at]) and synced[at + 1 :] == ["kind"]


def test_new_folders_are_durable_in_their_parents(tmp_path: Path, synced: list[str]) -> None:
    files.make_directory(tmp_path / "a" / "b" / "c")
    files.make_directory(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path.name, "a", "b"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_cache_is_written_only_where_its_folder_is(durable: bool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write_cache(tmp_path / "gone" / "a.cache", b"x", durable=durable)
    assert list(tmp_path.iterdir()) == []
    files.write_cache(tmp_path / "a.cache", b"x", durable=durable)
    assert files.read_cache(tmp_path / "a.cache") == b"x" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [None, b"old"])
def test_a_failed_write_leaves_what_there_was(
    call: str, existing: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    if existing is not None:
        path.write_bytes(existing)

    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="space"):
        files.write_file(path, b"new")
    assert (path.read_bytes() if path.exists() else None) == existing
    assert _names(tmp_path) == (["a"] if existing else [])


def test_readers_never_see_a_torn_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    values = [bytes([letter]) * 50_000 for letter in range(8)]
    files.write_file(path, values[0])
    done = threading.Event()
    torn: list[int] = []

    def read() -> None:
        while not done.is_set():
            data = path.read_bytes()
            if data not in values:
                torn.append(len(data))

    reader = threading.Thread(target=read)
    reader.start()
    for value in values * 3:
        files.write_file(path, value)
    done.set()
    reader.join()
    assert torn == []


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), files.directory_commit(tmp_path / "key") as folder:
        (folder / "half").write_bytes(b"x")
        raise KeyError
    assert _names(tmp_path) == []


def test_an_interrupted_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.directory_commit(tmp_path / "key"):
        raise KeyboardInterrupt
    assert _names(tmp_path) == []


def test_the_loser_of_a_race_keeps_the_winners_directory(tmp_path: Path) -> None:
    with files.directory_commit(tmp_path / "key") as late:
        (late / "who").write_bytes(b"late")
        with files.directory_commit(tmp_path / "key") as early:
            (early / "who").write_bytes(b"early")
        inode = (tmp_path / "key").stat().st_ino
    assert (tmp_path / "key" / "who").read_bytes() == b"early"
    assert (tmp_path / "key").stat().st_ino == inode and _names(tmp_path) == ["key"]


def test_a_target_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"mine")
    with pytest.raises(OSError), files.directory_commit(tmp_path / "key"):
        pass
    assert (tmp_path / "key").read_bytes() == b"mine" and _names(tmp_path) == ["key"]


def test_linking_shares_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")


def test_where_linking_is_impossible_bytes_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def across(source: Any, target: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(os, "link", across)
    files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x" and not (tmp_path / "a").samefile(tmp_path / "b")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_other_failures_to_link_are_not_hidden(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Any, target: Any) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(OSError) as caught:
        files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert caught.value.errno == number and not (tmp_path / "b").exists()


def test_nothing_is_linked_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"b"


def test_digests_agree_whatever_the_way(tmp_path: Path) -> None:
    for data in (b"", b"x", b"y" * (2 << 20)):
        (tmp_path / "a").write_bytes(data)
        assert files.digest_file(tmp_path / "a") == files.digest_bytes(data)
    assert files.digest_bytes(b"") == "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"


def test_equal_values_are_equal_json() -> None:
    left = files.canonical_json({"b": [1, None], "a": {"d": "é", "c": 0.5}})
    assert left == files.canonical_json({"a": {"c": 0.5, "d": "é"}, "b": [1, None]})
    assert left.endswith(b"}\n") and "é".encode() in left


def test_files_of_a_tree_are_listed_in_order_without_following_links(tmp_path: Path) -> None:
    for name in ("b/2", "a-b", "a/1", "B"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dead").symlink_to("/nowhere")
    found = [path.relative_to(tmp_path).as_posix() for path in files.tree_files(tmp_path)]
    assert found == ["B", "a-b", "a/1", "b/2", "dead"]


def test_sweeping_removes_temporaries_only(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"")
    for _ in range(2):
        files.temporary_sibling(kept).mkdir()
        files.temporary_sibling(kept).write_bytes(b"")
    files.temporary_sibling(kept).symlink_to(kept)
    assert files.sweep_temporaries(tmp_path) == 5
    assert _names(tmp_path) == ["kept"] and (kept / "file").exists()
    assert files.sweep_temporaries(tmp_path / "nowhere") == 0


def test_a_directory_takes_the_place_of_another_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "old").write_text("old")
    with files.directory_commit(tmp_path / "key", replace=True) as folder:
        (folder / "new").write_text("new")
        assert _names(tmp_path / "key") == ["old"]
    assert _names(tmp_path / "key") == ["new"] and _names(tmp_path) == ["key"]


@pytest.mark.parametrize("before", ["nothing", "folder", "file", "dangling"])
def test_a_replacement_works_whatever_is_there_and_without_the_system_s_exchange(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "key"
    for exchange in (True, False):
        if before == "folder":
            target.mkdir(exist_ok=True)
            (target / "old").write_text("old")
        elif before == "file":
            target.write_text("old")
        elif before == "dangling":
            target.symlink_to(tmp_path / "nowhere")
        if not exchange:
            monkeypatch.setattr(files, "_exchange", lambda first, second: False)
        with files.directory_commit(target, replace=True) as folder:
            (folder / "new").write_text("new")
        assert _names(target) == ["new"]
        files.sweep_temporaries(tmp_path)
        assert _names(tmp_path) == ["key"]
        files.remove(target)


def test_what_others_may_be_writing_is_swept_when_it_is_old(tmp_path: Path) -> None:
    old, new, damaged = (tmp_path / name for name in (".tmp-1-a", ".tmp-1-b", ".bad-seg-c"))
    for path in (old, new, damaged):
        path.mkdir()
    for path in (old, damaged):
        os.utime(path, (0, 0))
    (tmp_path / "kept").write_text("kept")
    assert files.sweep_temporaries(tmp_path, older=3600) == 2
    assert _names(tmp_path) == [".tmp-1-b", "kept"]
    assert files.sweep_temporaries(tmp_path) == 1 and files.sweep_temporaries(tmp_path / "missing") == 0


def test_a_file_that_a_builder_swept_while_it_was_written_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, swept = os.fsync, []

    def sweep(descriptor: int) -> None:
        fsync(descriptor)
        if not swept:
            swept.append(files.sweep_temporaries(tmp_path))

    monkeypatch.setattr(os, "fsync", sweep)
    files.write_file(tmp_path / "file", b"all of it")
    assert swept == [1] and (tmp_path / "file").read_bytes() == b"all of it" and _names(tmp_path) == ["file"]


def test_a_folder_in_the_way_of_an_own_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "ref" / "what").mkdir(parents=True)
    files.write_own_file(tmp_path / "ref", b"key\n")
    assert (tmp_path / "ref").read_bytes() == b"key\n"
    assert files.sweep_temporaries(tmp_path) == 1


def test_a_busy_folder_is_removed_although_a_file_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    real, turns = shutil.rmtree, iter(range(3))

    def removed(path: Path, **options: bool) -> None:
        real(path, **options)
        if next(turns, None) is not None:
            path.mkdir()
            (path / "lock").touch()

    monkeypatch.setattr(shutil, "rmtree", removed)
    files.remove_busy(folder)
    assert not folder.exists() and next(turns, None) is None


def test_a_busy_folder_that_cannot_be_removed_is_an_error_but_not_for_a_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(errno.EACCES, "denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(OSError, match="denied"):
        files.remove_busy(tmp_path)
    with files.scratch_folder("kept-", str(tmp_path)) as folder:
        assert folder.parent == tmp_path and folder.stat().st_mode & 0o077 == 0
