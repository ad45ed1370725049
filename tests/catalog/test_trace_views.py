"""Views over traces: there without traces, whole sets only, and nothing else of the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.catalog.sql import query
from pipeline.catalog.traces import readable
from pipeline.catalog.views import connect, create_trace_views
from pipeline.errors import IndexCorruptionError, QueryError
from pipeline.schemas import TRACES, Chunks, TracePool, TraceQueries

Add = Callable[..., Path]


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_without_traces_the_views_are_there_and_empty(version: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with connect(version, traces=readable(tmp_path / folder)) as connection:
        for table in TRACES:
            found = query(connection, f"SELECT * FROM {table.name}")
            assert (found.num_rows, found.column_names) == (0, table.schema.names)
        assert query(connection, "SELECT round(median(seconds), 2) AS m FROM trace_queries").to_pylist() == [{"m": None}]


def test_what_was_written_is_read_and_several_sets_are_one_table(version: Path, tmp_path: Path, add_traces: Add) -> None:
    made = [add_traces(tmp_path / "odd ' [1]", run) for run in ("r", "s")]
    found = readable(tmp_path / "odd ' [1]")
    assert found.sets == tuple(one.resolve() for one in made) and not found.problems
    with connect(version, traces=found) as connection:
        for table in TRACES:
            one = tables.read_part(made[0] / table.file_name(), table)
            assert one.schema.remove_metadata() == table.schema and one.num_rows
            rows = query(connection, f"SELECT * FROM {table.name} WHERE query_id LIKE 'r-%' ORDER BY ALL").to_pylist()
            wanted = tables.plain(one).to_pylist()
            assert sorted(map(repr, rows)) == sorted(map(repr, wanted))
            assert query(connection, f"SELECT * FROM {table.name}").num_rows == 2 * one.num_rows


def test_a_version_alone_has_no_views_of_traces(version: Path) -> None:
    with connect(version) as connection, pytest.raises(QueryError, match="trace_queries"):
        query(connection, "SELECT * FROM trace_queries")


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
def test_a_set_with_a_file_that_is_cut_off_is_left_out_whole_and_told(
    version: Path, tmp_path: Path, add_traces: Add, keep: int
) -> None:
    damaged, _ = add_traces(tmp_path / "t", "bad"), add_traces(tmp_path / "t", "good")
    path = damaged / TracePool.file_name()
    path.write_bytes(path.read_bytes()[:keep])
    found = readable(tmp_path / "t")
    [problem] = found.problems
    assert str(path) in problem and "cut off" in problem
    with connect(version, traces=found) as connection:
        for table in TRACES:
            runs = query(connection, f"SELECT DISTINCT split_part(query_id, '-', 1) AS run FROM {table.name}")
            assert runs.to_pylist() == [{"run": "good"}]


def test_a_file_that_is_missing_or_of_another_kind_is_told(tmp_path: Path, add_traces: Add) -> None:
    missing, foreign = add_traces(tmp_path / "t"), add_traces(tmp_path / "t")
    (missing / TraceQueries.file_name()).unlink()
    tables.write_whole(foreign / TraceQueries.file_name(), Chunks, Chunks.schema.empty_table())
    found = readable(tmp_path / "t")
    assert found.sets == ()
    assert "No such file" in found.problems[0] and "another format" in found.problems[1]


def test_a_file_that_is_damaged_inside_says_how_to_be_rid_of_it(version: Path, tmp_path: Path, add_traces: Add) -> None:
    path = add_traces(tmp_path / "t") / TraceQueries.file_name()
    raw = path.read_bytes()
    footer = int.from_bytes(raw[-8:-4], "little")
    tag = raw[-8 - footer : -8].index(b"trace/1")
    path.write_bytes(raw[: -8 - footer] + b"\xff" * tag + raw[-8 - footer + tag :])
    with pytest.raises(IndexCorruptionError, match="indexctl trace clear"):
        connect(version, traces=readable(tmp_path / "t"))


def test_a_locked_connection_follows_traces_and_reads_no_other_folder(version: Path, tmp_path: Path, add_traces: Add) -> None:
    folder = tmp_path / "t"
    outside = tmp_path / "outside.parquet"
    tables.write_parquet(outside, pa.table({"x": [1]}), "test")
    with connect(version, traces=readable(folder)) as connection:
        for count in (3, 6):
            add_traces(folder)
            create_trace_views(connection, readable(folder))
            assert query(connection, "SELECT count(*) AS n FROM trace_queries").to_pylist() == [{"n": count}]
        with pytest.raises(QueryError):
            query(connection, f"SELECT * FROM read_parquet('{outside}')")
        for one in readable(folder).sets:
            for path in one.iterdir():
                path.unlink()
            one.rmdir()
        create_trace_views(connection, readable(folder))
        assert query(connection, "SELECT count(*) AS n FROM trace_queries").to_pylist() == [{"n": 0}]
