"""Trees and their columns, also of what is no code at all."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.source.languages import LANGUAGES
from pipeline.structure.definitions import definitions
from pipeline.structure.syntax import ERROR_KIND, Nodes, parse, walk, words

GRAMMARS = sorted(name for name, language in LANGUAGES.items() if language.grammar)
SIZE = 24_000
GARBAGE = {
    "empty": b"",
    "brackets": b"(" * SIZE,
    "nested": b"[" * 2000 + b"]" * 2000,
    "mixed brackets": b"([{" * (SIZE // 3),
    "one line": b"x = 1 + " * (SIZE // 8),
    "nul": b"\0" * SIZE,
    "not utf-8": b"\xff\xfe\x80" * (SIZE // 3),
    "quotes": b"\"'`" * (SIZE // 3),
    "operators": b"<" * SIZE,
    "blocks": b";{" * (SIZE // 2),
    "cut character": "é".encode()[:1],
}


def columns_hold_together(nodes: Nodes, size: int) -> None:
    count = len(nodes)
    assert count >= 1
    assert nodes.parent[0] == -1
    assert nodes.depth[0] == 0
    if count == 1:
        return
    parents = nodes.parent[1:]
    assert (parents >= 0).all()
    assert (parents < np.arange(1, count)).all()
    assert (np.diff(nodes.start) >= 0).all()
    assert (nodes.start <= nodes.end).all()
    assert (nodes.start[parents] <= nodes.start[1:]).all()
    assert (nodes.end[1:] <= nodes.end[parents]).all()
    assert nodes.end.max() <= size
    assert (nodes.depth[1:] == np.minimum(nodes.depth[parents].astype(int) + 1, 32767)).all()


def test_nodes_are_in_pre_order_with_types_fields_and_depths() -> None:
    tree = parse(b"def f(a): return a\n", "python")
    assert tree is not None
    nodes, names = walk(tree), words("python")
    types = [names.types[number] for number in names.type_ids(nodes.kind).tolist()]
    assert " ".join(types) == (
        "module function_definition def identifier parameters ( identifier ) : block return_statement return identifier"
    )
    assert [names.fields[number] for number in nodes.field.tolist()][3:5] == ["name", "parameters"]
    assert names.named[names.type_ids(nodes.kind)].tolist()[:4] == [True, True, False, True]
    assert nodes.depth.tolist() == [0, 1, 2, 2, 2, 3, 3, 3, 2, 2, 3, 4, 4]
    columns_hold_together(nodes, 19)


def test_errors_are_nodes_of_type_error() -> None:
    tree = parse(b"def (:\n", "python")
    assert tree is not None
    nodes = walk(tree)
    assert ERROR_KIND in nodes.kind
    names = words("python")
    assert "ERROR" in {names.types[number] for number in names.type_ids(nodes.kind).tolist()}


def test_languages_without_grammar_have_no_tree() -> None:
    assert parse(b"x", "text") is None
    assert parse(b"x", "klingon") is None


@pytest.mark.parametrize("lang", GRAMMARS)
def test_garbage_has_a_tree_that_holds_together_or_none(lang: str) -> None:
    for content in GARBAGE.values():
        tree = parse(content, lang)
        if tree is not None:
            nodes = walk(tree)
            columns_hold_together(nodes, len(content))
            found = definitions(content, tree, nodes, lang)
            assert all(0 <= start <= end <= len(content) for start, end in zip(found.start_byte, found.end_byte, strict=True))


def test_a_file_that_takes_too_much_work_is_given_up_and_the_next_one_parsed() -> None:
    assert parse(b"<" * 300_000, "bash") is None
    assert parse(b"f() { echo; }\n", "bash") is not None


def test_large_valid_files_are_parsed() -> None:
    for lang, content in {
        "json": b"[" + b"1," * 150_000 + b"1]",
        "javascript": b"a=b+c*d;" * 30_000,
        "ruby": b"x = [" + b"1," * 100_000 + b"1]\n",
    }.items():
        tree = parse(content, lang)
        assert tree is not None
        assert not tree.root_node.has_error


def test_depth_is_clipped_and_the_walk_does_not_recurse() -> None:
    tree = parse(b"[" * 20_000 + b"]" * 20_000, "json")
    assert tree is not None
    nodes = walk(tree)
    columns_hold_together(nodes, 40_000)
    deep = parse(b"x = " + b"-" * 50_000 + b"1\n", "python")
    assert deep is not None
    assert walk(deep).depth.max() == 32767


def test_the_same_bytes_have_the_same_nodes() -> None:
    content = re.sub(rb"[aeiou]", b"(", b"def quick(brown, fox):\n    return jumps\n" * 50)
    trees = [parse(content, "python") for _ in range(2)]
    first, second = (walk(tree) for tree in trees if tree is not None)
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in Nodes.__slots__)
