"""Forty repositories under the Dagster daemon: does the sensor build what moved, once, and does nothing get lost?

    .venv/bin/python benchmarks/repositories.py [--repositories 40] [--moved 5] [--interval 30] [--keep DIR]

Makes small git repositories, half of them registered by path and half as remotes (`file://`), builds them, and starts a
`dagster-daemon` with the sensor on. Then, twice, commits to five. The first time the daemon is left alone: exactly those five
must be built, by one run each, all asked for in one tick. The second time the daemon and everything that it started is killed
(SIGKILL) while a run is at work, and started again: the five must be published, and all versions hold. Exits with 1 where
something of that is not so.

Belongs here: that measurement. Not here: the sensor (`sensors.commits`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pygit2

from pipeline import planning, registration
from pipeline.building import build_here
from pipeline.interfaces.run import dagster_home, dagster_instance
from pipeline.release.verification import verify_folder
from pipeline.store.layout import Store, create_store, read_origin
from pipeline.store.versions import current_name, read_manifest
from pipeline.workers import Runtime

ROOT = Path(__file__).parents[1]
_PATIENCE = 900.0
_NEVER = "0 0 29 2 *"
_AUTHOR = pygit2.Signature("Nobody", "nobody@example.org")
_TEXT = '''"""Module {number} of repository {name}."""


def work_{number}(value: int) -> int:
    """Add {number} to a value, as {name} does it."""
    return value + {number}
'''


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def make(path: Path) -> None:
    """A repository of three modules."""
    pygit2.init_repository(str(path), initial_head="main")
    for number in range(3):
        (path / f"module_{number}.py").write_text(_TEXT.format(number=number, name=path.name))
    commit(path)


def commit(path: Path) -> str:
    """Commit the work tree with one more module in it; full hex of the commit."""
    number = len(list(path.glob("*.py")))
    (path / f"module_{number}.py").write_text(_TEXT.format(number=number, name=path.name))
    repository = pygit2.Repository(str(path))
    repository.index.add_all()
    repository.index.write()
    parents = [] if repository.head_is_unborn else [repository.head.target]
    tree = repository.index.write_tree()
    return str(repository.create_commit("HEAD", _AUTHOR, _AUTHOR, "One more", tree, parents))


def build(store: Store, name: str) -> None:
    """Without Dagster, which forty first builds would wait for."""
    repository = store.existing(name)
    decided = planning.plan(store, repository, read_origin(repository), building=True)
    build_here(store, decided, runtime=Runtime(workers=1, shared=store.shared), progress=lambda *_: None)


@contextlib.contextmanager
def daemon(store: Store, interval: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `dagster-daemon` with a process group of its own, gone at the end."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(dagster_home(store)),
        "CODEINTEL_DATA": str(store.root),
        "CODEINTEL_AUTOMATION": "true",
        "CODEINTEL_COMMITS_INTERVAL": str(interval),
        # What is measured is the sensor; a night that begins meanwhile would build, too.
        "CODEINTEL_NIGHTLY_CRON": _NEVER,
        "CODEINTEL_GC_CRON": _NEVER,
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }
    command = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-m", "pipeline.definitions"]
    with log.open("ab") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True)
        try:
            yield process
        finally:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The daemon and everything that it started, without a word."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass
class World:
    """The store, and where its repositories are worked on."""

    store: Store
    trees: dict[str, Path]
    known: set[str] = field(default_factory=set)
    """Runs that were there before."""

    def published(self, name: str) -> str | None:
        """The commit that is published."""
        repository = self.store.existing(name)
        version = current_name(repository)
        return None if version is None else read_manifest(repository.versions / version).commit

    def runs(self) -> list[Any]:
        """Records of the runs since `known`, the first one first."""
        with dagster_instance(self.store) as instance:
            return [record for record in instance.get_run_records()[::-1] if record.dagster_run.run_id not in self.known]

    def await_published(self, commits: dict[str, str]) -> float:
        """Seconds until all of these are published, and their runs are over."""
        started = time.monotonic()
        while time.monotonic() - started < _PATIENCE:
            if all(self.published(name) == commit for name, commit in commits.items()) and all(
                record.dagster_run.is_finished for record in self.runs()
            ):
                return time.monotonic() - started
            time.sleep(2)
        raise SystemExit(f"not published after {_PATIENCE:g} s")

    def ticks(self) -> list[Any]:
        """Ticks of the sensor, the first one first."""
        with dagster_instance(self.store) as instance:
            states = [state for state in instance.all_instigator_state() if state.name == "commits"]
            return instance.get_ticks(states[0].instigator_origin_id, states[0].selector_id)[::-1] if states else []


def moved(world: World, names: Sequence[str]) -> dict[str, str]:
    """Commit to some, at once; what must be published."""
    world.known |= {record.dagster_run.run_id for record in world.runs()}
    return {name: commit(world.trees[name]) for name in names}


def undisturbed(world: World, names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The daemon is left alone. Figures, and what was not as it must be."""
    before = {name: world.published(name) for name in world.trees}
    ticks_before = len(world.ticks())
    commits = moved(world, names)
    seconds = world.await_published(commits)
    runs = Counter(record.dagster_run.tags["dagster/partition"] for record in world.runs())
    asking = [tick for tick in world.ticks()[ticks_before:] if tick.run_ids]
    wrong = []
    if runs != Counter(names):
        wrong.append(f"runs by repository: {dict(runs)}, not one for each of {list(names)}")
    if len(asking) != 1:
        wrong.append(f"they were asked for in {len(asking)} ticks")
    if any(world.published(name) != commit for name, commit in before.items() if name not in names):
        wrong.append("another repository was built")
    longest = max(((tick.end_timestamp or 0) - tick.timestamp for tick in asking), default=0.0)
    return {"until all were published": f"{seconds:.0f} s", "the tick that asked": f"{longest:.1f} s"}, wrong


