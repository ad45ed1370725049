"""Descriptions of symbols by indexers that write them as prose."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.structure.scip.described import completed, name_of

TS = "scip-typescript npm . . src/`a.ts`/"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        (f"{TS}Shape#", "Shape"),
        (f"{TS}Shape#`<get>area`().", "area"),
        (f"{TS}Shape#`<constructor>`().", "<constructor>"),
        (f"{TS}Shape#area().(x)", "x"),
        (f"{TS}f().[T]", "T"),
        (f"{TS}`größe`.", "größe"),
        (f"{TS}options12:", "options"),
        (TS, "a.ts"),
        ("scip-python python . . `pkg.a`/__init__:", "pkg.a"),
        ("scip-python python . . pkg/__init__:", "pkg"),
        ("scip-python python . . `pkg.a`/Shape#__init__().", "__init__"),
        ("no symbol at all", ""),
    ],
)
def test_a_symbol_ends_with_its_name(symbol: str, name: str) -> None:
    assert name_of(symbol) == name


def test_name_signature_and_kind_come_from_the_symbol_and_its_first_block() -> None:
    rows = [
        (f"{TS}Shape#", "", "type", "", "```ts\nclass Shape\n```\n\nA shape."),
        (f"{TS}I#", "", "type", "", "```ts\ninterface I\n```"),
        (f"{TS}Shape#area().", "", "method", "", "```ts\n(method) area(): number\n```"),
        ("scip-python python . . `m`/S#f().", "", "method", "", "```python\n@property\ndef f(\n  self\n) -> int:\n```\n\nDoc."),
        ("scip-python python . . `m`/f().", "", "method", "", "```python\ndef f():\n```"),
        (f"{TS}said#", "Said", "class", "class Said", "```ts\nkept\n```"),
    ]
    names = ("symbol", "display_name", "kind", "signature", "documentation")
    found = completed(pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)}))
    assert [tuple(row.values())[1:] for row in found.to_pylist()] == [
        ("Shape", "class", "class Shape", "A shape."),
        ("I", "interface", "interface I", ""),
        ("area", "method", "(method) area(): number", ""),
        ("f", "method", "@property\ndef f(\n  self\n) -> int:", "Doc."),
        ("f", "function", "def f():", ""),
        ("Said", "class", "class Said", "```ts\nkept\n```"),
    ]
