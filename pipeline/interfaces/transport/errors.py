"""What went wrong, as a status and a JSON body of one shape.

Belongs here: which code is which status. Not here: which error has which code (`serving.failures`), wording, which stands where
errors are raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.interfaces.observing.requests import EndedError
from pipeline.interfaces.serving.failures import Code, error_document, failure_of

RETRY_AFTER = "1"
"""Seconds, with every 503."""
STATUSES: Mapping[Code, int] = {
    "bad_request": 400,
    "not_found": 404,
    "internal": 500,
    "busy": 503,
    "ending": 503,
    "unavailable": 503,
    "too_slow": 504,
}


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
    return msgspec.json.encode(error_document(code, message, hint))


def described(error: BaseException) -> RefusedError:
    """What to tell of an error."""
    if isinstance(error, RefusedError):
        return error
    failure = failure_of(error)
    return RefusedError(STATUSES[failure.code], failure.code, failure.message, failure.hint)


def headers_of(refused: RefusedError) -> dict[str, Any]:
    """The headers that go with an error."""
    retry = {"retry-after": RETRY_AFTER} if refused.status == 503 else {}
    return {"content-type": "application/json", **retry, **refused.headers}
