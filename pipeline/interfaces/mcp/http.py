"""The MCP server over streamable HTTP.

Who may ask, how much, and what an error looks like is as in `indexctl serve`: `interfaces.transport` sees to it before the SDK
sees anything.

Belongs here: addresses, bounds of the protocol. Not here: the protocol (`server`).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.addresses import address_of
from pipeline.interfaces.mcp.link import Worker
from pipeline.interfaces.mcp.server import make_server, quick_imports
from pipeline.interfaces.observing import CONTENT_TYPE
from pipeline.interfaces.observing.logs import start_logging
from pipeline.interfaces.transport.access import Access
from pipeline.interfaces.transport.bodies import JSON, json_body
from pipeline.interfaces.transport.errors import RETRY_AFTER
from pipeline.interfaces.transport.guard import Guard
from pipeline.interfaces.transport.limits import ConnectionLimits
from pipeline.interfaces.transport.server import run
from pipeline.interfaces.transport.sockets import announce

PATH = "/mcp"
HEALTH, READY, METRICS = "/healthz", "/readyz", "/metrics"
FREE = (HEALTH, READY)
"""What needs no token."""
MOST_SESSIONS, SESSION_IDLE = 256, 30 * 60.0
LIMITS = ConnectionLimits(graceful=3)
"""Streams of clients that listen have no end of their own."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The protocol at one address, what watchers ask at others (ASGI). Raises what `Guard` answers."""

    protocol: ASGIApp
    worker: Worker
    limits: ConnectionLimits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.protocol(scope, receive, send)
        elif scope["path"] == PATH:
            if scope["method"] == "POST":
                receive = _again(await json_body(Request(scope, receive), self.limits), receive)
            await self.protocol(scope, receive, send)
        elif scope["path"] in (HEALTH, READY, METRICS):
            if scope["method"] not in ("GET", "HEAD"):
                raise HTTPException(405, headers={"allow": "GET, HEAD"})
            response = await self._of_itself(scope["path"])
            await response(scope, receive, send)
        else:
            raise HTTPException(404)

    async def _of_itself(self, path: str) -> Response:
        if path == HEALTH:
            return Response(b'{"status":"ok"}', media_type=JSON)
        if path == METRICS:
            return Response(await self.worker.tell("metrics"), headers={"content-type": CONTENT_TYPE})
        told = await self.worker.tell("ready")
        if msgspec.json.decode(told)["ready"]:
            return Response(told, media_type=JSON)
        return Response(told, 503, {"retry-after": RETRY_AFTER}, JSON)


def _again(body: bytes, receive: Receive) -> Callable[[], Awaitable[Any]]:
    """What gives a body that was read once more, and then what comes behind it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Any:
        return left.pop() if left else await receive()

    return receive_again


def serve_http(worker: Worker, host: str, listener: socket.socket, access: Access, limits: ConnectionLimits = LIMITS) -> None:
    """Serve until SIGTERM or Ctrl-C (see `transport.server.run`)."""
    with quick_imports():
        from mcp.server.transport_security import TransportSecuritySettings

        protocol: Any = make_server(worker).streamable_http_app(
            streamable_http_path=PATH,
            # `access` has judged the headers already, by the rules that `indexctl serve` has, too.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=limits.body,
            max_sessions=MOST_SESSIONS,
            session_idle_timeout=SESSION_IDLE,
        )
    start_logging()
    # What a client can provoke is no warning.
    logging.getLogger("mcp").setLevel(logging.ERROR)
    announce(f"MCP on {address_of(listener)}{PATH}", host)
    see = f"The protocol is spoken at {PATH}; {METRICS} is for Prometheus, {HEALTH} and {READY} for whoever watches."
    guard = Guard(Addresses(protocol, worker, limits), access, limits, see, is_free=FREE.__contains__)
    run(guard, listener, limits, lifespan="on")
