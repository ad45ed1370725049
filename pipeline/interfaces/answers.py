"""Answers as JSON values: one shape for `--json`, the HTTP service and the MCP server.

Belongs here: which fields an answer has. Not here: finding them (`search`, `catalog`), printing them (`commands_*`), bounds of
servers (`serving.requests`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.catalog.describe import around_chunk, describe
from pipeline.errors import NotFoundError, QueryError

if TYPE_CHECKING:
    import duckdb

    from pipeline.catalog.numbering import Numbers
    from pipeline.catalog.symbol_table import SymbolTable
    from pipeline.search.engine import Answer
    from pipeline.search.explanation import Matched
    from pipeline.search.related import Related
    from pipeline.source.freshness import Freshness
    from pipeline.store.versions import Version

SYMBOL_ASSETS = ("definitions", "scip_occurrences", "scip_symbols", "chunk_symbols", "symbol_edges")
"""The artefacts that questions about symbols read."""
CHUNK_COLUMNS = ("id", "uri", "lang", "kind", "name", "start_line", "end_line", "start_byte", "end_byte", "content")
"""What `fetch` and `show` give of a chunk."""
_MOST_DIGITS = 19
"""Of 2^63."""
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


def head(version: Version, fresh: Freshness) -> dict[str, Any]:
    """What every answer from a version begins with: where it is from, and whether the repository has moved on since."""
    return {"repo": version.repository.name, "version": version.name, "stale": fresh.stale, "behind": fresh.as_json()}


def searched(
    version: Version, fresh: Freshness, query: str, answer: Answer, matched: Mapping[int, Matched] | None, *, offset: int = 0
) -> dict[str, Any]:
    """What `search` found, without the first `offset` hits. `matched`: what is behind each hit, where that was asked for."""
    shown = answer.hits[offset:]
    behind = {} if matched is None else {hit.id: {"matched": matched[hit.id].as_json()} for hit in shown}
    return {
        **head(version, fresh),
        "query": query,
        "kind": answer.query.kind.value,
        **({"unread": answer.query.unread} if answer.query.unread else {}),
        "channels": {name: one.as_json() for name, one in answer.channels.items()},
        "results": [hit.as_json() | behind.get(hit.id, {}) for hit in shown],
    }


def chunk_id(text: str) -> int:
    """The id of a chunk as somebody wrote it. Raises `QueryError` for what cannot be one."""
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS or int(text) >= 1 << 63:
        raise QueryError(f"`{text[:40]}` is not the id of a chunk.", hint="Ids are whole numbers.")
    return int(text)


def chunk(
    version: Version, fresh: Freshness, connection: duckdb.DuckDBPyConnection, identifier: int, symbols: SymbolTable | None
) -> dict[str, Any]:
    """A chunk with its text; with `symbols` also what it stands in and defines, who calls that, and what it calls.

    Raises `NotFoundError` for an id that is no chunk.
    """
    from pipeline.catalog.hydrate import hydrate

    rows = hydrate(connection, [identifier], CHUNK_COLUMNS, missing="skip").to_pylist()
    if not rows:
        raise NotFoundError(f"There is no chunk {identifier} in {version.name}.", hint="Searches give ids.")
    around = {} if symbols is None else around_chunk(symbols, rows[0])
    return {**head(version, fresh), "commit": version.manifest.commit, **rows[0], **around, "id": str(identifier)}


_SPAN = (
    "SELECT lang, start_line, content FROM chunk_rows WHERE uri = $uri AND end_line >= $first AND start_line <= $last "
    "ORDER BY start_byte"
)
_EXTENT = "SELECT max(end_line) AS lines FROM chunk_rows WHERE uri = $uri"


def span(
    version: Version, fresh: Freshness, connection: duckdb.DuckDBPyConnection, uri: str, first: int, last: int
) -> dict[str, Any]:
    """Lines `first` to `last` of a file as it was indexed, put together from its chunks, which have no gaps.

    Raises `NotFoundError` for a file that is not indexed and for lines that it does not have.
    """
    from pipeline.catalog.views import fetch

    lines = fetch(connection, _EXTENT, {"uri": uri}).column(0).to_pylist()[0]
    if lines is None:
        raise _no_file(version, connection, uri)
    if first > lines or last < first:
        raise NotFoundError(f"{uri} has no lines {first:,} to {last:,}.", hint=f"It has {lines:,} lines.")
    rows = fetch(connection, _SPAN, {"uri": uri, "first": first, "last": last}).to_pylist()
    begins = rows[0]["start_line"]
    kept = lines_of("".join(row["content"] for row in rows))[first - begins : last - begins + 1]
    return {
        **head(version, fresh), "commit": version.manifest.commit, "uri": uri, "lang": rows[0]["lang"],
        "start_line": first, "end_line": first + len(kept) - 1, "lines": lines, "content": "".join(kept),
    }  # fmt: skip


def lines_of(text: str) -> list[str]:
    """Lines with their ends, as line numbers count them: a form feed or U+2028 ends none."""
    ends = [match.end() for match in _LINE_BREAK.finditer(text)]
    if not ends or ends[-1] != len(text):
        ends.append(len(text))
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _no_file(version: Version, connection: duckdb.DuckDBPyConnection, uri: str) -> NotFoundError:
    from pipeline.catalog.views import fetch

    found = fetch(connection, "SELECT status, reason FROM files WHERE uri = $uri", {"uri": uri}).to_pylist()
    if not found:
        return NotFoundError(
            f"There is no file `{uri[:200]}` in {version.name}.", hint="Paths begin at the top of the repository."
        )
    why = f"was not indexed: {found[0]['reason']}" if found[0]["reason"] else "is empty"
    return NotFoundError(f"`{uri[:200]}` {why}.", hint="`indexctl plan` tells what is indexed and why.")


def related(version: Version, fresh: Freshness, found: Related) -> dict[str, Any]:
    """What is near a chunk."""

    def row(chunk: dict[str, Any]) -> dict[str, Any]:
        return {**chunk, "id": str(chunk["id"])}

    return {
        **head(version, fresh),
        "chunk": row(found.chunk),
        "duplicates": [row(one) for one in found.duplicates],
        "channels": {name: told.as_json() for name, told in found.sources.items()},
        "results": [hit.as_json() for hit in found.hits],
    }


def symbols(
    version: Version, fresh: Freshness, name: str, table: SymbolTable, found: Numbers, *, k: int, references: bool, total: int
) -> dict[str, Any]:
    """What is known of the symbols `found`, which are some of `total` of that name."""
    described = describe(table, found, k=k, references=references)
    return {**head(version, fresh), "name": name, "symbol_count": total, "symbols": described}


def symbol_assets(version: Version) -> Sequence[str]:
    """What questions about symbols read, as far as the version has it: definitions alone answer, too."""
    return [asset for asset in SYMBOL_ASSETS if asset in version.manifest.artefacts]


def no_symbol(version: Version, name: str, connection: duckdb.DuckDBPyConnection) -> NotFoundError:
    """What to raise for a name that no symbol has."""
    from pipeline.catalog.suggestions import near_names

    near = near_names(connection, name)
    hint = f"Near it: {', '.join(near)}." if near else "`indexctl search` finds code by what it is about."
    if name.startswith("local "):
        hint = "What is local to a function is not kept by name."
    return NotFoundError(f"There is no symbol `{name[:200]}` in {version.name}.", hint=hint)
