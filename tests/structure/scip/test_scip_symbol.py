from __future__ import annotations

import random

import pytest

from pipeline.errors import IndexFormatError
from pipeline.structure.scip.symbol_grammar import Descriptor, ScipSymbol, display, parse


def _suffixes(symbol: str) -> list[tuple[str, str, str]]:
    return [(step.name, step.suffix, step.disambiguator) for step in parse(symbol).descriptors]


def test_a_symbol_has_scheme_package_and_descriptors() -> None:
    assert parse("scip-typescript npm left-pad 1.3.0 src/`index.ts`/Pad#fill(+1).") == ScipSymbol(
        "scip-typescript",
        "npm",
        "left-pad",
        "1.3.0",
        (
            Descriptor("src", "namespace"),
            Descriptor("index.ts", "namespace"),
            Descriptor("Pad", "type"),
            Descriptor("fill", "method", "+1"),
        ),
    )


def test_every_suffix_is_told_from_the_others() -> None:
    assert _suffixes("s m p v a/b#c.d().e(x1).f:g!f().(p)C#[T]") == [
        ("a", "namespace", ""), ("b", "type", ""), ("c", "term", ""), ("d", "method", ""), ("e", "method", "x1"),
        ("f", "meta", ""), ("g", "macro", ""), ("f", "method", ""), ("p", "parameter", ""), ("C", "type", ""),
        ("T", "type parameter", ""),
    ]  # fmt: skip


def test_a_local_symbol_has_only_its_id() -> None:
    assert parse("local 12") == ScipSymbol(local="12")
    assert parse("local a_b-$+") == ScipSymbol(local="a_b-$+")


def test_dots_stand_for_an_empty_manager_package_or_version() -> None:
    parsed = parse("ty-scip . . . m/")
    assert (parsed.scheme, parsed.manager, parsed.package, parsed.version) == ("ty-scip", "", "", "")


def test_doubled_spaces_are_spaces_of_the_field() -> None:
    parsed = parse("my  scheme a  b c    d 1.0 x.")
    assert (parsed.scheme, parsed.manager, parsed.package, parsed.version) == ("my scheme", "a b", "c  d", "1.0")


def test_backticks_hold_any_character_and_are_doubled_inside() -> None:
    assert _suffixes("s . . . `a b/c#`/`d``e`#`[é𐍈](`().(`p q`)[`T``1`]") == [
        ("a b/c#", "namespace", ""), ("d`e", "type", ""), ("[é𐍈](", "method", ""),
        ("p q", "parameter", ""), ("T`1", "type parameter", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "symbol",
    [
        "", " ", "local", "local ", "local a b", "local é", "s", "s m p v", "s m p v ", " m p v a/", "s m p v a", "s m p v a/b",
        "s m p v `a", "s m p v ``/", "s m p v a(", "s m p v a()", "s m p v a(b c).", "s m p v [T", "s m p v é/",
        "s m p v a/ b/",
    ],
)  # fmt: skip
def test_what_leaves_the_grammar_is_refused_and_shown_as_it_is(symbol: str) -> None:
    with pytest.raises(IndexFormatError, match="is no SCIP symbol"):
        parse(symbol)
    assert display(symbol) == symbol


def test_the_error_names_the_character() -> None:
    with pytest.raises(IndexFormatError, match="at character 10"):
        parse("s m p v a/?/")


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("ty-scip python django 5.2 django/db/models/query/QuerySet#filter().", "django.db.models.query.QuerySet.filter"),
        ("scip-python python django 5.2 `django.db.models.query`/QuerySet#", "django.db.models.query.QuerySet"),
        ("rust-analyzer cargo serde 1.0 de/f().(x)", "de.f(x)"),
        ("rust-analyzer cargo serde 1.0 de/C#[T]", "de.C[T]"),
        ("rust-analyzer cargo serde 1.0 macros/json!", "macros.json!"),
        ("local 3", "local 3"),
    ],
)
def test_people_see_dotted_names(symbol: str, shown: str) -> None:
    assert display(symbol) == shown


def test_escaped_names_survive_the_round_trip() -> None:
    draw = random.Random(7)
    for _ in range(500):
        names = ["".join(draw.choices("ab`/#.()[]! é\n", k=draw.randint(1, 8))) for _ in range(draw.randint(1, 4))]
        symbol = "s m p v " + "".join("`" + name.replace("`", "``") + "`#" for name in names)
        assert [step.name for step in parse(symbol).descriptors] == names


def test_a_long_symbol_of_backticks_ends_soon() -> None:
    with pytest.raises(IndexFormatError):
        parse("s m p v " + "`" * 200_001)
    assert len(parse("s m p v " + "a/" * 50_000).descriptors) == 50_000
