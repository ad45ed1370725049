"""The queries of the SQL cookbook run and answer."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from pipeline.catalog.sql import query

COOKBOOK = Path(__file__).parents[2] / "docs" / "sql-cookbook.md"
QUERIES = re.findall(r"([^\n]+):\n\n```sql\n(.*?)```", COOKBOOK.read_text("utf-8"), re.DOTALL)


def test_the_cookbook_has_queries_and_each_says_what_it_answers() -> None:
    assert len(QUERIES) == COOKBOOK.read_text("utf-8").count("```sql") >= 12


@pytest.mark.parametrize(("title", "sql"), QUERIES, ids=[title[:40] for title, _ in QUERIES])
def test_each_query_of_the_cookbook_finds_something(symbol_connection: duckdb.DuckDBPyConnection, title: str, sql: str) -> None:
    # The version of the tests has something for each of them: two chunks without vectors, two modules, calls.
    assert query(symbol_connection, sql).num_rows > 0, title


def test_every_view_is_named_in_the_cookbook(symbol_connection: duckdb.DuckDBPyConnection) -> None:
    text = COOKBOOK.read_text("utf-8")
    names = {row["name"] for row in query(symbol_connection, "SHOW TABLES").to_pylist()}
    assert {name for name in names if f"`{name}`" not in text} <= {"embeddings", "faiss_idmap"}
