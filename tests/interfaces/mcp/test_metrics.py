"""What Prometheus sees of the server over HTTP: counters of the process that answers, and of calls that never came there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from mcp.client import Client
from prometheus_client.parser import text_string_to_metric_families

from pipeline.errors import RuntimeLifecycleError
from pipeline.interfaces.mcp import link
from pipeline.interfaces.mcp.link import Answer, Worker
from tests.conftest import World
from tests.interfaces.mcp.conftest import children_of, serving, until


def sample(text: bytes, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    families = text_string_to_metric_families(text.decode())
    found = (one for family in families for one in family.samples if one.name == name and labels.items() <= one.labels.items())
    return float(sum(one.value for one in found))


def requests(text: bytes, operation: str, state: str) -> float:
    """How many calls of a tool ended so."""
    return sample(text, "codeintel_requests_total", interface="mcp", operation=operation, state=state)


def scraped(url: str) -> bytes:
    """What a server shows at /metrics."""
    with urllib.request.urlopen(url.replace("/mcp", "/metrics"), timeout=60) as answer:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return bytes(answer.read())


def test_calls_over_http_are_counted_where_they_are_scraped(world: World, tmp_path: Any) -> None:
    async def ask(url: str) -> None:
        async with Client(url) as client:
            for arguments in ({"query": "tide"}, {"query": "fee"}, {}):
                await client.call_tool("search", arguments)
            await client.call_tool("fetch", {"id": "1"})

    with serving(world.store, tmp_path / "log") as server:
        asyncio.run(ask(server.url))
        text = scraped(server.url)
        assert [requests(text, "search", state) for state in ("ok", "refused", "failed")] == [2, 1, 0]
        assert requests(text, "fetch", "refused") == 1
        assert sample(text, "codeintel_search_seconds_count") >= 2
        assert sample(text, "codeintel_repository_ready", repository="demo") == 1

        away = world.store.rename(world.store.with_name("away"))
        asyncio.run(ask(server.url))
        text = scraped(server.url)
        assert [requests(text, "search", state) for state in ("ok", "refused", "failed")] == [2, 2, 2]
        away.rename(world.store)

        (worker,) = children_of(server.process.pid)
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in children_of(server.process.pid), "the end of the worker")
        assert requests(scraped(server.url), "search", "ok") == 0


async def _with(worker: Worker, use: Callable[[], Any]) -> Any:
    worker.start()
    try:
        return await use()
    finally:
        worker.close()


def test_a_call_that_finds_too_many_before_it_is_busy_and_counted(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(built.store, metrics=True)

    async def use() -> tuple[Answer, Answer, bytes]:
        monkeypatch.setattr(link, "MOST_WAITING", 0)
        told = await worker.call("search", {"query": "tide"}), await worker.call("search", {"format": "json"})
        return *told, await worker.tell("metrics")

    plain, as_json, text = asyncio.run(_with(worker, use))
    assert plain.error and plain.text.startswith("Too many calls")
    assert as_json.error and json.loads(as_json.text)["error"]["code"] == "busy"
    assert requests(text, "search", "busy") == 2


def test_a_number_that_is_not_finite_is_refused_and_not_taken_for_nothing(built: World) -> None:
    worker = Worker(built.store, metrics=True)

    async def use() -> tuple[list[Answer], bytes]:
        given: list[Any] = [float("inf"), float("nan"), [1, {"x": float("-inf")}]]
        told = [await worker.call("search", {"query": "tide", "k": k, "format": "json"}) for k in given]
        return told, await worker.tell("metrics")

    told, text = asyncio.run(_with(worker, use))
    assert [json.loads(one.text)["error"]["code"] for one in told] == ["bad_request"] * 3
    assert requests(text, "search", "refused") == 3


def test_a_call_that_is_called_off_before_its_turn_is_counted(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(built.store, metrics=True)

    async def use() -> bytes:
        monkeypatch.setattr(link, "PATIENCE", 0.0)
        late = await asyncio.gather(*(worker.call("search", {"query": "tide", "format": "json"}) for _ in range(50)))
        assert {json.loads(one.text)["error"]["code"] for one in late} == {"too_slow"}
        monkeypatch.setattr(link, "PATIENCE", 60.0)
        while True:
            text = await worker.tell("metrics")
            if sum(requests(text, "search", state) for state in ("ok", "cancelled")) == 50:
                return text
            await asyncio.sleep(0.05)

    assert requests(asyncio.run(_with(worker, use)), "search", "cancelled") > 0


def test_a_call_over_which_two_workers_died_is_counted_by_the_third(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(built.store, metrics=True)

    async def use() -> tuple[Answer, bytes]:
        call = asyncio.create_task(worker.call("search", {"query": "tide", "format": "json"}))
        for _ in range(2):
            await asyncio.sleep(0)
            while (pid := worker.pid) is None:
                await asyncio.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            while worker.pid == pid:
                await asyncio.sleep(0.01)
        return await call, await worker.tell("metrics")

    lost, text = asyncio.run(_with(worker, use))
    assert json.loads(lost.text)["error"]["code"] == "internal"
    assert requests(text, "search", "failed") == 1


def test_metrics_that_cannot_be_had_are_an_error(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(built.store, metrics=True)

    async def use() -> None:
        monkeypatch.setattr(link, "PATIENCE", 0.0)
        with pytest.raises(RuntimeLifecycleError, match="no answer"):
            await worker.tell("metrics")

    asyncio.run(_with(worker, use))
    monkeypatch.undo()
    with pytest.raises(RuntimeLifecycleError, match="ending"):
        asyncio.run(worker.tell("metrics"))
