"""The nodes of one Python file."""

from __future__ import annotations

import sys
import threading
from hashlib import blake2b

import libcst
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, QualifiedNameProvider

from pipeline.structure.cst.names import dotted
from pipeline.structure.cst.nodes import MAX_DEPTH, CstRows, RejectedError, read

SAMPLE = """\
# about the module

import os.path as p, sys
from . import x as y  # trailing
from ..a.b import (c,  # why
    d)
from m import *
z = 1; w: int = 2  # two


# leads f
@y.deco(1)
@d
# between
async def f(a, /, b: int = c(2) , *args: str, k=(1), **kw) -> p.X:  # header
    # leads if
    if (n := len(a)) > 3: pass
    elif b:
        return [g(i) for i in sys.argv()]
        # closing
    else:
        z += 1

    def inner():
        return self.a.b(lambda q=1: q)()
    match a:
        case 1 | 2: inner()
    try:
        async with z() as v: ...
    except* ValueError: raise
    finally:
        del n


class K(Base, metaclass=M()):
    def m(self): self.n(); print(inner)
# after
"""

NODES = """
0 -1 module - -
1 0 comment leading # about the module
2 0 import - import os.path as p, sys
3 2 import_alias - os.path as p = os.path
4 2 import_alias - sys = sys
5 0 from_import - from . import x as y = .
6 5 import_alias - x as y = .x
7 5 comment trailing # trailing
8 0 from_import - from ..a.b import (c,  # why = ..a.b
9 8 import_alias - c = ..a.b.c
10 9 comment inner # why
11 8 import_alias - d = ..a.b.d
12 0 from_import star from m import * = m
13 0 assign - z = 1
14 0 ann_assign - w: int = 2
15 14 comment trailing # two
16 0 function async @y.deco(1) = f
17 16 comment leading # leads f
18 16 decorator - @y.deco(1) = .x.deco
19 18 call y.deco y.deco(1) = .x.deco
20 16 decorator - @d = ..a.b.d
21 16 comment leading # between
22 16 parameter posonly a
23 16 parameter positional b: int = c(2)
24 23 call c c(2) = ..a.b.c
25 16 parameter vararg *args: str
26 16 parameter kwonly k=(1)
27 16 parameter kwarg **kw
28 16 return_annotation - p.X
29 16 comment trailing # header
30 16 if - if (n := len(a)) > 3: pass
31 30 comment leading # leads if
32 30 call len len(a) = builtins.len
33 30 pass - pass
34 30 elif - elif b:
35 34 return - return [g(i) for i in sys.argv()]
36 35 call g g(i)
37 35 call sys.argv sys.argv() = sys.argv
38 34 comment closing # closing
39 34 else - else:
40 39 aug_assign - z += 1
41 16 function - def inner(): = f.<locals>.inner
42 41 return - return self.a.b(lambda q=1: q)()
43 42 call - self.a.b(lambda q=1: q)()
44 43 call self.a.b self.a.b(lambda q=1: q)
45 44 lambda - lambda q=1: q
46 45 parameter positional q=1
47 16 match - match a:
48 47 case - case 1 | 2: inner()
49 48 expr - inner()
50 49 call inner inner() = f.<locals>.inner
51 16 try star try:
52 51 with async async with z() as v: ...
53 52 call z z() = f.<locals>.z
54 52 expr - ...
55 51 except star except* ValueError: raise
56 55 raise - raise
57 51 finally - finally:
58 57 del - del n
59 0 class - class K(Base, metaclass=M()): = K
60 59 call M M()
61 59 function - def m(self): self.n(); print(inner) = K.m
62 61 parameter positional self
63 61 expr - self.n()
64 63 call self.n self.n() = K.m.<locals>.self.n
65 61 expr - print(inner)
66 65 call print print(inner) = builtins.print
67 0 comment closing # after
"""


def deep(content: bytes) -> CstRows | RejectedError:
    """`read` with room to nest."""
    results: list[CstRows | RejectedError] = []

    def run() -> None:
        try:
            results.append(read(content))
        except RejectedError as error:
            results.append(error)

    limit, size = sys.getrecursionlimit(), threading.stack_size(256 << 20)
    try:
        sys.setrecursionlimit(20_000)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
    return results[0]


def shown(content: bytes) -> list[str]:
    """A line a node: id, parent, kind, role, the first line of its bytes, and the qualified name."""
    rows, lines = read(content), []
    for row in range(len(rows)):
        text = content[rows.start[row] : rows.end[row]].decode().splitlines()[0] if row else "-"
        name = rows.qualified_name[row]
        lines.append(
            f"{row} {rows.parent[row]} {rows.kind[row]} {rows.role[row] or '-'} {text}" + (f" = {name}" if name else "")
        )
    return lines


def texts(content: bytes, kind: str) -> list[bytes]:
    """The bytes of the nodes of a kind."""
    rows = read(content)
    return [content[rows.start[row] : rows.end[row]] for row in range(len(rows)) if rows.kind[row] == kind]


def test_the_sample_has_exactly_these_nodes_parents_roles_and_names() -> None:
    assert shown(SAMPLE.encode()) == NODES.strip().splitlines()


def test_nodes_are_in_preorder_and_lie_inside_their_parents_but_for_comments() -> None:
    rows = read(SAMPLE.encode())
    open_rows: list[int] = []
    for row, parent in enumerate(rows.parent.tolist()):
        while open_rows and open_rows[-1] != parent:
            open_rows.pop()
        assert (open_rows[-1] if open_rows else -1) == parent
        open_rows.append(row)
        if parent >= 0 and rows.kind[row] != "comment":
            assert rows.start[parent] <= rows.start[row] < rows.end[row] <= rows.end[parent]


