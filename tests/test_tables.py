"""Tables in parts: how they are cut, and what of a damaged one is noticed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import tables
from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.schemas import AstNodes, Files, Sources


@pytest.mark.parametrize(
    ("files", "parts"),
    [(0, 1), (1, 1), (128, 1), (129, 2), (256, 2), (257, 4), (512, 4), (513, 8), (16384, 128), (16385, 256), (40_000, 256)],
)
def test_the_number_of_parts_follows_the_number_of_files(files: int, parts: int) -> None:
    assert tables.part_count(files) == parts


@pytest.mark.parametrize(
    ("uri", "part"), [("", 228), ("a.py", 187), ("src/deep/b.py", 106), ("naïve/ö.rs", 47), ("bad\udcff", 18)]
)
def test_the_part_of_a_uri_never_changes(uri: str, part: int) -> None:
    assert tables.part_of(uri, 256) == part


@given(st.text(), st.integers(0, 8))
def test_parts_divide_when_their_number_doubles(uri: str, power: int) -> None:
    parts = 1 << power
    assert 0 <= tables.part_of(uri, parts) < parts
    assert tables.part_of(uri, 2 * parts) % parts == tables.part_of(uri, parts)


def sources(count: int) -> pa.Table:
    return pa.table(
        {
            "uri": [f"f{row}.py" for row in range(count)],
            "lang": [("python", "go", "text")[row % 3] for row in range(count)],
            "content": [b"\xff\0" * row for row in range(count)],
        }
    )


@pytest.mark.parametrize("rows", [0, 1, 500])
def test_rows_come_back_as_they_were(rows: int, tmp_path: Path) -> None:
    assert tables.write_part(tmp_path / "sources", Sources, 0, sources(rows)) == rows
    read = tables.read_part(tables.part_path(tmp_path / "sources", 0), Sources)
    assert read.schema.remove_metadata() == Sources.schema
    assert read.to_pylist() == sources(rows).to_pylist()
    assert tables.count_rows(tables.parts(tmp_path, Sources)) == rows


def test_nulls_and_column_order_are_kept(tmp_path: Path) -> None:
    row = {"reason": None, "status": "indexed", "uri": "a", "lang": None, "size": None, "content_hash": b"h" * 32}
    tables.write_part(tmp_path / "files", Files, 0, pa.Table.from_pylist([row]).select(list(row)))
    assert tables.read_table(tmp_path, Files).to_pylist() == [row]
    assert tables.read_table(tmp_path, Files).column_names == Files.schema.names
    assert tables.read_table(tmp_path, Files, ["size", "uri"]).column_names == ["size", "uri"]


def test_a_table_is_its_parts_in_order(tmp_path: Path) -> None:
    for part in (2, 0, 1):
        tables.write_part(tmp_path / "sources", Sources, part, sources(9).slice(part * 3, 3))
    assert [path.name for path in tables.parts(tmp_path, Sources)] == [f"part-00{part}.parquet" for part in range(3)]
    assert tables.read_table(tmp_path, Sources).to_pylist() == sources(9).to_pylist()


@pytest.mark.parametrize("column", ["uri", "content"])
def test_rows_without_a_column_are_refused(column: str, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=column):
        tables.write_part(tmp_path, Sources, 0, sources(3).drop_columns([column]))


def test_a_missing_table_is_corruption(tmp_path: Path) -> None:
    with pytest.raises(IndexCorruptionError, match="`sources` is missing") as caught:
        tables.read_table(tmp_path, Sources)
    assert "indexctl build" in caught.value.hint


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    tables.write_part(tmp_path / "sources", Sources, 0, sources(3))
    path = tables.part_path(tmp_path / "sources", 0)
    with pytest.raises(IndexFormatError, match="holds `source_snapshot/1/sources`, not `source_snapshot/1/files`"):
        tables.read_part(path, Files)


def test_a_table_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.write_part(tmp_path / "sources", Sources, 0, sources(3))
    monkeypatch.setattr(Sources, "version", 2)
    with pytest.raises(IndexFormatError):
        tables.read_table(tmp_path, Sources)


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(sources(3), tmp_path / "x.parquet")
    with pytest.raises(IndexFormatError, match="no kind"):
        tables.read_part(tmp_path / "x.parquet", Sources)


def test_every_truncation_is_corruption(tmp_path: Path) -> None:
    tables.write_part(tmp_path / "sources", Sources, 0, sources(50))
    path = tables.part_path(tmp_path / "sources", 0)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 29), *range(len(whole) - 12, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(IndexCorruptionError, match=r"part-000\.parquet cannot be read"):
            tables.read_part(path, Sources)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"garbage" * 100, b"PAR1" + b"\xff" * 200 + b"PAR1"])
def test_garbage_is_corruption(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(IndexCorruptionError):
        tables.read_part(tmp_path / "x.parquet", Sources)
    with pytest.raises(IndexCorruptionError):
        tables.read_part(tmp_path / "nowhere.parquet", Sources)
    with pytest.raises(IndexCorruptionError):
        tables.read_part(tmp_path, Sources)


def nodes(count: int) -> pa.Table:
    return pa.table(
        {
            "uri": [f"f{row // 500}.py" for row in range(count)],
            "node_id": range(count),
            "parent_id": [-1] * count,
            "type": [("a", "b", "c")[row % 3] for row in range(count)],
            "field": [None if row % 2 else "x" for row in range(count)],
            "start_byte": [0] * count,
            "end_byte": [1] * count,
            "depth": [0] * count,
            "named": [True] * count,
        }
    )


def _bytes(folder: Path, table: pa.Table) -> bytes:
    tables.write_part(folder, AstNodes, 0, table)
    return tables.part_path(folder, 0).read_bytes()


def test_equal_rows_are_equal_bytes_wherever_they_come_from(tmp_path: Path) -> None:
    table = nodes(3000)
    expected = _bytes(tmp_path, table)
    typed = table.cast(AstNodes.schema)
    place = typed.column_names.index("type")
    codes = [2 - row % 3 for row in range(3000)]
    other = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), ["c", "b", "a", "never"])
    ways = {
        "again": table,
        "in pieces": pa.concat_tables([table.slice(0, 777), table.slice(777)]),
        "pieces with dictionaries of their own": pa.concat_tables(
            [table.slice(0, 777).cast(AstNodes.schema), table.slice(777).cast(AstNodes.schema)]
        ),
        "another dictionary": typed.set_column(place, typed.schema.field(place), other),
        "a slice": pa.concat_tables([typed, typed]).slice(3000),
    }
    for way, rows in ways.items():
        assert rows.select(["type"]).to_pylist() == table.select(["type"]).to_pylist()
        assert _bytes(tmp_path, rows) == expected, way


def test_an_empty_part_is_the_same_bytes_too(tmp_path: Path) -> None:
    assert _bytes(tmp_path, nodes(0).cast(AstNodes.schema)) == _bytes(tmp_path, nodes(10).cast(AstNodes.schema).slice(10))
