"""The server over streamable HTTP, with the SDK's own client, and with whoever else may come."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
from pathlib import Path

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from pipeline.interfaces.mcp.http import LIMITS
from pipeline.interfaces.mcp.tools import TOOLS
from tests.conftest import World
from tests.interfaces.mcp.conftest import Served, children_of, is_running, serving, text_of, until

ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
    "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})  # fmt: skip


def post(served: Served, body: str | bytes = PING, **headers: str) -> tuple[int, str]:
    """Status and body of a request that is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("POST", "/mcp", body, {**ACCEPT, **headers})
    response = connection.getresponse()
    told = response.status, response.read().decode("utf-8", "replace")
    connection.close()
    return told


def use(url: str, token: str | None = None) -> str:
    """Search with the SDK's client, fifty times at once."""

    async def main() -> str:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http_client,
            Client(streamable_http_client(url, http_client=http_client)) as client,
        ):
            assert [tool.name for tool in (await client.list_tools()).tools] == list(TOOLS)
            assert (await client.call_tool("search", {})).is_error
            results = await asyncio.gather(*(client.call_tool("search", {"query": "tide", "k": k}) for k in range(1, 51)))
            assert not any(result.is_error for result in results)
            return text_of(results[0])

    return asyncio.run(main())


def test_the_sdks_client_gets_fifty_answers_at_once(served: Served) -> None:
    assert "harbour/tides.py" in use(served.url)


def test_several_clients_have_sessions_of_their_own(served: Served) -> None:
    async def one(query: str) -> str:
        async with Client(served.url) as client:
            return text_of(await client.call_tool("search", {"query": query, "k": 1}))

    async def main() -> list[str]:
        return await asyncio.gather(*(one(query) for query in ("next_high_water", "berth_fee") * 3))

    found = asyncio.run(main())
    assert all("tides.py" in text for text in found[::2])
    assert all("fees.py" in text for text in found[1::2])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_a_web_page_of_somebody_else_gets_nothing(served: Served, headers: dict[str, str], status: int) -> None:
    assert post(served, **headers)[0] == status
    assert post(served)[0] == 200


def test_what_is_no_message_is_refused_and_the_server_goes_on(served: Served) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"jsonrpc": "2.0"}',
        b"[" * 5000,
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    ):
        status, said = post(served, body)
        assert 400 <= status < 500, (body, status, said)
        assert "Traceback" not in said
    assert post(served, b"x" * (LIMITS.body + 1))[0] == 413
    assert post(served, **{"mcp-session-id": "nobody"})[0] == 404
    assert post(served)[0] == 200


def test_a_client_that_sends_half_a_request_holds_nobody_up(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as slow:
        slow.sendall(
            b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:1\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
        )
        assert post(served)[0] == 200


def test_the_sdks_client_sends_a_token(built: World, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct-horse-battery-staple\n")
    file.chmod(0o600)
    with serving(built.store, tmp_path / "log", "--token-file", file, "--host", "0.0.0.0") as server:
        url = f"http://127.0.0.1:{server.port}/mcp"
        status, said = post(server)
        assert (status, json.loads(said)["error"]["code"]) == (401, "unauthorized")
        assert "harbour/tides.py" in use(url, "correct-horse-battery-staple")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_server_and_worker(built: World, tmp_path: Path, number: signal.Signals) -> None:
    with serving(built.store, tmp_path / "log") as server:
        assert post(server)[0] == 200
        (worker,) = until(lambda: children_of(server.process.pid), "the worker")
        server.process.send_signal(number)
        assert server.process.wait(60) == 0
        until(lambda: not is_running(worker), "the worker's end")
        assert "Traceback" not in server.log.read_text()


def test_a_client_that_listens_does_not_keep_the_server_from_ending(built: World, tmp_path: Path) -> None:
    with serving(built.store, tmp_path / "log") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/mcp", PING, ACCEPT)
        begun = connection.getresponse()
        begun.read()
        connection.request("GET", "/mcp", headers={**ACCEPT, "mcp-session-id": begun.headers["mcp-session-id"]})
        until(lambda: b"HTTP/1.1 200" in connection.sock.recv(100), "the stream")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        connection.close()
        assert "Traceback" not in server.log.read_text()
