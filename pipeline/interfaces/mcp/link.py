"""The protocol's side of the worker: starting it, sending calls, and a new one where it died.

The worker is started before the SDK is imported, so this module imports nothing that takes time.

Belongs here: the life of the worker, and which reply belongs to which call. Not here: the protocol (`server`).
"""

from __future__ import annotations

import itertools
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

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
_COMMAND = (sys.executable, "-P", "-m", "pipeline.interfaces.mcp.worker")


class Answer(msgspec.Struct, frozen=True):
    """What comes back for a call: a text, and whether it tells of an error."""

    number: int
    text: str
    error: bool = False


@dataclass(eq=False)
class _Waiting:
    """A call without an answer yet."""

    number: int
    tool: str
    arguments: dict[str, Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]
    attempts: int = 0

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
    restarts: int = 0
    _process: _Process | None = field(default=None, repr=False)
    _waiting: dict[int, _Waiting] = field(default_factory=dict, repr=False)
    _numbers: itertools.count[int] = field(default_factory=itertools.count, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _closed: bool = False

    @property
    def pid(self) -> int | None:
        """Of the process that answers now."""
        return None if self._process is None else self._process.popen.pid

    def start(self) -> None:
        """Start the process, where none runs."""
        with self._lock:
            if self._process is None and not self._closed:
                start = msgspec.json.encode({"data": str(self.data), "repo": self.repo})
                self._process = process = _Process(start)
                threading.Thread(target=self._read, args=(process,), name="from the worker", daemon=True).start()

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        """The answer to a call; where there is none to be had, a sentence that says so. A cancelled call is called off."""
        import asyncio

        if len(self._waiting) >= MOST_WAITING:
            return _problem("Too many calls are waiting for an answer.\nAsk again when some of them are answered.")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(next(self._numbers), tool, arguments, loop, loop.create_future())
        self._send(waiting)
        try:
            return await asyncio.wait_for(waiting.future, PATIENCE)
        except TimeoutError:
            self._call_off(waiting)
            return _problem(f"There was no answer within {PATIENCE:.0f} seconds.\nAsk again, or for less.")
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
                waiting.settle(_problem("The server is ending.\nStart it anew."))
                return
            waiting.attempts += 1
            self._waiting[waiting.number] = waiting
            call = {"number": waiting.number, "tool": waiting.tool, "arguments": waiting.arguments}
            self._process.send(msgspec.json.encode(call))

    def _call_off(self, waiting: _Waiting) -> None:
        with self._lock:
            if self._waiting.pop(waiting.number, None) is not None and self._process is not None:
                self._process.send(msgspec.json.encode({"number": waiting.number, "cancelled": True}))

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
                if time.monotonic() - process.started > _STABLE:
                    self.start()
            for one in again:
                self._send(one)
        for one in lost:
            one.settle(_problem("The process that answers ended while it worked on this call.\nAsk again, or for less."))


def _problem(text: str) -> Answer:
    return Answer(-1, text, error=True)
