"""One request of a server: its id in every line of the log, its metrics, its span.

    with request("http", "search", repository="demo") as this:
        …                       # what is raised here says how it ended

Belongs here: what all servers do around every request. Not here: what requests are.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline import instruments
from pipeline.errors import CodeIntelError, StoreBusyError
from pipeline.interfaces.observing import telemetry
from pipeline.interfaces.observing.logs import about

Ended = Literal["ok", "refused", "busy", "cancelled", "failed"]
_REFUSED = (2, 3)
"""Exit codes of errors that are the caller's: usage, and no such thing."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger(__name__)


@dataclass
class Request:
    """A request that goes on. Whoever answers an error without raising sets `ended`."""

    id: str
    ended: Ended = "ok"


@contextlib.contextmanager
def request(
    interface: Literal["http", "mcp"],
    operation: str,
    *,
    repository: str = "",
    version: str = "",
    request_id: str = "",
    traceparent: str = "",
) -> Iterator[Request]:
    """Observe a request. `request_id` (of the caller; an unfit one is replaced) goes into the log, `traceparent` (W3C) makes
    the span a part of the caller's trace."""
    this = Request(request_id if _ID.fullmatch(request_id) else secrets.token_hex(8))
    started = time.perf_counter()
    attributes = {"interface": interface, "operation": operation, "repository": repository, "request": this.id}
    try:
        with (
            about(request=this.id, repository=repository, version=version),
            telemetry.span(f"{interface} {operation}", attributes, traceparent=traceparent),
        ):
            try:
                yield this
            except BaseException as error:
                this.ended = _end_of(error)
                if this.ended == "failed":
                    _log.warning("%s %s failed: %s: %s", interface, operation, type(error).__name__, error)
                raise
    finally:
        seconds = time.perf_counter() - started
        instruments.count("codeintel_requests_total", interface=interface, operation=operation, state=this.ended)
        instruments.observe("codeintel_request_seconds", seconds, interface=interface)


class EndedError(Exception):
    """An error that says itself how the request ended."""

    ended: Ended = "failed"


def _end_of(error: BaseException) -> Ended:
    if isinstance(error, EndedError):
        return error.ended
    if isinstance(error, StoreBusyError):
        return "busy"
    if isinstance(error, CodeIntelError):
        return "refused" if error.exit_code in _REFUSED else "failed"
    # Of a task that is cancelled, a program that ends: those are no `Exception`.
    if isinstance(error, concurrent.futures.CancelledError) or not isinstance(error, Exception):
        return "cancelled"
    return "failed"
