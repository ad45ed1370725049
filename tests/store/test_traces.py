"""Sets of traces on disk: whole or not there, bounded, for the owner alone."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import CodeIntelError
from pipeline.store import traces


def add(folder: Path, size: int = 10) -> Path:
    with traces.new_set(folder) as made:
        (made / "a.parquet").write_bytes(b"x" * size)
    return traces.sets(folder)[-1]


def test_the_switch_is_off_until_it_is_turned_on_and_off_keeps_what_there_is(tmp_path: Path) -> None:
    folder = tmp_path / "repo" / "trace"
    assert not traces.is_on(folder) and traces.sets(folder) == []
    traces.switch(folder, on=False)
    assert not folder.exists()
    traces.switch(folder, on=True)
    traces.switch(folder, on=True)
    assert traces.is_on(folder)
    made = add(folder)
    traces.switch(folder, on=False)
    assert not traces.is_on(folder) and traces.sets(folder) == [made]


def test_nobody_but_the_owner_can_read_traces(tmp_path: Path) -> None:
    folder = tmp_path / "trace"
    before = os.umask(0)
    try:
        traces.switch(folder, on=True)
        made = add(folder)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, made, made / "a.parquet")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_set_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), traces.new_set(tmp_path) as made:
        (made / "a.parquet").write_bytes(b"x")
        assert traces.sets(tmp_path) == []
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_sets_are_ordered_by_time_and_other_entries_are_none(tmp_path: Path) -> None:
    made = [add(tmp_path) for _ in range(3)]
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "some folder").mkdir()
    assert traces.sets(tmp_path) == made
    assert traces.clear(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "some folder"]


@pytest.mark.parametrize(
    ("most_sets", "most_bytes", "kept"),
    [(10, 1 << 20, 6), (2, 1 << 20, 2), (10, 350, 3), (10, 300, 3), (10, 299, 2), (1, 1, 1)],
)
def test_the_oldest_go_first_and_the_newest_stays_whatever_the_bounds(
    tmp_path: Path, most_sets: int, most_bytes: int, kept: int
) -> None:
    made = [add(tmp_path, 100) for _ in range(6)]
    assert traces.rotate(tmp_path, most_sets=most_sets, most_bytes=most_bytes) == 6 - kept
    assert traces.sets(tmp_path) == made[-kept:] == sorted(tmp_path.iterdir())


def test_many_may_write_and_rotate_at_once(tmp_path: Path) -> None:
    def work(_: int) -> None:
        for _ in range(5):
            add(tmp_path)
            traces.rotate(tmp_path, most_sets=7, most_bytes=1 << 20)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(traces.sets(tmp_path)) == len(list(tmp_path.iterdir())) == 7


def test_what_killed_processes_left_goes_and_what_live_ones_write_stays(tmp_path: Path) -> None:
    dead, live = tmp_path / ".tmp-1-dead", tmp_path / ".tmp-2-live"
    for folder in (dead, live):
        folder.mkdir()
        (folder / "a.parquet").write_bytes(b"x")
    os.utime(dead, (0, 0))
    add(tmp_path)
    traces.rotate(tmp_path, most_sets=9, most_bytes=1 << 20)
    assert not dead.exists() and live.exists()


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CodeIntelError, match="Writing to the store"):
        traces.switch(tmp_path / "file" / "trace", on=True)
    add(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CodeIntelError, match="read-only"):
        traces.clear(tmp_path)
