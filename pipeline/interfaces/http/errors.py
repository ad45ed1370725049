"""What went wrong, as a status and a JSON body of one shape.

Belongs here: which error is which status. Not here: wording, which stands where errors are raised.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.errors import CodeIntelError, ConfigError, NotFoundError, QueryError, SourceError, StoreBusyError
from pipeline.interfaces.observing.requests import EndedError

_log = logging.getLogger(__name__)
RETRY_AFTER = "1"
"""Seconds, with every 503."""
_KINDS: tuple[tuple[tuple[type[CodeIntelError], ...], int, str], ...] = (
    ((QueryError, ConfigError), 400, "bad_request"),
    ((NotFoundError, SourceError), 404, "not_found"),
    ((StoreBusyError,), 503, "busy"),
    ((CodeIntelError,), 503, "unavailable"),
)
"""The first one that fits; what is damaged or not ready can be repaired, and the same request succeeds then."""


class RefusedError(EndedError):
    """A request that the service itself turns away: too large, too slow, unknown, not allowed."""

    def __init__(
        self, status: int, code: str, message: str, hint: str = "", *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint
        self.headers = dict(headers or {})
        self.ended = "busy" if status == 503 else "refused" if status < 500 else "failed"


def body(code: str, message: str, hint: str = "") -> bytes:
    """The JSON of an error."""
    # A name that came from a file system or a client may hold what UTF-8 cannot.
    message, hint = (text.encode("utf-8", "replace").decode() for text in (message, hint))
    return msgspec.json.encode({"error": {"code": code, "message": message, "hint": hint}})


def described(error: BaseException) -> RefusedError:
    """What to tell of an error. What nobody meant to raise goes into the log, and nothing of it to the client."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, CodeIntelError):
        for kinds, status, code in _KINDS:
            if isinstance(error, kinds):
                return RefusedError(status, code, error.message, error.hint)
    _log.error("an unexpected error", exc_info=error)
    return RefusedError(500, "internal", "The service failed to answer this request.", "Its log says why.")


def headers_of(refused: RefusedError) -> dict[str, Any]:
    """The headers that go with an error."""
    retry = {"retry-after": RETRY_AFTER} if refused.status == 503 else {}
    return {"content-type": "application/json", **retry, **refused.headers}
