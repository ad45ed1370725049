"""The process that answers: it opens the index while the protocol's process is still importing its SDK.

Lines of JSON come in, lines of JSON go out, in the order in which answers are found. The process ends when its input does, so
it never outlives the one that started it.

Belongs here: reading calls and writing replies. Not here: answers (`answering`), starting this process (`link`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pipeline import instruments
from pipeline.interfaces.mcp.answering import Desk, Reply
from pipeline.interfaces.observing.logs import start_logging
from pipeline.interfaces.observing.telemetry import telemetry
from pipeline.interfaces.serving.failures import failure_of
from pipeline.store.layout import Store

THREADS = 8
"""Calls that are answered at a time; others wait for their turn."""


class Start(msgspec.Struct, frozen=True):
    """What a worker is told first: which store, which repository calls mean that name none, and whether to gather metrics."""

    data: str
    repo: str | None = None
    metrics: bool = False


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool call; or with `cancelled` that nobody waits for that call any more, with `ended` how one ended that did not come
    so far, and with `about` a question of its watchers: for `metrics`, or whether it is `ready`."""

    number: int
    tool: str = ""
    arguments: dict[str, Any] = {}
    cancelled: bool = False
    ended: str = ""
    about: str = ""


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reply to the call of that number."""

    number: int
    text: str
    error: bool = False


@dataclass
class Replies:
    """Where replies go, one at a time."""

    out: BinaryIO
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def write(self, number: int, reply: Reply) -> None:
        """Write one reply. Where nobody reads any more, the end of the input ends the process."""
        line = msgspec.json.encode(Answered(number, reply.text, reply.error)) + b"\n"
        with self._lock, suppress(OSError, ValueError):
            self.out.write(line)
            self.out.flush()


def work(desk: Desk, lines: Iterable[bytes], replies: Replies) -> None:
    """Answer calls until there are no more lines."""
    decode = msgspec.json.Decoder(Call).decode
    pool, waiting = ThreadPoolExecutor(THREADS, "answering"), dict[int, tuple[str, Future[None]]]()
    # Whoever watches is answered when there is too much to do, too.
    aside = ThreadPoolExecutor(1, "watching")

    def answer(call: Call) -> None:
        replies.write(call.number, desk.answer(call.tool, call.arguments))

    def tell(call: Call) -> None:
        replies.write(call.number, _of_itself(desk, call.about))

    for line in lines:
        call = decode(line)
        if call.cancelled:
            tool, future = waiting.pop(call.number, ("", None))
            if future is not None and future.cancel():
                _count(tool, "cancelled")
        elif call.ended:
            _count(call.tool, call.ended)
        elif call.about:
            aside.submit(tell, call)
        else:
            future = pool.submit(answer, call)
            waiting[call.number] = call.tool, future
            future.add_done_callback(lambda _, number=call.number: waiting.pop(number, None))  # type: ignore[misc]


def _count(tool: str, ended: str) -> None:
    instruments.count("codeintel_requests_total", interface="mcp", operation=tool, state=ended)


def _of_itself(desk: Desk, about: str) -> Reply:
    """How ready it is, as JSON; or this process's metrics, as text."""
    try:
        if about == "ready":
            return Reply(msgspec.json.encode(desk.ready()).decode())
        from pipeline.interfaces.observing.prometheus import metrics_text

        return Reply(metrics_text().decode())
    except Exception as error:
        return Reply(failure_of(error).text, error=True)


def _replies() -> Replies:
    """Standard output, kept for replies alone: what a library prints goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return Replies(os.fdopen(kept, "wb"))


def main() -> None:
    """The process."""
    # Ctrl-C goes to all processes of a terminal; this one ends when the other one does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = _replies()
    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=Start)
    desk = Desk(Path(start.data), start.repo)
    threading.Thread(target=desk.warm, name="warming", daemon=True).start()
    start_logging()
    if start.metrics:
        from pipeline.interfaces.observing.prometheus import start_observing

        start_observing(Store(desk.data))
    with telemetry():
        work(desk, sys.stdin.buffer, replies)
    desk.close()
    # Nobody is left who waits for the calls that are still being answered.
    os._exit(0)


if __name__ == "__main__":
    main()
