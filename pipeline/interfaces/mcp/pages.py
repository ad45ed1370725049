"""Pages: as many items as a budget has room for, and cursors that read on where a page ended.

A page never costs more than its budget, whatever is on it. An item that does not fit goes to the next page; one that alone is
too long is cut, and says so.

Belongs here: filling pages, cursors. Not here: what items look like (`text`, `documents`), counting (`budget`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from pipeline.errors import QueryError
from pipeline.interfaces.mcp.budget import characters_within, tokens

WORTH_CUTTING = 600
"""Tokens: with less room left an item goes to the next page whole, and is not cut to fit."""
_CURSOR = re.compile(r"([A-Za-z0-9-]{0,80})\.([0-9]{1,9})\.([0-9a-f]{8})")
_OF_THE_PAGE = ("budget", "cursor", "format", "k")
"""Arguments that may change from page to page."""


@dataclass(frozen=True)
class Item:
    """One thing on a page. `within(room)` is the same in at most so many tokens, or None where it cannot be said in so few."""

    text: str
    within: Callable[[int], str | None]


def take(items: Iterable[Item], room: int, *, between: str) -> list[str]:
    """The texts of the first items that cost at most `room` tokens with `between` before each.

    There is at least one where there is an item: the first is cut where it must be, and so is the last, where that is worth it.
    """
    taken, gap = list[str](), tokens(between)
    for item in items:
        room -= gap
        cost = tokens(item.text)
        if cost > room:
            cut = item.within(room) if not taken or room >= WORTH_CUTTING else None
            taken += [cut] if cut is not None else [] if taken else [item.text[: characters_within(item.text, room)]]
            break
        taken.append(item.text)
        room -= cost
    return taken


@dataclass(frozen=True)
class Cursor:
    """Where a page ended: how many items (or characters) of which version come before, for which arguments."""

    version: str
    offset: int
    asked: str

    def __str__(self) -> str:
        return f"{self.version}.{self.offset}.{self.asked}"


def asked(tool: str, arguments: Mapping[str, Any]) -> str:
    """What a cursor is for, in short: the tool and its arguments, without those that may differ between pages."""
    same = {key: value for key, value in arguments.items() if key not in _OF_THE_PAGE}
    return blake2b(msgspec.json.encode([tool, same], order="deterministic"), digest_size=4).hexdigest()


def read_cursor(text: str, tool: str, arguments: Mapping[str, Any]) -> Cursor:
    """The cursor that an agent gave back. Raises `QueryError` for one that is none, or belongs to other arguments."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise QueryError("`cursor` is not one that a page gave.", hint="Give it unchanged, or leave it out to begin anew.")
    if found[3] != asked(tool, arguments):
        raise QueryError(
            "`cursor` belongs to a call with other arguments.",
            hint="Repeat the arguments of the page that gave it (only `budget`, `k` and `format` may change), or leave it out.",
        )
    return Cursor(found[1], int(found[2]), found[3])
