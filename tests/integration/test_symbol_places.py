"""Places of symbols, checked against the bytes of the files: built with the indexer for Python, and from syntax alone."""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import Any

import pytest

UNIX = '''\
"""A pond; straße, 池."""
from __future__ import annotations

from typing import overload


class Pond:
    """Where frogs are."""

    @overload
    def frogs(self, how: int) -> int: ...
    @overload
    def frogs(self, how: str) -> str: ...
    def frogs(self, how):
        return how

    @property
    def depth(self) -> int:
        return self._depth

    @depth.setter
    def depth(self, value: int) -> None:
        self._depth = value

    def drained(self, dry: bool = True) -> Pond:
        label = "Größe 池 🐸"; self.frogs(1)
        return self if dry or "🐸🐸" == label else self.drained()
'''
WINDOWS = '''\
from pond import Pond


def visit(pond: Pond, far: bool) -> int:
    "wörtlich"; pond.frogs(2)
    """A string over
    three lines
    """
    return pond.depth + (pond.frogs(3) if "ü" and far else pond.drained().depth)
'''
OLD_MAC = """\
from pond import Pond
def swim(pond: Pond) -> int:
    "é"; pond.frogs(4)
    return pond.drained().depth
"""
FILES = {
    "pond.py": UNIX.encode(),
    "windows.py": WINDOWS.replace("\n", "\r\n").encode(),
    "old_mac.py": OLD_MAC.replace("\n", "\r").encode(),
    "mixed.py": b"from pond import Pond\r\n# one\r# two\n\r\npond = Pond()\rpond.frogs(5)\n\n\r\rpond.drained()\r\n",
    "marked.py": b"\xef\xbb\xbffrom pond import Pond\nPond().drained().frogs(6)\n",
}
NAMES = ("frogs", "drained", "depth", "Pond", "visit", "swim")


def line_of(content: bytes, at: int) -> int:
    """As an editor counts: a line ends with LF, CR LF or a lone CR."""
    return len(re.findall(rb"\r\n|\r|\n", content[:at])) + 1


def spelt_by_python(name: str) -> tuple[set[tuple[str, int]], Counter[tuple[str, int]]]:
    """(file, line) of what Python's own parser defines under a name, and of what refers to it."""
    defined, used = set(), Counter[tuple[str, int]]()
    for uri, content in FILES.items():
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                defined.add((uri, node.lineno))
            elif isinstance(node, ast.Attribute) and node.attr == name:
                used[uri, node.end_lineno or 0] += 1
            elif name in (getattr(node, "id", None), isinstance(node, ast.alias) and node.name):
                used[uri, node.lineno] += 1
    return defined, used


@pytest.fixture(scope="module", params=[(), ("--no-scip",)], ids=["indexer", "syntax"])
def answers(request: Any, tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> dict[str, Any]:
    """The answer for each name."""
    root = tmp_path_factory.mktemp("pond")
    (root / "pond").mkdir()
    for uri, content in FILES.items():
        (root / "pond" / uri).write_bytes(content)
    done = indexctl("build", root / "pond", "--data", root / "store", "--ephemeral", *request.param)
    assert done.code == 0, done.err
    found = {
        name: indexctl("symbols", name, "--json", "-k", "1000", "--data", root / "store").json["symbols"] for name in NAMES
    }
    provenance = "syntax" if request.param else "scip"
    assert {symbol["provenance"] for symbols in found.values() for symbol in symbols} == {provenance}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_place_spells_the_name_and_stands_in_its_line(answers: dict[str, Any], name: str) -> None:
    places = [place for symbol in answers[name] for place in (*symbol["definitions"], *symbol["references"])]
    assert places
    for place in places:
        content = FILES[place["uri"]]
        assert content[place["start_byte"] : place["end_byte"]].decode() == name, place
        assert place["line"] == line_of(content, place["start_byte"]), place


@pytest.mark.parametrize("name", NAMES)
def test_definitions_and_references_are_those_that_the_parser_of_python_sees(answers: dict[str, Any], name: str) -> None:
    defined, used = spelt_by_python(name)
    assert {(place["uri"], place["line"]) for symbol in answers[name] for place in symbol["definitions"]} == defined
    found = Counter((place["uri"], place["line"]) for symbol in answers[name] for place in symbol["references"])
    assert found == used
