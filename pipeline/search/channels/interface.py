"""What a channel is: a function from a query to ranked chunks.

    def ask(opened: Opened, asked: Asked) -> Found | None: ...

It returns None where a query of this form says nothing to it, raises `ChannelOffError` where the version or the settings do
without it, and anything else where it is broken; `registry.consult` turns all three into words, and the query goes on.

Belongs here: the contract. Not here: the channels, arithmetic of scores (`fusion`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config import SearchSettings
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.search.fusion import Ids, Ranking, Scores
from pipeline.search.opened import Opened
from pipeline.search.query import Parsed


class ChannelOffError(Exception):
    """This version or these settings do without the channel; the text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query to a channel: its `limit` best chunks, only of `allowed` (ids, ascending) where that is given."""

    query: Parsed
    limit: int
    allowed: Ids | None = None
    point: OperatingPoint | None = None
    """Where vectors are searched, in place of the version's own point."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a channel found. Scores are positive; what a score of 1 means is the channel's own affair."""

    ranking: Ranking
    strength: float = 1.0
    """How much of its weight the channel claims for this query, 0 to 1."""
    scores_of: Callable[[Ids], Scores] | None = None
    """The true scores of any chunks, float32 [n], where the channel can tell them also of what others found."""
    detail: Callable[[int], str] | None = None
    """What a chunk's score is made of, in a few words, where the channel can say more than the score."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as fusion sees it. Its weight is the setting `<name>_weight`; 0 turns it off."""

    name: str
    ask: Callable[[Opened, Asked], Found | None]
    power: float = 1.0
    """What its scores, relative to its best, are raised to in score fusion."""

    def weight(self, settings: SearchSettings) -> float:
        """What its best chunk gets from it, where it claims its full strength."""
        return float(getattr(settings, f"{self.name}_weight"))