def test_the_hash_is_blake2b_of_the_bytes() -> None:
    content = SAMPLE.encode()
    rows = read(content)
    for row in range(len(rows)):
        digest = blake2b(content[rows.start[row] : rows.end[row]], digest_size=8).digest()
        assert int(rows.text_hash[row]) == int.from_bytes(digest, "little")


def test_spans_and_names_are_those_of_libcst() -> None:
    content = (SAMPLE + "\nif a:\n    import w as v\nelse:\n    import u as v\nv.t(é)\n").encode()
    wrapper = MetadataWrapper(libcst.parse_module(content))
    spans, names = wrapper.resolve(ByteSpanPositionProvider), wrapper.resolve(QualifiedNameProvider)
    rows = read(content)
    wanted: set[tuple[int, int, str]] = set()
    for node, span in spans.items():
        if isinstance(node, libcst.Call) and dotted(node.func):
            found = names[node]() if callable(names[node]) else names[node]
            wanted.add((span.start, span.start + span.length, min((name.name for name in found), default="")))
    calls = [row for row in range(len(rows)) if rows.kind[row] == "call" and rows.role[row]]
    assert {(int(rows.start[row]), int(rows.end[row]), rows.qualified_name[row] or "") for row in calls} == wanted
    assert rows.qualified_name[calls[-1]] == "u.t"


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("latin-1", "# -*- coding: latin-1 -*-\n"),
        ("shift_jis", "# coding: shift_jis\n"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_spans_count_stored_bytes_in_any_encoding(encoding: str, head: str, newline: str) -> None:
    word = {"latin-1": "é", "shift_jis": "日本"}.get(encoding, "é日𝒳")
    text = f'{head}a = "{word}"; f("{word}")  # {word}\ndef g(p="{word}"):\n    return "{word}"'.replace("\n", newline)
    content = text.encode(encoding)
    as_stored = word.encode("utf-8" if encoding == "utf-8-sig" else encoding)
    assert texts(content, "assign") == [b'a = "' + as_stored + b'"']
    assert texts(content, "call") == [b'f("' + as_stored + b'")']
    assert texts(content, "parameter") == [b'p="' + as_stored + b'"']
    assert texts(content, "return") == [b'return "' + as_stored + b'"']
    assert texts(content, "comment")[-1] == b"# " + as_stored


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\n\n# only\n", b"x = 1", b"x = 1\n\n\n", b"\xef\xbb\xbf", b"if a:\n\tpass\n\x0c\ny\n"]
)
def test_short_and_odd_files_have_a_module_that_spans_inside_the_file(content: bytes) -> None:
    rows = read(content)
    assert (rows.kind[0], int(rows.parent[0])) == ("module", -1)
    assert rows.start.min() >= 0 and rows.end.max() <= len(content)


@given(st.one_of(st.binary(max_size=80), st.text("abf()[]{}:=#'\"\\ \t\n\r\f,.*@é;", max_size=60).map(str.encode)))
def test_any_bytes_are_read_or_rejected(content: bytes) -> None:
    try:
        rows = read(content)
    except RejectedError:
        return
    assert ((rows.start >= 0) & (rows.start <= rows.end) & (rows.end <= len(content))).all()


def test_comments_in_brackets_belong_to_the_innermost_node_around_them() -> None:
    assert shown(b"f(\n  # one\n  g(  # two\n  ),\n)\n")[1:] == [
        "1 0 expr - f(",
        "2 1 call f f(",
        "3 2 comment inner # one",
        "4 2 call g g(  # two",
        "5 4 comment inner # two",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x = 1\ndef f(:\n", "syntax error at line"),
        (b"print 'python 2'\n", "syntax error at line 1"),
        (b"x = 1\0\n", "syntax error"),
        (b"\xff\xfe", "cannot be decoded"),
        (b"x = " + b"(" * 100_000, "nested too deep"),
        (b"x = " + b"[" * 5_000 + b"]" * 5_000, "nested too deep"),
        (b"x = " + b"a + " * 100_000 + b"a\n", "nested too deep"),
        (b"x = a" + b"()" * 50_000 + b"\n", "nested too deep"),
        (b"x = " + b"not " * 50_000 + b"a\n", "nested too deep"),
    ],
)
def test_files_that_libcst_cannot_take_are_rejected_in_one_line(content: bytes, reason: str) -> None:
    with pytest.raises(RejectedError) as caught:
        read(content)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tree_that_does_not_give_back_the_file_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    other = libcst.parse_module("x = 2\n")
    monkeypatch.setattr(libcst, "parse_module", lambda _: other)
    with pytest.raises(RejectedError, match="does not give back its text"):
        read(b"x = 1\n")


class PanicException(BaseException):
    """What a Rust panic arrives as."""


def test_a_panic_of_the_parser_costs_the_file_and_an_interrupt_still_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> None:
        raise error

    monkeypatch.setattr(libcst, "parse_module", lambda _: fail(PanicException()))
    with pytest.raises(RejectedError, match="libcst fails with PanicException"):
        read(b"x = 1\n")
    monkeypatch.setattr(libcst, "parse_module", lambda _: fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        read(b"x = 1\n")


@pytest.mark.parametrize(
    "nest",
    [
        lambda n: b"(" * n + b"a" + b")" * n,
        lambda n: b"[" * n + b"f()" + b"]" * n,
        lambda n: b"a + " * n + b"f()",
        lambda n: b"not " * n + b"f()",
        lambda n: b"f() if b else " * n + b"c",
        lambda n: b"lambda: " * n + b"f()",
    ],
)
def test_what_is_nested_within_the_bound_is_read(nest: object) -> None:
    result = deep(b"x = " + nest(MAX_DEPTH - 8) + b"\n")  # type: ignore[operator]
    assert isinstance(result, CstRows), result
