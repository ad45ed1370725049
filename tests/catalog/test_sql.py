"""What people's SQL may do, and what it may not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalog.sql import query
from pipeline.catalog.views import connect
from pipeline.errors import QueryError


@pytest.fixture
def own(tmp_path: Path, make_version: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a version of the test's own, and a secret beside it; nothing may appear or vanish in either."""
    version = make_version(tmp_path / "store" / "v-1")
    make_version(tmp_path / "store" / "v-10")
    (tmp_path / "store" / "secret.csv").write_text("secret\n1\n")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    yield version
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


REFUSED = [
    "",
    "   ",
    ";",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW chunks",
    "DROP VIEW chunks",
    "CREATE TABLE t (a INT)",
    "CREATE OR REPLACE VIEW chunks AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "INSERT INTO chunks SELECT * FROM chunks",
    "DELETE FROM chunks",
    "UPDATE chunks SET uri = ''",
    "ALTER VIEW chunks RENAME TO c",
    "COPY chunks TO '{version}/out.csv'",
    "COPY (SELECT 1) TO '{version}/out.csv'",
    "COPY (SELECT 1) TO '{store}/out.csv'",
    "WITH x AS (COPY (SELECT 1) TO '{version}/out.csv') SELECT * FROM x",
    "WITH x AS (COPY (SELECT 1) TO '{version}/out.csv') SELECT 1",
    "SELECT (WITH x AS (COPY (SELECT 1) TO '{version}/out.csv') SELECT 1)",
    "WITH RECURSIVE r AS (SELECT 1 UNION ALL (WITH x AS (COPY (SELECT 1) TO '{version}/out.csv') SELECT 1)) SELECT 1",
    "SELECT 1 UNION (WITH x AS (COPY (SELECT 1) TO '{version}/out.csv') SELECT 1)",
    "SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''{version}/out.csv'') SELECT 1')",
    "SELECT * FROM system.main.QUERY('SELECT 1')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "WITH x AS (DELETE FROM chunks) SELECT 1",
    "EXPLAIN DROP VIEW chunks",
    "EXPLAIN ANALYZE DROP VIEW chunks",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{version}/out.csv'",
    "EXPLAIN (ANALYZE, FORMAT json) DROP VIEW chunks",
    "/* é */ EXPLAIN /* SELECT 1 */ ANALYZE -- SELECT 1\n DROP VIEW chunks",
    "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{version}/out.csv') SELECT 1",
    "EXPLAIN",
    "EXPORT DATABASE '{store}/out'",
    "ATTACH '{store}/new.duckdb'",
    "ATTACH ':memory:' AS m",
    "DETACH memory",
    "USE memory",
    "SET threads = 1",
    "SET VARIABLE a = 1",
    "RESET threads",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "PIVOT chunks ON kind",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM glob('{version}/../*')",
    "SELECT * FROM read_csv('{store}/secret.csv')",
    "SELECT * FROM '{store}/secret.csv'",
    "SELECT * FROM read_csv('{version}/../secret.csv')",
    "SELECT * FROM read_csv('{version}/chunks/../../secret.csv')",
    "SELECT * FROM read_csv('../store/secret.csv')",
    "SELECT * FROM parquet_metadata('{store}/v-10/faiss_idmap.parquet')",
    "SELECT * FROM read_parquet('{store}/v-10/chunks/*.parquet')",
    "SELECT * FROM read_csv('https://example.com/a.csv')",
    "SELECT * FROM read_csv('s3://bucket/a.csv')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '{version}/log')",
    "SELECT getenv('HOME')",
    "SELECT * FROM python_variable",
    "SELECT * FROM nowhere",
    "SELECT 'unfinished",
    "SELECT 1 +",
    "SELECT \ud800",
    "SELECT '\x00",
    "gibberish",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_what_writes_escapes_or_configures_is_refused(own: Path, sql: str) -> None:
    python_variable = pa.table({"a": [1]})
    with connect(own) as connection:
        with pytest.raises(QueryError) as caught:
            query(connection, sql.replace("{version}", str(own)).replace("{store}", str(own.parent)))
        assert "\n" not in caught.value.message
        # The connection is as it was, and still answers.
        assert query(connection, "SELECT count(*) AS n FROM chunks")["n"].to_pylist() == [12]
    assert python_variable.num_rows == 1


def test_a_link_out_of_the_version_is_not_followed_by_name(tmp_path: Path, make_version: Callable[..., Path]) -> None:
    version = make_version(tmp_path / "v")
    with connect(version) as connection, pytest.raises(QueryError):
        query(connection, f"SELECT * FROM read_text('{tmp_path / 'v' / os.pardir / 'other'}')")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        " select 1 ; ",
        "-- why\nSELECT 1",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT max(n) FROM r",
        "FROM chunks LIMIT 1",
        "VALUES (1)",
        "TABLE chunks",
        "SELECT 1 UNION ALL SELECT 2 ORDER BY 1",
        'SELECT "copy", \'INSERT\' FROM (SELECT 1 AS "copy")',
        "DESCRIBE chunks",
        "SUMMARIZE SELECT id FROM chunks",
        "SHOW TABLES",
        "PIVOT (SELECT kind FROM chunks) ON kind IN ('class') USING count(*)",
        "SELECT * FROM query_table('chunks')",
        "EXPLAIN SELECT * FROM chunks",
        "explain analyze select * from chunks",
        "EXPLAIN (SELECT 1)",
        "EXPLAIN (FORMAT json) SELECT 1",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT count(*) FROM chunks",
        "/* é */ EXPLAIN /* ü */ ANALYZE -- x\n SELECT 'é'",
    ],
)
def test_every_way_to_read_is_allowed(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert query(connection, sql).num_rows > 0


def test_the_result_is_an_arrow_table_in_the_order_asked(connection: duckdb.DuckDBPyConnection) -> None:
    table = query(connection, "SELECT uri, count(*) AS n FROM chunks GROUP BY uri ORDER BY uri DESC")
    assert isinstance(table, pa.Table)
    assert table["uri"].to_pylist() == ["web/c.js", "src/deep/b.py", "src/a.py", "it's [odd]\n.txt"]
    assert table["n"].to_pylist() == [3] * 4
    assert query(connection, "SELECT id FROM chunks WHERE false").num_rows == 0


def test_values_are_bound_and_never_part_of_the_sql(connection: duckdb.DuckDBPyConnection) -> None:
    assert query(connection, "SELECT ? AS a", ["'; DROP VIEW chunks; --"])["a"].to_pylist() == ["'; DROP VIEW chunks; --"]
    assert query(connection, "SELECT $1 + $2 AS a", [np.int64(1), np.float32(0.5)])["a"].to_pylist() == [1.5]
    assert query(connection, "SELECT $p AS a", {"p": Path("/x")})["a"].to_pylist() == ["/x"]
    assert query(connection, "SELECT unnest(?::BIGINT[]) AS a", [np.arange(3)])["a"].to_pylist() == [0, 1, 2]
    for wrong in ([], [1, 2]):
        with pytest.raises(QueryError):
            query(connection, "SELECT ?", wrong)


def test_errors_keep_duckdbs_own_message(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match="Table with name chunk does not exist") as caught:
        query(connection, "SELECT * FROM chunk")
    assert "chunks" in caught.value.hint


def test_deep_nesting_is_refused_and_not_a_crash(connection: duckdb.DuckDBPyConnection) -> None:
    for depth in (500, 5000):
        sql = "SELECT " + "(" * depth + "1" + ")" * depth
        try:
            assert query(connection, sql).num_rows == 1
        except QueryError as error:
            assert "\n" not in error.message


def test_threads_may_share_a_connection(connection: duckdb.DuckDBPyConnection) -> None:
    def ask(number: int) -> bool:
        return query(connection, "SELECT count(*) + ? AS n FROM chunks", [number])["n"].to_pylist() == [12 + number]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(100)))
