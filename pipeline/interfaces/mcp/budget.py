"""How many tokens a text costs an agent, estimated from above, and cutting texts so that they cost no more.

Every model counts otherwise. What is counted here is at least what a vocabulary of 32,000 pieces makes of real code, and such a
small one makes more of it than those of current models; measured in `tests/interfaces/mcp/test_budget.py`.

Belongs here: counting and cutting. Not here: what is shown (`text`), pages (`pages`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

_PIECE = re.compile(r" ?(?:([A-Z]+(?![a-z]))|([A-Z]?[a-z]+))|( +)|([^\x00-\x7f])|.", re.DOTALL)
_CAPITALS, _WORD, _SPACES, _OTHER = 1, 2, 3, 4
_PER_TOKEN = {_CAPITALS: 2, _WORD: 3, _SPACES: 8}
"""Characters of one kind in a row that make a token at least; of what is not ASCII each byte, of the rest each character."""
_LONGEST = 8
"""Characters of the longest token."""
ELLIPSIS = "…"


def tokens(text: str) -> int:
    """At most so many tokens; of lines together no more than the sum of each."""
    counted = 0
    for piece in _PIECE.finditer(text):
        kind = piece.lastindex
        if kind is None:
            counted += 1
        elif kind == _OTHER:
            counted += len(piece[0].encode("utf-8", "replace"))
        else:
            counted += -(-len(piece[kind]) // _PER_TOKEN[kind])
    return counted


def lines_within(lines: Sequence[str], room: int) -> int:
    """How many of the first lines cost at most `room` tokens together."""
    for count, line in enumerate(lines):
        room -= tokens(line)
        if room < 0:
            return count
    return len(lines)


def characters_within(text: str, room: int) -> int:
    """How many of the first characters cost at most `room` tokens."""
    if room < 0:
        return 0
    most = min(len(text), _LONGEST * (room + 1))
    return bisect_right(range(most + 1), room, key=lambda count: tokens(text[:count])) - 1


def clipped(text: str, room: int) -> str:
    """A text of one line, with an ellipsis in place of what does not fit."""
    if tokens(text) <= room:
        return text
    return text[: characters_within(text, max(room - tokens(ELLIPSIS), 0))] + ELLIPSIS
