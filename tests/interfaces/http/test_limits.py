"""Clients that send too much, too slowly, or too often."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.interfaces.http.app import Application
from pipeline.interfaces.http.limits import Gate, Limits
from pipeline.interfaces.serving.service import Json, Service
from pipeline.interfaces.transport.access import Access
from pipeline.interfaces.transport.errors import RefusedError
from pipeline.store.layout import create_store

HOST = b"host: localhost\r\n"


def status_and_error(answer: bytes) -> tuple[int, str]:
    """Of an answer as it came."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), msgspec.json.decode(body)["error"]["code"]


def test_who_sends_a_header_a_moment_is_cut_off_all_the_same(hurried: Any) -> None:
    ended = threading.Event()
    with socket.create_connection(("127.0.0.1", hurried.port), timeout=30) as connection:

        def drip() -> None:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            while not ended.wait(0.05):
                try:
                    connection.sendall(b"x: y\r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        finally:
            ended.set()
            dripping.join()


def test_a_second_request_on_a_connection_must_come_to_its_end_too(hurried: Any) -> None:
    answers = hurried.raw(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /healthz HT")
    assert answers.count(b"HTTP/1.1 200 OK") == 1


def test_an_idle_connection_is_closed(hurried: Any) -> None:
    assert hurried.raw(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n").endswith(b'{"status":"ok"}')


def test_connections_without_end_do_not_keep_others_out_for_long(hurried: Any) -> None:
    held = [socket.create_connection(("127.0.0.1", hurried.port)) for _ in range(40)]
    try:
        last = held[-1]
        last.settimeout(30)
        assert last.recv(100).startswith(b"HTTP/1.1 503 ")
        for connection in held[:-1]:  # Until the service has let go of them all.
            connection.settimeout(30)
            assert connection.recv(100)
        assert hurried.get("/healthz").status == 200
    finally:
        for connection in held:
            connection.close()


def test_who_asks_first_whether_a_body_is_welcome_is_told_that_it_is_too_large(served: Any) -> None:
    head = b"POST /search HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\nexpect: 100-continue\r\n"
    assert status_and_error(served.raw(head + b"content-length: 2000000\r\n\r\n")) == (413, "too_large")


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01", b"HELLO\r\n\r\n", b"GET  /\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_gets_an_error_like_any_other(sent: bytes, hurried: Any) -> None:
    status, code = status_and_error(hurried.raw(sent))
    assert (status, code) in ((400, "bad_request"), (408, "timeout"))


def test_requests_in_one_breath_are_answered_in_order(served: Any) -> None:
    paths = [b"/search?query=ship&k=1", b"/healthz", b"/nowhere", b"/chunks/1"]
    sent = b"".join(b"GET %s HTTP/1.1\r\n%s\r\n" % (path, HOST) for path in paths[:-1])
    last = b"GET %s HTTP/1.1\r\n%sconnection: close\r\n\r\n" % (paths[-1], HOST)
    answers = served.raw(sent + last)
    assert [int(one[1:4]) for one in answers.split(b"HTTP/1.1")[1:]] == [200, 200, 404, 404]
    places = [answers.index(told) for told in (b'"query":"ship"', b'"status":"ok"', b"no such address", b"no chunk 1")]
    assert places == sorted(places)


def test_an_old_client_is_answered_and_let_go(served: Any) -> None:
    answer = served.raw(b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"status":"ok"}')


class Slow(Service):
    """A service whose answers wait until they are let go."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def ask(self, operation: str, arguments: Any, *, texts: bool = False) -> Json:
        self.begun.release()
        self.go.wait(30)
        return super().ask(operation, arguments, texts=texts)


async def _asked(app: Application, path: str) -> tuple[int, Any, dict[bytes, bytes]]:
    """One request, without a socket."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
        "root_path": "", "http_version": "1.1", "scheme": "http", "client": None, "server": None,
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], msgspec.json.decode(sent[1]["body"]), dict(sent[0]["headers"])


def test_more_requests_than_may_wait_are_told_to_come_back_and_health_is_answered_meanwhile(tmp_path: Path) -> None:
    slow = Slow(create_store(tmp_path / "store"))
    app = Application(slow, Access(None), Limits(threads=1, waiting=2))

    async def crowd() -> list[tuple[int, Any, dict[bytes, bytes]]]:
        inside = [asyncio.create_task(_asked(app, "/status")) for _ in range(3)]
        await asyncio.to_thread(slow.begun.acquire)
        refused, health = await _asked(app, "/status"), await _asked(app, "/healthz")
        ready = await _asked(app, "/readyz")
        slow.go.set()
        return [refused, health, ready, *await asyncio.gather(*inside)]

    refused, health, ready, *inside = asyncio.run(crowd())
    assert (refused[0], refused[1]["error"]["code"], refused[2][b"retry-after"]) == (503, "busy", b"1")
    assert (health[0], ready[0]) == (200, 503)
    assert [answer[:2] for answer in inside] == [(200, {"repos": []})] * 3
    app.close()


def test_an_answer_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    slow = Slow(create_store(tmp_path / "store"))
    app = Application(slow, Access(None), Limits(threads=1, seconds=0.2))
    status, said, _ = asyncio.run(_asked(app, "/status"))
    assert (status, said["error"]["code"]) == (504, "too_slow")
    slow.go.set()
    app.close()


def test_what_nobody_meant_to_raise_is_told_to_the_log_and_not_to_the_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Service):
        def ask(self, operation: str, arguments: Any, *, texts: bool = False) -> Json:
            raise ZeroDivisionError("the secret of the engine")

    app = Application(Broken(create_store(tmp_path / "store")), Access(None))
    status, said, headers = asyncio.run(_asked(app, "/status"))
    assert (status, said["error"]["code"]) == (500, "internal")
    assert b"content-security-policy" in headers
    assert "secret" not in str(said)
    assert "the secret of the engine" in caplog.text
    app.close()


def test_the_gate_lets_go_of_what_was_given_up_before_it_began() -> None:
    gate, go = Gate(1, 1, 0.2, name="test"), threading.Event()

    async def crowd() -> list[str]:
        told = []
        for one in await asyncio.gather(gate.run(go.wait), gate.run(lambda: "never"), return_exceptions=True):
            assert isinstance(one, RefusedError)
            told.append(one.code)
        # The second one left the queue; the first one still has the thread.
        assert gate.inside == 1
        go.set()
        while gate.inside:
            await asyncio.sleep(0.01)
        told.append(await gate.run(lambda: "again"))
        return told

    assert asyncio.run(crowd()) == ["too_slow", "too_slow", "again"]
    gate.close()


def test_a_closed_gate_says_that_the_service_ends() -> None:
    gate = Gate(1, 1, 1.0, name="test")
    gate.close()
    with pytest.raises(RefusedError, match="ending"):
        asyncio.run(gate.run(lambda: None))
    assert gate.inside == 0
