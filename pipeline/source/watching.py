"""Noticing that something moved in a tree, without saying what: the next look at the tree tells that.

A notice only rings a bell, and the bell remembers two moments, so a checkout of a hundred thousand files costs no more memory
than a keystroke. Notices come from the operating system (inotify, FSEvents); where it has none to give, or too few, the tree is
looked at now and then instead. Because notices can be lost, that also happens beside them, rarely.

Belongs here: the bell, where notices come from, when a tree is quiet. Not here: what is done then
(`interfaces.commands_watch`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.source import repository

LOOK_ANYWAY = 30.0
"""Seconds after which the tree is looked at without a notice."""
POLL = 1.0
"""Seconds between looks where the operating system gives no notices."""
_LOCKED_MOST = 60.0
"""Seconds after which git's lock is one that a killed git left."""
_TICK = 0.02


@dataclass
class Bell:
    """Rung by any thread, waited for by one. Remembers when it was first and last rung since it was answered."""

    _first: float | None = None
    _last: float = 0.0
    _rung: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def ring(self) -> None:
        """Something moved."""
        now = time.monotonic()
        with self._rung:
            self._first = now if self._first is None else self._first
            self._last = now
            self._rung.notify_all()

    def wait(self, timeout: float) -> bool:
        """Whether it was rung, waiting for it so many seconds at most."""
        with self._rung:
            if self._first is None:
                self._rung.wait(timeout)
            return self._first is not None

    def quiet_in(self, debounce: float, most_delay: float) -> float:
        """Seconds until it will have been silent for `debounce`, or first rung `most_delay` ago; nothing left: 0."""
        with self._rung:
            if self._first is None:
                return 0.0
            now = time.monotonic()
            return max(0.0, min(self._last + debounce, self._first + most_delay) - now)

    def answer(self) -> None:
        """Forget what was; what moves from now on rings anew."""
        with self._rung:
            self._first = None


def wait_until_quiet(bell: Bell, tree: Tree, *, debounce: float, most_delay: float, look_anyway: float = LOOK_ANYWAY) -> None:
    """Wait for the bell, or for `look_anyway` seconds; then until the tree is quiet, or has moved for `most_delay`.

    While git writes a work tree it holds a lock; a build of half a checkout would be of no use to anybody.
    """
    bell.wait(look_anyway)
    while (left := bell.quiet_in(debounce, most_delay)) > 0:
        time.sleep(min(left, debounce))
    while tree.is_locked():
        time.sleep(_TICK)
    bell.answer()


@dataclass(frozen=True, slots=True)
class Tree:
    """What is watched: a folder, the git folder that it is a work tree of (None: none, or inside of it), and a folder that is
    not looked at, the store."""

    root: Path
    git: Path | None
    store: Path

    @staticmethod
    def at(path: Path, store: Path) -> Tree:
        """The folder at `path`. Raises `SourceError`."""
        root = path.resolve()
        location = repository.locate(root)
        if location is not None and location.work_tree is None:
            raise SourceError(f"{path} has no work tree that could be watched.", hint="Watch a work tree of it.")
        return Tree(root, Path(location.repository.path).resolve() if location else None, store.resolve())

    def folders(self) -> list[Path]:
        """The folders to be watched. A linked worktree, and a folder inside of a work tree, have their git folder elsewhere."""
        if self.git is None or self.git.is_relative_to(self.root) or not self.git.is_dir():
            return [self.root]
        return [self.root, self.git]

    def is_locked(self) -> bool:
        """Whether a git that is alive writes the work tree."""
        if self.git is None:
            return False
        try:
            return time.time() - (self.git / "index.lock").stat().st_mtime < _LOCKED_MOST
        except OSError:
            return False

    def concerns(self, path: str) -> bool:
        """Whether a notice about `path` may mean anything: not in the store, and not in git's own bookkeeping."""
        store, git = str(self.store), str(self.git)
        if path == store or path.startswith(store + os.sep):
            return False
        if self.git is None or not path.startswith(git + os.sep):
            return True
        inside = path[len(git) + 1 :]
        return not inside.startswith(("objects" + os.sep, "lfs" + os.sep)) and not inside.endswith(".lock")


@contextmanager
def notices(tree: Tree, bell: Bell, *, poll: float | None = None) -> Iterator[str]:
    """Ring the bell when something moves, while the block lasts, or with `poll` every so many seconds in any case.

    Yields where notices come from, in words.
    """
    stop = threading.Event()
    started: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        problem = _listen(tree, bell, stop, ready) if poll is None else "it was asked for"
        if problem is not None:
            started.append(problem)
            ready.set()
            while not stop.wait(poll or POLL):
                bell.ring()

    thread = threading.Thread(target=listen, name="notices", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"looking every {poll or POLL:g} s, because {started[0]}" if started else "the operating system tells what moves"
    finally:
        stop.set()
        thread.join(2)


def _listen(tree: Tree, bell: Bell, stop: threading.Event, ready: threading.Event) -> str | None:
    """Ring the bell at notices of the operating system until `stop`; returns why there are none (or no more)."""
    try:
        import watchfiles

        # What comes within 200 ms is collected, and is all that piles up. It says nothing for 100 ms when it has begun.
        for changes in watchfiles.watch(
            *tree.folders(), watch_filter=lambda _, path: tree.concerns(path), debounce=200, step=20, rust_timeout=100,
            yield_on_timeout=True, stop_event=stop, raise_interrupt=False, force_polling=False, ignore_permission_denied=True,
        ):  # fmt: skip
            ready.set()
            if changes:
                bell.ring()
    except Exception as error:  # watchfiles raises what it likes, and without notices there is still another way.
        return f"the operating system gives no notices ({str(error).rstrip('.') or type(error).__name__})"
    return None
