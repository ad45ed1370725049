"""The server over standard input and output, with the SDK's own client, and with clients that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from mcp.client import Client

from pipeline.interfaces.mcp.tools import INSTRUCTIONS, TOOLS
from tests.conftest import World
from tests.interfaces.mcp.conftest import CLEAN, COMMAND, children_of, is_running, run_with_client, text_of, until

HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Raw:
    """A client that sends whatever it likes, a line at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._numbers = iter(range(1, 10**6))
        self._answers = dict[int, dict[str, Any]]()

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> int:
        number = next(self._numbers)
        self.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode())
        return number

    def tell(self, method: str, params: dict[str, Any]) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())

    def search(self, query: str, **arguments: Any) -> int:
        return self.ask("tools/call", {"name": "search", "arguments": {"query": query, **arguments}})

    def answer(self, number: int) -> dict[str, Any]:
        """The message with that id; others that come before it are kept for those that ask for them."""
        assert self.process.stdout is not None
        while number not in self._answers:
            line = self.process.stdout.readline()
            assert line, "the server ended"
            message = json.loads(line)
            self._answers[message.get("id")] = message
        return self._answers.pop(number)


@contextmanager
def raw(world: World) -> Iterator[Raw]:
    """A server and a client that said hello."""
    command = [*COMMAND, "--data", str(world.store)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=CLEAN) as process:
        try:
            client = Raw(process)
            hello = client.answer(client.ask("initialize", HELLO))
            assert hello["result"]["serverInfo"]["name"] == "codeintel"
            client.tell("notifications/initialized", {})
            yield client
        finally:
            process.kill()


@pytest.fixture(scope="module")
def client(built: World) -> Iterator[Raw]:
    """A client that several tests use one after the other: whatever it sends, its server lives."""
    with raw(built) as client:
        yield client
        assert client.process.poll() is None


def found(message: dict[str, Any]) -> str:
    """The text of a search that went well."""
    assert not message["result"].get("isError"), message
    return str(message["result"]["content"][0]["text"])


def test_the_sdks_client_lists_and_calls_every_tool(built: World) -> None:
    async def use(client: Client) -> None:
        assert client.instructions == INSTRUCTIONS
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == list(TOOLS)
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
        first = json.loads(text_of(await client.call_tool("search", {"query": "berth fee", "format": "json"})))["results"][0]
        for name, arguments in {
            "search": {"query": "berth fee"}, "fetch": {"id": first["id"]}, "symbols": {"name": "berth_fee"},
            "related": {"id": first["id"]}, "status": {},
        }.items():  # fmt: skip
            result = await client.call_tool(name, arguments)
            assert not result.is_error, text_of(result)
            assert "demo" in text_of(result)

    run_with_client(built, use)


def test_errors_are_content_and_the_server_goes_on(built: World) -> None:
    async def use(client: Client) -> None:
        for name, arguments in (
            ("search", {}),
            ("search", {"query": "x", "repo": "nope"}),
            ("nope", {}),
            ("fetch", {"id": "x"}),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert text_of(result)
        assert "[1]" in text_of(await client.call_tool("search", {"query": "tide"}))

    run_with_client(built, use)


def test_of_fifty_calls_at_once_none_is_lost_and_none_gets_anothers_answer(built: World) -> None:
    async def use(client: Client) -> None:
        names = ["berth_fee", "next_high_water", "renderQuay", "Ship", "is_seaworthy"] * 10
        results = await asyncio.gather(*(client.call_tool("symbols", {"name": name}) for name in names))
        for name, result in zip(names, results, strict=True):
            assert not result.is_error
            assert name in text_of(result)

    run_with_client(built, use)


def test_lines_that_are_no_messages_do_not_end_the_server(client: Raw) -> None:
    for line in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe\x00",
        b'{"jsonrpc": "1.0"}',
        b'{"jsonrpc": "2.0", "id": {}}',
        b"[" * 10_000,
    ):
        client.send(line)
    assert "error" in client.answer(client.ask("no/such/method", {}))
    assert "error" in client.answer(client.ask("tools/call", {"arguments": {"query": "x"}}))
    assert "error" in client.answer(client.ask("tools/call", {"name": "search", "arguments": ["x"]}))
    assert "[1]" in found(client.answer(client.search("tide")))


def test_huge_arguments_are_refused_in_a_sentence(client: Raw) -> None:
    refused = client.answer(client.search("x" * 5_000_000))["result"]
    assert refused["isError"]
    assert len(refused["content"][0]["text"]) < 1000
    assert "[1]" in found(client.answer(client.search("tide")))


