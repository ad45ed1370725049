"""Asking the engine one test query, and judging the answer: the whole engine, each channel alone, and the engine without it.

Belongs here: one query at a time. Not here: figures over queries (`evaluator`), the arithmetic of a judgement (`metrics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.evaluation.document import FUSED
from pipeline.evaluation.metrics import Scores, score
from pipeline.evaluation.queries import Query
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.search.channels.dense import nearest
from pipeline.search.channels.interface import Asked
from pipeline.search.channels.registry import Consulted, State, broken, consult
from pipeline.search.fusion import Ids, best_first
from pipeline.search.opened import Opened
from pipeline.search.query import parse_query
from pipeline.search.ranking import Ranked, pool_size, rank

DENSE = "dense"


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
    at = _elsewhere(opened, given, query, fused.scores, k, points)
    return Outcome(channels, without, broken(given.consulted) | broken(given.ranked.late), at)


def _without(opened: Opened, given: Reply, channel: str) -> Ids:
    """The ranking of what the other channels found; they are not asked again."""
    others = {name: one for name, one in given.consulted.items() if name != channel}
    return replace(given, ranked=rank(opened, given.asked, others)).ranking


def _elsewhere(
    opened: Opened, given: Reply, query: Query, own: Scores, k: int, points: Sequence[OperatingPoint]
) -> tuple[Scores, ...]:
    """The engine where vectors are searched at other points; only the dense channel is asked again. Where it finds the same, or
    has nothing to say, all is as it is at the version's `own` point."""
    dense = given.consulted[DENSE]
    if dense.found is None or not points:
        return (own,) * len(points)
    vector = opened.embedder.encode_queries([query.query])
    found = []
    for point in points:
        asked = replace(given.asked, point=point)
        again = nearest(opened, asked, vector)
        if np.array_equal(again.ranking.ids, dense.found.ranking.ids):
            found.append(own)
            continue
        ranked = rank(opened, asked, {**given.consulted, DENSE: replace(dense, found=again)})
        found.append(score(replace(given, ranked=ranked).ranking.tolist(), query, k))
    return tuple(found)


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
