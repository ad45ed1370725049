"""Pages fit their budgets, and together they hold everything once, whatever answers look like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import QueryError
from pipeline.interfaces.mcp.answering import Desk
from pipeline.interfaces.mcp.budget import tokens
from pipeline.interfaces.mcp.pages import asked, read_cursor
from pipeline.interfaces.mcp.tools import LEAST_BUDGET

VERSION = "v-0123456789abcdef"
_HEAD = {"repo": "demo", "version": VERSION, "stale": True, "behind": {"files": 3, "commits": 1, "reason": ""}}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=300) | st.sampled_from(
    ["`" * 40, "x" * 5000, "\n" * 50, "\x00\r\n\u2028", "日本" * 300]
)
CODE = st.lists(TEXTS | st.just("    return value\n"), max_size=30).map("\n".join)
NAMES = TEXTS


class _Written:
    """A service that answers what was written down for it, by page as the real one does."""

    def __init__(self, answer: Mapping[str, Any], items: list[Any]) -> None:
        self.answer, self.items = answer, items

    def ask(self, tool: str, arguments: Mapping[str, Any], *, texts: bool = False) -> dict[str, Any]:
        assert texts
        start, k = arguments.get("offset", 0), int(arguments.get("k", 10))
        if tool == "search":
            shown = self.items[start : start + k]
            return {**self.answer, "results": shown, "more": len(shown) == k}
        if tool == "symbols":
            return {**self.answer, "symbols": self.items[start : start + arguments["most"]], "symbol_count": len(self.items)}
        return {
            **self.answer,
            **({"results": self.items[:k]} if tool == "related" else {"repos": self.items} if self.items else {}),
        }


class _Desk(Desk):
    """A desk over such a service."""

    def __init__(self, answer: Mapping[str, Any], items: list[Any]) -> None:
        super().__init__(Path("/nowhere"), "demo")
        self._written = _Written(answer, items)

    def service(self) -> Any:
        return self._written

    def _there(self, service: Any, repo: str | None, version: str) -> str:
        return version


def _hits(uris: list[str], codes: list[str], name: str) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank, "id": str(10**17 + rank), "uri": uri or "x", "start_line": 5,
            "end_line": 5 + code.count("\n"), "lang": "python",
            "kind": "method", "name": name, "score": 1.5, "preview": code[:100], "content": code,
            "explanation": {"lexical": {"rank": 1, "score": 2.0, "contribution": 1.0, "symbols": [name] * 5}},
            "adjustments": {"tests": 0.5},
            "matched": {"terms": {"body": [name] * 9}, "symbols": [name], "named": [name],
                        "ast_kinds": {name: 1}, "cst_hits": [name]},
        }
        for rank, (uri, code) in enumerate(zip(uris, codes, strict=False), 1)
    ]  # fmt: skip


def _pages(desk: Desk, tool: str, **arguments: Any) -> list[str]:
    """All pages of an answer, each by the cursor of the one before."""
    pages, cursor = list[str](), None
    while len(pages) < 500:
        reply = desk.answer(tool, {**arguments, "cursor": cursor})
        assert not reply.error, reply.text
        assert tokens(reply.text) <= arguments["budget"]
        pages.append(reply.text)
        if arguments["format"] == "json":
            cursor = json.loads(reply.text).get("next_cursor")
        else:
            last = re.search(r"repeat with cursor (\S+)\n\Z", reply.text)
            cursor = last[1] if last else None
        if cursor is None:
            return pages
    raise AssertionError("the pages have no end")


BUDGETS = st.integers(LEAST_BUDGET, 3 * LEAST_BUDGET) | st.integers(LEAST_BUDGET, 20_000)
FORMATS = st.sampled_from(["text", "json"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(NAMES, max_size=14), st.lists(CODE, max_size=14), NAMES, BUDGETS, FORMATS, st.sampled_from(["search", "related"])
)
def test_every_result_is_on_one_page_and_every_page_fits(
    uris: list[str], codes: list[str], name: str, budget: int, form: str, tool: str
) -> None:
    hits = _hits(uris, codes, name)
    channels = {"lexical": {"state": "broken", "found": 0, "reason": name}}
    near = {"chunk": _hits(["a.py"], ["x"], name)[0], "duplicates": _hits(uris, codes, name)}
    desk = _Desk(
        {**_HEAD, "channels": channels, "query": name, "kind": "question", **(near if tool == "related" else {})}, hits
    )
    pages = _pages(desk, tool, budget=budget, format=form, k=5, **({"query": "x"} if tool == "search" else {"id": "1"}))
    if form == "json":
        ranks = [hit.get("rank") for page in pages for hit in json.loads(page)["results"]]
        assert len(ranks) == len(hits)
        assert all(rank in (None, place) for place, rank in enumerate(ranks, 1))
    elif all(uri.isidentifier() and len(uri) < 50 for uri in uris) and name.isidentifier() and len(name) < 50:
        found = [int(number) for page in pages for number in re.findall(r"^\[(\d+)\] .*\(id 10", page, re.MULTILINE)]
        assert found == [hit["rank"] for hit in hits]


@settings(max_examples=60, deadline=None)
@given(CODE, NAMES, BUDGETS, FORMATS)
def test_the_pages_of_a_text_put_together_are_the_text(code: str, name: str, budget: int, form: str) -> None:
    answer = {
        **_HEAD, "commit": None, "id": "7", "uri": name, "lang": "python", "kind": "class", "name": name,
        "start_line": 3, "end_line": 9,
        "content": code, "scope": [{"kind": "class", "name": name, "line": 1}], "defines": [{"qualified_name": name}],
        "callers": [name] * 10, "caller_count": 40, "callees": [name], "callee_count": 1,
    }  # fmt: skip
    pages = _pages(_Desk(answer, []), "fetch", id="7", budget=budget, format=form)
    if form == "json":
        assert "".join(json.loads(page)["content"] for page in pages) == code


@settings(max_examples=40, deadline=None)
@given(st.lists(NAMES, max_size=9), st.integers(0, 150), BUDGETS, FORMATS)
def test_every_symbol_is_on_one_page_and_every_page_fits(names: list[str], many: int, budget: int, form: str) -> None:
    symbols = [
        {
            "symbol": name, "display_name": name, "qualified_name": name, "kind": "name", "provenance": "scip",
            "signature": name,
            "documentation": name, "definitions": [{"uri": name, "line": 3}],
            "references": [{"uri": name, "line": n} for n in range(many)],
            "reference_count": many * 2, "bases": [], "base_count": 0, "implementations": [], "implementation_count": 0,
            "callers": [{"qualified_name": name, "uri": None, "line": None}] * many, "caller_count": many,
            "callees": [], "callee_count": 0,
        }
        for name in names
    ]  # fmt: skip
    pages = _pages(_Desk({**_HEAD, "name": "x" * 900}, symbols), "symbols", name="x", budget=budget, format=form)
    if form == "json":
        assert sum(len(json.loads(page)["symbols"]) for page in pages) == len(symbols)


@settings(max_examples=30, deadline=None)
@given(st.lists(NAMES, max_size=40), BUDGETS, FORMATS)
def test_every_repository_is_on_one_page_and_every_page_fits(names: list[str], budget: int, form: str) -> None:
    rows = [
        {"repo": name, "version": None, "problem": name} if place % 2 else {
            **_HEAD, "repo": name, "commit": "0" * 40, "dirty": True, "building": True, "chunks": 5, "vectors": 5,
            "languages": {name: 9},
            "embedder": name, "operating_point": {"family": name}, "recall": 0.5, "published_at": 1.0, "path": name,
            "catalog": None,
            "symbols": {"precise_files": 1, "syntax_files": 2, "left_out": {name: 1}},
        }
        for place, name in enumerate(names)
    ]  # fmt: skip
    pages = _pages(_Desk({"repos": []}, rows), "status", budget=budget, format=form)
    if form == "json":
        assert sum(len(json.loads(page)["repos"]) for page in pages) == len(rows)


@given(st.dictionaries(st.text(), st.text() | st.integers()))
def test_a_cursor_is_for_the_arguments_that_gave_it(arguments: dict[str, Any]) -> None:
    cursor = f"{VERSION}.12.{asked('search', arguments)}"
    same = {**arguments, "budget": 777, "k": 3, "format": "json"}
    assert read_cursor(cursor, "search", same).offset == 12
    with pytest.raises(QueryError, match="other arguments"):
        read_cursor(cursor, "search", {**arguments, "query": 1.5})
    with pytest.raises(QueryError, match="other arguments"):
        read_cursor(cursor, "symbols", arguments)


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(QueryError, match="`cursor`"):
        read_cursor(text, "search", {})
