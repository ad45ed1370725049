"""Pins: what is kept is never forgotten, and what cannot be read is not taken for nothing."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from pipeline.errors import IndexFormatError, NotFoundError
from pipeline.store.layout import Repository
from pipeline.store.pins import FORMAT, PINS, notes, pin, pinned, unpin

FIRST, SECOND = f"v-{1:016x}", f"v-{2:016x}"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository("toy", tmp_path / "toy")
    for name in (FIRST, SECOND):
        (made.versions / name).mkdir(parents=True)
    return made


def test_without_the_file_nothing_is_pinned(repository: Repository) -> None:
    assert pinned(repository) == frozenset()


def test_pins_and_their_notes_come_back_until_they_are_taken_away(repository: Repository) -> None:
    assert pin(repository, FIRST, "release 1.0 – für Ada") and pin(repository, SECOND)
    assert notes(repository) == {FIRST: "release 1.0 – für Ada", SECOND: ""}
    assert not pin(repository, SECOND)
    assert pin(repository, SECOND, "now with a note")
    unpin(repository, FIRST)
    assert notes(repository) == {SECOND: "now with a note"}
    assert (
        repository.path / PINS
    ).read_text() == f'{{\n  "pinned": {{\n    "{SECOND}": "now with a note"\n  }},\n  "version": 1\n}}\n'


def test_only_what_is_there_can_be_pinned_and_only_what_is_pinned_unpinned(repository: Repository) -> None:
    with pytest.raises(NotFoundError, match="no version"):
        pin(repository, f"v-{9:016x}")
    with pytest.raises(NotFoundError, match="not pinned"):
        unpin(repository, FIRST)
    pin(repository, FIRST)
    (repository.versions / FIRST).rmdir()
    unpin(repository, FIRST)
    assert pinned(repository) == frozenset()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\x00" * 40, b'{"version": 1}', b'{"version": 1, "pinned": []}',
        b'{"version": 1, "pinned": {"v-1": ""}}',
        b'{"version": 1, "pinned": {}, "more": 1}', b'{"pinned": {"v-0000000000000001": 7}, "version": 1}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_told_and_never_taken_for_nothing_pinned(repository: Repository, content: bytes) -> None:
    (repository.path / PINS).write_bytes(content)
    for ask in (lambda: pinned(repository), lambda: pin(repository, FIRST), lambda: unpin(repository, FIRST)):
        with pytest.raises(IndexFormatError, match=r"pins\.json.*damaged"):
            ask()
    assert (repository.path / PINS).read_bytes() == content


def test_a_file_of_a_newer_program_is_refused(repository: Repository) -> None:
    (repository.path / PINS).write_text(f'{{"version": {FORMAT + 1}, "kept": []}}')
    with pytest.raises(IndexFormatError, match="Update"):
        pinned(repository)


def _pin_many(repository: Repository, names: list[str]) -> None:
    for name in names:
        pin(repository, name)


def test_no_pin_is_lost_when_several_processes_pin_at_once(repository: Repository) -> None:
    names = [f"v-{number:016x}" for number in range(3, 27)]
    for name in names:
        (repository.versions / name).mkdir()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_pin_many, args=(repository, names[start::3])) for start in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert pinned(repository) == frozenset(names)
