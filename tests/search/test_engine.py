"""The searcher: one open version, asked many times from many threads, indifferent to what is published meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.errors import QueryError
from pipeline.search.engine import MOST_QUERY_BYTES, MOST_RESULTS, Filters, Searcher, open_searcher
from pipeline.store.layout import Store

QUERIES = ("berth fee", "next high tide", "is the ship seaworthy", "render the quay", "toy that keeps ships")


def searcher(world: Any) -> Searcher:
    return open_searcher(Store(world.store).repository("demo"), Settings())


def test_threads_get_the_answers_that_one_thread_gets(built: Any) -> None:
    with searcher(built) as opened:
        filters = (Filters(), Filters(lang=("python",)))
        jobs = [(query, chosen) for query in QUERIES for chosen in filters] * 8
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda job: opened.search(job[0], 5, job[1]), jobs))
        assert together == [opened.search(query, 5, chosen) for query, chosen in jobs]


def test_an_open_searcher_stays_on_its_version_while_another_is_published(world: Any) -> None:
    with searcher(world) as opened:
        before = opened.search("next high tide")
        (world.repo / "harbour/tides.py").write_text("def slack(): pass\n")
        assert world.build().json["version"] != opened.version.name
        assert opened.search("next high tide") == before
        assert opened.search("berth", filters=Filters(path=("harbour/",)))


def test_equal_queries_have_equal_answers_and_a_smaller_k_is_a_prefix(built: Any) -> None:
    with searcher(built) as opened:
        many = opened.search("harbour", 7)
        assert opened.search("harbour", 7) == many
        for k in range(1, len(many)):
            assert [hit.id for hit in opened.search("harbour", k)] == [hit.id for hit in many[:k]]


def test_what_cannot_be_asked_is_refused_before_anything_is_opened(built: Any) -> None:
    with searcher(built) as opened:
        for query, k in (("", 5), (" \n", 5), ("x" * (MOST_QUERY_BYTES + 1), 5), ("x", 0), ("x", -3), ("x", MOST_RESULTS + 1)):
            with pytest.raises(QueryError):
                opened.search(query, k)
        assert not opened.opened.holds("lexical") and not opened.opened.holds("vectors")
        with pytest.raises(QueryError, match="klingon"):
            opened.search("x", filters=Filters(lang=("klingon",)))


def test_channel_weights_decide_what_counts(built: Any) -> None:
    repository = Store(built.store).repository("demo")
    for weights, silent in (({"lexical_weight": 0.0}, "lexical"), ({"dense_weight": 0.0}, "dense")):
        settings = Settings(search=Settings().search.__class__(**weights))
        with open_searcher(repository, settings) as opened:
            hits = opened.search("berth fee")
            assert hits and all(silent not in hit.channels for hit in hits)


def test_closing_twice_is_harmless(built: Any) -> None:
    opened = searcher(built)
    opened.search("berth", filters=Filters(kind=("function",)))
    opened.opened.close()
    opened.opened.close()
