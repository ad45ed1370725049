"""What agents are answered about a real index, good and bad."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from pipeline.interfaces.mcp.answering import Desk, Reply
from pipeline.interfaces.mcp.tools import TOOLS, Extras, input_schema
from pipeline.interfaces.serving.requests import REQUESTS
from tests.conftest import World

Ask = Callable[..., Reply]


@pytest.fixture(scope="module")
def desk(built: World) -> Any:
    """The demo's index, asked by nobody else."""
    desk = Desk(built.store)
    yield desk
    desk.close()


def good(desk: Desk, tool: str, **arguments: Any) -> str:
    """The text of an answer that is no error."""
    reply = desk.answer(tool, arguments)
    assert not reply.error, reply.text
    return reply.text


def bad(desk: Desk, tool: str, **arguments: Any) -> str:
    """The text of an error."""
    reply = desk.answer(tool, arguments)
    assert reply.error, reply.text
    return reply.text


@pytest.mark.parametrize("tool", TOOLS)
def test_a_schema_is_one_plain_object_of_what_the_tool_takes(tool: str) -> None:
    schema = input_schema(tool)
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert not re.search(r'"(\$ref|\$defs|anyOf|oneOf|allOf)"|null', json.dumps(schema))
    fields = {*REQUESTS[tool].__struct_fields__, *Extras.__struct_fields__} - set(TOOLS[tool].hidden)
    assert set(schema["properties"]) == fields
    assert all(told["description"] for told in schema["properties"].values())
    required = {"search": {"query": "x"}, "symbols": {"name": "x"}, "related": {"id": "1"}}.get(tool, {})
    defaults = {name: told["default"] for name, told in schema["properties"].items() if "default" in told}
    Draft202012Validator(schema).validate(defaults | required)
    msgspec.convert({k: v for k, v in defaults.items() if k not in Extras.__struct_fields__} | required, REQUESTS[tool])


def test_a_search_shows_place_kind_name_reason_and_code(desk: Desk) -> None:
    text = good(desk, "search", query="what does a night at the quay cost")
    assert re.search(r"^\[1\] harbour/fees\.py:1-\d+ (function|module) \S* ?\(id \d+\)$", text, re.MULTILINE), text
    assert "why: " in text
    assert "```python\n" in text
    assert "    return length * nights * 4.2 * discount\n" in text


def test_a_search_without_content_shows_first_lines(desk: Desk) -> None:
    text = good(desk, "search", query="berth fee", content=False, k=3)
    assert "```" not in text
    assert "[3] " in text


def test_an_explanation_comes_on_request(desk: Desk) -> None:
    assert "words: " not in good(desk, "search", query="berth fee")
    assert "words: " in good(desk, "search", query="berth fee", explain=True)


def test_pages_go_on_where_the_one_before_ended(desk: Desk) -> None:
    whole = json.loads(good(desk, "search", query="ships and fees", k=100, format="json", budget=50_000))
    seen, cursor = list[str](), None
    while cursor is not None or not seen:
        page = json.loads(good(desk, "search", query="ships and fees", k=2, format="json", cursor=cursor))
        seen += [one["id"] for one in page["results"]]
        cursor = page.get("next_cursor")
    assert seen == [one["id"] for one in whole["results"]]
    # Pages are read from the version that is open already.
    assert len(desk.service().shelf.open_versions()) == 1


def test_a_result_is_fetched_by_its_id_with_what_is_around_it(desk: Desk) -> None:
    found = json.loads(good(desk, "search", query="is_seaworthy", format="json"))["results"][0]
    text = good(desk, "fetch", id=found["id"])
    assert f"{found['uri']}:{found['start_line']}-{found['end_line']}" in text
    assert "defines: " in text
    assert "def is_seaworthy(self) -> bool:" in text
    # An id as a number is an id.
    assert good(desk, "fetch", id=int(found["id"])) == text


def test_lines_of_a_file_are_fetched_as_they_were_indexed(desk: Desk) -> None:
    text = good(desk, "fetch", uri="harbour/tides.py", start_line=4, end_line=5)
    assert text.count("\n") == 6
    assert "def next_high_water(hours: float) -> float:\n" in text


def test_a_name_is_found_with_definition_and_places(desk: Desk) -> None:
    text = good(desk, "symbols", name="berth_fee")
    assert "defined harbour/fees.py:4" in text


def test_neighbours_say_how_they_are_near(desk: Desk) -> None:
    found = json.loads(good(desk, "search", query="berth fee", format="json"))["results"][0]
    text = good(desk, "related", id=found["id"], k=2)
    assert text.count("why: ") == 2
    assert "near harbour/fees.py" in text


def test_a_status_names_repositories_languages_and_age(desk: Desk) -> None:
    text = good(desk, "status")
    assert text.startswith("1 indexed here")
    assert "up to date" in text
    assert "python" in text


