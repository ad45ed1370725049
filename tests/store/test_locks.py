"""One builder at a time, and readers who never wait."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.errors import CodeIntelError, StoreBusyError
from pipeline.files import TEMPORARY_PREFIX
from pipeline.release import publication
from pipeline.store import locks, versions
from pipeline.store.layout import Repository, Store
from pipeline.store.locks import builder, is_building, pin

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from pipeline.store.layout import Repository
from pipeline.store.locks import builder
with builder(Repository("toy", Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(repository: Repository) -> Iterator[subprocess.Popen[str]]:
    """Another process that builds the repository."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(repository.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_builder_is_told_who_builds(repository: Repository, holder: subprocess.Popen[str], toys: ModuleType) -> None:
    assert is_building(repository)
    with pytest.raises(StoreBusyError, match=f"`toy` is being built by process {holder.pid}") as caught:
        toys.settle_text(repository, "a b")
    assert caught.value.exit_code == 4 and caught.value.hint
    assert not repository.objects.exists()


def test_the_lock_goes_with_its_process(repository: Repository, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert not is_building(repository)
    with builder(repository):
        assert is_building(repository)


def test_readers_do_not_wait_for_a_builder(
    repository: Repository, toys: ModuleType, light_checks: None, request: pytest.FixtureRequest
) -> None:
    publication.publish(repository, toys.settle_manifest(repository, "one"))
    request.getfixturevalue("holder")

    assert is_building(repository)
    with versions.open_version(repository) as version:
        assert (version.ensure("text") / "text.txt").read_text() == "one"


def test_another_repository_may_be_built_meanwhile(repository: Repository, holder: subprocess.Popen[str]) -> None:
    other = Store(repository.path.parent).repository("other")
    with builder(other):
        assert is_building(other) and is_building(repository)


def test_the_lock_is_reentrant_in_its_thread(repository: Repository) -> None:
    with builder(repository):
        with builder(repository), builder(repository):
            pass
        assert is_building(repository)
        with pytest.raises(KeyError), builder(repository):
            raise KeyError
        assert is_building(repository)
    assert not is_building(repository)


def test_the_lock_is_one_however_the_store_is_spelled(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(repository.path.parent)
    with builder(repository), builder(Repository("toy", Path("data/toy"))), builder(Repository("toy", tmp_path / "link/toy")):
        assert is_building(repository)
    assert not is_building(repository)


def test_another_thread_is_refused(repository: Repository) -> None:
    caught: list[BaseException] = []

    def build() -> None:
        try:
            with builder(repository):
                pass
        except StoreBusyError as error:
            caught.append(error)

    with builder(repository):
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    assert len(caught) == 1 and "another thread" in str(caught[0])
    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_asking_whether_somebody_builds_refuses_no_builder(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    with builder(repository):
        pass
    # Who asks holds the lock, shared, until the builder has waited once.
    asking = os.open(repository.path / "builder.lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: os.close(asking))

    with builder(repository):
        assert is_building(repository)


def _wait(ready: object, done: object) -> None:
    ready.set()  # type: ignore[attr-defined]
    done.wait(60)  # type: ignore[attr-defined]


def test_worker_processes_do_not_keep_the_lock(repository: Repository) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    with builder(repository):
        worker = context.Process(target=_wait, args=(ready, done))
        worker.start()
        assert ready.wait(60)
    try:
        assert worker.is_alive() and not is_building(repository)
        with builder(repository):
            pass
    finally:
        done.set()
        worker.join()


def test_a_builder_sweeps_what_crashed_ones_left(repository: Repository) -> None:
    places = ["", "versions", "refs", "verified", "objects/text", "objects/words"]
    for place in places:
        (repository.path / place / f"{TEMPORARY_PREFIX}7-a" / "deep").mkdir(parents=True)
        (repository.path / place / f"{TEMPORARY_PREFIX}7-b").write_bytes(b"half")
        (repository.path / place / f"{TEMPORARY_PREFIX}7-c").symlink_to("/nowhere")
        (repository.path / place / "kept").write_bytes(b"")

    with builder(repository):
        for place in places:
            assert not list((repository.path / place).glob(f"{TEMPORARY_PREFIX}*"))
            assert (repository.path / place / "kept").exists()


def test_a_repository_folder_that_is_a_file_is_an_error_of_ours(repository: Repository) -> None:
    blocked = Repository("blocked", repository.path.parent / "blocked")
    blocked.path.write_bytes(b"")
    with pytest.raises(CodeIntelError, match="blocked"), builder(blocked):
        pass
    assert not is_building(blocked)


def test_a_pin_shares_a_folder_and_shuts_out_its_collector(tmp_path: Path) -> None:
    first, second = pin(tmp_path), pin(tmp_path)
    collector = os.open(tmp_path, os.O_RDONLY)
    try:
        for held in (first, second):
            with pytest.raises(BlockingIOError):
                fcntl.flock(collector, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(held)
        fcntl.flock(collector, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(collector)
