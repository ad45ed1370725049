"""What an orchestrator asks: whether the process is alive, and whether it answers. Both servers tell it alike."""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest

from tests.interfaces.transport.conftest import Got, Served


def _ready(served: Served, status: int) -> Got:
    """How ready it is, when it is as ready as that: what is published is opened first."""
    until = time.monotonic() + 60
    while (got := served.get("/readyz")).status != status:
        assert time.monotonic() < until, got.body
        time.sleep(0.05)
    return got


def test_a_server_is_ready_when_a_repository_answers(running: Any) -> None:
    got = _ready(running[1], 200)
    (repository,) = got.json["repositories"]
    assert (got.json["ready"], got.json["reason"], repository["answers"]) == (True, "", True)
    assert got.headers["content-type"] == "application/json" and got.headers["cache-control"] == "no-store"
    alive = running[1].get("/healthz")
    assert (alive.status, alive.json) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_watchers_ask_by_get_and_head_alone(path: str, running: Any) -> None:
    assert running[1].get(path, "HEAD").body == b""
    for method in ("POST", "DELETE"):
        got = running[1].get(path, method)
        assert (got.status, got.error["code"]) == (405, "wrong_method")
        assert set(got.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_what_is_broken_is_told_from_what_takes_time_and_is_ready_again_when_it_is_repaired(world: Any, front: Any) -> None:
    with front(world.store) as served:
        _ready(served, 200)
        victim = next(path for path in (world.published / "chunks").rglob("*.parquet"))
        whole = victim.with_name("whole")
        victim.rename(whole)
        got = _ready(served, 503)
        (repository,) = got.json["repositories"]
        assert (got.json["ready"], repository["state"], repository["answers"]) == (False, "broken", False)
        assert victim.name in repository["reason"] and got.headers["retry-after"] == "1"
        assert served.get("/healthz").status == 200
        whole.rename(victim)
        _ready(served, 200)


def test_a_server_without_an_index_is_alive_and_not_ready(world: Any, front: Any) -> None:
    shutil.rmtree(world.store / "demo")
    with front(world.store) as served:
        got = _ready(served, 503)
        assert (got.json["ready"], got.json["repositories"]) == (False, []) and got.json["reason"]
        assert served.get("/healthz").status == 200


def test_a_store_that_goes_is_not_ready(world: Any, front: Any) -> None:
    with front(world.store) as served:
        _ready(served, 200)
        away = world.store.rename(world.store.with_name("away"))
        assert _ready(served, 503).json["reason"]
        away.rename(world.store)
        _ready(served, 200)
