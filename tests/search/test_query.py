"""Which queries are names."""

from __future__ import annotations

import pytest

from pipeline.search.query import MAX_IDENTIFIER, Kind, identifier_of, parse_query


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("QuerySet", "QuerySet"),
        ("  query_set\n", "query_set"),
        ("_private2", "_private2"),
        ("QuerySet.filter", "QuerySet.filter"),
        ("QuerySet.filter()", "QuerySet.filter"),
        ("main()", "main"),
        ("std::vector", "std.vector"),
        ("crate::index::Reader::open()", "crate.index.Reader.open"),
        ("Foo#bar?", "Foo.bar?"),
        ("Repo.insert!", "Repo.insert!"),
        ("this->name", "this.name"),
        (r"App\Http\Kernel", "App.Http.Kernel"),
        ("@property", "property"),
        ("$scope", "$scope"),
        ("#secret", "secret"),
        (".filter", "filter"),
        ("straße.größe", "straße.größe"),
        ("泊位", "泊位"),
        ("query.py", "query.py"),
    ],
)
def test_a_name_in_any_languages_spelling_is_its_parts_joined_by_dots(query: str, name: str) -> None:
    assert identifier_of(query) == name


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        "how are migrations applied",
        "QuerySet filter",
        "filter(name=1)",
        "a.b c",
        "1st",
        "12",
        "a..b",
        "a.",
        "::",
        "()",
        "a + b",
        "a/b",
        "src/query.py",
        "*",
        "a\x00b",
        "\ud800",
        "⚓",
        "a" * (MAX_IDENTIFIER + 1),
        "a." * 100_000,
    ],
)
def test_anything_else_is_none(query: str) -> None:
    assert identifier_of(query) is None


def test_a_long_path_that_almost_is_a_name_is_decided_at_once() -> None:
    assert identifier_of(("a" * 30 + "::") * 15 + "!") is None


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("QuerySet.filter", Kind.NAME),
        ("Rows.get", Kind.NAME),
        ("src/query.py", Kind.PATH),
        ("query.py", Kind.PATH),
        ("db/models/", Kind.PATH),
        ("how are migrations applied", Kind.QUESTION),
        ("Where is the cache kept?", Kind.QUESTION),
        ("cookie jar", Kind.PHRASE),
        ("merge of mergeConfig", Kind.PHRASE),
        ("Return the first row.", Kind.SENTENCE),
        ("decide whether a cookie may be returned to the server", Kind.SENTENCE),
        ("", Kind.PHRASE),
        ("\ud800 \x00", Kind.PHRASE),
        ("_" * 100_000, Kind.PHRASE),
        ("a" * 100_000 + " b", Kind.PHRASE),
    ],
)
def test_the_form_of_a_query_is_its_kind(query: str, kind: Kind) -> None:
    assert parse_query(query).kind is kind


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("how does mergeConfig treat user_agent", ("mergeConfig", "user_agent")),
        ("what calls Model.save() and std::move", ("Model.save", "std.move")),
        ("how does HTTP work in Python", ()),
        ("mergeConfig", ()),
        ("the mergeConfig function is called with all options of the user", ()),
    ],
)
def test_names_are_found_in_questions_and_phrases_only(query: str, names: tuple[str, ...]) -> None:
    assert parse_query(query).embedded == names


def test_a_query_that_names_a_role_asks_for_its_files() -> None:
    assert parse_query("tests of the cookie jar").asks_for == {"test"}
    assert parse_query("an example in the documentation").asks_for == {"example", "docs"}
    assert parse_query("cookie jar").asks_for == frozenset()
