"""Faults at the n-th call that changes a file system: the process dies there, or the call fails with an error.

Not a test module: `conftest.py` hands it to the tests, and as a script it is the process that dies. The script goes through
every moment of one operation, each in a forked child of its own, and prints what a reader and the next builder found after it.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_CALLS = ("rename", "replace", "fsync", "link", "mkdir", "unlink", "rmdir", "ftruncate", "pwrite")


class _Torn:
    """A file opened for writing whose write, when its turn comes, does half of its work first."""

    def __init__(self, file: Any, tick: Callable[[str], None]) -> None:
        self._file = file
        self._tick = tick

    def write(self, data: Any) -> Any:
        try:
            self._tick("write")
        except BaseException:
            self._tear(data)
            raise
        return self._file.write(data)

    def _tear(self, data: Any) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Torn:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class Faults:
    """Counts calls while it is active, and at call number `at` (from 1; 0: never) raises what `action` gives for its name."""

    def __init__(self, at: int, action: Callable[[str], BaseException]) -> None:
        self.at = at
        self.count = 0
        self.action = action

    def tick(self, name: str) -> None:
        self.count += 1
        if self.count == self.at:
            raise self.action(name)

    @contextlib.contextmanager
    def active(self) -> Iterator[Faults]:
        genuine: dict[str, Any] = {name: getattr(os, name) for name in _CALLS}
        opened = builtins.open

        def wrapped(name: str) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                self.tick(name)
                return genuine[name](*arguments, **named)

            return call

        def open_(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            if not set(mode) & set("wxa+") or isinstance(path, int):
                return opened(path, mode, *arguments, **named)
            self.tick("open")
            return _Torn(opened(path, mode, *arguments, **named), self.tick)

        for name in _CALLS:
            setattr(os, name, wrapped(name))
        builtins.open = io.open = open_
        try:
            yield self
        finally:
            for name in _CALLS:
                setattr(os, name, genuine[name])
            builtins.open = io.open = opened


class _Kill(BaseException):
    """Raised so that a torn write tears its file before the process goes."""


def _die(name: str) -> BaseException:
    if name != "write":
        os.kill(os.getpid(), signal.SIGKILL)
    return _Kill()


def _survive(operation: Callable[[], object], at: int) -> bool:
    """Run in a child that dies at the given call; whether it got to the end."""
    child = os.fork()
    if child == 0:
        tear = _Torn._tear

        def tear_and_die(self: _Torn, data: Any) -> None:
            tear(self, data)
            os.kill(os.getpid(), signal.SIGKILL)

        _Torn._tear = tear_and_die  # type: ignore[method-assign]
        code = 1
        try:
            with Faults(at, _die).active():
                operation()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, f"the operation failed by itself at {at}"
    return True


def main(operation: str, folder: Path) -> None:
    """One JSON line for each moment of death: what CURRENT named, whether that was whole, and what came after."""
    sys.path.insert(0, str(Path(__file__).parent))
    import toys

    from pipeline.release import publication
    from pipeline.store import versions
    from pipeline.store.locks import builder

    publication.verify_folder = toys.verify_digests
    publication.judge = toys.no_judgement
    os.fsync = lambda descriptor: None  # Counted as a moment, but a killed process loses nothing that the kernel has.
    for at in range(1, 1000):
        world = folder / f"{at}"
        repository = toys.make_repository(world)
        first, second = toys.settle_manifest(repository, "one"), toys.settle_manifest(repository, "two")
        names = [first.facts["version"], second.facts["version"]]
        publication.publish(repository, first)
        if operation == "settle":
            shutil.rmtree(repository.objects)

            def act(repository: Any = repository) -> object:
                return toys.settle_manifest(repository, "one")
        elif operation == "publish":

            def act(repository: Any = repository, second: Any = second) -> object:
                return publication.publish(repository, second)
        elif operation == "repair":
            damaged = repository.versions / names[0] / "text.txt"
            damaged.unlink()
            damaged.write_text("bad")

            def act(repository: Any = repository, first: Any = first) -> object:
                return publication.publish(repository, first)
        else:
            publication.publish(repository, second)

            def act(repository: Any = repository, name: str = names[0]) -> object:
                return publication.rollback(repository, name)

        ended = _survive(act, at)
        current = versions.current_name(repository)
        whole = toys.verify_digests(repository.versions / str(current)).ok
        act()
        after = versions.current_name(repository)
        with builder(repository):
            left = toys.leftovers(world)
        line = {
            "current": current,
            "whole": whole,
            "after": after,
            "whole_after": toys.verify_digests(repository.versions / str(after)).ok,
            "left": left,
            "flips": [flip.version for flip in versions.history(repository)],
            "names": names,
            "ended": ended,
        }
        print(json.dumps(line), flush=True)
        shutil.rmtree(world)
        if ended:
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
