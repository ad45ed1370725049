"""Asking the engine one test query, and judging the answer: the whole engine, each channel alone, and the engine without it.

Belongs here: one query at a time. Not here: figures over queries (`evaluator`), the arithmetic of a judgement (`metrics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.evaluation.metrics import Scores, score
from pipeline.evaluation.queries import Query
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.search.channels.interface import Asked
from pipeline.search.channels.registry import CHANNELS, Consulted, State, broken, consult, consult_one
from pipeline.search.fusion import Ids, best_first
from pipeline.search.opened import Opened
from pipeline.search.query import parse_query
from pipeline.search.ranking import Ranked, pool_size, rank

FUSED = "fused"
"""What the whole engine is called among the channels."""
DENSE = "dense"
_DENSE = next(channel for channel in CHANNELS if channel.name == DENSE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an open version makes of a query."""

    query: str
    asked: Asked
    consulted: Mapping[str, Consulted]
    """Each channel as it was asked; the late stage is in `ranked`."""
    ranked: Ranked

    @property
    def ranking(self) -> Ids:
        """All candidates, best first."""
        return self.ranked.candidates[best_first(self.ranked.candidates, self.ranked.scores)]


@dataclass(frozen=True, slots=True)
class Place:
    """One of the best candidates of a channel."""

    chunk: int
    score: float
    fused: float
    """The sum of what all channels contribute to it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A ranking and what it is worth."""

    state: str
    scores: Scores
    best: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one query."""

    channels: dict[str, Judged]
    """With `FUSED` for the whole engine."""
    without: dict[str, Scores]
    """The engine without each channel."""
    broken: dict[str, str] = field(default_factory=dict)
    """Channels that should have answered, with the reason."""
    at: tuple[Scores, ...] = ()
    """The engine at other operating points, in the order in which they were asked for."""


def reply(opened: Opened, query: str, k: int, point: OperatingPoint | None = None) -> Reply:
    """What `Searcher.answer` finds for a query without filters, before the first k are taken."""
    asked = Asked(parse_query(query), pool_size(k), None, point)
    consulted = consult(opened, asked)
    return Reply(query, asked, consulted, rank(opened, asked, consulted))


def judge(opened: Opened, query: Query, k: int, points: Sequence[OperatingPoint] = ()) -> Outcome:
    """Ask a query and judge what came. Channels that said nothing are not left out once more: nothing would change."""
    given = reply(opened, query.query, k)
    state = State.ANSWERED if len(given.ranked.candidates) else State.EMPTY
    fused = Judged(state, score(given.ranking.tolist(), query, k), _best(given, k))
    channels, without = {FUSED: fused}, {}
    for name, one in given.consulted.items():
        ids = [] if one.found is None else one.found.ranking.ids.tolist()
        channels[name] = Judged(one.state, score(ids, query, k), _best_of(given, one, k))
        without[name] = score(_without(opened, given, name).tolist(), query, k) if ids else fused.scores
    at = tuple(score(_elsewhere(opened, given, point).tolist(), query, k) for point in points)
    return Outcome(channels, without, broken(given.consulted) | broken(given.ranked.late), at)


def _without(opened: Opened, given: Reply, channel: str) -> Ids:
    """The ranking of what the other channels found; they are not asked again."""
    others = {name: one for name, one in given.consulted.items() if name != channel}
    return replace(given, ranked=rank(opened, given.asked, others)).ranking


def _elsewhere(opened: Opened, given: Reply, point: OperatingPoint) -> Ids:
    """The ranking where vectors are searched at another point; only the dense channel is asked again."""
    asked = replace(given.asked, point=point)
    consulted = {**given.consulted, DENSE: consult_one(_DENSE, opened, asked)}
    return replace(given, ranked=rank(opened, asked, consulted)).ranking


def _best(given: Reply, k: int) -> tuple[Place, ...]:
    ranked = given.ranked
    order = best_first(ranked.candidates, ranked.scores)[:k]
    rows = zip(ranked.candidates[order].tolist(), ranked.scores[order].tolist(), ranked.fused[order].tolist(), strict=True)
    return tuple(Place(*row) for row in rows)


def _best_of(given: Reply, one: Consulted, k: int) -> tuple[Place, ...]:
    if one.found is None:
        return ()
    ids = one.found.ranking.ids[:k]
    fused = given.ranked.fused[np.searchsorted(given.ranked.candidates, ids)]
    return tuple(Place(*row) for row in zip(ids.tolist(), one.found.ranking.scores[:k].tolist(), fused.tolist(), strict=True))
