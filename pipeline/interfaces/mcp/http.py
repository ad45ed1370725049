"""The MCP server over streamable HTTP.

Loopback by default, where only pages and programs of this machine reach it; the SDK refuses foreign `Host` and `Origin`
headers, so that no web page can reach it by a name that was bound anew. Elsewhere a bearer token is required.

Belongs here: addresses, tokens, limits, the end. Not here: the protocol (`server`).
"""

from __future__ import annotations

import asyncio
import hmac
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.addresses import address_of, is_loopback
from pipeline.errors import ConfigError
from pipeline.interfaces.mcp.link import Worker
from pipeline.interfaces.mcp.server import make_server, quick_imports

PATH = "/mcp"
MOST_SESSIONS, SESSION_IDLE = 256, 30 * 60.0
MOST_BODY = 1 << 20
"""Bytes of a request."""
MOST_CONNECTIONS = 512
_SHORTEST_TOKEN = 16
_GRACE = 3
"""Seconds that requests have to end in, when the server is to end."""

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def read_token(path: Path) -> str:
    """The token in a file. Raises `ConfigError` where there is none, or a short one."""
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The token cannot be read from {path}: {error}.", hint="Give a file of one line of ASCII.") from None
    if len(token) < _SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise ConfigError(
            f"The token in {path} is no line of at least {_SHORTEST_TOKEN} characters without spaces.",
            hint=f"Make one: `openssl rand -hex 32 > {path}`.",
        )
    return token


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError` where the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"{host}:{port} cannot be listened on: {why}.", hint="Choose another --port or --host.") from None
    return listening


def guarded(app: App, token: str) -> App:
    """An application that answers only those who know the token."""
    expected = f"Bearer {token}".encode()

    async def guard(scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] == "http":
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, expected):
                body = b'{"error": {"code": "unauthorized", "message": "The bearer token is missing or wrong.", "hint": ""}}'
                headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await app(scope, receive, send)

    return guard


def serve_http(worker: Worker, host: str, port: int, token: str | None) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `ConfigError` for an address that cannot be had."""
    with listen(host, port) as listening, quick_imports():
        import uvicorn
        from mcp.server.transport_security import TransportSecuritySettings

        class Patient(uvicorn.Server):
            @contextmanager
            def capture_signals(self) -> Any:
                # Ours below, which do not end the process by the signal once more when all is done.
                yield

        security = None if is_loopback(host) else TransportSecuritySettings(enable_dns_rebinding_protection=False)
        if is_loopback(host):
            names = ("127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host)
            security = TransportSecuritySettings(
                allowed_hosts=[f"{name}:*" for name in names], allowed_origins=[f"http://{name}:*" for name in names]
            )
        app: Any = make_server(worker).streamable_http_app(
            streamable_http_path=PATH,
            transport_security=security,
            max_request_body_size=MOST_BODY,
            max_sessions=MOST_SESSIONS,
            session_idle_timeout=SESSION_IDLE,
        )
        config = uvicorn.Config(
            app if token is None else guarded(app, token),
            log_level="warning",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE,
            lifespan="on",
        )
        server = Patient(config)
        sys.stderr.write(f"MCP on {address_of(listening)}{PATH} (Ctrl-C ends it)\n")
        sys.stderr.flush()

        async def serve() -> None:
            def end() -> None:
                server.should_exit = True

            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, end)
            await server.serve(sockets=[listening])

        with suppress(KeyboardInterrupt):
            asyncio.run(serve())
