"""What is wrong with the store under a server: told alike by both, as something that may pass."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from pipeline.errors import CodeIntelError, ConfigError, NotFoundError, QueryError, SourceError, StoreBusyError
from pipeline.interfaces.mcp.answering import Desk
from pipeline.interfaces.serving.failures import Failure, failure_of, reading
from pipeline.interfaces.serving.service import Service
from pipeline.interfaces.transport.errors import described
from tests.interfaces.transport.conftest import Served


def asked(name: str, served: Served) -> tuple[str, str]:
    """Code and sentence of the error that a search ends in."""
    if name == "serve":
        error = served.get("/search?query=tide").error
    else:

        async def call() -> Any:
            async with Client(f"http://127.0.0.1:{served.port}/mcp") as client:
                return await client.call_tool("search", {"query": "tide", "format": "json"})

        error = json.loads(asyncio.run(call()).content[0].text)["error"]
    return error["code"], error["message"]


def _away(store: Path) -> Callable[[], object]:
    away = store.rename(store.with_name("away"))
    return lambda: away.rename(store)


def _removed(store: Path) -> Callable[[], object]:
    away = (store / "demo").rename(store.with_name("demo-away"))
    return lambda: away.rename(store / "demo")


@pytest.mark.parametrize(
    ("harm", "code", "said"),
    [(_away, "unavailable", "is gone"), (_removed, "not_found", "Nothing is indexed")],
)
def test_what_is_taken_away_under_a_server_is_told_and_comes_back(
    harm: Callable[[Path], Callable[[], object]], code: str, said: str, world: Any, front: Any
) -> None:
    with front(world.store) as served:
        with pytest.raises(KeyError):  # There is no error.
            asked(front.name, served)
        repair = harm(world.store)
        told = asked(front.name, served)
        assert told[0] == code and said in told[1]
        assert served.get("/metrics").status == 200
        for _ in range(3):  # Nothing that was under way brings back a part of it.
            assert asked(front.name, served)[0] == code
        repair()
        with pytest.raises(KeyError):
            asked(front.name, served)
        assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (QueryError("No."), 400, "bad_request"),
        (ConfigError("No."), 400, "bad_request"),
        (NotFoundError("No."), 404, "not_found"),
        (SourceError("No."), 404, "not_found"),
        (StoreBusyError("No."), 503, "busy"),
        (CodeIntelError("No."), 503, "unavailable"),
        (OSError(5, "Input/output error"), 503, "unavailable"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
def test_an_error_has_one_code_over_http_and_over_mcp(
    error: Exception, status: int, code: str, world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Service, "search", fail)
    desk = Desk(world.store)
    with pytest.raises(Exception) as raised:
        desk.service().ask("search", {"query": "tide"})
    over_http = described(raised.value)
    over_mcp = json.loads(desk.answer("search", {"query": "tide", "format": "json"}).text)["error"]
    desk.close()
    assert (over_http.status, over_http.code) == (status, code)
    assert over_mcp == {"code": code, "message": over_http.message, "hint": over_http.hint}
    assert "secret" not in str(over_mcp)
    assert (code == "internal") == ("an unexpected error" in caplog.text)


def test_a_store_that_was_never_there_is_not_found_and_one_that_went_is_unavailable(tmp_path: Path) -> None:
    for opened, code in ((False, "not_found"), (True, "unavailable")):
        with pytest.raises(CodeIntelError) as raised, reading(tmp_path / "none", opened=opened):
            raise NotFoundError("There is none.", hint="Make one.")
        assert failure_of(raised.value) == Failure(code, "There is none.", "Make one.")  # type: ignore[arg-type]