def killed(world: World, names: Sequence[str], process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Kill everything while a run is at work; returns the commits that must be published all the same."""
    commits = moved(world, names)
    started = time.monotonic()
    while not any(record.dagster_run.status.value == "STARTED" for record in world.runs()):
        if time.monotonic() - started > _PATIENCE:
            raise SystemExit("no run was started")
        time.sleep(0.2)
    time.sleep(1.0)
    kill(process)
    return commits


def recovered(world: World, commits: dict[str, str], ticks_before: int) -> tuple[dict[str, Any], list[str]]:
    """After the daemon is back. Figures, and what was not as it must be."""
    seconds = world.await_published(commits)
    ended = Counter(record.dagster_run.status.value for record in world.runs())
    good = Counter(r.dagster_run.tags["dagster/partition"] for r in world.runs() if r.dagster_run.status.value == "SUCCESS")
    wrong = [] if all(count == 1 for count in good.values()) else [f"runs that succeeded: {dict(good)}"]
    for name in world.trees:
        repository = world.store.existing(name)
        version = current_name(repository)
        if version is None or not verify_folder(repository.versions / version).ok:
            wrong.append(f"the version of {name} does not hold")
    asking = sum(bool(tick.run_ids) for tick in world.ticks()[ticks_before:])
    return {
        "until all were published": f"{seconds:.0f} s after the daemon was started again",
        "ticks that asked for runs after that": asking,
        "runs": ", ".join(f"{count} {status}" for status, count in sorted(ended.items())),
    }, wrong


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repositories", type=int, default=40)
    parser.add_argument("--moved", type=int, default=5)
    parser.add_argument("--interval", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="Make everything there, and leave it.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.keep or Path(temporary)).resolve()
        world = World(create_store(folder / "store"), {})
        for number in range(given.repositories):
            name = f"team/service-{number:02}"
            world.trees[name] = tree = folder / "trees" / f"service-{number:02}"
            if not tree.exists():
                make(tree)
                registration.register(world.store, tree.as_uri() if number % 2 else str(tree), name=name)
                build(world.store, name)
        _say(f"{given.repositories} repositories are built")
        with dagster_instance(world.store):
            pass  # Made before the daemon's processes open it.
        names = list(world.trees)
        first, second = names[: given.moved], names[-given.moved :]
        wrong: list[str] = []
        log = folder / "daemon.log"
        with daemon(world.store, given.interval, log) as process:
            while not world.ticks():
                time.sleep(1)
            _say("the sensor ticks")
            left_alone, problems = undisturbed(world, first)
            wrong += problems
            _say(f"left alone: {left_alone} {problems}")
            commits = killed(world, second, process)
        ticks_before = len(world.ticks())
        _say("killed")
        with daemon(world.store, given.interval, log):
            after, problems = recovered(world, commits, ticks_before)
            wrong += problems
        print("| | |\n|---|---|")
        for what, figures in (("left alone", left_alone), ("killed in the middle", after)):
            for name, value in figures.items():
                print(f"| {what}: {name} | {value} |")
        for problem in wrong:
            print(f"\nWRONG: {problem}")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
