from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import IndexFormatError
from pipeline.structure.scip.symbol_grammar import (
    Descriptor,
    LastDescriptors,
    ScipSymbol,
    Suffix,
    display,
    ending_with,
    escaped,
    last_descriptor,
    owner_of,
    parse,
)

SUFFIXES: dict[Suffix, str] = {
    "namespace": "{}/", "type": "{}#", "term": "{}.", "method": "{}({}).", "meta": "{}:", "macro": "{}!",
    "type parameter": "[{}]", "parameter": "({})",
}  # fmt: skip
PIECES = [*"a $ ` `` / # . : ! ( ) [ ] (). (+1). () é 𐍈 \n local".split(" "), " ", "  "]
NAMES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
STEPS = st.builds(
    lambda name, suffix, number: Descriptor(name, suffix, number if suffix == "method" else ""),
    NAMES, st.sampled_from(list(SUFFIXES)), st.sampled_from(["", "+1", "x"]),
)  # fmt: skip
FIELDS = st.sampled_from(["s", ".", "a  b", "1.0`", "p/q#", "``"])


def _backticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def written(fields: list[str], steps: list[Descriptor], quoted: bool) -> str:
    """A symbol as the grammar of the protocol has it; plain names may stand in backticks, too."""
    ends = "".join(
        SUFFIXES[step.suffix].format(_backticked(step.name) if quoted else escaped(step.name), step.disambiguator)
        for step in steps
    )
    return " ".join([*fields, ends])


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
        ("scip-python python stdlib 3.13 `os.path`/__init__:", "os.path"),
        ("scip-python python stdlib 3.13 `os.path`/join().", "os.path.join"),
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


@given(st.lists(FIELDS, min_size=4, max_size=4), st.lists(STEPS, min_size=1, max_size=4), st.booleans())
def test_what_the_grammar_writes_is_read_from_its_start_and_from_its_end_alike(
    fields: list[str], steps: list[Descriptor], quoted: bool
) -> None:
    symbol, owner = written(fields, steps, quoted), written(fields, steps[:-1], quoted)
    assert parse(symbol).descriptors == tuple(steps)
    assert (last_descriptor(symbol), owner_of(symbol)) == (steps[-1], owner)


def agree(symbols: list[str]) -> None:
    """The rule for columns says what the rule for single symbols says."""
    # A slice between neighbours that begin and end like parts of a name.
    column = pa.array(["a`", *symbols, "`a#"]).slice(1, len(symbols))
    last, single = LastDescriptors.of(column), [last_descriptor(symbol) for symbol in symbols]
    assert last.names().to_pylist() == [one.name if one else "" for one in single]
    assert last.owners().to_pylist() == [owner_of(symbol) for symbol in symbols]
    for place, (symbol, one) in enumerate(zip(symbols, single, strict=True)):
        name = symbol.encode()[last.start[place] - last.symbol[place] : last.end[place] - last.symbol[place]].decode()
        if one is None:
            assert name == "" and not last.is_escaped[place] and last.owner_end[place] == last.symbol[place]
            continue
        assert name == (one.name.replace("`", "``") if last.is_escaped[place] else one.name)
        assert [kind for kind in SUFFIXES if ending_with(column, kind)[place]] == [one.suffix]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=5))
@example(["````#", "```#", "``#", "`#", "#", "", "`a````#", "``a`#", "`a`b`#", "x`a`#"])
@example(["a().", "().", ").", "(a).", "a(+1).", "a(é).", "(`a`)", "`a`)", "a)", "[`a`]", "(`)`)", "local 1", "local a."])
def test_columns_and_single_symbols_are_taken_apart_by_one_rule_whatever_they_hold(symbols: list[str]) -> None:
    agree(symbols)


@given(st.lists(st.builds(written, st.lists(FIELDS, min_size=4, max_size=4), st.lists(STEPS, min_size=1), st.booleans())))
def test_columns_and_single_symbols_are_taken_apart_by_one_rule_in_the_grammar(symbols: list[str]) -> None:
    agree(symbols)


@given(NAMES)
def test_a_name_is_written_so_that_it_is_read_again(name: str) -> None:
    assert last_descriptor(f"s m p v {escaped(name)}#") == Descriptor(name, "type")


@pytest.mark.parametrize("symbol", ["local 1", "local a_b-$+", "", "s", "s m p v ", "file:a/b.py", "s m p v `a", "s m p v ``/"])
def test_local_symbols_and_what_is_none_end_with_no_descriptor(symbol: str) -> None:
    assert last_descriptor(symbol) is None and owner_of(symbol) == ""
    agree([symbol])


def test_the_end_of_a_hostile_symbol_is_found_soon() -> None:
    hostile = [
        "`" * 400_001 + "#",
        "``a" * 150_000 + "`#",
        "a" * 400_000,
        "`a" * 200_000 + "#",
        "a" * 400_000 + "(" + "b" * 400_000,
    ]
    agree(hostile)
