"""`indexctl watch`, as a process of its own: what builds it makes, what it survives, how it ends."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.store.layout import open_store
from pipeline.store.locks import builder

PATIENCE = 120.0
ROOT = Path(__file__).parents[2]
PLAIN = {"CODEINTEL_CST": "false", "CODEINTEL_EVAL_QUERIES": "0", "CODEINTEL_SCIP": "off"}
Git = Callable[..., str]


class Watch:
    """A running `indexctl watch --json`: the lines that it printed, and what it said."""

    def __init__(self, repo: Path, store: Path, *options: str, **settings: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from pipeline.interfaces.main import program; program()", "watch", repo, "--json",
             "--ephemeral", "--data", store, *options],
            env={**clean, **PLAIN, **settings, "PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: queue.Queue[str] = queue.Queue()
        self.all_said: list[str] = []
        for stream, into in ((self.process.stdout, self.lines), (self.process.stderr, self.said)):
            threading.Thread(target=self._read, args=(stream, into), daemon=True).start()

    def _read(self, stream: Any, into: queue.Queue[str]) -> None:
        for line in stream:
            into.put(line)

    def build(self) -> Any:
        """What the next build printed."""
        return json.loads(self.lines.get(timeout=PATIENCE))

    def hears(self, words: str) -> None:
        """Wait until it says so."""
        while words not in (line := self.said.get(timeout=PATIENCE)):
            self.all_said.append(line)

    def still(self, seconds: float = 1.5) -> bool:
        """Whether it builds nothing for a while."""
        try:
            self.lines.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def end(self, how: int = signal.SIGINT) -> int:
        """End it; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


@pytest.fixture
def watching(world: Any) -> Iterator[Callable[..., Watch]]:
    """Watch the demo repository."""
    started: list[Watch] = []

    def start(*options: str, **settings: str) -> Watch:
        started.append(Watch(world.repo, world.store, *options, **settings))
        started[-1].hears("watching")
        return started[-1]

    yield start
    for watch in started:
        if watch.process.poll() is None:
            watch.process.kill()
            watch.process.wait()


def found(world: Any, query: str) -> str:
    uri: str = world("search", query, "-k", "1", "--json").json["results"][0]["uri"]
    return uri


def test_each_way_of_saving_is_one_build_and_what_is_ignored_is_none(
    world: Any, watching: Callable[..., Watch], git: Git
) -> None:
    watch = watching()
    first = watch.build()
    assert first["repo"] == "demo" and first["published"]
    fees = world.repo / "harbour/fees.py"

    fees.write_text("def pilot_surcharge(): return 1\n")
    assert watch.build()["version"] == world.version and found(world, "pilot_surcharge") == "harbour/fees.py"

    (beside := fees.with_name(".fees.py.swp")).write_text("def towage_rebate(): return 2\n")
    beside.replace(fees)
    assert watch.build()["version"] == world.version and found(world, "towage_rebate") == "harbour/fees.py"

    (world.repo / "ignored/secret.py").write_text("SECRET = 3\n")
    os.utime(fees)
    assert watch.still()

    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-qm", "Second")
    assert watch.build()["commit"] == git(world.repo, "rev-parse", "HEAD")
    assert watch.still() and watch.end() == 0
    watch.hears("stopped")


def test_a_checkout_of_two_thousand_files_is_one_build(world: Any, watching: Callable[..., Watch], git: Git) -> None:
    git(world.repo, "checkout", "-qb", "many")
    for number in range(2000):
        # Few of them are indexed, because it is the checkout that is tested.
        suffix = "py" if number % 100 == 0 else "bin"
        path = world.repo / f"many/{number % 40}/file_{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def numbered_{number}(): pass\n")
    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-qm", "Many")
    git(world.repo, "checkout", "-q", "main")
    watch = watching(CODEINTEL_WATCH_MOST_DELAY="60", CODEINTEL_WATCH_DEBOUNCE="0.6")
    main = watch.build()["version"]
    git(world.repo, "checkout", "-q", "many")
    built = watch.build()
    assert built["commit"] == git(world.repo, "rev-parse", "many") and found(world, "numbered_1900").startswith("many/")
    assert watch.still()
    git(world.repo, "checkout", "-q", "main")
    back = watch.build()
    assert (back["version"], back["built"]) == (main, ["current"])
    assert watch.end(signal.SIGTERM) == 0


def test_an_error_is_told_once_and_the_next_change_is_built(world: Any, watching: Callable[..., Watch]) -> None:
    watch = watching()
    watch.build()
    assert watch.still(0.5)
    settings = world.repo / "codeintel.toml"
    settings.write_text("chunk_budget = 'many'\n")
    failed = watch.build()
    assert failed["published"] is False and "chunk_budget" in failed["problems"][0]["problem"]
    assert watch.still()
    settings.unlink()
    (world.repo / "harbour/tides.py").write_text("def neap(): return 2\n")
    assert watch.build()["published"] and found(world, "neap") == "harbour/tides.py"


def test_a_store_that_is_busy_is_waited_for(world: Any, watching: Callable[..., Watch]) -> None:
    watch = watching()
    watch.build()
    with builder(open_store(world.store).existing("demo")):
        (world.repo / "harbour/tides.py").write_text("def spring_tide(): return 1\n")
        watch.hears("waiting")
    assert watch.build()["published"] and found(world, "spring_tide") == "harbour/tides.py"


def test_the_end_of_the_folder_is_told_and_is_the_end(world: Any, watching: Callable[..., Watch]) -> None:
    watch = watching("--poll", "0.2")
    watch.build()
    shutil.move(world.repo, world.repo.with_name("moved"))
    assert watch.process.wait(PATIENCE) == 3
    watch.hears("is gone")
    assert world("search", "tide").code == 0


def test_what_cannot_be_watched_is_refused_and_makes_no_store(tmp_path: Path, indexctl: Any) -> None:
    done = indexctl("watch", tmp_path / "none", "--data", tmp_path / "s")
    assert done.code == 3 and "does not exist" in done.err and not (tmp_path / "s").exists()
