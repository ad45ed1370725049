"""`scip.json`: what is written is read again, and what is damaged is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.structure.scip import outcomes
from pipeline.structure.scip.outcomes import Indexer, Loss

ENTRIES = (
    Indexer(
        language="python", tool="ty-scip", tool_version="0.1.0", status="indexed", files_indexed=2, problem="",
        left_out=(Loss("a b\n.py", "it is 'odd'"), Loss("é.py", "two")),
    ),
    Indexer(
        language="typescript", tool="", tool_version="", status="absent", files_indexed=0, problem="none", left_out=()
    ),
)  # fmt: skip


def written(root: Path) -> Path:
    outcomes.path_in(root).parent.mkdir()
    outcomes.write(root, ENTRIES)
    return outcomes.path_in(root)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert outcomes.read(tmp_path) == ENTRIES
    assert [(one.name, one.has_index) for one in ENTRIES] == [("ty-scip 0.1.0", True), ("", False)]
    before = path.read_bytes()
    outcomes.write(tmp_path, outcomes.read(tmp_path))
    assert path.read_bytes() == before and msgspec.json.decode(before)["version"] == outcomes.FORMAT


def test_losses_come_by_uri() -> None:
    assert outcomes.losses({"b": "1", "a": "2"}) == (Loss("a", "2"), Loss("b", "1"))


def test_a_file_that_is_cut_anywhere_or_missing_is_corruption(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip()), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(IndexCorruptionError, match=r"scip\.json is missing or damaged"):
            outcomes.read(tmp_path)
    path.unlink()
    with pytest.raises(IndexCorruptionError, match=r"scip\.json is missing or damaged"):
        outcomes.read(tmp_path)


@pytest.mark.parametrize("field", ["language", "tool", "tool_version", "status", "files_indexed", "problem", "left_out"])
@pytest.mark.parametrize("value", [None, {}, [1], b""])
def test_a_field_that_is_missing_or_of_another_type_is_corruption(field: str, value: Any, tmp_path: Path) -> None:
    path = written(tmp_path)
    told = msgspec.json.decode(path.read_bytes())
    told["indexers"][0].pop(field)
    if value != b"":
        told["indexers"][0][field] = value
    path.write_bytes(msgspec.json.encode(told))
    with pytest.raises(IndexCorruptionError, match=field):
        outcomes.read(tmp_path)


def test_a_status_that_there_is_not_and_bytes_that_are_no_text_are_corruption(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    for damaged in (whole.replace(b'"absent"', b'"gone"'), whole.replace(b"ty-scip", b"ty-\xff\xfe")):
        path.write_bytes(damaged)
        with pytest.raises(IndexCorruptionError):
            outcomes.read(tmp_path)


def test_a_file_of_another_format_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    written(tmp_path).write_bytes(b'{"version": 3, "programs": []}')
    with pytest.raises(IndexFormatError, match="format 3"):
        outcomes.read(tmp_path)


def test_what_has_changed_since_is_lost_like_what_was_left_out() -> None:
    kept = Indexer(
        language="python", tool="t", tool_version="1", status="indexed", files_indexed=3, problem="",
        left_out=(Loss("b.py", "one"),), made_from="d", files_given=4, changed=(Loss("a.py", outcomes.CHANGED),), gone=2,
    )  # fmt: skip
    assert kept.lost == (Loss("a.py", outcomes.CHANGED), Loss("b.py", "one")) and kept.moved == 3
