"""A process that is killed, or whose disk fails, at one system call after the other; and what others find then.

A script: `crashes.py SCENARIO FAULT SHIM FOLDER POINTS` prints one JSON line for each point, after a first line that says how
many calls there are. It has imported everything and opened nothing; each point works in forked children, on a store of its
own: the files of objects and versions are linked from a store prepared once, which has to be the same at the end, the rest is
copied.

Not a test module: `test_crash_matrix.py` starts it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine

from pipeline.config import Settings
from pipeline.embed import registry
from pipeline.errors import CodeIntelError
from pipeline.files import TEMPORARY_PREFIX, digest_file
from pipeline.index import file_roles  # noqa: F401 - loaded lazily by what is under test
from pipeline.release.collection import collect
from pipeline.release.publication import rollback
from pipeline.release.verification import verify_folder
from pipeline.search.engine import open_searcher
from pipeline.store import versions
from pipeline.store.layout import Repository
from pipeline.store.locks import builder, is_building

FAULTS = {"kill": 1, "full": 2, "broken": 3}
"""The process dies; the disk is full from then on; one call fails."""
ENDED, REFUSED, CRASHED = 0, 10, 11
PATIENCE = 120
QUERIES = ("how heavy the cargo is with its load", "find_berth", "port/rope1.py")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What happens before, and what is interrupted: both are given the store and the repository."""

    before: Callable[[Path, Path], object]
    act: Callable[[Path, Path], object]
    again: Callable[[Path, Path], object] = lambda store, root: None
    """What is done after the next build, before what is left is compared."""


def _two(store: Path, root: Path) -> None:
    engine.build(store, root)
    engine.edit(root, 1)


def _three(store: Path, root: Path) -> None:
    _two(store, root)
    engine.build(store, root)


def _many(store: Path, root: Path) -> None:
    _three(store, root)
    for number in (2, 3):
        engine.edit(root, number)
        engine.build(store, root)
    # What somebody left who was killed, for the collection to take too.
    (store / engine.NAME / "versions" / f"{TEMPORARY_PREFIX}1-0").mkdir()


def _repair(store: Path, root: Path) -> None:
    _three(store, root)
    repository = engine.repository_in(store)
    published = repository.versions / str(versions.current_name(repository))
    damaged = min(published.rglob("part-000.parquet"))
    # Version and object share the file, as they do in a store that nobody copied.
    for path in [*repository.path.rglob("part-000.parquet")]:
        if path.samefile(damaged) and path != damaged:
            path.unlink()
            path.write_bytes(b"bad")
    damaged.unlink()
    damaged.write_bytes(b"bad")


def _collect(store: Path, root: Path) -> None:
    collect(engine.repository_in(store), keep=1)


SCENARIOS = {
    "cold": Scenario(lambda store, root: None, engine.build),
    "delta": Scenario(_two, engine.build),
    "rollback": Scenario(_three, lambda store, root: rollback(engine.repository_in(store))),
    "gc": Scenario(_many, _collect, _collect),
    "repair": Scenario(_repair, engine.build),
}


def copy_store(prepared: Path, to: Path) -> None:
    """Link what nobody may change, copy the rest. The times stay, so that what was digested is known to be."""

    def place(source: str, target: str) -> object:
        fixed = {"objects", "versions"} & set(Path(source).relative_to(prepared).parts)
        return os.link(source, target) if fixed else shutil.copy2(source, target)

    if prepared.exists():
        shutil.copytree(prepared, to, copy_function=place)