def test_what_models_get_wrong_is_put_right(desk: Desk) -> None:
    right = good(desk, "search", query="fee", lang=["python"], k=2)
    assert good(desk, "search", query="fee", lang="python", k="2", repo=None, cursor=None) == right
    assert good(desk, "search", query="fee", lang=["python"], k=2, repo="", version="", cursor="") == right


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search", {}, "`query`"),
        ("search", {"query": ""}, "`query`"),
        ("search", {"query": "x", "k": 0}, "`k`"),
        ("search", {"query": "x", "k": "many"}, "`k`"),
        ("search", {"query": "x" * (1 << 17)}, "`query`"),
        ("search", {"query": "x", "budget": 1}, "`budget`"),
        ("search", {"query": "x", "budget": 10**9}, "`budget`"),
        ("search", {"query": "x", "format": "xml"}, "`format`"),
        ("search", {"query": "x", "offset": 3}, "no argument `offset`"),
        ("search", {"query": "x", "nonsense": {"a": [1]}}, "no argument `nonsense`"),
        ("search", {"query": ["x"]}, "`query`"),
        ("search", {"query": "x", "repo": "nope"}, "demo"),
        ("search", {"query": "x", "repo": "../../etc"}, "../../etc"),
        ("search", {"query": "x", "version": "v-ffff"}, "v-ffff"),
        ("search", {"query": "x", "lang": ["klingon"]}, "python"),
        ("search", {"query": "x", "cursor": "zzz"}, "`cursor`"),
        ("search", {"query": "x", "params": "nprobe=1; DROP TABLE chunks"}, "nprobe"),
        ("fetch", {}, "`id` or `uri`"),
        ("fetch", {"id": "1"}, "no chunk 1"),
        ("fetch", {"id": "1; DROP TABLE chunks"}, "`id`"),
        ("fetch", {"uri": "../../../etc/passwd"}, "no file"),
        ("fetch", {"uri": "/etc/passwd"}, "no file"),
        ("fetch", {"uri": "harbour/fees.py' OR 1=1 --"}, "no file"),
        ("fetch", {"uri": "harbour/fees.py", "start_line": 10_000}, "no lines"),
        ("symbols", {"name": "  "}, "empty"),
        ("symbols", {"name": "no_such_thing_at_all"}, "no symbol"),
        ("related", {"id": "5"}, "5"),
        ("related", {"id": "5", "k": "a"}, "`k`"),
        ("status", {"repo": "nope"}, "demo"),
        ("destroy", {}, "search, fetch, symbols, related, status"),
    ],
)  # fmt: skip
def test_a_bad_request_is_answered_with_a_sentence(desk: Desk, tool: str, arguments: dict[str, Any], said: str) -> None:
    text = bad(desk, tool, **arguments)
    assert said in text
    assert "Traceback" not in text
    as_json = json.loads(bad(desk, tool, **{**arguments, "format": "json"})) if "format" not in arguments else None
    assert as_json is None or set(as_json["error"]) == {"code", "message", "hint"}


def _notes(desk: Desk) -> list[str]:
    return [line for line in good(desk, "search", query="fee").splitlines() if line.startswith("note: ")]


def test_a_stale_index_says_so_in_one_line(world: World) -> None:
    (world.repo / "harbour" / "fees.py").write_text("x = 1\n")
    desk = Desk(world.store)
    notes = _notes(desk)
    while "was not checked" in notes[0]:  # A busy machine takes its time to look.
        time.sleep(0.2)
        notes = _notes(desk)
    assert len(notes) == 1
    assert "1 file changed" in notes[0]
    assert "indexctl build" in notes[0]
    desk.close()


def test_a_cursor_reads_on_in_its_version_after_a_flip_until_that_is_gone(world: World) -> None:
    desk = Desk(world.store)
    first = json.loads(good(desk, "search", query="ship", k=1, format="json"))
    (world.repo / "harbour" / "ships.py").write_text("class Boat:\n    pass\n")
    assert world.build().json["published"]
    cursor = first["next_cursor"]
    second = json.loads(good(desk, "search", query="ship", k=1, format="json", cursor=cursor))
    assert second["version"] == first["version"] != world.version
    desk.close()
    shutil.rmtree(world.home / "versions" / first["version"])
    text = bad(Desk(world.store), "search", query="ship", cursor=cursor)
    assert "is gone" in text
    assert "without `cursor`" in text


def test_a_store_may_come_later_and_go(world: World, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    desk = Desk(place)
    assert "indexctl build" in bad(desk, "search", query="fee")
    shutil.copytree(world.store, place)
    assert "[1]" in good(desk, "search", query="fee")
    shutil.rmtree(place)
    assert bad(desk, "search", query="fee")
    assert bad(desk, "symbols", name="berth_fee")
    shutil.copytree(world.store, place)
    assert "[1]" in good(desk, "search", query="fee")
    desk.close()


def test_without_a_name_the_repository_around_the_folder_is_meant(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = world.repo.parent / "other"
    other.mkdir()
    (other / "moon.py").write_text("def moon_phase():\n    return 1\n")
    assert world.build(path=other).code == 0
    monkeypatch.chdir("/")
    desk = Desk(world.store)
    assert "demo, other" in bad(desk, "search", query="moon")
    assert "moon.py" in good(desk, "search", query="moon", repo="other")
    monkeypatch.chdir(other)
    assert "moon.py" in good(desk, "search", query="moon")
    assert good(Desk(world.store, "demo"), "search", query="moon").startswith("demo ")
    assert good(desk, "status").startswith("2 indexed here")
    desk.close()
