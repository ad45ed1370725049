from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import IndexFormatError
from pipeline.structure.scip.proto import message_class
from pipeline.structure.scip.reader import DocumentGroup, ScipMetadata, read_metadata, read_occurrences

Write = Callable[[Any], Path]

SNAKE = {
    "metadata": {"tool_info": {"name": "tool", "version": "1.2"}, "project_root": "file:///p", "text_document_encoding": 1},
    "documents": [
        {
            "language": "Python",
            "relative_path": "é.py",
            "position_encoding": 2,
            "occurrences": [
                {"range": [0, 4, 9], "symbol": "s m p v A#", "symbol_roles": 1, "enclosing_range": [0, 0, 3, 1]},
                {"symbol": "local 1", "TypedRange": {"SingleLineRange": {"line": 2, "start_character": 3, "end_character": 4}}},
                {
                    "symbol": "s m p v B#",
                    "symbol_roles": 8,
                    "syntax_kind": 6,
                    "TypedRange": {"MultiLineRange": {"start_line": 2, "end_line": 3, "end_character": 4}},
                    "TypedEnclosingRange": {"MultiLineEnclosingRange": {"end_line": 7}},
                },
            ],
            "symbols": [
                {
                    "symbol": "s m p v A#",
                    "documentation": ["One.", "Two 😀."],
                    "relationships": [{"symbol": "s m p v B#", "is_implementation": True}],
                    "kind": 66,
                    "display_name": "A",
                    "signature_documentation": {"language": "python", "text": "class A"},
                }
            ],
        },
        {"relative_path": "b.py"},
    ],
    "external_symbols": [{"symbol": "s m p v E#", "kind": 7}],
}
CAMEL = {
    "metadata": {
        "version": "UnspecifiedProtocolVersion",
        "toolInfo": {"name": "tool", "version": "1.2"},
        "projectRoot": "file:///p",
        "textDocumentEncoding": "UTF8",
    },
    "documents": [
        {
            "language": "Python",
            "relativePath": "é.py",
            "positionEncoding": "UTF16CodeUnitOffsetFromLineStart",
            "occurrences": [
                {"range": [0, 4, 9], "symbol": "s m p v A#", "symbolRoles": 1, "enclosingRange": [0, 0, 3, 1]},
                {"symbol": "local 1", "singleLineRange": {"line": 2, "startCharacter": 3, "endCharacter": 4}},
                {
                    "symbol": "s m p v B#",
                    "symbolRoles": 8,
                    "syntaxKind": "Identifier",
                    "multiLineRange": {"startLine": 2, "endLine": 3, "endCharacter": 4},
                    "multiLineEnclosingRange": {"endLine": 7},
                },
            ],
            "symbols": [
                {
                    "symbol": "s m p v A#",
                    "documentation": ["One.", "Two 😀."],
                    "relationships": [{"symbol": "s m p v B#", "isImplementation": True}],
                    "kind": "AbstractMethod",
                    "displayName": "A",
                    "signatureDocumentation": {"language": "python", "text": "class A"},
                }
            ],
        },
        {"relativePath": "b.py"},
    ],
    "externalSymbols": [{"symbol": "s m p v E#", "kind": "Class"}],
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(content: Any) -> Path:
        path = tmp_path / "index.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode())
        return path

    return written


def read(path: Path) -> list[DocumentGroup]:
    return list(read_occurrences(path, language="python"))


def facts(path: Path) -> list[Any]:
    return [
        (group.paths, group.encoding.tolist(), group.occurrences.to_pylist(), group.symbols.to_pylist()) for group in read(path)
    ]


@pytest.fixture
def expected(tmp_path: Path) -> list[Any]:
    """The same index as protobuf."""
    single, multi = message_class("SingleLineRange"), message_class("MultiLineRange")
    occurrence = message_class("Occurrence")
    described = message_class("SymbolInformation")
    document = message_class("Document")(
        relative_path="é.py",
        position_encoding=2,
        occurrences=[
            occurrence(range=[0, 4, 9], symbol="s m p v A#", symbol_roles=1, enclosing_range=[0, 0, 3, 1]),
            occurrence(symbol="local 1", single_line_range=single(line=2, start_character=3, end_character=4)),
            occurrence(
                symbol="s m p v B#",
                symbol_roles=8,
                multi_line_range=multi(start_line=2, end_line=3, end_character=4),
                multi_line_enclosing_range=multi(end_line=7),
            ),
        ],
        symbols=[
            described(
                symbol="s m p v A#",
                documentation=["One.", "Two 😀."],
                relationships=[message_class("Relationship")(symbol="s m p v B#", is_implementation=True)],
                kind=66,
                display_name="A",
                signature_documentation=message_class("Signature")(text="class A"),
            )
        ],
    )
    index = message_class("Index")(
        documents=[document, message_class("Document")(relative_path="b.py")],
        external_symbols=[described(symbol="s m p v E#", kind=7)],
    )
    path = tmp_path / "index.scip"
    path.write_bytes(index.SerializeToString())
    return facts(path)


@pytest.mark.parametrize("dialect", [SNAKE, CAMEL], ids=["snake", "camel"])
def test_both_dialects_say_what_protobuf_says(write: Write, expected: list[Any], dialect: Any) -> None:
    path = write(dialect)
    assert facts(path) == expected
    assert read_metadata(path) == ScipMetadata("tool", "1.2", "file:///p", 0)


def test_rows_of_json_are_what_they_should_be(write: Write) -> None:
    (group,) = read(write(CAMEL))
    assert group.paths == ["é.py", "b.py"]
    assert group.encoding.tolist() == [2, 0]
    assert group.occurrences["start_line"].to_pylist() == [0, 2, 2]
    assert group.occurrences["end_column"].to_pylist() == [9, 4, 4]
    assert group.occurrences["enclosing_end_line"].to_pylist() == [3, -1, 7]
    assert group.symbols["kind"].to_pylist() == ["abstract method", "class"]
    assert group.symbols["document"].to_pylist() == [0, -1]


@pytest.mark.parametrize(
    "wrap", [lambda text: text, lambda text: b"\xef\xbb\xbf" + text, lambda text: b" \n" + text], ids=["plain", "bom", "space"]
)
def test_a_byte_order_mark_and_space_in_front_do_no_harm(write: Write, expected: list[Any], wrap: Any) -> None:
    assert facts(write(wrap(json.dumps(SNAKE, indent=2).encode()))) == expected


def test_json_is_known_by_its_first_byte_under_any_name(tmp_path: Path, expected: list[Any]) -> None:
    path = tmp_path / "export"
    path.write_text(json.dumps(CAMEL))
    assert facts(path) == expected


def test_nulls_count_as_absent(write: Write) -> None:
    (group,) = read(
        write({"metadata": None, "documents": [{"relative_path": "a", "occurrences": None}], "external_symbols": None})
    )
    assert (group.paths, len(group.occurrences), len(group.symbols)) == (["a"], 0, 0)


def test_a_kind_that_is_newer_than_the_reader_is_none(write: Write) -> None:
    symbols = [{"symbol": "s m p v a/", "kind": kind} for kind in ("Hologram", 4000, "Module")]
    (group,) = read(write({"documents": [{"relativePath": "a", "symbols": symbols}]}))
    assert group.symbols["kind"].to_pylist() == ["namespace", "namespace", "module"]


GOOD = {"relative_path": "a"}
BAD_DOCUMENTS = {
    "a number": 5,
    "no path": {},
    "path of another type": {"relative_path": 5},
    "unknown encoding": {"relative_path": "a", "position_encoding": "UTF7"},
    "occurrences no list": {"relative_path": "a", "occurrences": {"range": [1, 2, 3]}},
    "occurrence no object": {"relative_path": "a", "occurrences": [3]},
    "range no list": {"relative_path": "a", "occurrences": [{"range": 3, "symbol": "x"}]},
    "range of text": {"relative_path": "a", "occurrences": [{"range": "123", "symbol": "x"}]},
    "range of fractions": {"relative_path": "a", "occurrences": [{"range": [1.5, 2, 3], "symbol": "x"}]},
    "range beyond 32 bits": {"relative_path": "a", "occurrences": [{"range": [1, 2, 2**31], "symbol": "x"}]},
    "range of 2": {"relative_path": "a", "occurrences": [{"range": [1, 2], "symbol": "x"}]},
    "negative range": {"relative_path": "a", "occurrences": [{"range": [1, 2, -3], "symbol": "x"}]},
    "typed range no object": {"relative_path": "a", "occurrences": [{"singleLineRange": [1], "symbol": "x"}]},
    "alternatives no object": {"relative_path": "a", "occurrences": [{"TypedRange": 5, "symbol": "x"}]},
}


@pytest.mark.parametrize("what", BAD_DOCUMENTS)
def test_a_damaged_object_is_named_by_its_offset(write: Write, what: str) -> None:
    text = json.dumps({"documents": [GOOD, BAD_DOCUMENTS[what], GOOD]}).encode()
    path = write(text)
    at = text.index(json.dumps(BAD_DOCUMENTS[what]).encode(), text.index(b"}"))
    with pytest.raises(IndexFormatError, match=rf"byte {at}\b") as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"{]",
        b"null",
        b'{"other": 1}',
        b'{"documents": 5}',
        b'{"documents": [{"relative_path": "\xff"}]}',
        b'{"documents": [{"relative_path": "\\ud800"}]}',
        b'{"documents": ' + b"[" * 200_000,
        b'{"documents": [' + b'{"a":' * 200_000,
        b'{"documents": [{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}]}",
        json.dumps(SNAKE).encode()[:-40],
    ],
)
def test_what_is_no_index_is_refused(write: Write, content: bytes) -> None:
    with pytest.raises(IndexFormatError, match=r"byte \d"):
        read(write(content))


def test_no_mutation_does_worse_than_an_error(write: Write) -> None:
    draw = random.Random(3)
    text = json.dumps(CAMEL, ensure_ascii=False).encode()
    refused = 0
    for _ in range(300):
        data = bytearray(text)
        for _ in range(draw.choice((1, 2))):
            at = draw.randrange(len(data))
            data[at : at + draw.choice((0, 1, 1, 9))] = draw.choice((draw.randbytes(1), b"", b"0", b"-1", b"null", b"[", b'"'))
        try:
            groups = read(write(bytes(data)))
        except IndexFormatError as error:
            refused += 1
            assert "byte" in str(error)
        else:
            assert all(np.all(group.occurrences["start_line"].to_numpy() >= 0) for group in groups)
    assert 30 < refused < 300
