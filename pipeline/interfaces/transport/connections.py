"""One connection: uvicorn's protocol, with the time-outs that it lacks.

A client that sends its headers a byte a minute, leaves an answer unread, or opens connections without end holds a socket and
nothing else, and not for long.

Belongs here: bounds at the socket. Not here: bounds of requests (`limits`).
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from pipeline.interfaces.transport import errors
from pipeline.interfaces.transport.limits import ConnectionLimits

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


class Connection(H11Protocol):
    """A connection with bounds. `connection_class` gives one for particular limits."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for a request, or turn it away where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._say(503, "busy", "Too many connections are open.", "Ask again in a second.")
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        _stop(self._head)
        _stop(self._unread)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on. What is no request yet has to become one soon."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_answering():
            _stop(self._head)
            self._head = None
        elif self._head is None and not self.transport.is_closing() and self.conn.trailing_data[0]:
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an error like any other."""
        self._say(400, "bad_request", msg, "")

    def on_response_complete(self) -> None:
        """Do not wait for ever for the client to read it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, whether or not its last answer was read."""
        super().timeout_keep_alive_handler()
        self._expect_reading()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if not self.transport.is_closing():
            _stop(self._unread)
            self._unread = None

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn declares
        return cycle is not None and not cycle.response_complete

    def _expect_head(self) -> None:
        self._head = self.loop.call_later(self.limits.head_seconds, self._head_is_late)

    def _expect_reading(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def _head_is_late(self) -> None:
        self._head = None
        if not self._is_answering() and not self.transport.is_closing():
            self._say(408, "timeout", f"No request came within {self.limits.head_seconds:g} seconds.", "")

    def _say(self, status: int, code: str, message: str, hint: str) -> None:
        """Write an answer past the state machine, which may be in any state, and close."""
        body = errors.body(code, message, hint)
        retry = f"retry-after: {errors.RETRY_AFTER}\r\n" if status == 503 else ""
        self.transport.write(
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-content-type-options: nosniff\r\ncache-control: no-store\r\n{retry}connection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()
        self._expect_reading()


def connection_class(limits: ConnectionLimits) -> type[Connection]:
    """Connections with these limits."""
    return type("Connection", (Connection,), {"limits": limits})


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
