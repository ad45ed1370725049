from __future__ import annotations

import random
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import IndexFormatError
from pipeline.schemas import ScipSymbols
from pipeline.structure.scip import reader
from pipeline.structure.scip.reader import DocumentGroup, byte_offsets, column_unit, read_metadata, read_occurrences

ABSENT = (-1, -1, -1, -1)


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number: int, value: int | bytes | str | Sequence[int]) -> bytes:
    """A field in protobuf's wire format; a list of numbers is packed."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes):
        value = b"".join(map(varint, value))
    return varint(number << 3 | 2) + varint(len(value)) + value


def numbered(*values: int) -> bytes:
    """A message whose fields 1, 2, ... are `values`."""
    return b"".join(field(number, value) for number, value in enumerate(values, 1))


def occurrence(*ranges: bytes, symbol: str = "s m p v a.", roles: int = 0) -> bytes:
    return field(2, b"".join(ranges) + field(2, symbol) + field(3, roles))


def document(path: str, *content: bytes) -> bytes:
    return field(2, field(1, path) + b"".join(content))


METADATA = field(1, field(2, field(1, "tool") + field(2, "1.2")) + field(3, "file:///p"))
ONE = document("a.py", occurrence(field(1, [0, 1, 2])))


@pytest.fixture
def index(tmp_path: Path) -> Any:
    def write(*content: bytes) -> Path:
        path = tmp_path / "index.scip"
        path.write_bytes(b"".join(content))
        return path

    return write


def read(path: Path) -> list[DocumentGroup]:
    return list(read_occurrences(path, language="python"))


def positions(group: DocumentGroup, prefix: str = "") -> list[tuple[int, ...]]:
    names = [f"{prefix}{name}" for name in ("start_line", "start_column", "end_line", "end_column")]
    return [tuple(row[name] for name in names) for row in group.occurrences.to_pylist()]


def test_metadata_name_the_tool(index: Any) -> None:
    found = read_metadata(index(METADATA, ONE))
    assert (found.tool_name, found.tool_version, found.project_root, found.version) == ("tool", "1.2", "file:///p", 0)


def test_metadata_are_found_behind_the_documents(index: Any) -> None:
    assert read_metadata(index(ONE, METADATA)).tool_name == "tool"


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (field(1, [3, 4, 9]), (3, 4, 3, 9)),
        (field(1, [3, 4, 5, 6]), (3, 4, 5, 6)),
        (b"".join(field(1, value) for value in (3, 4, 9)), (3, 4, 3, 9)),
        (field(8, numbered(3, 4, 9)), (3, 4, 3, 9)),
        (field(8, b""), (0, 0, 0, 0)),
        (field(9, numbered(3, 4, 5, 6)), (3, 4, 5, 6)),
        (field(1, [1, 1, 1]) + field(8, numbered(3, 4, 9)), (3, 4, 3, 9)),
        (field(9, numbered(3, 4, 5, 6)) + field(1, [1, 1, 1, 1]), (3, 4, 5, 6)),
        (field(1, [2147483647, 0, 2147483647]), (2147483647, 0, 2147483647, 2147483647)),
    ],
)
def test_both_encodings_of_ranges_are_read_and_the_typed_one_wins(index: Any, ranges: bytes, expected: tuple[int, ...]) -> None:
    (group,) = read(index(METADATA, document("a.py", occurrence(ranges))))
    assert positions(group) == [expected]
    assert positions(group, "enclosing_") == [ABSENT]


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (b"", ABSENT),
        (field(7, [3, 4, 9]), (3, 4, 3, 9)),
        (field(7, [3, 4, 5, 6]), (3, 4, 5, 6)),
        (field(10, numbered(3, 4, 9)), (3, 4, 3, 9)),
        (field(10, b""), (0, 0, 0, 0)),
        (field(11, numbered(3, 4, 5, 6)), (3, 4, 5, 6)),
        (field(11, numbered(3, 4, 5, 6)) + field(7, [1, 1, 1]), (3, 4, 5, 6)),
    ],
)
def test_enclosing_ranges_are_read_in_both_encodings(index: Any, ranges: bytes, expected: tuple[int, ...]) -> None:
    (group,) = read(index(METADATA, document("a.py", occurrence(field(1, [4, 4, 5]), ranges))))
    assert positions(group, "enclosing_") == [expected]
    assert positions(group) == [(4, 4, 4, 5)]


def test_rows_of_all_kinds_of_range_stay_in_their_places(index: Any) -> None:
    kinds = [field(1, [1, 0, 2]), field(8, numbered(2, 0, 2)), field(1, [3, 0, 4, 1]), field(9, numbered(4, 0, 5, 1))]
    first, last = (document(name, *map(occurrence, kinds)) for name in ("a", "z"))
    (group,) = read(index(METADATA, first, document("empty"), last))
    assert positions(group) == [(1, 0, 1, 2), (2, 0, 2, 2), (3, 0, 4, 1), (4, 0, 5, 1)] * 2
    assert group.occurrences["document"].to_pylist() == [0] * 4 + [2] * 4
    assert group.paths == ["a", "empty", "z"]


def test_encodings_roles_and_symbols_come_with_their_document(index: Any) -> None:
    rows = [
        occurrence(field(1, [0, 0, 1]), symbol="local 1", roles=1),
        occurrence(field(1, [0, 2, 3]), symbol="é 𐍈 . . a.", roles=33),
    ]
    (group,) = read(index(METADATA, document("a", field(6, 2), *rows), document("b")))
    assert group.encoding.tolist() == [2, 0]
    assert group.occurrences["symbol"].to_pylist() == ["local 1", "é 𐍈 . . a."]
    assert group.occurrences["roles"].to_pylist() == [1, 33]


def test_occurrences_that_only_colour_a_token_are_left_out(index: Any) -> None:
    (group,) = read(index(METADATA, document("a", occurrence(field(1, [0, 0, 1]), symbol=""), occurrence(field(1, [1, 0, 1])))))
    assert positions(group) == [(1, 0, 1, 1)]


def test_symbols_carry_what_the_index_says_of_them(index: Any) -> None:
    relationship = field(4, field(1, "s m p v Base#") + field(3, 1))
    described = field(1, "s m p v A#") + field(3, "One.") + field(3, "Two.") + relationship
    described += field(5, 80) + field(6, "A") + field(7, field(4, "python") + field(5, "class A"))
    (group,) = read(index(METADATA, document("a", field(3, described), field(3, field(1, "local 1"))), document("b")))
    assert group.symbols.to_pylist()[0] == {
        "document": 0,
        "symbol": "s m p v A#",
        "display_name": "A",
        "kind": "static method",
        "signature": "class A",
        "documentation": "One.\n\nTwo.",
        "relationships": [
            {
                "symbol": "s m p v Base#",
                "is_reference": False,
                "is_implementation": True,
                "is_type_definition": False,
                "is_definition": False,
            }
        ],
    }
    assert group.symbols.to_pylist()[1] | {"symbol": ""} == {
        "document": 0, "symbol": "", "display_name": "", "kind": "local", "signature": "", "documentation": "",
        "relationships": [],
    }  # fmt: skip
    assert group.symbols.schema.field("relationships").type == ScipSymbols.schema.field("relationships").type


def test_where_a_tool_says_no_kind_the_symbol_does(index: Any) -> None:
    ends = {"a/": "namespace", "A#": "type", "f().": "method", "x.": "term", "[T]": "type parameter", "(p)": "parameter"}
    symbols = [field(3, field(1, f"s m p v {end}") + field(5, 999)) for end in (*ends, "m:", "m!")]
    (group,) = read(index(METADATA, document("a", *symbols)))
    assert group.symbols["kind"].to_pylist() == [*ends.values(), "meta", "macro"]


def test_external_symbols_belong_to_no_document(index: Any) -> None:
    (group,) = read(index(METADATA, field(3, field(1, "s m p v E#")), ONE))
    assert (group.symbols["document"].to_pylist(), group.symbols["symbol"].to_pylist()) == ([-1], ["s m p v E#"])
    assert group.occurrences["document"].to_pylist() == [0]


def test_an_index_may_have_external_symbols_alone(index: Any) -> None:
    (group,) = read(index(METADATA, field(3, field(1, "s m p v E#"))))
    assert (group.paths, len(group.occurrences), len(group.symbols)) == ([], 0, 1)


def test_a_range_that_ends_before_it_starts_is_passed_on(index: Any) -> None:
    (group,) = read(index(METADATA, document("a", occurrence(field(1, [138, 42, 138, 9])))))
    assert positions(group) == [(138, 42, 138, 9)]


def test_unknown_fields_are_passed_over(index: Any) -> None:
    unknown = field(40, 1) + field(41, b"abc") + varint(42 << 3 | 1) + bytes(8) + varint(43 << 3 | 5) + bytes(4)
    body = document("a", field(5, "text"), unknown, occurrence(field(1, [0, 0, 1]), field(5, 3), unknown))
    (group,) = read(index(METADATA, unknown, body, unknown))
    assert positions(group) == [(0, 0, 0, 1)]


def test_groups_bound_the_documents_in_memory_and_lose_none(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "GROUP_BYTES", 2000)
    path = index(METADATA, *(document(f"{n}", *[occurrence(field(1, [n, 0, 1]))] * (n % 40)) for n in range(200)))
    groups = read(path)
    assert len(groups) > 20
    assert [name for group in groups for name in group.paths] == [str(n) for n in range(200)]
    found = [(group.paths[row["document"]], row["start_line"]) for group in groups for row in group.occurrences.to_pylist()]
    assert found == [(str(n), n) for n in range(200) for _ in range(n % 40)]


BAD = {
    "is empty": b"",
    "not a SCIP index: byte 0": b"\x0b",
    "byte 0 begins no field": b"\x0f\x0f\x0f",
    "from byte 0 on": varint(40 << 3) + b"\x01",
    "byte 0 has no complete number": b"\xff" * 40,
    "at byte 0 has 4398046511103 bytes, and 1 follow": b"\x12" + varint((1 << 42) - 1) + b"a",
    "field at byte 0 has no complete": b"\x12\xff",
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_index_is_refused_with_the_place(index: Any, message: str) -> None:
    path = index(BAD[message])
    with pytest.raises(IndexFormatError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)
    with pytest.raises(IndexFormatError, match=path.name):
        read_metadata(path)


DEEP = 3_000_000
BAD_DOCUMENTS = {
    "no path": b"",
    "invalid UTF-8": field(1, b"\xff\xfe"),
    "unknown position encoding": field(1, "a") + field(6, 9),
    "negative position encoding": field(1, "a") + field(6, -1),
    "path of another wire type": field(1, 5),
    "occurrence of another wire type": field(1, "a") + field(2, 5) + b"\x12",
    "range of no numbers": field(1, "a") + occurrence(),
    "range of 2": field(1, "a") + occurrence(field(1, [1, 2])),
    "range of 5": field(1, "a") + occurrence(field(1, [1, 2, 3, 4, 5])),
    "negative range": field(1, "a") + occurrence(field(1, [1, -2, 3])),
    "negative typed range": field(1, "a") + occurrence(field(8, numbered(1, -2, 3))),
    "enclosing range of 2": field(1, "a") + occurrence(field(1, [1, 2, 3]), field(7, [1, 2])),
    "enclosing range of 5": field(1, "a") + occurrence(field(1, [1, 2, 3]), field(7, [1, 2, 3, 4, 5])),
    "negative enclosing range": field(1, "a") + occurrence(field(1, [1, 2, 3]), field(11, numbered(-1))),
    "range cut short": field(1, "a") + field(2, b"\x0a\x03\x01\x02"),
    "length beyond its message": field(1, "a") + field(2, b"\x12\xff\xff\xff\xff\x07a"),
    "symbol without a name": field(1, "a") + field(3, field(6, "x")),
    "symbol in invalid UTF-8": field(1, "a") + field(2, field(1, [1, 2, 3]) + field(2, b"\xc3\x28")),
    "deep groups, closed": field(1, "a") + b"\x7b" * DEEP + b"\x7c" * DEEP,
    "deep groups, open": field(1, "a") + b"\x7b" * DEEP,
    "deep groups in an occurrence": field(1, "a") + field(2, b"\x7b" * DEEP),
}


@pytest.mark.parametrize("what", BAD_DOCUMENTS)
def test_a_damaged_document_is_named_by_its_offset(index: Any, what: str) -> None:
    path = index(METADATA, ONE, field(2, BAD_DOCUMENTS[what]), ONE)
    with pytest.raises(IndexFormatError, match=rf"the document at byte {len(METADATA + ONE)} ") as error:
        read(path)
    assert str(path) in str(error.value)


def test_a_damaged_external_symbol_is_named_by_its_offset(index: Any) -> None:
    for bad in (b"\x0a\xff", field(6, "x"), field(1, b"\xff")):
        path = index(METADATA, ONE, field(3, bad))
        with pytest.raises(IndexFormatError, match=rf"external symbol at byte {len(METADATA + ONE)} "):
            read(path)


def test_damaged_metadata_are_refused(index: Any) -> None:
    with pytest.raises(IndexFormatError, match="byte 0"):
        read_metadata(index(field(1, field(3, b"\xff"))))
    with pytest.raises(IndexFormatError, match="no metadata"):
        read_metadata(index(ONE))


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.scip"):
        with pytest.raises(IndexFormatError, match="cannot be read"):
            read(path)


def test_an_oversized_document_is_refused_before_it_is_read(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.structure.scip.frames.LARGEST", 100)
    with pytest.raises(IndexFormatError, match="document of 200 bytes at byte 0"):
        read(index(field(2, bytes(200))))


SMALL = '''"""é"""
class Shape:
    """A shape."""
    def area(self, scale: float = 1.0) -> float:
        return self.side ** 2 * scale
    side: int = 3
class Square(Shape):
    def area(self, scale: float = 1.0) -> float:
        return super().area(scale)
s = "😀"; squares = [Square() for _ in range(3)]
'''


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("real")
    (folder / "project").mkdir()
    (folder / "project" / "shapes.py").write_text(SMALL, encoding="utf-8")
    (folder / "project" / "use.py").write_text("from shapes import Square\nprint(Square().area(2))\n")
    tool = Path(sysconfig.get_path("scripts")) / "ty-scip"
    subprocess.run([tool, "--quiet", "--output", folder / "index.scip", folder / "project"], check=True, capture_output=True)
    return (folder / "index.scip").read_bytes()


def test_every_range_of_a_real_index_names_its_symbol(index: Any, real: bytes) -> None:
    path = index(real)
    metadata = read_metadata(path)
    assert metadata.tool_name == "ty-scip"
    (group,) = read(path)
    number = group.paths.index("shapes.py")
    content = SMALL.encode()
    unit = column_unit(int(group.encoding[number]), metadata.tool_name)
    rows = [row for row in group.occurrences.to_pylist() if row["document"] == number]
    starts, ends = (
        byte_offsets(content, np.array([r[f"{e}_line"] for r in rows]), np.array([r[f"{e}_column"] for r in rows]), unit)
        for e in ("start", "end")
    )
    assert (starts >= 0).all() and (ends >= starts).all()
    defined = {
        row["symbol"].rsplit("/", 1)[-1]: content[start:end]
        for row, start, end in zip(rows, starts, ends, strict=True)
        if row["roles"] & 1
    }
    assert defined["Square#area()."] == b"area"
    assert defined["squares."] == b"squares"
    kinds = {row["symbol"].rsplit("/", 1)[-1]: row["kind"] for row in group.symbols.to_pylist()}
    assert (kinds["Shape#"], kinds["Shape#area()."]) == ("class", "method")


def test_no_mutation_of_a_real_index_does_worse_than_an_error(tmp_path: Path, real: bytes) -> None:
    draw = random.Random(11)
    path = tmp_path / "mutated.scip"
    refused = 0
    for _ in range(500):
        data = bytearray(real)
        for _ in range(draw.choice((1, 1, 2, 8))):
            at = draw.randrange(len(data) or 1)
            match draw.randrange(4):
                case 0:
                    data[at : at + 1] = draw.randbytes(1)
                case 1:
                    del data[at : at + draw.randint(1, 64)]
                case 2:
                    data[at:at] = draw.randbytes(draw.randint(1, 16))
                case _:
                    data = data[: max(at, 1)]
        path.write_bytes(data)
        try:
            for group in read_occurrences(path, language="python"):
                group.occurrences.validate(full=True)
                group.symbols.validate(full=True)
                rows = group.occurrences
                assert all(0 <= n < len(group.paths) for n in rows["document"].to_pylist())
                assert all(min(row) >= 0 for row in positions(group))
        except IndexFormatError as error:
            refused += 1
            assert str(path) in str(error)
            assert "byte" in str(error)
    assert 100 < refused < 500


def test_an_undeclared_unit_is_decided_by_the_tool() -> None:
    assert [column_unit(encoding, "scip-python") for encoding in (0, 1, 2, 3)] == [2, 1, 2, 3]
    assert [column_unit(0, tool) for tool in ("ty-scip", "scip-typescript", "unheard-of")] == [1, 2, 2]


def slow_offset(text: str, line: int, column: int, unit: int) -> int:
    """What `byte_offsets` should say, one character at a time."""
    encodings = {1: ("utf-8", 1), 2: ("utf-16-le", 2), 3: ("utf-32-le", 4)}
    encoding, size = encodings[unit]
    lines = split_lines(text)
    if not 0 <= line < len(lines) or column < 0:
        return -1
    before = sum(len((body + end).encode()) for body, end in lines[:line])
    units = 0
    for at, character in enumerate([*lines[line][0], ""]):
        if units == column:
            return before + len(lines[line][0][:at].encode())
        units += len(character.encode(encoding)) // size
    return -1


def split_lines(text: str) -> list[tuple[str, str]]:
    lines = []
    body = ""
    at = 0
    while at < len(text):
        if text[at] in "\r\n":
            end = text[at : at + 2] if text[at : at + 2] == "\r\n" else text[at]
            lines.append((body, end))
            body = ""
            at += len(end)
        else:
            body += text[at]
            at += 1
    return [*lines, (body, "")]


@settings(max_examples=300, deadline=None)
@given(st.text("ab \r\n\f\u2028é€😀\ufeff", max_size=30), st.sampled_from([1, 2, 3]))
def test_offsets_agree_with_a_slow_reference(text: str, unit: int) -> None:
    content = text.encode()
    where = [(line, column) for line in range(-1, text.count("\n") + text.count("\r") + 3) for column in range(-1, 40)]
    lines, columns = np.array(where).T
    found = byte_offsets(content, lines, columns, unit)
    for (line, column), offset in zip(where, found.tolist(), strict=True):
        expected = slow_offset(text, line, column, unit)
        if unit == 1 and expected == -1 and offset != -1:
            # Bytes may be counted into a character; they never leave the line.
            assert content[offset] & 0xC0 == 0x80
        else:
            assert offset == expected, (line, column)


def test_offsets_survive_bytes_that_are_no_text_and_numbers_beyond_all_files() -> None:
    draw = random.Random(5)
    for _ in range(200):
        content = draw.randbytes(draw.randint(0, 40))
        lines = np.array([0, 0, 1, 2, -1, 2**31 - 1, 0, 2**62], dtype=np.int64)
        columns = np.array([0, 7, 1, 0, 0, 0, 2**31 - 1, 2**62], dtype=np.int64)
        for unit in (1, 2, 3):
            found = byte_offsets(content, lines, columns, unit)
            assert ((found >= -1) & (found <= len(content))).all()
            assert found[0] == 0
            assert (found[4:] == -1).all()


def test_no_positions_have_no_offsets() -> None:
    none = np.empty(0, dtype=np.int32)
    assert byte_offsets(b"a\n", none, none, 2).shape == (0,)
