"""What is left when a writer dies, or when its disk fails, at any moment."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.errors import CodeIntelError
from pipeline.release import publication
from pipeline.store import versions
from pipeline.store.layout import Repository
from pipeline.store.locks import builder, is_building

ROOT = Path(__file__).parents[2]


def moments(operation: str, folder: Path) -> list[dict[str, Any]]:
    """What the dying process reports of each moment."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("faults.py")), operation, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize(("operation", "least"), [("settle", 30), ("publish", 25), ("rollback", 8)])
def test_a_builder_killed_at_any_moment_leaves_a_whole_version_current(operation: str, least: int, tmp_path: Path) -> None:
    seen = moments(operation, tmp_path)

    assert len(seen) > least and seen[-1]["ended"]
    first, second = seen[0]["names"]
    wanted = {"settle": first, "publish": second, "rollback": first}[operation]
    flips = {"settle": [first], "publish": [first, second], "rollback": [first, second, first]}[operation]
    for moment in seen:
        assert moment["whole"] and moment["current"] in (first, second)
        assert moment["after"] == wanted and moment["whole_after"]
        assert moment["left"] == []
        assert moment["flips"] == flips


def test_a_repair_killed_at_any_moment_is_done_by_the_next_one(tmp_path: Path) -> None:
    seen = moments("repair", tmp_path)

    assert seen[-1]["ended"]
    for moment in seen:
        assert moment["after"] == moment["names"][0] and moment["whole_after"]
        assert moment["left"] == []


def failure(number: int) -> Callable[[str], OSError]:
    return lambda call: OSError(number, os.strerror(number), call)


@pytest.mark.parametrize(("number", "message", "every"), [(errno.ENOSPC, "is full", 1), (errno.EIO, "Input/output error", 4)])
def test_a_failing_disk_at_any_call_of_a_publication_leaves_the_published_version(
    number: int, message: str, every: int, tmp_path: Path, toys: ModuleType, faults: ModuleType, light_checks: None
) -> None:
    at = 1 - every
    while True:
        at += every
        repository = toys.make_repository(tmp_path / str(at))
        first, second = toys.settle_manifest(repository, "one"), toys.settle_manifest(repository, "two")
        publication.publish(repository, first)
        objects = toys.contents(repository.objects)
        known = {first.facts["version"], second.facts["version"]}
        with faults.Faults(at, failure(number)).active() as counting:
            try:
                publication.publish(repository, second)
            except CodeIntelError as error:
                assert message in error.message and error.hint, error
                assert "Traceback" not in str(error)
        current = versions.current_name(repository)
        assert current in known and toys.verify_digests(repository.versions / current).ok
        assert toys.contents(repository.objects) == objects
        assert not is_building(repository)

        publication.publish(repository, second)

        assert versions.current_name(repository) == second.facts["version"]
        assert [flip.version for flip in versions.history(repository)] == [first.facts["version"], second.facts["version"]]
        with builder(repository):
            assert toys.leftovers(repository.path) == []
        shutil.rmtree(tmp_path / str(at))
        if counting.count < at:
            break
    assert at > 25


def test_a_full_disk_at_any_call_of_a_stage_leaves_no_object_and_no_ref(
    tmp_path: Path, toys: ModuleType, faults: ModuleType
) -> None:
    at = 0
    while True:
        at += 1
        repository = toys.make_repository(tmp_path / str(at))
        failed = False
        with faults.Faults(at, failure(errno.ENOSPC)).active() as counting:
            try:
                toys.settle_text(repository, "one")
            except CodeIntelError as error:
                assert "is full" in error.message
                failed = True
        if counting.count < at:
            assert not failed
            break
        for stored in repository.objects.glob("text/*"):
            # The ref may have failed after the object; then the object is whole and is taken up.
            assert stored.name.startswith(".tmp-") or toys.settle_text(repository, "one").reused
        again = toys.settle_text(repository, "one")
        assert (repository.refs / "text").read_text().strip() == again.key
        with builder(repository):
            assert toys.leftovers(repository.path) == []
        shutil.rmtree(tmp_path / str(at))
    assert at > 12


def test_a_damaged_published_version_stays_until_its_repair_is_complete(
    repository: Repository, toys: ModuleType, monkeypatch: pytest.MonkeyPatch, light_checks: None
) -> None:
    made = toys.settle_manifest(repository, "one")
    published = publication.publish(repository, made).path
    (published / "empty").unlink()

    def full(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(CodeIntelError, match="full"):
        publication.publish(repository, made)

    # What is whole in it still answers.
    assert versions.open_version(repository).path == published
    assert (published / "text.txt").read_text() == "one"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_store_is_called_so(
    number: int, repository: Repository, toys: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), path)
        return opened(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CodeIntelError, match="is read-only") as caught:
        toys.settle_text(repository, "one")
    assert "--data" in caught.value.hint
