"""Cutting along the syntax tree: gapless, within the budget, definitions whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline.chunks.cast import SyntaxNodes, cut
from pipeline.chunks.packing import layout

OWN_FILES = sorted(Path(pipeline.__file__).parent.glob("**/*.py"))[:40]


def sizes(content: bytes, boundaries: np.ndarray) -> list[int]:
    """Counted without NumPy: the promise, not the implementation."""
    return [len(b"".join(content[low:high].split())) for low, high in itertools.pairwise(boundaries)]


def cut_source(parse: Callable, source: str, budget: int = 100, lang: str = "python") -> list[str]:
    content = source.encode()
    parsed = parse(content, lang)
    edges = cut(content, parsed.nodes, parsed.starts, parsed.ends, budget)
    assert all(size <= budget for size in sizes(content, edges))
    pieces = [content[low:high].decode() for low, high in itertools.pairwise(edges)]
    assert "".join(pieces) == source
    return pieces


def body(name: str, solid: int) -> str:
    """A Python function of a known number of non-whitespace bytes."""
    head = f"def {name}():\n"
    rest = solid - len("".join(head.split()))
    lines = []
    while rest > 0:
        take = min(rest, 12) if rest not in (13, 14) else 10
        lines.append(f"    {'v' * (take - 2)}=1\n")
        rest -= take
    return head + "".join(lines)


@st.composite
def files_with_nodes(draw: st.DrawFn) -> tuple[bytes, SyntaxNodes, np.ndarray, np.ndarray]:
    content = draw(st.lists(st.sampled_from([b"ab", b"\n", b"\r\n", b"\r", b"  ", "é€😀".encode(), b"\x80", b"\x00", b"xyz;"])))
    joined = b"".join(content * draw(st.integers(1, 8)))
    count = draw(st.integers(0, 25))
    span = st.integers(-2, len(joined) + 2)

    def column(values: st.SearchStrategy[int], kind: type) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), kind)

    start = column(span, np.int32)
    if draw(st.booleans()):
        start = np.sort(start)
    flags = st.integers(0, 1)
    nodes = SyntaxNodes(
        start, column(span, np.int32), column(st.integers(-1, 300), np.int16), column(flags, np.bool_), column(flags, np.bool_)
    )
    return joined, nodes, start[::3], column(span, np.int32)[::3]


@settings(max_examples=200, deadline=None)
@given(files_with_nodes(), st.integers(4, 60))
def test_any_bytes_and_any_tree_are_cut_gapless_within_the_budget(given_file: tuple, budget: int) -> None:
    content, nodes, starts, ends = given_file
    edges = cut(content, nodes, starts, ends, budget)
    assert edges.dtype == np.int64
    assert edges[0] == 0
    assert edges[-1] == len(content)
    assert (np.diff(edges) > 0).all()
    assert all(size <= budget for size in sizes(content, edges))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400), st.integers(4, 40))
def test_no_character_of_a_utf8_file_is_cut(text: str, budget: int) -> None:
    content = text.encode("utf-8", "ignore")
    none = np.zeros(0, np.int32)
    nodes = SyntaxNodes(none, none, none.astype(np.int16), none.astype(np.bool_), none.astype(np.bool_))
    edges = cut(content, nodes, none, none, budget)
    assert "".join(content[low:high].decode() for low, high in itertools.pairwise(edges)) == content.decode()


@pytest.mark.parametrize("budget", [64, 300, 1500])
def test_real_code_is_cut_at_lines_with_every_definition_that_fits_whole(parse: Callable, budget: int) -> None:
    for path in OWN_FILES:
        content = path.read_bytes()
        parsed = parse(content, "python")
        edges = cut(content, parsed.nodes, parsed.starts, parsed.ends, budget)
        assert all(size <= budget for size in sizes(content, edges))
        lines = layout(content)
        for row in parsed.definitions:
            low = int(lines.starts[row["start_line"] - 1])
            if len(b"".join(content[low : row["end_byte"]].split())) > budget:
                continue
            inside = edges[(edges > low) & (edges < row["end_byte"])]
            assert not len(inside), f"{path.name}: {row['qualified_name']} is cut"
        longest = max(len(b"".join(line.split())) for line in content.splitlines() or [b""])
        if longest <= budget:
            assert set(edges[:-1].tolist()) <= set(lines.starts.tolist())


def test_the_same_input_gives_the_same_cut(parse: Callable) -> None:
    content = OWN_FILES[0].read_bytes() * 3
    parsed = parse(content, "python")
    first = cut(content, parsed.nodes, parsed.starts, parsed.ends, 200)
    second = cut(content, parsed.nodes, parsed.starts, parsed.ends, 200)
    assert np.array_equal(first, second)


def test_a_file_within_the_budget_is_one_chunk_and_an_empty_one_is_none(parse: Callable) -> None:
    assert cut_source(parse, "x = 1\n") == ["x = 1\n"]
    assert cut_source(parse, "") == []
    assert cut_source(parse, " \n\n\t" * 1000) == [" \n\n\t" * 1000]


def test_small_definitions_merge_up_to_the_budget(parse: Callable) -> None:
    functions = [body(name, 40) for name in "abcde"]
    assert cut_source(parse, "".join(functions)) == ["".join(functions[:2]), "".join(functions[2:4]), functions[4]]


def test_the_tail_of_a_large_definition_is_not_glued_to_the_next(parse: Callable) -> None:
    pieces = cut_source(parse, body("a", 130) + body("b", 90) + body("c", 130))
    assert body("b", 90) in pieces


@pytest.mark.parametrize(
    ("lang", "lead"),
    [
        ("python", "# one\n# two\n"),
        ("python", "@first\n@second\n"),
        ("rust", "/// doc\n#[inline]\n"),
        ("javascript", "// note\n"),
    ],
)
def test_comments_decorators_and_attributes_stay_with_their_definition(parse: Callable, lang: str, lead: str) -> None:
    if lang == "python":
        one, two = body("aaa", 70), body("bbb", 70)
    else:
        word = {"rust": "fn", "javascript": "function"}[lang]
        one, two = (f"{word} {name}() {{\n" + "  call();\n" * 8 + "}\n" for name in ("aaa", "bbb"))
    assert cut_source(parse, one + "\n" + lead + two, 100, lang) == [one + "\n", lead + two]


def test_elixir_attributes_stay_with_what_they_document(parse: Callable) -> None:
    lead = '  @doc "what it does"\n  @spec b(integer) :: integer\n'
    one, two = (f"  def {name}(x) do\n" + "    call(x)\n" * 5 + "  end\n" for name in "ab")
    pieces = cut_source(parse, "defmodule M do\n" + one + lead + two + "end\n", 110, "elixir")
    assert pieces == ["defmodule M do\n" + one, lead + two + "end\n"]


def test_haskell_comments_and_type_lines_stay_with_their_function(parse: Callable) -> None:
    functions = [f"-- | What it does\n{name} :: Int -> Int\n{name} x = x + 10000000\n\n" for name in "abcdef"]
    pieces = cut_source(parse, "module M where\n\n" + "".join(functions), 110, "haskell")
    assert all(piece.startswith(("module", "-- |")) for piece in pieces)


def test_a_class_that_is_too_large_begins_its_chunk_with_header_and_docstring(parse: Callable) -> None:
    methods = "".join("    " + line for name in "abcd" for line in body(name, 60).splitlines(keepends=True))
    before = body("before", 60)
    pieces = cut_source(parse, before + 'class Big(Base):\n    """What it is."""\n\n' + methods)
    assert pieces[0] == before
    assert pieces[1].startswith('class Big(Base):\n    """What it is."""\n\n    def a()')


def test_a_comment_above_a_class_that_is_too_large_goes_with_its_header(parse: Callable) -> None:
    methods = "".join("    " + line for name in "abcd" for line in body(name, 60).splitlines(keepends=True))
    pieces = cut_source(parse, body("before", 60) + "# why\n# it is\nclass Big:\n" + methods)
    assert pieces[1].startswith("# why\n# it is\nclass Big:\n    def a()")


def test_a_signature_is_not_parted_from_a_body_that_would_fit_alone(parse: Callable) -> None:
    source = "def name(argument):\n" + "    call(x)\n" * 12
    pieces = cut_source(parse, body("x", 90) + source)
    assert any(piece.startswith("def name(argument):\n    call(x)\n") for piece in pieces)


def test_closing_braces_do_not_break_a_method_that_fits_exactly(parse: Callable) -> None:
    method = "  void a() {\n" + "    f();\n" * 22 + "  }\n"
    assert len("".join(method.split())) == 97
    pieces = cut_source(parse, "class A {\n" + method + "}\n", 97, "java")
    assert any(method in piece for piece in pieces)


def test_a_tiny_tail_is_merged_back(parse: Callable) -> None:
    source = "class A {\n" + "".join(f"  int m{i}() {{\n    return {i};\n  }}\n" for i in range(9)) + "}\n"
    pieces = cut_source(parse, source, 100, "java")
    assert all(len("".join(piece.split())) >= 5 for piece in pieces)


def test_a_long_string_is_cut_at_lines_at_blank_ones_first(parse: Callable) -> None:
    paragraph = "word word word\n" * 4
    pieces = cut_source(parse, 'X = """\n' + (paragraph + "\n") * 6 + '"""\n')
    assert all(piece.startswith(("X", "word")) for piece in pieces)
    assert sum(piece.endswith("\n\n") for piece in pieces) >= len(pieces) - 1


@pytest.mark.parametrize("separator", ["", "\n"])
def test_nested_brackets_do_not_exhaust_the_stack(parse: Callable, separator: str) -> None:
    cut_source(parse, separator.join(["["] * 2000 + ["]"] * 2000) + "\n", 64)


def test_a_line_of_900_kilobytes_is_cut_into_even_pieces(parse: Callable) -> None:
    content = b"x = '" + b"abcdefghij" * 90_000 + b"'\n"
    none = np.zeros(0, np.int32)
    edges = cut(content, parse(b"x", "python").nodes, none, none, 1500)
    found = sizes(content, edges)
    assert max(found) <= 1500
    assert min(found) > 1300


def test_a_line_without_spaces_is_cut_between_names_and_never_inside_of_one(parse: Callable) -> None:
    names = [f"{'größe' if number % 7 == 0 else 'name'}{number:05d}" for number in range(4000)]
    content = ("(" + ").(".join(names) + ")\n").encode()
    none = np.zeros(0, np.int32)
    edges = cut(content, parse(b"x", "python").nodes, none, none, 300).tolist()
    inside = [edge for edge in edges[1:-1] if content[edge - 1 : edge].isalnum() and content[edge : edge + 1].isalnum()]
    assert len(edges) > 100 and not inside
    assert all(0 < end - start <= 320 for start, end in itertools.pairwise(edges))


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_other_line_ends_are_line_ends(parse: Callable, newline: str) -> None:
    source = "".join(body(name, 60) for name in "abc").replace("\n", newline)
    pieces = cut_source(parse, source)
    assert all(piece.endswith(newline) for piece in pieces)
    if newline == "\r\n":
        assert [piece[:5] for piece in pieces] == ["def a", "def b", "def c"]
