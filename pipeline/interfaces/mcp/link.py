"""The protocol's side of the worker: starting it, sending calls, and a new one where it died.

The worker is started before the SDK is imported, so this module imports nothing that takes time.

Belongs here: the life of the worker, and which reply belongs to which call. Not here: the protocol (`server`).
"""

from __future__ import annotations

import itertools
import math
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pipeline.errors import RuntimeLifecycleError
from pipeline.interfaces.serving.failures import Failure, error_document

if TYPE_CHECKING:
    import asyncio

MOST_WAITING = 1000
"""Calls that wait for an answer at a time; more are refused."""
PATIENCE = 120.0
"""Seconds that a call waits for its answer."""
_ATTEMPTS = 2
_STABLE = 5.0
"""A worker that died younger is started anew by the next call only, so that one that cannot live does not keep a core busy."""
_END: None = None
_TOO_MANY = Failure("busy", "Too many calls are waiting for an answer.", "Ask again when some of them are answered.")
_ENDLESS = Failure("bad_request", "An argument is a number that is not finite.", "Give a number.")
_TOO_SLOW = Failure("too_slow", f"There was no answer within {PATIENCE:.0f} seconds.", "Ask again, or for less.")
_ENDING = Failure("ending", "The server is ending.", "Start it anew.")
_LOST = Failure("internal", "The process that answers ended while it worked on this call.", "Ask again, or for less.")
About = Literal["metrics", "ready"]
"""What a server can be asked of itself."""
_COMMAND = (sys.executable, "-P", "-m", "pipeline.interfaces.mcp.worker")


class Answer(msgspec.Struct, frozen=True):
    """What comes back for a call: a text, and whether it tells of an error."""

    number: int
    text: str
    error: bool = False


@dataclass(eq=False)
class _Waiting:
    """A call without an answer yet; or a question `about` the server itself, which has no tool."""

    number: int
    tool: str
    arguments: dict[str, Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]
    about: About | None = None
    attempts: int = 0

    @property
    def line(self) -> bytes:
        """What the worker is asked."""
        asked = {"tool": self.tool, "arguments": self.arguments} if self.about is None else {"about": self.about}
        return msgspec.json.encode({"number": self.number, **asked})

    def problem(self, failure: Failure) -> Answer:
        """An answer that says why there is none, as the call wants it said."""
        return _problem(failure, self.arguments)

    def settle(self, answer: Answer) -> None:
        """Hand the answer to whoever waits, from any thread."""

        def set_result() -> None:
            if not self.future.done():
                self.future.set_result(answer)

        with suppress(RuntimeError):  # The loop is closed: nobody waits.
            self.loop.call_soon_threadsafe(set_result)


class _Process:
    """A running worker and the thread that writes to it, so that nobody waits for a pipe."""

    def __init__(self, start: bytes) -> None:
        # Our own interpreter and module; nothing comes from a request.
        self.popen = subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        self.started = time.monotonic()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.send(start)
        threading.Thread(target=self._write, name="to the worker", daemon=True).start()

    def send(self, line: bytes) -> None:
        self._lines.put(line + b"\n")

    def end(self) -> None:
        self._lines.put(_END)

    def _write(self) -> None:
        assert self.popen.stdin is not None  # a pipe was asked for
        with suppress(OSError), self.popen.stdin as pipe:
            while (line := self._lines.get()) is not None:
                pipe.write(line)
                if self._lines.empty():
                    pipe.flush()


