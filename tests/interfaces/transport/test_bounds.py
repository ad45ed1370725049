"""Clients that send too much, too slowly or nonsense, or do not read: both servers cut them off, and go on."""

from __future__ import annotations

import socket
import time
from typing import Any

import msgspec
import pytest

from tests.interfaces.transport.conftest import BODIES, everything

HOST = b"host: localhost\r\n"
JSON = b"content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n"


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer as it came."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), msgspec.json.decode(body)["error"]["code"]


def post_head(name: str, *more: bytes) -> bytes:
    """The beginning of a request with a body."""
    return b"POST " + BODIES[name][0].encode() + b" HTTP/1.1\r\n" + HOST + JSON + b"".join(line + b"\r\n" for line in more)


def until_answered(served: Any) -> None:
    """Wait until the one connection that there may be is to be had."""
    until = time.monotonic() + 60
    while served.get("/metrics").status != 200:
        assert time.monotonic() < until
        time.sleep(0.05)


def alone(served: Any, sent: bytes) -> bytes:
    """What comes back on the one connection that there may be, once it is to be had."""
    until = time.monotonic() + 60
    while (answer := served.raw(sent)).startswith(b"HTTP/1.1 503 "):
        assert time.monotonic() < until
    return bytes(answer)


def slow_reader(served: Any, sent: bytes) -> socket.socket:
    """A client that has the one connection, and has read the beginning of the first answer."""
    until = time.monotonic() + 60
    while True:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(60)
        slow.connect(("127.0.0.1", served.port))
        slow.sendall(sent)
        if slow.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200":
            return slow
        slow.close()
        assert time.monotonic() < until


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HT", b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nx-slow: "])
def test_who_does_not_finish_the_headers_is_cut_off(sent: bytes, hurried: Any) -> None:
    assert refusal(alone(hurried[1], sent)) == (408, "timeout")


def test_who_does_not_finish_a_body_is_cut_off(hurried: Any) -> None:
    name, served = hurried
    assert refusal(alone(served, post_head(name, b"content-length: 100", b"") + b"{")) == (408, "timeout")


def test_who_asks_for_much_and_does_not_read_is_cut_off_and_others_are_answered(hurried: Any) -> None:
    _, served = hurried
    asked = 2000
    whole = asked * len(alone(served, METRICS.replace(HOST, HOST + b"connection: close\r\n")))
    assert whole > 20 << 20  # More than sockets take in.
    with slow_reader(served, METRICS * asked) as slow:
        until_answered(served)  # There is one place, and the slow one had it.
        assert len(everything(slow)) < whole
    assert served.process.poll() is None
    assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize("size", [(1 << 20) + 1, 3 << 20, 100 << 20])
def test_a_body_that_is_too_large_is_refused(size: int, running: Any) -> None:
    name, served = running
    if size > 8 << 20:  # Nobody reads so much: the answer comes before the body.
        assert refusal(served.raw(post_head(name, b"content-length: %d" % size, b""))) == (413, "too_large")
    else:
        got = served.get(BODIES[name][0], "POST", b" " * size, content_type="application/json")
        assert (got.status, got.error["code"], got.headers["connection"]) == (413, "too_large", "close")


def test_a_body_in_chunks_is_counted(running: Any) -> None:
    name, served = running
    head = post_head(name, b"transfer-encoding: chunked")
    block = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert refusal(served.raw(head + b"\r\n" + block * 20 + b"0\r\n\r\n")) == (413, "too_large")
    tiny = b"".join(b"1;%s\r\n%c\r\n" % (b"x" * 50, byte) for byte in BODIES[name][1].encode())
    assert served.raw(head + b"connection: close\r\n\r\n" + tiny + b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_what_is_not_said_to_be_json_is_refused(running: Any) -> None:
    name, served = running
    path, body = BODIES[name]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        got = served.get(path, "POST", body.encode(), content_type=kind)
        assert (got.status, got.error["code"]) == (415, "not_json")


def test_urls_and_headers_without_end_are_refused(running: Any) -> None:
    _, served = running
    assert refusal(served.raw(b"GET /metrics HTTP/1.1\r\n" + HOST + b"x: " + b"a" * 300_000)) == (400, "bad_request")
    got = served.get("/metrics?" + "a" * (1 << 14))
    assert (got.status, got.error["code"]) == (414, "url_too_long")


@pytest.mark.parametrize(
    "lines",
    [
        [b"content-length: 5", b"transfer-encoding: chunked"],
        [b"content-length: 5", b"content-length: 6"],
        [b"content-length: -1"],
        [b"content-length: +5"],
        [b"content-length: 0x5"],
        [b"content-length: " + b"9" * 5000],
        [b"transfer-encoding: gzip, chunked"],
        [b"transfer-encoding: chunked, identity"],
        [b"host: localhost"],
        [b"x : y"],
        [b"x: a\0b"],
    ],
)
def test_headers_that_two_readers_could_read_in_two_ways_are_refused(lines: list[bytes], running: Any) -> None:
    name, served = running
    status, code = refusal(served.raw(post_head(name, *lines, b"") + b"hello"))
    assert (status, code) in ((400, "bad_request"), (413, "too_large"))
    assert "Traceback" not in served.log.read_text()


def test_a_chunk_that_is_none_ends_the_request(running: Any) -> None:
    name, served = running
    for broken in (b"zz\r\nhello\r\n", b"-1\r\n\r\n", b"5\r\nhelloworld\r\n", b"f" * 30 + b"\r\n"):
        assert refusal(served.raw(post_head(name, b"transfer-encoding: chunked", b"") + broken)) == (400, "bad_request")
    assert "Traceback" not in served.log.read_text()


def test_what_takes_no_body_gets_none(running: Any) -> None:
    got = running[1].get("/metrics", "GET", b"hello")
    assert (got.status, got.error["code"], got.headers["connection"]) == (400, "bad_request", "close")


def test_an_address_or_a_method_that_is_none_is_told(running: Any) -> None:
    _, served = running
    for path in (
        "/nowhere",
        "/metrics/",
        "/../etc/passwd",
        "/%00",
        "//metrics",
        "/mcp/../metrics",
        "/%2e%2e/metrics",
        "/metrics%0A",
    ):
        got = served.get(path)
        assert (got.status, got.error["code"]) == (404, "not_found")
    for method in ("POST", "DELETE", "TRACE", "BREW"):
        got = served.get("/metrics", method)
        assert (got.status, got.error["code"]) == (405, "wrong_method")
        assert "GET" in got.headers["allow"]


def test_garbage_behind_a_request_spoils_only_itself(running: Any) -> None:
    answers = running[1].raw(METRICS + b"\x16\x03\x01\0GARBAGE\r\n\r\n")
    first, _, rest = answers.partition(b"HTTP/1.1 400 ")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert b'"bad_request"' in rest
    assert running[1].get("/metrics").status == 200


def test_every_answer_has_the_headers_that_keep_browsers_in(running: Any) -> None:
    for path in ("/metrics", "/nowhere"):
        headers = running[1].get(path).headers
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
