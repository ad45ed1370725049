"""Whatever is asked, there is an answer or one sentence: queries, filters and k that nobody should have to think about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Settings
from pipeline.errors import QueryError
from pipeline.search.channels.registry import broken
from pipeline.search.engine import MOST_VALUE_CHARACTERS, MOST_VALUES, Filters, Searcher, open_searcher
from pipeline.search.query import MOST_READ, parse_query
from pipeline.store.layout import Store

QUERIES = {
    "operators": 'AND OR NOT "x y"~3 field:x +a -b * ? ~ ^ [a TO b] {a TO *} a^2 /x+/ (',
    "stop words": "the of and",
    "punctuation": "...!?",
    "control characters": "\x01\x02\x1b[31m\x7f",
    "NUL": "berth\x00fee",
    "lone surrogates": "\ud800 berth \udfff",
    "emoji": "⚓ 🎉 👩‍👩‍👧",
    "right to left": "رسوم الرصيف \u202e שלום",
    "combining": "e" + "\u0301" * 3000,
    "a parent folder": "../../etc/passwd",
    "many parent folders": "../" * 20_000,
    "a regular expression": "(a+)+$" * 500,
    "brackets": "[" * 10_000,
    "dots": "." * 100_000,
    "slashes": "/" * 100_000,
    "scopes": "a::" * 40_000,
    "places": "a.py" + ":1" * 50_000,
    "100 kB": "ship harbour " * 8_000,
    "100 kB of names": " ".join(f"callOf{number}.it()" for number in range(7_000)),
    "100 kB without a space": "泊" * 100_000,
    "a word of a million": "x" * 1_000_000,
    "a name of a million": "aB" * 500_000,
}
TEXTS = st.text(st.characters(), max_size=300) | st.text(
    st.sampled_from("aB._/:*?~^+-\"'()[]{}\\#@ \x00\ud800\n1"), max_size=60
)


@pytest.fixture(scope="module")
def searcher(built: Any) -> Iterator[Searcher]:
    with open_searcher(Store(built.store).repository("demo"), Settings()) as opened:
        yield opened


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_any_query_is_answered_by_every_channel(searcher: Searcher, query: str) -> None:
    answer = searcher.answer(query, 5)
    assert len(answer.hits) <= 5 and broken(answer.channels) == {}
    assert answer.channels["lexical"].state.value in ("answered", "empty", "silent")


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_any_query_is_answered_in_a_batch(built: Any, tmp_path: Path, query: str) -> None:
    batch = tmp_path / "batch.jsonl"
    lines = [json.dumps({"query": one}) for one in (query.encode("utf-8", "replace").decode(), "berth fee")]
    batch.write_text("\n".join(lines))
    done = built("search", "--batch", batch, "-k", "3")
    assert done.code == 0, done.err
    assert len(done.jsons) == 2 and done.jsons[1]["results"][0]["uri"] == "harbour/fees.py"


@settings(max_examples=150, deadline=None)
@given(query=TEXTS, k=st.sampled_from([1, 10, 10_000]))
def test_any_text_is_answered_or_refused_in_a_sentence(searcher: Searcher, query: str, k: int) -> None:
    try:
        answer = searcher.answer(query, k)
    except QueryError as error:
        assert not query.strip() and error.hint
        return
    assert broken(answer.channels) == {} and len({hit.id for hit in answer.hits}) == len(answer.hits)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(["lang", "path", "kind", "module", "defines"]), values=st.lists(TEXTS, min_size=1, max_size=3))
def test_any_filter_is_kept_or_refused_in_a_sentence(searcher: Searcher, name: str, values: list[str]) -> None:
    try:
        answer = searcher.answer("ship", 5, Filters(**{name: tuple(values)}))
    except QueryError as error:
        assert error.message and len(str(error)) < 500
        return
    assert broken(answer.channels) == {}


@pytest.mark.parametrize(
    "glob", ["(a+)+$" * 100, "*" * 1000, "**/" * 300 + "x", "*a" * 500, "[a-z]" * 200, "{a,b}" * 200, "a\x00b"]
)
def test_a_pattern_that_would_explode_matches_nothing_or_is_refused(searcher: Searcher, glob: str) -> None:
    try:
        assert len(searcher.search("ship", 5, Filters(path=(glob,)))) <= 5
    except QueryError as error:
        assert "pattern" in error.message


@pytest.mark.parametrize("name", ["lang", "path", "kind", "module", "defines"])
def test_filters_have_bounds(searcher: Searcher, name: str) -> None:
    for values in (("x",) * (MOST_VALUES + 1), ("x" * (MOST_VALUE_CHARACTERS + 1),)):
        with pytest.raises(QueryError, match=name) as raised:
            searcher.search("ship", 5, Filters(**{name: values}))
        assert len(str(raised.value)) < 200
    if name != "lang":
        searcher.search("ship", 5, Filters(**{name: ("x" * MOST_VALUE_CHARACTERS,) * MOST_VALUES}))


def test_a_long_query_is_read_up_to_a_word_and_says_how_much_was_not() -> None:
    words = "berth fee " * 2_000
    parsed = parse_query(words)
    assert len(parsed.text) <= MOST_READ < len(parsed.text) + len(" berth") and words.startswith(parsed.text)
    assert parsed.text.split()[-1] in ("berth", "fee") and parsed.unread == len(words.strip()) - len(parsed.text)
    assert parse_query("x" * MOST_READ).unread == 0
    assert len(parse_query("x" * (MOST_READ + 5)).text) == MOST_READ
    whole = "a" * (MOST_READ - 2) + " b"
    assert parse_query(whole + " c").text == whole
    assert parse_query(whole + "c d").text == "a" * (MOST_READ - 2)


def test_a_long_query_finds_what_its_first_words_find(searcher: Searcher) -> None:
    first = "what a night at the quay costs " * 200
    long = searcher.answer(first + "next high tide " * 5_000)
    assert long.query.unread > 50_000
    assert [hit.id for hit in long.hits] == [hit.id for hit in searcher.search(long.query.text)]


def test_people_and_machines_are_told_of_what_was_not_read(built: Any) -> None:
    query = "ship harbour " * 1_000
    answer = built("search", query, "--json").json
    assert answer["unread"] > 8_000 and answer["query"] == query
    human = built("search", query)
    assert human.code == 0 and human.err.count("were not read") == 1
    assert "unread" not in built("search", "ship", "--json").json and "not read" not in built("search", "ship").err


def test_more_results_than_chunks_are_all_chunks_once(searcher: Searcher) -> None:
    every = searcher.search("ship berth tide quay harbour", 10_000)
    assert len({hit.id for hit in every}) == len(every) <= len(searcher.opened.lexical)
