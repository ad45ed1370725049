"""What was read of files is remembered by their digests, for whoever comes next, and never believed when it is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store import caches, readings
from pipeline.store.layout import Repository, create_store


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    """What other tests remembered is none of our business, and the other way round."""
    readings.forget()
    yield
    readings.forget()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = create_store(tmp_path / "store").repository("r")
    repository.path.mkdir()
    return repository


def cache(repository: Repository) -> Path:
    return repository.path / "readings.cache"


def counted(times: list[int], *digests: str, what: str = "rows") -> object:
    def read() -> object:
        times.append(1)
        return {"rows": 7, "ids": b"\x00\x01", "names": ["a"]}

    return readings.reading(what, list(digests), read)


def test_a_file_with_a_known_digest_is_read_once() -> None:
    times: list[int] = []
    assert counted(times, "d1") == counted(times, "d1") == {"rows": 7, "ids": b"\x00\x01", "names": ["a"]}
    assert len(times) == 1


@pytest.mark.parametrize(("digests", "what"), [(("d2",), "rows"), (("d1", "d2"), "rows"), (("d1",), "rows by other code")])
def test_other_bytes_or_another_reading_are_read(digests: tuple[str, ...], what: str) -> None:
    times: list[int] = []
    counted(times, "d1")
    counted(times, *digests, what=what)
    assert len(times) == 2


def test_without_digests_everything_is_read() -> None:
    answers = iter([1, 2])
    assert [readings.reading("rows", None, lambda: next(answers)) for _ in range(2)] == [1, 2]


def test_the_next_process_knows_what_this_one_read(repository: Repository) -> None:
    times: list[int] = []
    counted(times, "d1")
    readings.remember(repository)
    readings.forget()
    readings.recall(repository)
    assert counted(times, "d1") == {"rows": 7, "ids": b"\x00\x01", "names": ["a"]}
    assert len(times) == 1


@pytest.mark.parametrize("spoil", ["flip", "truncate", "empty", "format", "gone"])
def test_a_damaged_memory_costs_time_only(repository: Repository, spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[int] = []
    if spoil == "format":
        monkeypatch.setattr(readings, "FORMAT", readings.FORMAT + 1)
    counted(times, "d1")
    readings.remember(repository)
    monkeypatch.undo()
    readings.forget()
    path = cache(repository)
    raw = bytearray(path.read_bytes())
    if spoil == "flip":
        raw[len(raw) // 2] ^= 1
        path.write_bytes(bytes(raw))
    elif spoil == "truncate":
        path.write_bytes(bytes(raw[:-3]))
    elif spoil == "empty":
        path.write_bytes(b"")
    elif spoil == "gone":
        path.unlink()
    readings.recall(repository)
    counted(times, "d1")
    assert len(times) == 2


def test_what_nobody_asks_for_is_forgotten_the_oldest_first(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "MOST_KEPT", 3)
    for round_ in range(4):
        for name in ("a", "b"):
            counted([], f"{name}{round_}")
        readings.remember(repository)
    readings.forget()
    readings.recall(repository)
    known = [name for name in ("a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3") if _known(name)]
    assert known == ["b1", "a2", "b2", "a3", "b3"]


def _known(digest: str) -> bool:
    return readings.known(readings.key_of("rows", [digest])) is not None


def test_a_process_that_learned_nothing_writes_nothing(repository: Repository) -> None:
    readings.remember(repository)
    assert not cache(repository).exists()


def test_a_store_that_cannot_be_written_is_no_reason_to_fail(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    counted([], "d1")

    def full(path: Path, payload: bytes, *, durable: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches.files, "write_cache", full)
    readings.remember(repository)
    assert not cache(repository).exists()