def test_a_cancelled_call_is_not_answered_and_others_are(client: Raw) -> None:
    calls = [client.search(f"ships number {number}") for number in range(40)]
    for call in calls[::2]:
        client.tell("notifications/cancelled", {"requestId": call})
    last = client.search("tide")
    assert client.process.stdout is not None
    answered = set()
    while not {*calls[1::2], last} <= answered:
        message = json.loads(client.process.stdout.readline())
        answered.add(message["id"])
        assert "result" in message or message["id"] in calls[::2]


def test_a_client_that_goes_away_ends_both_processes(built: World) -> None:
    with raw(built) as client:
        (worker,) = until(lambda: children_of(client.process.pid), "the worker")
        client.search("tide")
        assert client.process.stdin is not None
        client.process.stdin.close()
        assert client.process.wait(60) == 0
        until(lambda: not is_running(worker), "the worker's end")


def test_a_killed_server_leaves_no_worker_behind(built: World) -> None:
    with raw(built) as client:
        (worker,) = until(lambda: children_of(client.process.pid), "the worker")
        client.process.kill()
        until(lambda: not is_running(worker), "the worker's end")


def test_a_client_that_reads_no_answers_and_leaves_ends_the_server_quietly(built: World) -> None:
    with raw(built) as client:
        assert client.process.stdout is not None
        assert client.process.stdin is not None
        assert client.process.stderr is not None
        for number in range(300):
            client.search(f"ships number {number}")
        client.process.stdout.close()
        client.process.stdin.close()
        client.process.wait(60)
        assert b"Traceback" not in client.process.stderr.read()


def test_a_worker_that_dies_is_replaced_and_its_calls_are_answered(built: World) -> None:
    with raw(built) as client:
        found(client.answer(client.search("tide")))
        (worker,) = until(lambda: children_of(client.process.pid), "the worker")
        os.kill(worker, signal.SIGSTOP)  # What is asked now is in flight for sure.
        calls = [client.search(f"ships number {number}") for number in range(5)]
        time.sleep(0.5)
        os.kill(worker, signal.SIGKILL)
        assert all("[1]" in found(client.answer(call)) for call in calls)
        assert children_of(client.process.pid) != [worker]


def test_a_call_whose_worker_dies_twice_is_told(built: World) -> None:
    with raw(built) as client:
        found(client.answer(client.search("tide")))
        (first,) = until(lambda: children_of(client.process.pid), "the worker")
        os.kill(first, signal.SIGSTOP)
        call = client.search("ships")
        time.sleep(0.5)
        os.kill(first, signal.SIGKILL)
        second = until(lambda: [pid for pid in children_of(client.process.pid) if pid != first], "another worker")[0]
        os.kill(second, signal.SIGKILL)
        answer = client.answer(call)["result"]
        # It may have answered before it was killed.
        assert not answer.get("isError") or "ended while it worked on this call" in answer["content"][0]["text"]
        assert "[1]" in found(client.answer(client.search("tide")))


def test_an_index_that_vanishes_is_damaged_and_comes_back_does_not_end_the_server(world: World) -> None:
    with raw(world) as client:
        found(client.answer(client.search("tide")))
        kept = world.store.with_name("kept")
        shutil.copytree(world.store, kept)
        shutil.rmtree(world.store)
        assert client.answer(client.search("tide"))["result"]["isError"]
        shutil.copytree(kept, world.store)
        assert "[1]" in found(client.answer(client.search("tide")))
        (world.home / "CURRENT").write_text("v-0000000000000000\n")
        client.answer(client.search("tide"))
        for path in (world.published if world.published.exists() else world.home / "versions").rglob("*.parquet"):
            path.write_bytes(b"PAR1 damaged")
        client.answer(client.search("tide", content=True))
        assert not client.answer(client.ask("tools/call", {"name": "status", "arguments": {}}))["result"].get("isError")


def test_a_flip_is_followed(world: World) -> None:
    with raw(world) as client:
        assert "lighthouse" not in found(client.answer(client.search("lighthouse", content=False, k=1))).partition("[1]")[2]
        (world.repo / "harbour" / "lighthouse.py").write_text("def lighthouse_beam():\n    return 'light'\n")
        assert world.build().json["published"]
        until(lambda: "lighthouse_beam" in found(client.answer(client.search("lighthouse beam"))), "the new version")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--token-file", "x"),
        ("--port", "0"),
        ("--host", "0.0.0.0"),
        ("--http", "--host", "0.0.0.0"),
        ("--http", "--token-file", "/nowhere"),
    ],
)
def test_options_that_make_no_sense_are_refused(built: World, arguments: tuple[str, ...]) -> None:
    done = built("mcp", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("indexctl: ")
