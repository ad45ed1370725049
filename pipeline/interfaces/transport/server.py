"""The process: signals, and an end that lets what runs finish.

Belongs here: running and ending. Not here: listening (`sockets`), requests (`guard`), connections (`connections`).
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from pipeline.interfaces.transport.connections import connection_class
from pipeline.interfaces.transport.limits import ConnectionLimits


class _Server(uvicorn.Server):
    """Ends with exit code 0 when it is told to."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again at its end, and so kill the process that has ended well."""
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def run(app: ASGIApp, listener: socket.socket, limits: ConnectionLimits, *, lifespan: Literal["on", "off"] = "off") -> None:
    """Answer requests until SIGINT or SIGTERM; then take no more, and let those that run finish, within a bound."""
    config = uvicorn.Config(
        app, loop="auto", http=connection_class(limits), ws="none", lifespan=lifespan, interface="asgi3",
        log_config=None, access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=limits.keep_alive, timeout_graceful_shutdown=limits.graceful,
        h11_max_incomplete_event_size=limits.head,
    )  # fmt: skip
    # What a client can provoke is no warning.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    _Server(config).run(sockets=[listener])
