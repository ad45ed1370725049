"""What is near a chunk: by its vector, by the symbols that tie it to others, and in its file.

Each way of being near is a channel, as in a search, and is fused like one: `vectors`, the relations of `catalog.chunk_graph`
(`calls`, `called by`, `extends`, …), and `same file`. Nothing is encoded, so no embedder is needed.

Belongs here: which chunks are near, and why. Not here: the ties (`catalog.chunk_graph`), arithmetic of scores (`fusion`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import NotFoundError
from pipeline.search.channels.interface import ChannelOffError, Found
from pipeline.search.channels.registry import Failed, State, attempt
from pipeline.search.engine import ChannelHit, Filters, Hit, Searcher
from pipeline.search.fusion import Ids, Ranking, Scores, Share, best_first, by_scores, total_of
from pipeline.search.opened import Opened

if TYPE_CHECKING:
    from pipeline.catalog.chunk_graph import ChunkGraph, Ties

VECTORS, SYMBOLS, SAME_FILE, DUPLICATES = "vectors", "symbols", "same file", "duplicates"
WEIGHTS: Mapping[str, float] = {
    VECTORS: 0.7,
    "extends": 1.0,
    "extended by": 0.8,
    "calls": 0.8,
    "called by": 0.8,
    "imports": 0.5,
    "imported by": 0.5,
    "uses": 0.5,
    "used by": 0.5,
    "inside of": 0.4,
    "holds": 0.4,
    SAME_FILE: 0.1,
}
"""What the best chunk of each channel gets from it."""
_POWER = 2.0
"""Of similarities, as in a search: cosines of a static table lie close together."""
_POOL_FACTOR, _LEAST_POOL = 5, 100
"""Each channel gives that many times k candidates, at least that many."""
_UNFILTERED = Filters()
_MOST_NAMED = 5
"""Symbols that are named for one tie."""


@dataclass(frozen=True, slots=True)
class Source:
    """How vectors, symbols, the file and the duplicates of a chunk could be told: how many chunks, or why not."""

    state: State
    found: int = 0
    reason: str = ""

    def as_json(self) -> dict[str, object]:
        """As `related --json` prints it, in the shape that channels of a search have."""
        said: dict[str, object] = {"state": self.state.value, "found": self.found}
        return {**said, "reason": self.reason} if self.reason else said


@dataclass(frozen=True, slots=True)
class Related:
    """What is near a chunk. `chunk` and each of `duplicates`, which have its very content, are rows as results show them."""

    chunk: dict[str, Any]
    hits: list[Hit]
    duplicates: list[dict[str, Any]]
    sources: dict[str, Source]


@dataclass(frozen=True, slots=True)
class _Asked:
    """At most `limit` chunks near `chunk`, none of `excluded`, and only of `allowed` (ids, ascending) where that is given."""

    chunk: int
    excluded: Ids
    allowed: Ids | None
    limit: int

    def keeps(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which of ids may be found."""
        kept = ~np.isin(ids, self.excluded)
        return kept if self.allowed is None else kept & np.isin(ids, self.allowed)


@dataclass(frozen=True, slots=True)
class _Near:
    """What a channel found, and the ties that it found it by."""

    found: Found
    ties: Ties | None = None


def related(
    searcher: Searcher,
    chunk: int,
    k: int | None = None,
    filters: Filters = _UNFILTERED,
    *,
    weights: Mapping[str, float] = WEIGHTS,
) -> Related:
    """The k chunks that are nearest to a chunk, best first, without itself and its exact duplicates.

    `weights` has those of all channels. What is broken is told and missed. Raises `NotFoundError` for an id that is no chunk,
    `QueryError` for a k or a filter that cannot be, and `IndexCorruptionError` where the lexical index is damaged: it stores
    what is shown.
    """
    opened = searcher.opened
    k = searcher.checked_k(k)
    if not opened.files.files.holds(chunk):
        raise NotFoundError(
            f"There is no chunk {chunk} in {searcher.version.name}.", hint="`indexctl search --explain` prints ids."
        )
    allowed = searcher.allowed(filters)
    copies = attempt(DUPLICATES, opened, lambda: _duplicates(opened, chunk))
    duplicates = np.empty(0, np.int64) if isinstance(copies, Failed) else copies
    asked = _Asked(chunk, np.append(duplicates, chunk), allowed, max(_LEAST_POOL, _POOL_FACTOR * k))
    answers = {name: attempt(name, opened, partial(ask, opened, asked)) for name, ask in _CHANNELS.items()}
    near = {name: one for answer in answers.values() if not isinstance(answer, Failed) for name, one in answer.items()}
    [row, *rows] = opened.lexical.documents([chunk, *duplicates])
    return Related(
        chunk=row,
        hits=_hits(opened, near, k, weights),
        duplicates=rows,
        sources={**{name: _told(answer) for name, answer in answers.items()}, DUPLICATES: _counted(copies)},
    )


def _told(answer: dict[str, _Near] | Failed) -> Source:
    if isinstance(answer, Failed):
        return Source(answer.state, reason=answer.reason)
    ids = [one.found.ranking.ids for one in answer.values()]
    return _counted(np.unique(np.concatenate(ids)) if ids else np.empty(0, np.int64))


def _counted(ids: Ids | Failed) -> Source:
    if isinstance(ids, Failed):
        return Source(ids.state, reason=ids.reason)
    return Source(State.ANSWERED if len(ids) else State.EMPTY, len(ids))