def in_child(work: Callable[[], Any], log: Path) -> tuple[int, Any]:
    """Run in a forked child: its exit status (negative: the signal that ended it), and what `work` returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = CRASHED
        try:
            with log.open("ab", 0) as told:
                os.dup2(told.fileno(), 1)
                os.dup2(told.fileno(), 2)
            signal.alarm(PATIENCE)
            answer = json.dumps(work())
            os.write(writer, answer.encode())
            code = ENDED
        except CodeIntelError as error:
            os.write(writer, json.dumps({"error": str(error)}).encode())
            code = REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), json.loads(said) if said else None


def answers(repository: Repository, name: str | None = None) -> dict[str, Any]:
    """What a reader is told: the version, and ids of the hits of a few queries."""
    with open_searcher(repository, Settings(), name) as searcher:
        found = {query: [hit.id for hit in searcher.answer(query, 5).hits] for query in QUERIES}
        return {"version": searcher.version.name, "found": found}


def leftovers(store: Path) -> list[str]:
    """Everything that a dead or failed writer left."""
    marks = (TEMPORARY_PREFIX, ".bad-")
    return sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.name.startswith(marks))


def state(store: Path) -> dict[str, Any]:
    """What a store holds, by name; content follows from it, as far as versions verify."""
    if not (store / engine.NAME).is_dir():
        return {"current": None, "versions": [], "objects": [], "flips": [], "whole": {}, "leftovers": leftovers(store)}
    repository = engine.repository_in(store)
    names = versions.version_names(repository)
    return {
        "current": versions.current_name(repository),
        "versions": names,
        "objects": sorted(path.relative_to(repository.objects).as_posix() for path in repository.objects.glob("*/*")),
        "flips": [flip.version for flip in versions.history(repository)],
        "whole": {name: [one.problem for one in verify_folder(repository.versions / name).problems] for name in names},
        "leftovers": leftovers(store),
    }


def after(scenario: Scenario, store: Path, root: Path) -> dict[str, Any]:
    """What a reader finds, and what the next builder makes of it."""
    found = state(store)
    repository = engine.repository_in(store) if found["versions"] else None
    readable = repository is not None and found["whole"].get(found["current"]) == []
    told = {
        "found": found,
        "building": repository is not None and is_building(repository),
        "told": answers(repository) if repository is not None and readable else None,
        "version": engine.build(store, root),
    }
    scenario.again(store, root)
    repository = engine.repository_in(store)
    # A build with nothing to do takes no lock; whoever takes it sweeps.
    with builder(repository):
        return told | {"then": state(store), "told_then": answers(repository)}


def inside(call: list[str]) -> bool:
    """Whether a call is about nothing but what lies in a temporary folder, where nobody looks."""
    return all(any(part.startswith(TEMPORARY_PREFIX) for part in Path(path).parts[:-1]) for path in call[1:])


def choose(calls: list[list[str]], most: int) -> list[int]:
    """Points from 1. Two thirds are calls on what others see, as far as there are so many; the rest in temporary folders."""
    hidden = [number for number, call in enumerate(calls, 1) if inside(call)]
    seen = sorted(set(range(1, len(calls) + 1)) - set(hidden))
    shown = min(len(seen), max(most * 2 // 3, most - len(hidden)))
    return sorted([*_even(seen, shown), *_even(hidden, most - shown)])


def _even(numbers: list[int], most: int) -> list[int]:
    most = min(most, len(numbers))
    return [numbers[index * len(numbers) // most] for index in range(most)]


def fingerprint(store: Path) -> dict[str, list[Any]]:
    """Every file that may never change, by path: what is in it, and what it looks like."""
    kept = [path for name in ("objects", "versions") for path in (store / engine.NAME / name).rglob("*") if path.is_file()]
    return {str(path): [digest_file(path), (status := path.stat()).st_ino, status.st_mtime_ns] for path in kept}


class Matrix:
    """One scenario and one kind of fault, in a folder of its own."""

    def __init__(self, scenario: str, fault: str, shim: Path, folder: Path) -> None:
        self.scenario = SCENARIOS[scenario]
        self.fault = FAULTS[fault]
        self.folder = folder
        self.log = folder / "log"
        self.prepared = folder / "prepared"
        self.root = folder / "repo"
        self.arm = ctypes.CDLL(str(shim)).arm

    def prepare(self) -> dict[str, Any]:
        """Make the store before, and tell what an undisturbed run comes to, with its calls."""
        self.folder.mkdir(parents=True)
        engine.write_repository(self.root)
        self._expect(lambda: self.scenario.before(self.prepared, self.root))
        before = self._expect(lambda: state(self.prepared))
        self.fingerprint = fingerprint(self.prepared)
        store = self.folder / "undisturbed"
        copy_store(self.prepared, store)
        calls = self.folder / "calls"
        with calls.open("wb") as told:
            self._expect(lambda: self._act(store, 0, 0, told.fileno()))
        expected = self._expect(lambda: after(self.scenario, store, self.root))
        shutil.rmtree(store)
        self.calls = [line.split("\t") for line in calls.read_text(errors="replace").splitlines()]
        return {"before": before, "expected": expected, "calls": self.calls}

    def _expect(self, work: Callable[[], Any]) -> Any:
        code, said = in_child(work, self.log)
        if code != ENDED:
            raise SystemExit(f"ended with {code}, {said}: {self.log.read_text()}")
        return said

    def _act(self, store: Path, point: int, fault: int, told: int) -> None:
        failed = self.arm(os.fsencode(store), point, fault, told)
        if failed:
            raise OSError(failed, os.strerror(failed))
        self.scenario.act(store, self.root)

    def at(self, point: int) -> dict[str, Any]:
        """What one fault leads to."""
        # Each in a place of its own: what one store taught this process means nothing in another.
        store = self.folder / f"store{point}"
        copy_store(self.prepared, store)
        call = self.folder / "call"
        with call.open("wb") as told:
            code, said = in_child(lambda: self._act(store, point, self.fault, told.fileno()), self.log)
        line = {"point": point, "call": call.read_text(errors="replace").strip(), "ended": code, "said": said}
        line["left"] = leftovers(store)
        for path in store.rglob(f"{TEMPORARY_PREFIX}*"):
            # What repositories share is swept later, because others may be writing there.
            os.utime(path, (0, 0))
        code, line["after"] = in_child(lambda: after(self.scenario, store, self.root), self.log)
        if code != ENDED or line["ended"] == CRASHED:
            line["log"] = self.log.read_text()[-4000:]
        shutil.rmtree(store)
        return line


def main(scenario: str, fault: str, shim: Path, folder: Path, most: int) -> None:
    """Prepare, then go through the points."""
    os.environ.update(engine.ENVIRONMENT)
    registry.load(Settings().embed)
    matrix = Matrix(scenario, fault, shim, folder)
    print(json.dumps(matrix.prepare()), flush=True)
    for point in choose(matrix.calls, most):
        print(json.dumps(matrix.at(point)), flush=True)
    print(json.dumps({"unchanged": fingerprint(matrix.prepared) == matrix.fingerprint}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
