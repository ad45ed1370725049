"""Where tokens stand: in bytes of their file, and inside of which names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.index.xtr.names import identifiers_of, names_of
from pipeline.index.xtr.places import file_spans, inside
from pipeline.schemas import AstNodes, Definitions


def spans(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, np.int32).reshape(-1, 2)


def test_in_utf8_a_token_stands_as_far_into_the_file_as_into_the_chunk() -> None:
    text = "é = ship"
    found = file_spans(text, 100, 109, spans((0, 2), (5, 9), (-1, -1)))
    assert found.tolist() == [[100, 102], [105, 109], [-1, -1]]


def test_in_encodings_of_one_byte_a_character_counts_one() -> None:
    text = "é = ship"  # Latin-1: 8 bytes
    assert file_spans(text, 50, 58, spans((0, 2), (5, 9), (-1, -1))).tolist() == [[50, 51], [54, 58], [-1, -1]]


def test_in_other_encodings_nobody_knows() -> None:
    assert file_spans("ship", 0, 8, spans((0, 4))).tolist() == [[-1, -1]]  # UTF-16


@pytest.mark.parametrize(
    ("span", "expected"),
    [((10, 14), True), ((12, 13), True), ((8, 11), True), ((13, 20), True), ((8, 10), False), ((14, 15), False),
     ((0, 1), False), ((30, 34), True), ((-1, -1), False), ((0, 99), True)],
)  # fmt: skip
def test_a_token_is_of_a_name_when_they_share_a_byte(span: tuple[int, int], expected: bool) -> None:
    assert inside(spans(span), spans((10, 14), (30, 34))).tolist() == [expected]
    assert not inside(spans(span), None)[0] and not inside(spans(span), spans())[0]


def test_names_are_those_of_definitions_and_of_identifiers() -> None:
    definition = {
        "uri": "a.py", "name": "größe", "qualified_name": "", "kind": "function", "signature": "", "doc": "", "start_byte": 0,
        "end_byte": 9, "start_line": 1, "end_line": 1, "name_start_byte": 4, "node_id": 1, "parent": None,
    }  # fmt: skip
    table = pa.Table.from_pylist(
        [definition | {"name_start_byte": 90, "name": "x"}, definition, definition | {"uri": "b.md", "kind": "section"}],
        schema=Definitions.schema,
    )
    assert {uri: found.tolist() for uri, found in names_of(table).items()} == {"a.py": [[4, 11], [90, 91]]}
    assert names_of(table.slice(0, 0)) == {}

    def node(kind: str, start: int, uri: str = "a.py") -> dict[str, object]:
        return {
            "uri": uri, "node_id": start, "parent_id": -1, "type": kind, "field": None, "start_byte": start,
            "end_byte": start + 3, "depth": 0, "named": True,
        }  # fmt: skip

    nodes = [node("module", 0), node("identifier", 8), node("type_identifier", 4), node("constant", 7, "b.rb")]
    found = identifiers_of(pa.Table.from_pylist(nodes, schema=AstNodes.schema))
    assert {uri: one.tolist() for uri, one in found.items()} == {"a.py": [[4, 7], [8, 11]], "b.rb": [[7, 10]]}
    assert identifiers_of(pa.Table.from_pylist([], schema=AstNodes.schema)) == {}
