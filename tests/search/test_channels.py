"""Channels: each tells how it fared, and none takes the query down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.config import EmbedSettings, SearchSettings, Settings
from pipeline.embed import registry as embedders
from pipeline.errors import QueryError, RuntimeLifecycleError
from pipeline.index.lexical import FUZZY
from pipeline.search.channels import registry
from pipeline.search.channels.interface import Asked, Channel, ChannelOffError, Found
from pipeline.search.channels.registry import State, consult
from pipeline.search.engine import Searcher, open_searcher
from pipeline.search.fusion import Ranking
from pipeline.search.opened import Opened
from pipeline.store.layout import Store


def searcher(world: Any, **settings: Any) -> Searcher:
    return open_searcher(Store(world.store).repository("demo"), Settings(search=SearchSettings(**settings)))


def states(world: Any, query: str, **settings: Any) -> dict[str, str]:
    with searcher(world, **settings) as opened:
        return {name: one.state.value for name, one in opened.answer(query).channels.items()}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], list[str]]:
    """Makes the dense channel raise; the list grows with every question to it."""

    def put(error: Exception) -> list[str]:
        asked: list[str] = []

        def ask(opened: Opened, question: Asked) -> Found:
            asked.append(question.query.text)
            raise error

        channels = [replace(one, ask=ask) if one.name == "dense" else one for one in registry.CHANNELS]
        monkeypatch.setattr(registry, "CHANNELS", tuple(channels))
        return asked

    return put


def test_every_channel_says_how_it_fared(built: Any) -> None:
    assert states(built, "Ship") == {
        "lexical": "answered",
        "dense": "answered",
        "symbol": "answered",
        "path": "silent",
        "splade": "off",
        "xtr": "off",
    }
    assert states(built, "harbour/fees.py")["path"] == "answered"
    assert states(built, "nowhere/at/all.py")["path"] == "empty"
    assert states(built, "how high is the tide", dense_weight=0)["dense"] == "off"
    assert states(built, "!?")["lexical"] == "silent"


@pytest.mark.parametrize(
    "error", [RuntimeLifecycleError("The server is gone.", hint="Start it."), RuntimeError("out of memory"), OSError("gone")]
)
def test_a_channel_that_breaks_says_so_and_the_others_answer(
    built: Any, failing: Callable[[Exception], list[str]], error: Exception
) -> None:
    with searcher(built, dense_weight=0) as opened:
        expected = [hit.id for hit in opened.search("berth fee")]
    failing(error)
    with searcher(built) as opened:
        answer = opened.answer("berth fee")
        told = answer.channels["dense"]
        assert told.state is State.BROKEN and str(error) in told.reason
        assert [hit.id for hit in answer.hits] == expected
        assert all("dense" not in hit.channels for hit in answer.hits)


def test_a_broken_channel_is_left_alone_for_a_while(built: Any, failing: Callable[[Exception], list[str]]) -> None:
    asked = failing(RuntimeError("gone"))
    with searcher(built) as opened:
        reasons = [opened.answer(query).channels["dense"].reason for query in ("berth", "tide", "quay")]
        assert asked == ["berth"] and len(set(reasons)) == 1
        opened.opened.rest("dense", "gone", 0.0)
        opened.answer("ship")
        assert asked == ["berth", "ship"]


def test_what_is_wrong_with_the_query_is_the_callers_affair(built: Any, failing: Callable[[Exception], list[str]]) -> None:
    failing(QueryError("nprobe does not fit."))
    with searcher(built) as opened, pytest.raises(QueryError):
        opened.answer("berth")


def test_an_embedder_that_is_not_there_leaves_the_other_channels(built: Any) -> None:
    settings = Settings(embed=EmbedSettings(embedder="http", embed_url="http://127.0.0.1:9", embed_model="m", embed_retries=0))
    with open_searcher(Store(built.store).repository("demo"), settings) as opened:
        answer = opened.answer("berth fee")
        assert answer.hits and answer.channels["dense"].state is State.BROKEN


def test_vectors_of_another_embedder_are_never_compared_with_this_ones(built: Any) -> None:
    with searcher(built) as opened:
        opened.version.manifest.embedder["digest"] = "0" * 64
        told = opened.answer("harbour").channels["dense"]
        assert told.state is State.BROKEN and "were made by" in told.reason and "indexctl build" in told.reason


def test_damaged_vectors_are_told_and_words_still_answer(world: Any) -> None:
    with searcher(world) as opened:
        path = world.published / "faiss.index"
        content = path.read_bytes()
        path.unlink()  # A link of the object in the build cache.
        path.write_bytes(content[: len(content) // 2])
        answer = opened.answer("berth fee")
        assert answer.hits and answer.channels["dense"].state is State.BROKEN and "faiss" in answer.channels["dense"].reason


def test_a_channel_that_a_version_does_without_is_off(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(opened: Opened, asked: Asked) -> Found:
        raise ChannelOffError("this version was built without it")

    monkeypatch.setattr(registry, "CHANNELS", (*registry.CHANNELS[:1], Channel("dense", ask)))
    with searcher(built) as opened:
        told = opened.answer("berth").channels["dense"]
        assert told.as_json() == {"state": "off", "found": 0, "reason": "this version was built without it"}


def test_rank_fusion_gives_by_places_and_score_fusion_by_scores(built: Any) -> None:
    for fusion in ("ranks", "scores"):
        with searcher(built, fusion=fusion, rrf_k=10.0) as opened:
            for hit in opened.search("berth fee"):
                words = hit.channels["lexical"]
                by_rank = 0.0 if words.rank is None else 11 / (10 + words.rank)
                assert (words.contribution == pytest.approx(by_rank)) == (fusion == "ranks" or words.rank in (None, 1))


@pytest.mark.parametrize(
    ("query", "uris"),
    [
        ("harbour/fees.py", {"harbour/fees.py"}),
        ("./harbour/fees.py:12", {"harbour/fees.py"}),
        ("HARBOUR/Fees.PY", {"harbour/fees.py"}),
        ("harbour/fees", {"harbour/fees.py"}),
        ("harb/fee", {"harbour/fees.py"}),
    ],
)
def test_a_path_finds_its_file_in_the_order_of_its_chunks(built: Any, query: str, uris: set[str]) -> None:
    with searcher(built) as opened:
        found = consult(opened.opened, Asked(opened.answer(query).query, 100))["path"].found
        assert found is not None
        rows = opened.opened.lexical.documents(found.ranking.ids)
        assert {row["uri"] for row in rows} == uris
        assert [row["start_line"] for row in rows] == sorted(row["start_line"] for row in rows)
        assert opened.search(query, 1)[0].uri in uris


def test_a_folder_finds_what_lies_in_it_and_filters_hold(built: Any) -> None:
    with searcher(built) as opened:
        query = opened.answer("harbour/").query
        every = consult(opened.opened, Asked(query, 100))["path"].found
        assert every is not None and len(every.ranking.ids) > 2
        allowed = np.sort(every.ranking.ids[:2])
        some = consult(opened.opened, Asked(query, 100, allowed))["path"].found
        assert some is not None and set(some.ranking.ids) == set(allowed)


def test_a_path_inside_of_a_question_counts_less(built: Any) -> None:
    with searcher(built) as opened:
        question = opened.answer("what does harbour/fees.py charge?")
        assert question.query.paths == ("harbour/fees.py",)
        assert question.channels["path"].found is not None
        assert question.channels["path"].found.strength == SearchSettings().embedded_path_factor


def test_a_misspelt_name_finds_what_is_called_about_so(built: Any) -> None:
    with searcher(built) as opened:
        right = opened.opened.lexical.defining("Ship", 10)
        for typo in ("Shio", "Sihp", "Shhip", "Shpip"):
            found = opened.opened.lexical.defining(typo, 10)
            assert set(right.ids[right.scores == 3]) <= set(found.ids) and set(found.scores) == {FUZZY}
        assert not len(opened.opened.lexical.defining("Shp", 10).ids)


def test_channels_know_nothing_of_embedders_that_are_not_asked(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(embedders, "load", refuse)
    assert states(built, "berth", dense_weight=0)["dense"] == "off"


def test_a_ranking_of_nothing_is_fused_to_nothing(built: Any) -> None:
    nothing = Ranking(np.empty(0, np.int64), np.empty(0, np.float32))
    assert not len(nothing.ids)
    with searcher(built, lexical_weight=0, dense_weight=0, symbol_weight=0, path_weight=0) as opened:
        answer = opened.answer("berth")
        assert answer.hits == [] and {one.state for one in answer.channels.values()} == {State.OFF}
