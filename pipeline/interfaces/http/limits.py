"""How much work a client may ask of the service at once, and a gate that lets few requests run and some wait.

Belongs here: the bounds of work, and holding them. Not here: those of connections (`transport.limits`), bounds of single
requests (`serving.requests`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from pipeline.interfaces.transport.errors import RefusedError
from pipeline.interfaces.transport.limits import ConnectionLimits

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(ConnectionLimits):
    """Those of connections, and of work."""

    threads: int = 2
    """Requests that run at once. The engine holds the interpreter's lock most of the time: more threads make none faster
    (docs/http.md has the figures)."""
    waiting: int = 256
    """Requests that wait for a thread; the next one is told to come back."""
    seconds: float = 30.0
    """From the moment a request is complete to its answer, waiting included."""


class Gate:
    """Runs work in `threads` threads, lets `waiting` more wait, and turns the rest away."""

    def __init__(self, threads: int, waiting: int, seconds: float, *, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._seconds = threads + waiting, seconds
        self._lock = threading.Lock()
        self._inside = 0

    @property
    def inside(self) -> int:
        """How many run or wait now."""
        return self._inside

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` gives. Raises `RefusedError` when too many wait, or when it takes too long; what has begun then
        goes on to its own end, in the thread that it has."""
        with self._lock:
            if self._inside >= self._most:
                raise RefusedError(503, "busy", f"{self._inside} requests are waiting already.", "Ask again in a second.")
            self._inside += 1
        try:
            future = self._pool.submit(work)
        except RuntimeError:  # The pool is closed.
            with self._lock:
                self._inside -= 1
            raise RefusedError(503, "ending", "The service is ending.", "Ask again when it is back.") from None
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            raise RefusedError(
                504, "too_slow", f"The answer was not ready after {self._seconds:g} seconds.", "Ask for less, or ask again."
            ) from None

    def close(self) -> None:
        """Take no more, and forget what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: Future[T]) -> None:
        with self._lock:
            self._inside -= 1
