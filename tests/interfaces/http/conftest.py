"""The service as a process of its own, asked over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
_WITH_LIMITS = """
import json, sys
from pathlib import Path
from pipeline.interfaces.http.limits import Limits
from pipeline.addresses import address_of
from pipeline.interfaces.http.server import serve
from pipeline.interfaces.serving.service import Service
from pipeline.interfaces.transport.access import access_of
from pipeline.interfaces.transport.sockets import listen
from pipeline.store.layout import open_store

store, limits = open_store(Path(sys.argv[1])), Limits(**json.loads(sys.argv[2]))
listener = listen("127.0.0.1", 0)
print(address_of(listener), file=sys.stderr, flush=True)
serve(Service(store), listener, access_of("127.0.0.1", token_file=None, no_token=False), limits)
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


Serve = Callable[..., contextlib.AbstractContextManager[Served]]


@contextlib.contextmanager
def service(store: Path, log: Path, *options: str, **limits: float) -> Iterator[Served]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
    if limits:
        command = [sys.executable, "-c", _WITH_LIMITS, str(store), json.dumps(limits)]
    else:
        command = [sys.executable, "-m", "pipeline.interfaces.main", "serve", "--data", str(store), "--port", "0", *options]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors, env={**clean, "PYTHONPATH": str(ROOT)}, cwd=store)
    try:
        until = time.monotonic() + 60
        while b"\n" not in (said := log.read_bytes()):
            assert process.poll() is None, said.decode()
            assert time.monotonic() < until
            time.sleep(0.05)
        served = Served(process, int(said.split(b" ")[0].split(b"\n")[0].rpartition(b":")[2]), log)
        published = any(store.glob("*/CURRENT"))
        while published and served.get("/healthz").status != 200 and time.monotonic() < until:
            time.sleep(0.05)
        yield served
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Run the service over a store: `with serve(store, "--threads", "3") as served`, or with limits by name."""

    def started(store: Path, *options: str, **limits: float) -> contextlib.AbstractContextManager[Served]:
        return service(store, tmp_path / "serve.log", *options, **limits)

    return started


@pytest.fixture(scope="module")
def served(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service over the demo repository, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(built.store, folder / "store", symlinks=True)
    with service(folder / "store", folder / "serve.log") as served:
        until = time.monotonic() + 60
        while served.get("/readyz").status != 200:  # It opens what is published.
            assert time.monotonic() < until
            time.sleep(0.05)
        yield served


@pytest.fixture(scope="module")
def hurried(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that waits for nobody, and takes few connections."""
    folder = tmp_path_factory.mktemp("hurried")
    limits = {"head_seconds": 0.4, "body_seconds": 0.4, "keep_alive": 1, "connections": 20}
    with service(built.store, folder / "serve.log", **limits) as served:
        yield served
