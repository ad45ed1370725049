"""Explanations on request: which words of the query a chunk has, which names, what it is made of."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.catalog import hydrate
from pipeline.config import Settings
from pipeline.search.engine import Filters, Searcher, open_searcher
from pipeline.search.explanation import Matched, explain
from pipeline.store.layout import Store


def searcher(world: Any) -> Searcher:
    return open_searcher(Store(world.store).repository("demo"), Settings())


def explained(world: Any, query: str, uri: str, k: int = 20) -> Matched:
    """What is said of the first chunk of a file."""
    with searcher(world) as opened:
        answer = opened.answer(query, k)
        matched = explain(opened.opened, answer)
        assert list(matched) == [hit.id for hit in answer.hits]
        return next(matched[hit.id] for hit in answer.hits if hit.uri == uri)


def test_words_of_the_query_are_told_by_field_as_the_index_finds_them(built: Any) -> None:
    said = explained(built, "How are the nightly discounts for a berth_fee?", "harbour/fees.py")
    # Stems meet (`nightly` and `nights`); function words count nowhere; a name counts as a whole and by its parts.
    assert said.terms["body"] == ("nightly", "discounts", "berth_fee", "berth", "fee")
    assert said.terms["names"] == ("berth_fee", "berth", "fee")
    assert said.terms["path"] == ("fee",)


def test_a_word_that_is_nowhere_in_a_chunk_is_not_told_of_it(built: Any) -> None:
    said = explained(built, "tide or fee", "harbour/tides.py")
    assert all("fee" not in found for found in said.terms.values()) and said.terms["path"] == ("tide",)
    with searcher(built) as opened:
        answer = opened.answer("submarine zeppelin", 5)
        assert answer.hits and all(one.terms == {} for one in explain(opened.opened, answer).values())


@pytest.mark.parametrize(
    ("query", "named"), [("berth_fee", ("berth_fee",)), ("the fee for a berth", ("berth_fee",)), ("the fee", ()), ("tide", ())]
)
def test_a_defined_name_is_named_when_the_query_has_all_of_it(built: Any, query: str, named: tuple[str, ...]) -> None:
    said = explained(built, query, "harbour/fees.py")
    assert said.symbols == ("berth_fee",) and said.named == named


def test_symbols_are_those_of_the_chunk_without_parameters(built: Any) -> None:
    said = explained(built, "Ship", "harbour/ships.py")
    assert {"Ship", "is_seaworthy"} <= set(said.symbols)
    assert not {"self", "name: str", "hours"} & set(said.symbols) and "Ship" in said.named


def test_syntax_is_told_outermost_first_and_counted(built: Any) -> None:
    kinds = explained(built, "berth fee", "harbour/fees.py").ast_kinds
    assert kinds["function_definition"] == 1 and kinds["return_statement"] == 1 and kinds["assignment"] == 1
    names = list(kinds)
    assert names.index("function_definition") < names.index("return_statement")
    assert "identifier" not in kinds and len(kinds) <= 8
    assert explained(built, "render quay", "web/app.js").ast_kinds["function_declaration"] == 1


def test_concrete_syntax_with_a_word_of_the_query_is_told(built: Any) -> None:
    assert "function berth_fee" in explained(built, "fee", "harbour/fees.py").cst_hits
    assert explained(built, "money discount", "harbour/fees.py").cst_hits == ()
    assert explained(built, "render quay", "web/app.js").cst_hits == ()


def test_a_text_without_definitions_or_code_is_explained_too(built: Any) -> None:
    said = explained(built, "where is a toy that keeps ships", "README.md")
    assert said.terms["body"] == ("toy", "keeps", "ships") and said.named == ()
    assert said.as_json()["terms"]["body"] == ["toy", "keeps", "ships"]


def test_all_hits_are_explained_by_one_query(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    fetch = hydrate.fetch

    def counting(connection: Any, sql: str, values: Any) -> Any:
        asked.append(sql)
        return fetch(connection, sql, values)

    monkeypatch.setattr(hydrate, "fetch", counting)
    with searcher(built) as opened:
        answer = opened.answer("harbour", 10)
        assert len(explain(opened.opened, answer)) == len(answer.hits) > 3
    assert len(asked) == 1


def test_no_hits_need_no_explanation_and_open_nothing(built: Any) -> None:
    with searcher(built) as opened:
        answer = opened.answer("!?", 5, Filters())
        empty = answer if not answer.hits else opened.answer("x", 5, Filters(lang=("rust",)))
        assert explain(opened.opened, empty) == {}


def test_a_version_without_symbols_or_concrete_syntax_is_explained_by_what_it_has(world: Any) -> None:
    assert world.build("--no-scip", env={"CODEINTEL_CST": "false"}).code == 0
    said = explained(world, "berth fee", "harbour/fees.py")
    assert said.cst_hits == () and said.terms["names"] == ("berth", "fee") and said.symbols == ("berth_fee",)
