"""The service as an ASGI application: routes, and what stands around each request.

Belongs here: how a request is read, asked and answered. Not here: which requests there are (`endpoints`), who may ask
(`access`), how much (`limits`), sockets and signals (`server`).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from pipeline.errors import QueryError
from pipeline.interfaces.http import errors, health, pages
from pipeline.interfaces.http.access import SECURITY, Access
from pipeline.interfaces.http.endpoints import ENDPOINTS, Endpoint, from_body, from_query
from pipeline.interfaces.http.errors import RefusedError
from pipeline.interfaces.http.limits import Gate, Limits
from pipeline.interfaces.http.openapi import document
from pipeline.interfaces.observing.prometheus import CONTENT_TYPE, metrics_text
from pipeline.interfaces.observing.requests import request as observed
from pipeline.interfaces.serving.service import Service

_JSON = "application/json"
_DRAINED = 8
"""How many times its limit is read of a body that is too large, so that its sender comes to read the answer."""
Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Application:
    """The service. `close` when no request is to come."""

    service: Service
    access: Access
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._gate = Gate(self.limits.threads, self.limits.waiting, self.limits.seconds, name="answering")
        # Whoever watches the service is answered when it has too much to do, too.
        self._aside = Gate(1, 64, self.limits.seconds, name="watching")
        self._warming = health.Warming(self.service)
        self._pages = pages.read_pages()
        self._openapi = msgspec.json.encode(document())
        routes = [Route(one.route, self._endpoint(one), methods=["GET", "POST"] if one.post else ["GET"]) for one in ENDPOINTS]
        plain: dict[str, Handler] = {
            "/healthz": self._health, "/readyz": self._ready, "/metrics": self._metrics, "/openapi.json": self._description,
            "/": self._page, "/static/{name}": self._page,
        }  # fmt: skip
        routes += [Route(path, handler, methods=["GET"]) for path, handler in plain.items()]
        self._router = Router(routes, redirect_slashes=False)

    def start(self) -> None:
        """Open what is published."""
        self._warming.start()

    def close(self) -> None:
        """Forget requests that wait, and close the versions."""
        self._gate.close()
        self._aside.close()
        self.service.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                given = message.setdefault("headers", [])
                given.extend(SECURITY.items())
                if not any(name == b"cache-control" for name, _ in given):
                    given.append((b"cache-control", b"no-store"))
            await send(message)

        try:
            self._check(scope)
            scope["app"] = self  # So that the router raises for unknown paths and methods.
            await self._router(scope, receive, answer)
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
            await _error(_told(error))(scope, receive, answer)

    def _check(self, scope: Scope) -> None:
        """Raises `RefusedError` for what need not be read further."""
        header = Headers(scope=scope).get
        if len(scope["raw_path"]) + len(scope["query_string"]) > self.limits.url:
            raise RefusedError(
                414, "url_too_long", f"The URL is longer than {self.limits.url:,} bytes.", "Send long queries by POST /search."
            )
        self.access.check(scope["path"], header)
        if scope["method"] in ("GET", "HEAD") and (header("content-length", "0") != "0" or header("transfer-encoding")):
            raise RefusedError(
                400, "bad_request", f"{scope['method']} takes no body here.", "Write arguments into the URL.",
                headers={"connection": "close"},
            )  # fmt: skip

    def _endpoint(self, endpoint: Endpoint) -> Handler:
        async def handle(request: Request) -> Response:
            header = request.headers.get
            said = {"request_id": header("x-request-id", ""), "traceparent": header("traceparent", "")}
            with observed("http", endpoint.operation, **said) as this:
                posted = request.method == "POST"
                if posted:
                    arguments = from_body(await self._body(request))
                else:
                    inside = request.path_params[endpoint.inside] if endpoint.inside else ""
                    arguments = from_query(endpoint, request.scope["query_string"], inside)
                # Threads log, and begin spans, for the request that they work for.
                context = contextvars.copy_context()
                answer = await self._gate.run(
                    lambda: context.run(lambda: msgspec.json.encode(endpoint.ask(self.service, arguments, not posted)))
                )
                return Response(answer, headers={"x-request-id": this.id}, media_type=_JSON)

        return handle

    async def _body(self, request: Request) -> bytes:
        """The body, whole. Raises `QueryError` and `RefusedError`."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise RefusedError(
                415, "not_json", "The body is not said to be JSON.", f"Send the header `content-type: {_JSON}`.",
                headers={"connection": "close"},
            )  # fmt: skip
        if request.scope["query_string"]:
            raise QueryError("POST takes its arguments in the body.", hint="Leave the URL without a query.")
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                return await self._read(request)
        except TimeoutError:
            raise RefusedError(
                408, "timeout", f"The body did not come within {self.limits.body_seconds:g} seconds.", "Send it at once.",
                headers={"connection": "close"},
            ) from None  # fmt: skip

    async def _read(self, request: Request) -> bytes:
        too_large = RefusedError(
            413, "too_large", f"The body is larger than {self.limits.body:,} bytes.", "Send a smaller one.",
            headers={"connection": "close"},
        )  # fmt: skip
        said = request.headers.get("content-length", "")
        expects = request.headers.get("expect", "").lower() == "100-continue"
        if said.isdigit() and int(said) > self.limits.body * (1 if expects else _DRAINED):
            raise too_large
        read, size = [], 0
        async for block in request.stream():
            size += len(block)
            if size <= self.limits.body:
                read.append(block)
            elif size > self.limits.body * _DRAINED:
                break
        if size > self.limits.body:
            raise too_large
        return b"".join(read)

    async def _health(self, request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type=_JSON)

    async def _ready(self, request: Request) -> Response:
        found = await self._aside.run(lambda: health.ready(self.service, self._warming))
        status = 200 if found["ready"] else 503
        headers = {} if found["ready"] else {"retry-after": errors.RETRY_AFTER}
        return Response(msgspec.json.encode(found), status, headers, _JSON)

    async def _metrics(self, request: Request) -> Response:
        text = await self._aside.run(lambda: metrics_text())
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def _description(self, request: Request) -> Response:
        return Response(self._openapi, media_type=_JSON)

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", pages.INDEX)
        page = self._pages.get(name)
        if page is None:
            raise RefusedError(404, "not_found", f"There is no file `{name[:100]}`.")
        headers = {"etag": page.tag, "cache-control": "no-cache"}
        if page.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(page.content, headers={**headers, "content-type": page.kind})


def _told(error: Exception) -> RefusedError:
    if not isinstance(error, HTTPException):
        return errors.described(error)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        return RefusedError(
            405, "wrong_method", "The address does not take this method.", "See /openapi.json.", headers=headers
        )
    return RefusedError(404, "not_found", "There is no such address.", "See /openapi.json.")


def _error(refused: RefusedError) -> Response:
    content = errors.body(refused.code, refused.message, refused.hint)
    return Response(content, refused.status, errors.headers_of(refused))
