"""Looking for definitions: each query asked to the staged index, and what became of the definition in the ranking.

Belongs here: searching, in as many processes as there are. Not here: why a definition was missed in the end (`reasons`), which
definitions and queries (`sample`, `wording`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.asking import Reply, reply
from pipeline.evaluation.staged import Engine, staged
from pipeline.index.chunk_files import ROLES
from pipeline.index.tuning.locked_point import Lock
from pipeline.search.channels.registry import CHANNELS, State
from pipeline.search.fusion import Ids
from pipeline.stage import Artefact
from pipeline.workers import Runtime, run_jobs

FURTHER = "further chunk of its file"
"""As `search.adjustments` calls it."""
_QUERY_BYTES = 4_000
"""A search takes about as long as reading so much source; `run_jobs` wants to know."""
_FEWEST = 250
"""Queries that opening the index once more pays for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A query, and the chunks that answer it: those of the definition and their exact copies, ascending."""

    query: str
    answers: Ids


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the best answer stands in the ranking, from 1; None: no channel found it. `channels` had it within k.

    Of an answer beyond k also: whether it would be within k if it were not pushed back as a near-copy (`copy`), for the role
    of its file (`role`) or as a further chunk of its file (`further`); and the chunks that stand before it.
    """

    rank: int | None
    channels: tuple[str, ...]
    before: Ids
    copy: bool = False
    role: str = ""
    further: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched, and how: a worker process opens it by itself."""

    artefacts: tuple[Artefact[Any], ...]
    engine: Engine
    lock: Lock
    k: int


@dataclass(frozen=True, slots=True)
class _Job:
    search: Search
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """What became of each query, in order, and the channels that took part: a few queries may say something to others."""

    seen: list[Seen]
    channels: tuple[str, ...]


_TAKES_PART = 0.05
"""To which share of the queries a channel must have something to say."""


def look(search: Search, wanted: Sequence[Wanted], runtime: Runtime) -> Looked:
    """Ask every query. The same for any number of processes: no query depends on another."""
    if not wanted:
        return Looked([], ())
    pieces = max(1, min(runtime.workers, len(wanted) // _FEWEST))
    bounds = np.linspace(0, len(wanted), pieces + 1).round().astype(int).tolist()
    jobs = [_Job(search, tuple(wanted[start:end])) for start, end in itertools.pairwise(bounds)]
    seen: list[Seen] = []
    spoke: Counter[str] = Counter()
    for found, spoke_there in run_jobs(_asked, jobs, runtime, work_bytes=len(wanted) * _QUERY_BYTES):
        seen += found
        spoke += spoke_there
    return Looked(seen, tuple(one.name for one in CHANNELS if spoke[one.name] >= _TAKES_PART * len(wanted)))


def _asked(job: _Job) -> tuple[list[Seen], Counter[str]]:
    """What became of each query, and to how many of them each channel had something to say."""
    search, seen = job.search, []
    spoke: Counter[str] = Counter()
    with staged(search.artefacts, search.engine, search.lock) as opened:
        # Damage of what every search reads is an error, and no definition that is missed.
        _ = opened.lexical, opened.files
        for one in job.wanted:
            given = reply(opened, one.query, search.k)
            seen.append(seen_in(given, one.answers, search.k))
            spoke.update(name for name, told in given.consulted.items() if told.state not in (State.OFF, State.SILENT))
    return seen, spoke


def seen_in(given: Reply, answers: Ids, k: int) -> Seen:
    """What a reply shows of the answers."""
    channels = tuple(
        name
        for name, told in given.consulted.items()
        if told.found is not None and np.isin(told.found.ranking.ids[:k], answers).any()
    )
    ranking = given.ranking
    places = np.flatnonzero(np.isin(ranking, answers))
    if not len(places):
        return Seen(None, channels, ranking)
    rank = int(places[0]) + 1
    if rank <= k:
        return Seen(rank, channels, ranking[:0])
    return Seen(rank, channels, ranking[: rank - 1], *_pushed(given, ranking[places], k))


def _pushed(given: Reply, found: Ids, k: int) -> tuple[bool, str, bool]:
    """What alone keeps the answers that were found beyond k: each factor taken away from one answer, all else as it is."""
    ranked = given.ranked
    copy, role, further = False, "", False
    for row in np.searchsorted(ranked.candidates, found).tolist():
        score = float(ranked.scores[row])

        def within(factor: float, row: int = row, score: float = score) -> bool:
            # What a factor of 0 took away cannot be told.
            return 0 < factor < 1 and int((ranked.scores > score / factor).sum()) < k

        copied = ranked.copies.get(row)
        copy = copy or (copied is not None and within(copied.factor))
        factors = ranked.adjusted.of(row)
        roles = [name for name in ROLES if factors.get(name, 1.0) < 1]
        if not role and roles and within(float(np.prod([factors[name] for name in roles]))):
            role = "+".join(roles)
        further = further or within(factors.get(FURTHER, 1.0))
    return copy, role, further
