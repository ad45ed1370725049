"""The service as an ASGI application: routes, and what stands around each request.

Belongs here: how a request is read, asked and answered. Not here: which requests there are (`endpoints`), how much (`limits`),
who may ask, sockets and signals (`interfaces.transport`).
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from pipeline.errors import QueryError
from pipeline.interfaces.http import health, pages
from pipeline.interfaces.http.endpoints import ENDPOINTS, Endpoint, from_body, from_query, is_free
from pipeline.interfaces.http.limits import Gate, Limits
from pipeline.interfaces.http.openapi import document
from pipeline.interfaces.observing import CONTENT_TYPE
from pipeline.interfaces.observing.prometheus import metrics_text
from pipeline.interfaces.observing.requests import request as observed
from pipeline.interfaces.serving.service import Service
from pipeline.interfaces.transport.access import Access
from pipeline.interfaces.transport.bodies import JSON, json_body
from pipeline.interfaces.transport.errors import RETRY_AFTER, RefusedError
from pipeline.interfaces.transport.guard import Guard

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
        self._guard = Guard(self._route, self.access, self.limits, see="See /openapi.json.", is_free=is_free)

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
        await self._guard(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # So that the router raises for unknown paths and methods.
        await self._router(scope, receive, send)

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
                return Response(answer, headers={"x-request-id": this.id}, media_type=JSON)

        return handle

    async def _body(self, request: Request) -> bytes:
        """The body, whole. Raises `QueryError` and `RefusedError`."""
        if request.scope["query_string"]:
            raise QueryError("POST takes its arguments in the body.", hint="Leave the URL without a query.")
        return await json_body(request, self.limits)

    async def _health(self, request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def _ready(self, request: Request) -> Response:
        found = await self._aside.run(lambda: health.ready(self.service, self._warming))
        status = 200 if found["ready"] else 503
        headers = {} if found["ready"] else {"retry-after": RETRY_AFTER}
        return Response(msgspec.json.encode(found), status, headers, JSON)

    async def _metrics(self, request: Request) -> Response:
        text = await self._aside.run(lambda: metrics_text())
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def _description(self, request: Request) -> Response:
        return Response(self._openapi, media_type=JSON)

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", pages.INDEX)
        page = self._pages.get(name)
        if page is None:
            raise RefusedError(404, "not_found", f"There is no file `{name[:100]}`.")
        headers = {"etag": page.tag, "cache-control": "no-cache"}
        if page.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(page.content, headers={**headers, "content-type": page.kind})
