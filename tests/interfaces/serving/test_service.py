"""Answers of the service are those of the command, and what is damaged or gone is told and survived."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CodeIntelError, IndexCorruptionError, NotFoundError, QueryError
from pipeline.interfaces.answers import lines_of
from pipeline.interfaces.serving.service import Service
from pipeline.store.layout import open_store


@pytest.fixture(scope="module")
def service(built: Any) -> Iterator[Service]:
    """Over the demo index; not to be broken."""
    made = Service(open_store(built.store))
    yield made
    made.close()


@pytest.fixture
def own(world: Any) -> Iterator[Service]:
    """Over a copy of it that a test may break."""
    made = Service(open_store(world.store))
    yield made
    made.close()


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    for told in answer.get("channels", {}).values():
        told.pop("seconds", None)
    return answer


def test_a_search_answers_what_the_command_does(service: Service, built: Any) -> None:
    found = without_times(service.ask("search", {"query": "discount for long stays", "k": 3, "explain": True}))
    said = without_times(built("search", "discount for long stays", "-k", "3", "--json", "--explain").json)
    assert {name: found[name] for name in said} == said
    assert found["more"] is True and found["offset"] == 0


def test_pages_of_a_search_make_up_the_whole(service: Service) -> None:
    whole = service.ask("search", {"query": "ship", "k": 6})["results"]
    pages = [service.ask("search", {"query": "ship", "k": 2, "offset": offset}) for offset in (0, 2, 4)]
    assert [hit for page in pages for hit in page["results"]] == whole
    last = service.ask("search", {"query": "ship", "k": 100})
    assert last["more"] is False
    assert service.ask("search", {"query": "ship", "k": 5, "offset": 100})["results"] == []


def test_a_result_has_its_code_where_that_is_asked_for(service: Service) -> None:
    [hit] = service.ask("search", {"query": "berth_fee", "k": 1, "content": True})["results"]
    assert hit["content"].startswith("def berth_fee") or "def berth_fee" in hit["content"]
    assert "content" not in service.ask("search", {"query": "berth_fee", "k": 1})["results"][0]
    assert service.ask("search", {"query": "x", "lang": ["rust"], "content": True})["results"] == []


def test_filters_are_those_of_the_command(service: Service) -> None:
    hits = service.ask("search", {"query": "ship", "path": ["/web/"]})["results"]
    assert {hit["uri"] for hit in hits} == {"web/app.js"}
    assert service.ask("search", {"query": "ship", "defines": ["Ship.is_seaworthy"], "k": 1})["results"][0]["name"]
    with pytest.raises(QueryError, match="no language `klingon`"):
        service.ask("search", {"query": "ship", "lang": ["klingon"]})


def test_a_chunk_is_fetched_as_the_command_shows_it(service: Service, built: Any) -> None:
    [hit] = service.ask("search", {"query": "berth_fee", "k": 1})["results"]
    assert service.ask("fetch", {"id": hit["id"]}) == built("show", hit["id"], "--json").json
    assert "scope" not in service.ask("fetch", {"id": hit["id"], "around": False})


def test_lines_of_a_file_are_those_of_the_file(service: Service, built: Any) -> None:
    for path in sorted(built.repo.rglob("*.py")):
        text = path.read_bytes().decode()
        uri = path.relative_to(built.repo).as_posix()
        if not text or "ignored" in uri:
            continue
        lines = lines_of(text)
        whole = service.ask("fetch", {"uri": uri})
        assert whole["content"] == text and (whole["start_line"], whole["end_line"]) == (1, len(lines)), uri
        for first in range(1, len(lines) + 1):
            found = service.ask("fetch", {"uri": uri, "start_line": first, "end_line": first + 1})
            assert found["content"] == "".join(lines[first - 1 : first + 1]), (uri, first)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uri": "nothing.py"}, "no file `nothing.py`"),
        ({"uri": "../../etc/passwd"}, "no file"),
        ({"uri": "/etc/passwd"}, "no file"),
        ({"uri": "a'; DROP TABLE chunks; --"}, "no file"),
        ({"uri": "harbour/fees.py", "start_line": 1000}, "has no lines"),
        ({"uri": "harbour/fees.py", "start_line": 5, "end_line": 2}, "has no lines"),
        ({"uri": "harbour/__init__.py"}, "is empty"),
        ({"id": "123"}, "no chunk 123"),
    ],
)
def test_what_is_not_there_is_told(service: Service, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(NotFoundError, match=said):
        service.ask("fetch", arguments)


@pytest.mark.parametrize("identifier", ["1\n", str(1 << 63)])
def test_what_looks_like_an_id_and_is_none_is_refused(service: Service, identifier: str) -> None:
    for operation in ("fetch", "related"):
        with pytest.raises(QueryError, match="not the id of a chunk"):
            service.ask(operation, {"id": identifier})


@pytest.mark.parametrize("arguments", [{}, {"id": "1", "uri": "a.py"}])
def test_a_chunk_or_a_file_is_fetched_and_not_both(service: Service, arguments: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match="not both"):
        service.ask("fetch", arguments)


def test_symbols_and_what_is_related_are_what_the_command_says(service: Service, built: Any) -> None:
    found = service.ask("symbols", {"name": "berth_fee"})
    said = built("symbols", "berth_fee", "--json").json
    assert {name: found[name] for name in said} == said and found["more"] is False
    chunk = service.ask("search", {"query": "berth_fee", "k": 1})["results"][0]["id"]
    assert service.ask("related", {"id": chunk, "k": 3}) == built("related", chunk, "-k", "3", "--json").json
    with pytest.raises(NotFoundError, match="Near it: berth_fee"):
        service.ask("symbols", {"name": "berth_fees"})


def test_pages_of_symbols_make_up_the_whole(service: Service) -> None:
    whole = service.ask("symbols", {"name": "__init__"})
    pages = [service.ask("symbols", {"name": "__init__", "most": 1, "offset": place}) for place in range(whole["symbol_count"])]
    assert [symbol for page in pages for symbol in page["symbols"]] == whole["symbols"]
    assert [page["more"] for page in pages] == [True] * (len(pages) - 1) + [False]


def test_the_status_is_that_of_the_command(service: Service, built: Any) -> None:
    assert service.ask("status", {}) == built("status", "--json").json
    with pytest.raises(NotFoundError, match="other"):
        service.ask("status", {"repo": "other"})


@pytest.mark.parametrize("operation", ["", "sql", "__init__", "close"])
def test_an_operation_that_there_is_not_is_refused(service: Service, operation: str) -> None:
    with pytest.raises(QueryError, match="no operation"):
        service.ask(operation, {})


def test_a_change_of_the_repository_is_told(own: Service, world: Any) -> None:
    assert own.ask("search", {"query": "tide"})["stale"] is False
    (world.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    for _ in range(600):
        if (found := own.ask("search", {"query": "tide"}))["stale"]:
            break
        time.sleep(0.05)
    assert found["stale"] is True and found["behind"]["files"] == 1


def test_many_at_once_get_what_one_gets(service: Service) -> None:
    asked = [("search", {"query": query, "k": 3, "content": True}) for query in ("fee", "tide", "ship", "quay")]
    asked += [("symbols", {"name": "Ship"}), ("fetch", {"uri": "harbour/fees.py"}), ("status", {})]
    alone = [without_times(service.ask(*one)) for one in asked]
    with ThreadPoolExecutor(8) as threads:
        together = [without_times(answer) for answer in threads.map(lambda one: service.ask(*one), asked * 8)]
    assert together == alone * 8


def test_an_index_that_vanishes_is_told_and_answers_when_it_is_back(own: Service, world: Any) -> None:
    assert own.ask("search", {"query": "tide"})["results"]
    away = world.home.with_name("away")
    world.home.rename(away)
    for operation, arguments in (
        ("search", {"query": "tide"}),
        ("fetch", {"uri": "harbour/fees.py"}),
        ("symbols", {"name": "Ship"}),
    ):
        with pytest.raises(CodeIntelError):
            own.ask(operation, {**arguments, "repo": "demo"})
    away.rename(world.home)
    assert own.ask("search", {"query": "tide", "repo": "demo"})["results"]


def test_a_damaged_table_is_told_and_answers_when_it_is_repaired(own: Service, world: Any) -> None:
    [table] = (world.published / "chunks").glob("*.parquet")
    whole = table.read_bytes()
    table.unlink()
    table.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IndexCorruptionError, match="damaged"):
        own.ask("fetch", {"uri": "harbour/fees.py"})
    table.unlink()
    table.write_bytes(whole)
    assert own.ask("fetch", {"uri": "harbour/fees.py"})["content"]


def test_of_several_repositories_one_is_to_be_named(own: Service, world: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(world.repo, other)
    assert world.build(path=other).code == 0
    with pytest.raises(NotFoundError, match="demo, other"):
        own.ask("search", {"query": "tide"})
    assert own.ask("search", {"query": "tide", "repo": "other"})["repo"] == "other"
    assert [row["repo"] for row in own.ask("status", {})["repos"]] == ["demo", "other"]
