"""Answers as JSON within a budget, for programs: every field where there is room, the essential ones where there is little.

Belongs here: which fields go first. Not here: how many items fit (`pages`), the fields themselves (`interfaces.answers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from pipeline.interfaces.answers import lines_of
from pipeline.interfaces.mcp.budget import characters_within, clipped, lines_within, tokens
from pipeline.interfaces.mcp.pages import Item

Json = Mapping[str, Any]
Smaller = Callable[[Json], Iterator[dict[str, Any]]]
_LISTS = ("references", "callers", "callees", "implementations", "bases", "definitions")
_LENGTHS = (50, 20, 10, 5, 2, 1, 0)
_ESSENTIAL = ("repo", "version", "stale", "first_line")


def encoded(value: Any) -> str:
    """JSON on one line."""
    return msgspec.json.encode(value).decode()


def head_within(head: Json, room: int) -> dict[str, Any]:
    """What stands beside the list of an answer: all of it, or the essential."""
    if tokens(encoded(head)) <= room:
        return dict(head)
    return {key: clipped(value, 60) if isinstance(value, str) else value for key, value in head.items() if key in _ESSENTIAL}


def item_of(value: Json, smaller: Smaller) -> Item:
    """An item with ways to say it in less, the longest first; each says that it is `cut`."""

    def within(room: int) -> str | None:
        for less in smaller(value):
            text = encoded({**less, "cut": True})
            if tokens(text) <= room:
                return text
        return encoded({"cut": True})

    return Item(encoded(value), within)


def smaller_result(hit: Json) -> Iterator[dict[str, Any]]:
    """A result with less and less: fewer lines of its code, then no explanation, then its place alone."""
    lines = lines_of(hit.get("content") or "")
    plain = {
        key: value for key, value in hit.items() if key not in ("content", "explanation", "adjustments", "matched", "tokens")
    }
    for base in (dict(hit), plain):
        for share in (3, 2, 1):
            if kept := lines[: len(lines) * share // 4]:
                yield {**base, "content": "".join(kept)}
    yield {key: value for key, value in hit.items() if key != "content"}
    yield {key: clipped(value, 60) if isinstance(value, str) else value for key, value in plain.items()}


def smaller_symbol(symbol: Json) -> Iterator[dict[str, Any]]:
    """A symbol with shorter and shorter lists, then without its texts."""
    for length in _LENGTHS:
        yield {key: value[:length] if key in _LISTS else value for key, value in symbol.items()}
    yield {
        key: clipped(value, 40) if isinstance(value, str) else [] if key in _LISTS else value for key, value in symbol.items()
    }


def smaller_status(row: Json) -> Iterator[dict[str, Any]]:
    """A status without what tells of its making."""
    yield {key: value for key, value in row.items() if key not in ("operating_point", "symbols", "cst", "allowed", "catalog")}
    short = ("repo", "version", "commit", "stale", "chunks", "problem")
    yield {key: clipped(value, 40) if isinstance(value, str) else value for key, value in row.items() if key in short}


def shown_content(content: str, offset: int, room: int) -> int:
    """The end of what fits of a text as a JSON string from an offset on, in whole lines where a line fits."""
    # Escapes make a text longer; what a line costs is what its JSON costs.
    lines = lines_of(content[offset:])
    kept = lines_within([encoded(line) for line in lines], room)
    if kept:
        return offset + sum(map(len, lines[:kept]))
    end = offset + characters_within(content[offset:], room)
    while end > offset and tokens(encoded(content[offset:end])) > room:
        end = offset + (end - offset) * 3 // 4
    return end
