"""The process: a socket, signals, and an end that lets what runs finish.

Belongs here: listening, and ending. Not here: requests (`app`), connections (`connections`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from pipeline.errors import ConfigError, RuntimeLifecycleError
from pipeline.interfaces.http.access import Access
from pipeline.interfaces.http.app import Application
from pipeline.interfaces.http.connections import connection_class
from pipeline.interfaces.http.limits import Limits
from pipeline.interfaces.observing.logs import start_logging
from pipeline.interfaces.observing.prometheus import start_observing
from pipeline.interfaces.observing.telemetry import telemetry
from pipeline.interfaces.serving.service import Service

_BACKLOG = 1024
_GARBAGE = (2000, 10, 5)
"""When garbage is looked for. `indexctl` hardly ever does, because it ends soon; a version that was closed goes only then, with
all that it had read."""
_ARENA_MAX = -8
"""M_ARENA_MAX of malloc.h."""
_SWITCH = 0.002
"""Seconds after which a thread that computes lets another one on; the one that reads sockets wants a moment often."""


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


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `ConfigError` for what is no address, `RuntimeLifecycleError` for one that is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise ConfigError(f"`{host}` is no address of this machine.", hint="Give --host 127.0.0.1.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"`{host}` is no address of this machine.", hint="Give --host 127.0.0.1.") from None
        what = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise RuntimeLifecycleError(f"The service cannot listen on {host}:{port}: {what}.", hint="Give --port N.") from None
    return listener


def _share_arenas() -> None:
    """Have threads share two arenas of the allocator, where it is glibc's: each one that opens a version would leave one of its
    own behind, grown."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def serve(service: Service, listener: socket.socket, access: Access, limits: Limits | None = None) -> None:
    """Answer requests until SIGINT or SIGTERM; then take no more, and let those that run finish, within a bound."""
    limits = limits or Limits()
    start_logging()
    start_observing(service.store)
    application = Application(service, access, limits)
    config = uvicorn.Config(
        application, loop="auto", http=connection_class(limits), ws="none", lifespan="off", interface="asgi3",
        log_config=None, access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=limits.keep_alive, timeout_graceful_shutdown=limits.graceful,
        h11_max_incomplete_event_size=limits.head,
    )  # fmt: skip
    # What a client can provoke is no warning.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    sys.setswitchinterval(_SWITCH)
    _share_arenas()
    gc.set_threshold(*_GARBAGE)
    application.start()
    try:
        with telemetry():
            _Server(config).run(sockets=[listener])
    finally:
        application.close()
