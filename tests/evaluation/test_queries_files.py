"""Queries are read as they were written, and damaged files say which they are."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.evaluation.queries import Query, read_lines, read_queries, write_queries
from pipeline.index.tuning.queries import query_texts
from pipeline.schemas import EvalQueries, Tuning
from pipeline.tables import write_parquet

BIG = 2**62 + 1
QUERIES = [
    Query(
        qid="a1", query="how to moor \u2028 ships", label="docstring", split="test", uri="a.py", symbol="Dock.moor",
        lang="python", positives=(BIG, 7), answers=(0, 0), neutral=(9,), mask='Moor "ships".\n\nMore.',
    ),
    Query(qid="b2", query="Dock", label="name", split="tune", uri="b.py", symbol="Dock", lang="python", positives=(3, 4),
          answers=(0, 1)),
]  # fmt: skip


def test_both_forms_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_queries(tmp_path, QUERIES)
    assert read_queries(tmp_path) == QUERIES == read_lines(tmp_path / EvalQueries.JSONL)
    assert read_queries(tmp_path, "tune") == QUERIES[1:]
    write_queries(tmp_path, [])
    assert read_queries(tmp_path) == [] == read_lines(tmp_path / EvalQueries.JSONL)


def test_a_line_has_ids_as_text_and_says_where_the_answer_lies(tmp_path: Path) -> None:
    write_queries(tmp_path, QUERIES)
    lines = (tmp_path / EvalQueries.JSONL).read_bytes().split(b"\n")
    line = json.loads(lines[1])
    assert list(line) == ["qid", "query", "positive_ids", "metadata"] and line["positive_ids"] == ["3", "4"]
    assert {"uri": "b.py", "symbol": "Dock", "label": "name", "split": "tune"}.items() <= line["metadata"].items()
    first = json.loads(lines[0])
    assert first["positive_ids"][0] == str(BIG) and first["metadata"]["masked"] is True


def test_what_is_tuned_on_is_the_tune_half_in_the_order_of_ids(tmp_path: Path) -> None:
    others = [
        Query(qid=qid, query=f"q{qid}", label="name", split="tune", uri="b.py", symbol="", lang="", positives=(1,),
              answers=(0,))
        for qid in ("f0", "c0", "a0")
    ]  # fmt: skip
    write_queries(tmp_path, [*QUERIES, *others])
    assert query_texts(tmp_path, 10) == ["qa0", "Dock", "qc0", "qf0"] and query_texts(tmp_path, 2) == ["qa0", "Dock"]


@pytest.mark.parametrize("read", [read_queries, lambda folder: query_texts(folder, 5)])
def test_a_damaged_table_is_named(tmp_path: Path, read: object) -> None:
    assert callable(read)
    path = tmp_path / EvalQueries.FILE
    for damage in (lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"PAR1" + bytes(len(raw))):
        write_queries(tmp_path, QUERIES)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(IndexCorruptionError, match=EvalQueries.FILE):
            read(tmp_path)
    path.unlink()
    with pytest.raises(IndexCorruptionError, match=EvalQueries.FILE):
        read(tmp_path)


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / EvalQueries.FILE, pa.table({"a": [1]}), Tuning.tag())
    with pytest.raises(IndexFormatError, match=EvalQueries.FILE):
        read_queries(tmp_path)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / EvalQueries.JSONL
    for number, damage in (
        (2, lambda raw: raw[:-20]),
        (1, lambda raw: raw.replace(b'"qid"', b'"id"', 1)),
        (1, lambda raw: raw.replace(b'"7"', b'"seven"', 1)),
        (1, lambda raw: raw.replace(b',"7"]', b"]", 1)),
        (2, lambda raw: raw[:-1]),
    ):
        write_queries(tmp_path, QUERIES)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(IndexCorruptionError, match=rf"(?i)line {number}\b") as caught:
            read_lines(path)
        assert EvalQueries.JSONL in str(caught.value)
