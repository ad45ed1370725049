"""Which queries are names."""

from __future__ import annotations

import pytest

from pipeline.search.query import MAX_IDENTIFIER, identifier_of


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