@dataclass
class Worker:
    """The worker of a server. `start` early; `call` from an event loop; `close` at the end."""

    data: Path
    repo: str | None = None
    metrics: bool = False
    """Whether the worker is to gather metrics."""
    restarts: int = 0
    _process: _Process | None = field(default=None, repr=False)
    _waiting: dict[int, _Waiting] = field(default_factory=dict, repr=False)
    _numbers: itertools.count[int] = field(default_factory=itertools.count, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _uncounted: list[bytes] = field(default_factory=list, repr=False)
    _closed: bool = False

    @property
    def pid(self) -> int | None:
        """Of the process that answers now."""
        return None if self._process is None else self._process.popen.pid

    def start(self) -> None:
        """Start the process, where none runs."""
        with self._lock:
            if self._process is None and not self._closed:
                start = msgspec.json.encode({"data": str(self.data), "repo": self.repo, "metrics": self.metrics})
                self._process = process = _Process(start)
                while self._uncounted:
                    process.send(self._uncounted.pop())
                threading.Thread(target=self._read, args=(process,), name="from the worker", daemon=True).start()

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        """The answer to a call; where there is none to be had, a sentence that says so. A cancelled call is called off."""
        if len(self._waiting) >= MOST_WAITING:
            self._count(tool, "busy")
            return _problem(_TOO_MANY, arguments)
        if not _is_finite(arguments):
            self._count(tool, "refused")
            return _problem(_ENDLESS, arguments)
        return await self._ask(tool, arguments)

    async def tell(self, about: About) -> bytes:
        """The worker's metrics in Prometheus's text format, or how ready it is as JSON.

        Raises `RuntimeLifecycleError` where that cannot be had.
        """
        answer = await self._ask("", {}, about)
        if answer.error:
            message, _, hint = answer.text.partition("\n")
            raise RuntimeLifecycleError(message, hint=hint)
        return answer.text.encode()

    async def _ask(self, tool: str, arguments: dict[str, Any], about: About | None = None) -> Answer:
        import asyncio

        loop = asyncio.get_running_loop()
        waiting = _Waiting(next(self._numbers), tool, arguments, loop, loop.create_future(), about)
        self._send(waiting)
        try:
            return await asyncio.wait_for(waiting.future, PATIENCE)
        except TimeoutError:
            self._call_off(waiting)
            return waiting.problem(_TOO_SLOW)
        except asyncio.CancelledError:
            self._call_off(waiting)
            raise

    def close(self, grace: float = 3.0) -> None:
        """End the process: it writes what it has gathered, and leaves."""
        with self._lock:
            self._closed, process, self._process = True, self._process, None
        if process is not None:
            process.end()
            try:
                process.popen.wait(grace)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()

    def _send(self, waiting: _Waiting) -> None:
        with self._lock:
            self.start()
            if self._process is None:
                waiting.settle(waiting.problem(_ENDING))
                return
            waiting.attempts += 1
            self._waiting[waiting.number] = waiting
            self._process.send(waiting.line)

    def _call_off(self, waiting: _Waiting) -> None:
        with self._lock:
            if self._waiting.pop(waiting.number, None) is not None and self._process is not None:
                self._process.send(msgspec.json.encode({"number": waiting.number, "cancelled": True}))

    def _count(self, tool: str, ended: str) -> None:
        """Have the worker count a call that ended without it: metrics are gathered there."""
        line = msgspec.json.encode({"number": -1, "tool": tool, "ended": ended})
        with self._lock:
            if self._process is not None:
                self._process.send(line)
            elif len(self._uncounted) < MOST_WAITING:
                self._uncounted.append(line)

    def _read(self, process: _Process) -> None:
        """Hand out answers until the process ends, and see to what it left."""
        assert process.popen.stdout is not None  # a pipe was asked for
        decode = msgspec.json.Decoder(Answer).decode
        with suppress(OSError, msgspec.DecodeError):
            for line in process.popen.stdout:
                answer = decode(line)
                with self._lock:
                    waiting = self._waiting.pop(answer.number, None)
                if waiting is not None:
                    waiting.settle(answer)
        process.end()
        process.popen.kill()
        code = process.popen.wait()
        self._died(process, code)

    def _died(self, process: _Process, code: int) -> None:
        with self._lock:
            left = list(self._waiting.values())
            self._waiting.clear()
            if self._closed:
                again, lost = [], left
            else:
                sys.stderr.write(f"warning: the process that answers ended ({code}); another one takes its place\n")
                self._process = None
                self.restarts += 1
                again = [one for one in left if one.attempts < _ATTEMPTS]
                lost = [one for one in left if one.attempts >= _ATTEMPTS]
                for one in lost:
                    if one.about is None:
                        self._count(one.tool, "failed")
                if time.monotonic() - process.started > _STABLE:
                    self.start()
            for one in again:
                self._send(one)
        for one in lost:
            one.settle(one.problem(_LOST))


def _problem(failure: Failure, arguments: Mapping[str, Any]) -> Answer:
    """As text, or as JSON where a call asks for that."""
    if arguments.get("format") == "json":
        document = error_document(failure.code, failure.message, failure.hint)
        return Answer(-1, msgspec.json.encode(document).decode(), error=True)
    return Answer(-1, failure.text, error=True)


def _is_finite(value: Any) -> bool:
    """Whether JSON can say it: what reads messages takes NaN and Infinity, and what writes them would make nulls of these."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict | list):
        return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
    return True
