"""Chunks by id and ids by filter."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalog.hydrate import COLUMNS, allowed_ids, hydrate
from pipeline.catalog.views import connect
from pipeline.errors import IndexCorruptionError, NotFoundError, QueryError

IdOf = Callable[[str, int], int]
ODD = "it's [odd]\n.txt"


def test_rows_come_in_the_order_asked_with_repeats(connection: duckdb.DuckDBPyConnection, id_of: IdOf) -> None:
    asked = [("web/c.js", 2), ("src/a.py", 0), (ODD, 1), ("web/c.js", 2), ("src/a.py", 1)]
    ids = [id_of(*one) for one in asked]
    for given in (ids, tuple(ids), np.array(ids), np.array(ids, np.uint64)):
        table = hydrate(connection, given)
        assert tuple(table.column_names) == COLUMNS
        assert table["id"].to_pylist() == ids
        assert table["preview"].to_pylist() == [f"{uri} {ordinal}" for uri, ordinal in asked]


def test_only_the_columns_asked_for_come_back(connection: duckdb.DuckDBPyConnection, id_of: IdOf) -> None:
    ids = [id_of("src/a.py", 2), id_of("src/a.py", 0)]
    table = hydrate(connection, ids, ("end_byte", "content_hash"))
    assert table.to_pydict() == {"end_byte": [300, 100], "content_hash": [(1 << 64) - 3, (1 << 64) - 1]}
    embedding = hydrate(connection, ids, ["embedding"])["embedding"]
    assert embedding.type == pa.list_(pa.float32(), 4)
    assert all(sum(row) == 1.0 for row in embedding.to_pylist())


def test_no_ids_give_no_rows(connection: duckdb.DuckDBPyConnection) -> None:
    for empty in ([], np.empty(0, np.int64)):
        table = hydrate(connection, empty)
        assert (table.num_rows, tuple(table.column_names)) == (0, COLUMNS)


def test_unknown_ids_are_named_or_skipped(connection: duckdb.DuckDBPyConnection, id_of: IdOf) -> None:
    known = [id_of(ODD, 2), id_of("src/a.py", 0)]
    unknown = [(1 << 63) - 1, 0, -5]
    mixed = [unknown[0], known[0], unknown[1], known[1], unknown[2]]
    with pytest.raises(NotFoundError, match=r"3 of the ids .* -5, 0, 9223372036854775807"):
        hydrate(connection, mixed)
    assert hydrate(connection, mixed, missing="skip")["id"].to_pylist() == known
    assert hydrate(connection, unknown, missing="skip").num_rows == 0


@pytest.mark.parametrize("ids", [["1"], [1.5], [1 << 63], [[1]], [None], "1) OR (1=1"])
def test_what_is_no_id_is_refused(connection: duckdb.DuckDBPyConnection, ids: Any) -> None:
    with pytest.raises(QueryError):
        hydrate(connection, ids)


@pytest.mark.parametrize("columns", [(), ("nothing",), ("id", 'id" FROM files --'), ("*",)])
def test_columns_that_do_not_exist_are_refused(connection: duckdb.DuckDBPyConnection, columns: tuple[str, ...]) -> None:
    with pytest.raises(QueryError):
        hydrate(connection, [], columns)


def test_hydration_of_a_damaged_table_says_so(tmp_path: Path, make_version: Callable[..., Path], id_of: IdOf) -> None:
    version = make_version(tmp_path / "v")
    with connect(version) as connection:
        for path in (version / "chunks").glob("*.parquet"):
            path.unlink()
        with pytest.raises(IndexCorruptionError):
            hydrate(connection, [id_of("src/a.py", 0)])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["src/a.py", "src/deep/b.py", "web/c.js", ODD]),
        ({"lang": "python"}, ["src/a.py", "src/deep/b.py"]),
        ({"lang": ["javascript", "text"]}, ["web/c.js", ODD]),
        ({"lang": [], "path": (), "kind": None}, ["src/a.py", "src/deep/b.py", "web/c.js", ODD]),
        ({"lang": "cobol"}, []),
        ({"lang": "python' OR true --"}, []),
        ({"path": "*.py"}, ["src/a.py", "src/deep/b.py"]),
        ({"path": "src/*.py"}, ["src/a.py"]),
        ({"path": "src/**/*.py"}, ["src/a.py", "src/deep/b.py"]),
        ({"path": "src"}, ["src/a.py", "src/deep/b.py"]),
        ({"path": "deep/"}, ["src/deep/b.py"]),
        ({"path": "/deep/"}, []),
        ({"path": ["/web/", "b.py"]}, ["src/deep/b.py", "web/c.js"]),
        ({"path": "it's*"}, [ODD]),
        ({"path": "*[[]odd]*"}, [ODD]),
        ({"path": "*.js", "lang": "python"}, []),
        ({"path": "src/", "lang": ("python", "text")}, ["src/a.py", "src/deep/b.py"]),
    ],
)
def test_filters_give_exactly_the_chunks_of_these_files(
    connection: duckdb.DuckDBPyConnection, id_of: IdOf, filters: dict[str, Any], expected: list[str]
) -> None:
    ids = allowed_ids(connection, **filters)
    assert ids.dtype == np.int64
    assert ids.tolist() == sorted(id_of(uri, ordinal) for uri in expected for ordinal in range(3))


def test_kinds_are_filtered_too(connection: duckdb.DuckDBPyConnection, id_of: IdOf) -> None:
    ids = allowed_ids(connection, kind=("class", "function"), path="a.py")
    assert ids.tolist() == sorted([id_of("src/a.py", 1), id_of("src/a.py", 2)])


@pytest.mark.parametrize("glob", ["", "!a.py", "# a", "a\\", "[z-a]", "   "])
def test_a_path_that_is_no_pattern_is_refused(connection: duckdb.DuckDBPyConnection, glob: str) -> None:
    with pytest.raises(QueryError, match="not a path pattern"):
        allowed_ids(connection, path=glob)


@pytest.mark.parametrize("name", ["lang", "path", "kind"])
def test_filters_that_are_no_text_are_refused(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    with pytest.raises(QueryError, match="not Unicode"):
        allowed_ids(connection, **{name: "\ud800"})


def test_threads_may_share_a_connection_for_hydration(connection: duckdb.DuckDBPyConnection) -> None:
    everything = allowed_ids(connection)

    def ask(seed: int) -> bool:
        ids = np.random.default_rng(seed).choice(everything, 5)
        return np.array_equal(hydrate(connection, ids)["id"].to_numpy(), ids)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(100)))


def test_what_is_in_a_chunk_is_joined_without_more_rows(symbol_connection: duckdb.DuckDBPyConnection, id_of: IdOf) -> None:
    ids = [id_of("src/a.py", 1), id_of("web/c.js", 0), id_of("src/a.py", 1)]
    table = hydrate(symbol_connection, ids, ("id",), joins=("names", "syntax", "mentions"))
    assert table["id"].to_pylist() == ids
    inner, outside, again = table.to_pylist()
    assert inner == again and inner["names"] == ["Inner"] and outside["names"] == ["Wide"]
    # The class stands around the chunk, and the name in it has no parts.
    assert inner["syntax"] == outside["syntax"] == []
    assert outside["mentions"] == [] and inner["mentions"] == []
