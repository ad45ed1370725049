"""Files that would take an indexer longer than all others are told from their text."""

from __future__ import annotations

import pytest

from pipeline.structure.scip.costly import MAX_BINDINGS, MAX_FUNCTIONS, costly

MANY = MAX_BINDINGS + 1
DEFINITIONS = "".join(f"def f{number}(): pass\n" for number in range(MAX_FUNCTIONS + 1))


@pytest.mark.parametrize(
    "text",
    [
        "x = x\n" * MANY,
        "x = 0\n" + "x += 1\n" * MANY,
        "x: int = 0\n" + "if a: x = x\n" * MANY,
        "if a: x = 1\n" + "elif b == c: x = x\n" * MANY,
        "def f():\n" + "    x = x.y(z=1)\n" * MANY,
        "for x in y: x()\n" * MANY,
        "from a import b\n" * MANY,
        "import a.b\na.b()\n" * MANY,
        "x = 1; " * MANY + "\n",
        "x = x\r\n" * MANY,
        DEFINITIONS,
    ],
)
def test_what_is_bound_or_defined_very_often_in_one_place_costs_too_much(text: str) -> None:
    assert "more than" in costly(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = x\n" * (MANY - 1),
        "def f():\n    x = 1\n    x = x\n" * (MANY - 1),
        "f(\n" + "    x=1,\n" * MANY + ")\n",
        "f(x=1)\n" * MANY,
        "x == 1\n" * MANY,
        "[x for x in y]\n" * MANY,
        "".join(f"x{number} = {number}\n" for number in range(5 * MANY)),
        "".join(f"import a{number}\n" for number in range(5 * MANY)),
    ],
)
def test_what_only_looks_alike_does_not(text: str) -> None:
    assert costly(text.encode()) == ""


def test_hostile_text_is_told_in_one_pass() -> None:
    for text in (
        b"if " + b"a:" * 500_000,
        b"x = " + b"if a:" * 200_000 + b"=" * MANY,
        b";" * 1_000_000 + b"=" * MANY,
        b"\xff" * 99,
    ):
        assert costly(text) == ""
