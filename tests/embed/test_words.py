"""How text becomes words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.embed import words


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("HTTPServer", ("http", "server")),
        ("parseHTTPResponse_v2", ("parse", "http", "response", "v", "2")),
        ("getURLs", ("get", "urls")),
        ("QuerySet", ("query", "set")),
        ("__init__", ("init",)),
        ("MAX_PARTS", ("max", "parts")),
        ("utf8", ("utf", "8")),
        ("x", ("x",)),
        ("___", ()),
        ("ÉcoleDuNord", ("école", "du", "nord")),
        ("XMLПример2Тест", ("xml", "пример", "2", "тест")),
        ("日本語ABC", ("日本語", "abc")),
        ("straße_Name", ("straße", "name")),
    ],
)
def test_runs_are_split_where_a_reader_sees_words(run: str, expected: tuple[str, ...]) -> None:
    assert words.parts(run) == expected


def test_one_identifier_in_three_styles_shares_its_whole_term() -> None:
    assert {words.terms(run)[0] for run in ("QuerySet", "query_set", "queryset", "_querySet")} == {"queryset"}
    assert words.terms("QuerySet") == ("queryset", "query", "set")
    assert words.terms("queryset") == ("queryset",)


def test_data_longer_than_any_name_has_no_words() -> None:
    assert words.parts("A" * (words.MAX_RUN + 1)) == ()
    assert words.parts("a" * words.MAX_RUN) == ("a" * words.MAX_RUN,)


@given(st.text(alphabet=st.characters(), max_size=80))
def test_no_letter_or_digit_is_lost_in_any_script(text: str) -> None:
    for run in words.runs(text):
        assert "".join(words.parts(run)).casefold() == run.replace("_", "").casefold()
        assert all(words.parts(run))
