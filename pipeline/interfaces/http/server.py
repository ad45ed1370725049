"""The process that answers: how it is tuned, and what watches it.

Belongs here: what one process that serves a store over HTTP sets up. Not here: sockets and signals (`transport.server`),
requests (`app`).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import socket
import sys

from pipeline.interfaces.http.app import Application
from pipeline.interfaces.http.limits import Limits
from pipeline.interfaces.observing.logs import start_logging
from pipeline.interfaces.observing.prometheus import start_observing
from pipeline.interfaces.observing.telemetry import telemetry
from pipeline.interfaces.serving.service import Service
from pipeline.interfaces.transport.access import Access
from pipeline.interfaces.transport.server import run

_GARBAGE = (2000, 10, 5)
"""When garbage is looked for. `indexctl` hardly ever does, because it ends soon; a version that was closed goes only then, with
all that it had read."""
_ARENA_MAX = -8
"""M_ARENA_MAX of malloc.h."""
_SWITCH = 0.002
"""Seconds after which a thread that computes lets another one on; the one that reads sockets wants a moment often."""


def _share_arenas() -> None:
    """Have threads share two arenas of the allocator, where it is glibc's: each one that opens a version would leave one of its
    own behind, grown."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def serve(service: Service, listener: socket.socket, access: Access, limits: Limits | None = None) -> None:
    """Answer requests until SIGINT or SIGTERM (see `transport.server.run`)."""
    limits = limits or Limits()
    start_logging()
    start_observing(service.store)
    application = Application(service, access, limits)
    sys.setswitchinterval(_SWITCH)
    _share_arenas()
    gc.set_threshold(*_GARBAGE)
    application.start()
    try:
        with telemetry():
            run(application, listener, limits)
    finally:
        application.close()
