"""What can be joined to chunks that are fetched by id: each join adds columns, and none adds rows.

Every join groups its table by the key before it is joined, and looks only at the chunks that were asked for.

Belongs here: the SQL of those joins. Not here: putting the query together (`hydrate`), views (`views`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import duckdb

from pipeline.catalog.views import SYMBOL_LISTS, has_views
from pipeline.errors import NotFoundError, QueryError

Join = Literal["modules", "symbols", "ast", "cst", "faiss", "names", "syntax", "mentions"]


@dataclass(frozen=True, slots=True)
class Joined:
    """Columns from another table: `sql` has one row for each `key`, of the chunks in `wanted (id)`."""

    table: str
    alias: str
    sql: str
    key: str
    columns: Mapping[str, str]
    """Name -> SQL over the alias."""
    on: str = "id"
    """The column of chunks that `key` is."""

    @property
    def clause(self) -> str:
        """The join to chunks `AS c`."""
        return f"LEFT JOIN ({self.sql}) AS {self.alias} ON {self.alias}.{self.key} = c.{self.on}"


_SPANNED = (
    "SELECT id, list(struct_pack({word} := {word}, count := n) ORDER BY {word}) AS words FROM ("
    "SELECT c.id, n.{word}, count(*) AS n FROM chunk_rows AS c JOIN {table} AS n ON n.uri = c.uri "
    "AND n.start_byte >= c.start_byte AND n.start_byte < c.end_byte AND n.end_byte <= c.end_byte "
    "WHERE c.id IN (SELECT id FROM wanted){condition} GROUP BY c.id, n.{word}) GROUP BY id"
)
# Members of lists and blocks that have parts of their own: statements, definitions and the like, outermost first. What fills a
# field of its parent is a part of it (a body, a type, an operand), and what has no parts is a word.
_SYNTAX = (
    "SELECT id, list(struct_pack(type := type, count := n) ORDER BY depth, n DESC, type) AS words FROM ("
    "SELECT c.id, n.type, count(*) AS n, min(n.depth) AS depth FROM chunk_rows AS c JOIN ("
    "SELECT *, lead(depth, 1, 0::SMALLINT) OVER (PARTITION BY uri ORDER BY node_id) > depth AS parted FROM ast_nodes "
    "WHERE uri IN (SELECT uri FROM chunk_rows WHERE id IN (SELECT id FROM wanted))) AS n ON n.uri = c.uri "
    "AND n.start_byte >= c.start_byte AND n.start_byte < c.end_byte AND n.end_byte <= c.end_byte "
    "WHERE c.id IN (SELECT id FROM wanted) AND n.named AND n.parted AND n.field IS NULL GROUP BY c.id, n.type) GROUP BY id"
)
_NAMES = (
    "SELECT c.id, list(d.name ORDER BY d.start_byte, d.node_id) AS names FROM chunk_rows AS c JOIN definitions AS d "
    "ON d.uri = c.uri AND d.start_byte >= c.start_byte AND d.start_byte < c.end_byte "
    "WHERE c.id IN (SELECT id FROM wanted) GROUP BY c.id"
)
# A call is known by its callee as written, all else by its qualified name.
_MENTIONS = (
    "SELECT id, list(struct_pack(kind := kind, name := name) ORDER BY first, kind, name) AS words FROM ("
    "SELECT c.id, n.kind, coalesce(CASE WHEN n.kind = 'call' THEN n.role END, n.qualified_name) AS name, "
    "min(n.start_byte) AS first FROM chunk_rows AS c JOIN cst_nodes AS n ON n.uri = c.uri "
    "AND n.start_byte >= c.start_byte AND n.start_byte < c.end_byte AND n.end_byte <= c.end_byte "
    "WHERE c.id IN (SELECT id FROM wanted) GROUP BY ALL) WHERE name IS NOT NULL GROUP BY id"
)
EMBEDDINGS = Joined(
    "embeddings",
    "e",
    "SELECT id, any_value(embedding) AS embedding FROM embeddings WHERE id IN (SELECT id FROM wanted) GROUP BY id",
    "id",
    {"embedding": "e.embedding"},
)
_JOINS: Mapping[str, Joined] = {
    "modules": Joined(
        "modules",
        "jm",
        "SELECT uri, any_value(m) AS module FROM modules AS m "
        "WHERE uri IN (SELECT uri FROM chunk_rows WHERE id IN (SELECT id FROM wanted)) GROUP BY uri",
        "uri",
        {"module": "jm.module"},
        on="uri",
    ),
    "symbols": Joined(
        "chunk_symbols",
        "js",
        f"{SYMBOL_LISTS} WHERE chunk_id IN (SELECT id FROM wanted) GROUP BY chunk_id",  # noqa: S608 - our own SQL
        "chunk_id",
        {"symbols": "coalesce(js.symbols, [])", "references": 'coalesce(js."references", [])'},
    ),
    "ast": Joined(
        "ast_nodes",
        "ja",
        _SPANNED.format(table="ast_nodes", word="type", condition=" AND n.named"),
        "id",
        {"ast": "coalesce(ja.words, [])"},
    ),
    "cst": Joined(
        "cst_nodes",
        "jc",
        _SPANNED.format(table="cst_nodes", word="kind", condition=""),
        "id",
        {"cst": "coalesce(jc.words, [])"},
    ),
    "faiss": Joined(
        "faiss_idmap",
        "jf",
        "SELECT external_id, min(faiss_row) AS faiss_row FROM faiss_idmap "
        "WHERE external_id IN (SELECT id FROM wanted) GROUP BY external_id",
        "external_id",
        {"faiss_row": "jf.faiss_row"},
    ),
    "names": Joined("definitions", "jn", _NAMES, "id", {"names": "coalesce(jn.names, [])"}),
    "syntax": Joined("ast_nodes", "jy", _SYNTAX, "id", {"syntax": "coalesce(jy.words, [])"}),
    "mentions": Joined("cst_nodes", "jt", _MENTIONS, "id", {"mentions": "coalesce(jt.words, [])"}),
}


def available(connection: duckdb.DuckDBPyConnection, joins: Sequence[Join]) -> list[Join]:
    """Those of the joins whose tables the version has."""
    return [name for name in joins if has_views(connection, _JOINS[name].table)]


def asked(connection: duckdb.DuckDBPyConnection, joins: Sequence[str]) -> list[Joined]:
    """The joins of these names, each once. Raises `QueryError` for unknown ones, `NotFoundError` where the table is missing."""
    names = list(dict.fromkeys(joins))
    if unknown := [name for name in names if name not in _JOINS]:
        raise QueryError(f"There is no join `{unknown[0]}`.", hint=f"There are {', '.join(get_args(Join))}.")
    joined = [_JOINS[name] for name in names]
    for join in joined:
        if not has_views(connection, join.table):
            raise NotFoundError(f"This version has no table `{join.table}`.", hint="Run `indexctl build`.")
    return joined