def _duplicates(opened: Opened, chunk: int) -> Ids:
    """The other chunks with the content of a chunk, ascending."""
    from pipeline.catalog.chunk_graph import read_contents

    ids, hashes = opened.part("contents", lambda: read_contents(opened.version.ensure("chunks")))
    same = ids[hashes == hashes[ids == chunk]]
    return np.sort(same[same != chunk])


def _by_vectors(opened: Opened, asked: _Asked) -> dict[str, _Near]:
    """The nearest vectors; the similarity of what others found is told, too."""
    vector = opened.vectors.vectors_of([asked.chunk])
    limit = asked.limit + len(asked.excluded)
    ids, scores = opened.vectors.search(vector, limit, allowed=asked.allowed, point=opened.point)
    kept = asked.keeps(ids[0]) & (scores[0] > 0)

    def similarities(candidates: Ids) -> Scores:
        return np.asarray(opened.vectors.vectors_of(candidates) @ vector[0], np.float32)

    return {VECTORS: _Near(Found(Ranking(ids[0][kept], scores[0][kept]), scores_of=similarities))}


def _by_symbols(opened: Opened, asked: _Asked) -> dict[str, _Near]:
    """The chunks that share a symbol which one of both defines, by relation. A single symbol that many have claims little."""
    near = {}
    for relation, ties in _graph(opened).ties(asked.chunk).items():
        ids, places = np.unique(ties.ids, return_inverse=True)
        kept = asked.keeps(ids)
        ranking = _ranked(ids[kept], np.bincount(places, ties.worth).astype(np.float64)[kept], asked.limit)
        if len(ranking.ids):
            # A definition derives from few, and however many others do so, too: that says something of it.
            strength = 1.0 if relation == "extends" else min(1.0, float(ranking.scores[0]))
            near[relation.value] = _Near(Found(ranking, strength=strength), ties)
    return near


def _graph(opened: Opened) -> ChunkGraph:
    from pipeline.catalog.chunk_graph import read_chunk_graph

    if "chunk_symbols" not in opened.version.manifest.artefacts:
        raise ChannelOffError("this version was built without symbols")

    def read() -> ChunkGraph:
        files = opened.files.files
        folder = opened.version.ensure("chunk_symbols", "symbol_edges")
        return read_chunk_graph(folder, files.ids, files.files, files.uris)

    return opened.part("chunk graph", read)


def _by_file(opened: Opened, asked: _Asked) -> dict[str, _Near]:
    """The chunks of the same file, the nearer the better."""
    files = opened.files.files
    place = np.searchsorted(files.ids, asked.chunk)
    rows = np.flatnonzero(files.files == files.files[place])
    rows = rows[asked.keeps(files.ids[rows])]
    away = np.abs(files.ordinals[rows] - files.ordinals[place])
    return {SAME_FILE: _Near(Found(_ranked(files.ids[rows], 1.0 / away, asked.limit)))}


def _ranked(ids: Ids, scores: npt.NDArray[np.float64], limit: int) -> Ranking:
    order = best_first(ids, scores)[:limit]
    return Ranking(ids[order], scores[order].astype(np.float32))


_CHANNELS: Mapping[str, Callable[[Opened, _Asked], dict[str, _Near]]] = {
    VECTORS: _by_vectors,
    SYMBOLS: _by_symbols,
    SAME_FILE: _by_file,
}


def _hits(opened: Opened, near: Mapping[str, _Near], k: int, weights: Mapping[str, float]) -> list[Hit]:
    """The best k of what the channels found together."""
    candidates = np.unique(np.concatenate([np.empty(0, np.int64), *(one.found.ranking.ids for one in near.values())]))
    shares = {
        name: _share(candidates, one.found, weights[name], _POWER if name == VECTORS else 1.0) for name, one in near.items()
    }
    scores = total_of(candidates, shares)
    order = best_first(candidates, scores)[:k]
    return [
        Hit(
            rank=rank,
            score=float(scores[row]),
            channels={
                name: ChannelHit(
                    int(share.rank[row]) or None,
                    float(share.score[row]),
                    float(share.contribution[row]),
                    _names(opened, near[name].ties, document["id"]),
                )
                for name, share in shares.items()
                if share.rank[row] or share.contribution[row] > 0
            },
            adjustments={},
            **document,
        )
        for rank, (row, document) in enumerate(zip(order.tolist(), opened.lexical.documents(candidates[order]), strict=True), 1)
    ]


def _share(candidates: Ids, found: Found, weight: float, power: float) -> Share:
    scores = None if found.scores_of is None else found.scores_of(candidates)
    return by_scores(candidates, found.ranking, weight=found.strength * weight, power=power, scores=scores)


def _names(opened: Opened, ties: Ties | None, chunk: int) -> tuple[str, ...]:
    """The symbols that tie a chunk, what says most first."""
    if ties is None:
        return ()
    from pipeline.catalog.lookup import name_of

    rows = np.flatnonzero(ties.ids == chunk)
    rows = rows[np.lexsort((ties.symbols[rows], -ties.worth[rows]))][:_MOST_NAMED]
    symbols = _graph(opened).symbols
    return tuple(dict.fromkeys(name_of(symbols[int(number)].as_py()) for number in ties.symbols[rows]))
