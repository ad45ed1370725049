"""People's SQL: one SELECT or EXPLAIN over the views of a version, and nothing else.

DuckDB counts `WITH x AS (COPY ... TO ...) SELECT ...` as a SELECT and runs it, and EXPLAIN ANALYZE runs whatever follows. So
the parsed tree is looked at, not only the type of the statement.

Belongs here: deciding what may run, and running it. Not here: what a connection may reach (`views`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from pipeline.catalog.views import cursor
from pipeline.errors import QueryError

_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""The nodes of DuckDB's syntax tree that read; COPY, INSERT, UPDATE and DELETE inside a WITH have nodes of their own."""

_RUNS_TEXT = frozenset({"query", "json_execute_serialized_sql"})
"""Table functions that run SQL out of a string, where it would not be looked at."""

_HINT = "Write one SELECT or EXPLAIN; `SHOW TABLES` lists what there is."


def query(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pa.Table:
    """The result of one SELECT or EXPLAIN, with `parameters` bound to `?`, `$1` or `$name`.

    Threads may share `connection`. Raises `QueryError` for any other statement, for none or several, and with DuckDB's own
    message where it refuses.
    """
    bound = (
        {name: _bindable(value) for name, value in parameters.items()}
        if isinstance(parameters, Mapping)
        else [_bindable(value) for value in parameters]
    )
    with cursor(connection) as own:
        try:
            # DuckDB takes text that is not Unicode for a wrong type.
            sql.encode()
            _check(own, sql)
            result: pa.Table = own.sql(sql, params=bound or None).to_arrow_table()
        except (duckdb.Error, UnicodeEncodeError) as error:
            raise _refusal(error) from error
    return result


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise `QueryError` unless `sql` is one statement that only reads."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise QueryError(f"SQL must be one statement, and this is {len(statements) or 'none'}.", hint=_HINT)
    kind = statements[0].type
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise QueryError(f"{kind.name} is not allowed here.", hint=_HINT)
    body = _after_explain(sql) if kind == duckdb.StatementType.EXPLAIN else sql
    [(serialised,)] = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [body]).fetchall()
    try:
        tree = msgspec.json.decode(serialised)
        if tree.get("error", True):
            raise QueryError(f"Only a SELECT may be run: {tree.get('error_message', 'it has no syntax tree')}.", hint=_HINT)
    except RecursionError:
        raise QueryError("The SQL is nested too deeply.") from None
    for node in _nodes(tree):
        kind_name, function = str(node.get("type", "")), str(node.get("function_name", "")).lower()
        if kind_name.endswith("_NODE") and kind_name not in _QUERY_NODES:
            raise QueryError(f"{kind_name.split('_')[0]} is not allowed here.", hint=_HINT)
        if function in _RUNS_TEXT:
            raise QueryError(f"The function {function} is not allowed here.", hint=_HINT)


def _after_explain(sql: str) -> str:
    """What an EXPLAIN explains. Whatever this misreads does not parse as a SELECT and is refused."""
    raw = sql.encode()
    tokens = [(at, kind) for at, kind in duckdb.tokenize(sql) if kind != duckdb.token_type.comment]
    ends = [at for at, _ in tokens[1:]] + [len(raw)]
    words = [raw[at:end].split(maxsplit=1)[0].lower() for (at, _), end in zip(tokens, ends, strict=True)]
    position = 1
    if words[position : position + 1] == [b"analyze"]:
        position += 1
    elif raw[tokens[position][0] :].startswith(b"("):
        # Options, which hold no parentheses of their own; a parenthesised SELECT starts otherwise.
        options = {b"analyze", b"format"}
        if len(words) > position + 1 and words[position + 1].rstrip(b",)(") in options:
            while position < len(words) and not words[position].startswith(b")"):
                position += 1
            position += 1
    return raw[tokens[position][0] :].decode() if position < len(tokens) else ""


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _bindable(value: Any) -> Any:
    """DuckDB binds neither NumPy scalars nor paths."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _refusal(error: Exception) -> QueryError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    near = next((line for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))), "")
    return QueryError(lines[0] if lines else type(error).__name__, hint=near)
