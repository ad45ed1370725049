"""What an index was made of: read as it was written, compared with what is there now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.structure.scip import covered
from pipeline.structure.scip.reader import Contents


def files(**versions: int) -> pa.Table:
    """Files (uri, content_hash), each in some version."""
    hashes = [bytes([version]) * 32 for version in versions.values()]
    return pa.table({"uri": pa.array(list(versions), pa.string()), "content_hash": pa.array(hashes, pa.binary(32))})


def contents(external: tuple[int, ...] = (), **starts: int) -> Contents:
    return Contents(list(starts), np.array(list(starts.values()), np.int64), np.array(external, np.int64))


def written(root: Path, given: pa.Table, found: Contents | None) -> Any:
    covered.path_in(root, "python").parent.mkdir(parents=True, exist_ok=True)
    covered.write(root, "python", given, found)
    return covered.read(root, "python")


def test_every_file_that_was_given_and_every_document_has_a_row(tmp_path: Path) -> None:
    table = written(tmp_path, files(b=1, a=2), contents((70, 90), b=5, elsewhere=40))
    rows = [(row["uri"], row["content_hash"] and row["content_hash"][0], row["start"]) for row in table.to_pylist()]
    assert rows == [("a", 2, None), ("b", 1, 5), ("elsewhere", None, 40), (None, None, 70), (None, None, 90)]
    assert table["slot"].to_pylist() == [*(tables.part_of(uri, 256) for uri in ("a", "b", "elsewhere")), 0, 0]


def test_equal_indexes_give_equal_bytes_in_whatever_order_files_come(tmp_path: Path) -> None:
    for name, given in (("one", files(a=1, b=2)), ("two", files(b=2, a=1))):
        written(tmp_path / name, given, contents(b=5, a=9))
    assert covered.path_in(tmp_path / "one", "python").read_bytes() == covered.path_in(tmp_path / "two", "python").read_bytes()


def test_files_that_changed_came_and_went_are_told_apart(tmp_path: Path) -> None:
    table = written(tmp_path, files(same=1, other=1, gone=1), contents(same=5, other=9, elsewhere=20))
    moved = covered.compare(table, files(other=2, same=1, new=1))
    assert (moved.changed, moved.added, moved.gone, moved.given) == (["other"], ["new"], ["gone"], 3)
    assert moved.share == 1.0
    assert covered.compare(table, files(same=1, other=1, gone=1)).share == 0.0
    assert covered.compare(table, files()).gone == ["gone", "other", "same"]


def test_an_index_of_nothing_is_compared_too(tmp_path: Path) -> None:
    moved = covered.compare(written(tmp_path, files(), None), files(new=1))
    assert (moved.added, moved.given, moved.share) == (["new"], 0, 1.0)


def test_a_damaged_table_and_one_of_another_kind_are_told(tmp_path: Path) -> None:
    written(tmp_path, files(a=1), contents(a=5))
    path = covered.path_in(tmp_path, "python")
    whole = path.read_bytes()
    for damaged in (b"", whole[:-9], whole[: len(whole) // 2], b"x" * len(whole)):
        path.write_bytes(damaged)
        with pytest.raises(IndexCorruptionError):
            covered.read(tmp_path, "python")
    tables.write_parquet(path, files(a=1), "something/1")
    with pytest.raises(IndexFormatError, match="something/1"):
        covered.read(tmp_path, "python")
