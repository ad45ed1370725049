"""Both servers, over HTTP, as processes of their own: what holds for one holds for the other."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
COMMANDS = {"serve": ("serve",), "mcp": ("mcp", "--http")}
TOKEN = "0123456789abcdef0123456789abcdef"
PING = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
    "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}  # fmt: skip
BODIES = {"serve": ("/search", json.dumps({"query": "ship"})), "mcp": ("/mcp", json.dumps(PING))}
"""Where each takes a body, and one that it takes."""
_WITH_LIMITS = {
    "serve": """
from pipeline.interfaces.http.limits import Limits
from pipeline.interfaces.http.server import serve
from pipeline.interfaces.serving.service import Service
from pipeline.store.layout import open_store

announce(address_of(listener), "127.0.0.1")
serve(Service(open_store(store)), listener, access, Limits(**limits))
""",
    "mcp": """
from pipeline.interfaces.mcp.http import serve_http
from pipeline.interfaces.mcp.link import Worker
from pipeline.interfaces.transport.limits import ConnectionLimits

serve_http(Worker(store, metrics=True), "127.0.0.1", listener, access, ConnectionLimits(**limits))
""",
}
_LISTENING = """
import json, sys
from pathlib import Path
from pipeline.addresses import address_of
from pipeline.interfaces.transport.access import access_of
from pipeline.interfaces.transport.sockets import announce, listen

store, limits = Path(sys.argv[1]), json.loads(sys.argv[2])
listener, access = listen("127.0.0.1", 0), access_of("127.0.0.1", token_file=None, no_token=False)
"""


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        """What went wrong."""
        said: dict[str, str] = self.json["error"]
        assert said.keys() == {"code", "message", "hint"}
        return said


@dataclass
class Served:
    """A service that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Got:
        """Ask on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, {**self.headers, **named})
            answer = connection.getresponse()
            return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def post(self, arguments: Any) -> Got:
        """Search by a body."""
        return self.get("/search", "POST", json.dumps(arguments).encode(), content_type="application/json")

    def raw(self, sent: bytes, *, wait: float = 30.0) -> bytes:
        """What comes back for bytes until the service closes the connection, or nothing has come for so long."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            connection.sendall(sent)
            return everything(connection)

    def ended(self, wait: float = 30.0) -> int:
        """Tell it to end, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(wait)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    read = b""
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while block := connection.recv(1 << 16):
            read += block
    return read


@contextlib.contextmanager
def fronted(name: str, store: Path, log: Path, *options: str, **limits: float) -> Iterator[Served]:
    """One of the servers over a store, with options, or with limits by name."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CODEINTEL_")}
    if limits:
        command = [sys.executable, "-c", _LISTENING + _WITH_LIMITS[name], str(store), json.dumps(limits)]
    else:
        command = [sys.executable, "-m", "pipeline.interfaces.main", *COMMANDS[name], "--data", str(store), "--port", "0"]
    with log.open("wb") as errors:
        process = subprocess.Popen([*command, *options], stderr=errors, env={**clean, "PYTHONPATH": str(ROOT)}, cwd=store)
    try:
        until = time.monotonic() + 60
        while (told := re.search(rb"http://\S+?:(\d+)\b.*\n", log.read_bytes())) is None:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield Served(process, int(told[1]), log)
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Front:
    """A server to start: `with front(store, "--token-file", path) as served`."""

    name: str
    log: Path

    def __call__(self, store: Path, *options: str, **limits: float) -> contextlib.AbstractContextManager[Served]:
        """Start it."""
        return fronted(self.name, store, self.log, *options, **limits)


@pytest.fixture(params=COMMANDS)
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Front:
    """Each of the servers, to be started."""
    return Front(request.param, tmp_path / "log")


@pytest.fixture(scope="module", params=COMMANDS)
def running(
    request: pytest.FixtureRequest, built: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Served]]:
    """Each of the servers, with its name, for tests that change nothing."""
    with fronted(request.param, built.store, tmp_path_factory.mktemp("running") / "log") as served:
        yield request.param, served


@pytest.fixture(scope="module", params=COMMANDS)
def hurried(
    request: pytest.FixtureRequest, built: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Served]]:
    """Each of the servers, waiting for nobody."""
    limits = {"head_seconds": 0.4, "body_seconds": 0.4, "keep_alive": 1, "write_seconds": 0.5, "connections": 1}
    with fronted(request.param, built.store, tmp_path_factory.mktemp("hurried") / "log", **limits) as served:
        yield request.param, served


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a token, for its owner alone."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path
