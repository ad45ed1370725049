from __future__ import annotations

import pytest

from pipeline.source.ignoring import Patterns, is_ignored, parse_file, parse_lines


def verdict(pattern: str, path: str) -> bool:
    directory = path.endswith("/")
    path = path.removesuffix("/")
    return parse_lines([pattern]).verdict(path, path.rpartition("/")[2], directory) is True


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("foo", ["foo", "a/foo", "foo/"], ["foobar", "a/foo.c"]),
        ("foo/", ["foo/", "a/foo/"], ["foo"]),
        ("/foo", ["foo", "foo/"], ["a/foo"]),
        ("a/b", ["a/b"], ["x/a/b"]),
        ("*.py", ["a.py", "x/a.py", ".py"], ["a.pyc"]),
        ("a*b*c", ["abc", "aXbXbXc"], ["a/b/c", "acb"]),
        ("a/*/c", ["a/b/c"], ["a/c", "a/b/b/c"]),
        ("**/c", ["c", "a/b/c"], ["a/cc"]),
        ("a/**/c", ["a/c", "a/b/c", "a/b/d/c"], ["b/a/c"]),
        ("a/**", ["a/b", "a/b/c"], ["a/", "a"]),
        ("a/****/c", ["a/c", "a/x/y/c"], []),
        ("a/**/b/**/c", ["a/b/c", "a/x/b/y/c", "a/b/b/c/c"], ["a/c", "a/b/x"]),
        ("foo**bar", ["foobar", "fooXbar"], ["foo/bar"]),
        ("?", ["a", "x/b", "é"], ["ab"]),
        ("[ab]c", ["ac", "bc"], ["cc"]),
        ("[!a]c", ["bc"], ["ac"]),
        ("[^a]c", ["bc"], ["ac"]),
        ("[a-c]x", ["bx"], ["dx"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[[:digit:]]", ["1"], ["a", "["]),
        ("[a", [], ["[a", "a"]),
        ("x\\", [], ["x", "x\\"]),
        ("\\#x", ["#x"], ["\\#x"]),
        ("\\!x", ["!x"], []),
        ("\\*", ["*"], ["a"]),
        ("# x", [], ["# x"]),
        ("a ", ["a"], ["a "]),
        ("a\\ ", ["a "], ["a"]),
        ("a b", ["a b"], ["a"]),
        ("a\r", ["a"], []),
        ("/", [], ["a", "a/"]),
        ("a.b+(c)", ["a.b+(c)"], ["aXb+(c)"]),
    ],
)
def test_patterns_mean_what_they_mean_to_git(pattern: str, hits: list[str], misses: list[str]) -> None:
    assert [path for path in hits if not verdict(pattern, path)] == []
    assert [path for path in misses if verdict(pattern, path)] == []


def test_the_last_matching_pattern_decides() -> None:
    patterns = parse_file(b"*.log\n!keep.log\nkeep.log.log\n\n*.tmp\n!*.tmp\n*.tmp")
    found = {name: patterns.verdict(name, name, False) for name in ("a.log", "keep.log", "a.tmp", "a.txt")}
    assert found == {"a.log": True, "keep.log": False, "a.tmp": True, "a.txt": None}


def test_deeper_files_decide_before_shallower_ones() -> None:
    levels = ((0, parse_lines(["*.log"])), (2, parse_lines(["!b.log", "/c.log"])))
    assert is_ignored(levels, "a/a.log", "a.log", False)
    assert not is_ignored(levels, "a/b.log", "b.log", False)
    assert is_ignored(levels, "a/c.log", "c.log", False)


def test_a_byte_order_mark_and_names_that_are_not_utf8_are_read() -> None:
    patterns = parse_file(b"\xef\xbb\xbfa\nb\xff\n")
    assert patterns.verdict("a", "a", False)
    assert patterns.verdict("b\udcff", "b\udcff", False)


@pytest.mark.parametrize("garbage", [b"", b"\0\0\n", b"[[[[\n]]]]\n[z-a]\n[!\n[^]\n[[:nope:]]\n[a-\\", bytes(range(256)) * 4])
def test_garbage_is_passed_over(garbage: bytes) -> None:
    assert isinstance(parse_file(garbage), Patterns)


def test_no_pattern_takes_forever() -> None:
    assert not verdict("*a" * 60 + "b", "a" * 250)
    assert not verdict("**/a/" * 40 + "b", "a/" * 200 + "c")
