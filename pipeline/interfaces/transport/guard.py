"""What stands around every request: who may ask, what need not be read, headers of every answer, and errors of one shape.

Belongs here: that, as an ASGI application around another one. Not here: the rules (`access`, `limits`), what is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.interfaces.transport import errors
from pipeline.interfaces.transport.access import SECURITY, Access
from pipeline.interfaces.transport.errors import RefusedError
from pipeline.interfaces.transport.limits import ConnectionLimits


@dataclass(frozen=True, slots=True)
class Guard:
    """An application that asks `app` only what may be asked, and answers what that raises. `see` is where an address that is
    none is told to look; `is_free` says which paths need no token."""

    app: ASGIApp
    access: Access
    limits: ConnectionLimits
    see: str
    is_free: Callable[[str], bool] = lambda path: False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = _with_security(list(message.get("headers", ())))
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, receive, answer)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            if begun:
                raise
            # The service ends, and this took longer than it waits.
            refused = RefusedError(503, "ending", "The service is ending.", "Ask again when it is back.")
            await _error(refused)(scope, receive, answer)
        except Exception as error:
            if begun:
                raise
            await _error(self._told(error))(scope, receive, answer)

    def _check(self, scope: Scope) -> None:
        """Raises `RefusedError` for what need not be read further."""
        header = Headers(scope=scope).get
        if len(scope["raw_path"]) + len(scope["query_string"]) > self.limits.url:
            raise RefusedError(
                414, "url_too_long", f"The URL is longer than {self.limits.url:,} bytes.", "Send what is long in a body."
            )
        if "\n" in scope["path"]:
            # Patterns of routes would end before it.
            raise HTTPException(404)
        self.access.check(header, free=self.is_free(scope["path"]))
        if header("content-length") is not None and header("transfer-encoding") is not None:
            raise RefusedError(
                400, "bad_request", "The request says in two ways how long its body is.",
                "Send Content-Length or Transfer-Encoding.", headers={"connection": "close"},
            )  # fmt: skip
        if scope["method"] in ("GET", "HEAD") and (header("content-length", "0") != "0" or header("transfer-encoding")):
            raise RefusedError(
                400, "bad_request", f"{scope['method']} takes no body here.", "Write arguments into the URL.",
                headers={"connection": "close"},
            )  # fmt: skip

    def _told(self, error: Exception) -> RefusedError:
        if not isinstance(error, HTTPException):
            return errors.described(error)
        if error.status_code == 405:
            headers = {name.lower(): value for name, value in (error.headers or {}).items()}
            return RefusedError(405, "wrong_method", "The address does not take this method.", self.see, headers=headers)
        return RefusedError(404, "not_found", "There is no such address.", self.see)


def _with_security(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given.extend(SECURITY.items())
    if not any(name == b"cache-control" for name, _ in given):
        given.append((b"cache-control", b"no-store"))
    return given


def _error(refused: RefusedError) -> Response:
    content = errors.body(refused.code, refused.message, refused.hint)
    return Response(content, refused.status, errors.headers_of(refused))
