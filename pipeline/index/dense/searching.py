"""The one search path of every family: one call into FAISS, masking, exact re-rank on true vectors, a fixed order.

Belongs here: what happens between a request and ordered results. Not here: files (`vectors`), what a list of ids
or vectors must be (`arrays`), FAISS itself (`ann`).
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import instruments
from pipeline.errors import IndexCorruptionError, QueryError
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids, Scores, TrueVectors, Vectors, checked_ids, checked_vectors
from pipeline.index.dense.families import Family, import_faiss
from pipeline.index.dense.operating_point import TUNED_K, OperatingPoint, check, depth_of

_EXACT_ALLOWED = 4096
"""An allow-list up to this size is scored exactly, and of a graph one of any size: to look for what is allowed a graph has to
walk past all that is nearer, and FAISS takes as long to prepare a filter as it takes to score what passes."""
_EXACT_COST = 4
"""Beyond that, exact scores are taken where they cost less than the search. A true vector costs 0.2 µs and a code in a list
0.02; a filter takes away half of that advantage."""
_MORE_LISTS, _MORE_STEPS = 0.25, 0.5
"""nprobe and efSearch grow by these powers of k / (share · 10), where `share` of the vectors may be found. See `_wider`."""
_ELSEWHERE_LISTS, _ELSEWHERE_DEPTH = 4.0, 3.0
"""And with a filter nprobe and k_factor by these: a question about Go, asked of what is Python, is near to nothing allowed."""


@dataclass(frozen=True, slots=True)
class SearchCost:
    """What one call cost, over all of its queries."""

    queries: int
    ann_seconds: float
    rerank_seconds: float
    pool: int
    """Candidates that were re-ranked; of an exact index, that were found."""
    kept: float
    """Share of the index's own top k that is among the final k; 1.0 for an exact index."""


Observe = Callable[[SearchCost], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a search looks at."""

    primary: Ann
    delta: Ann | None
    """An exact index of what came after the primary."""
    dead: Ids
    """Rows of the primary that may not be found, ascending."""
    alive: Any
    """The FAISS selector that leaves `dead` out; None where nothing is dead. Selectors are only read."""
    count: int
    """Vectors that can be found."""
    truth: Callable[[], TrueVectors]
    """Of all that can be found, and nothing else. Called when it is needed."""

    @property
    def family(self) -> Family:
        """The family of the primary."""
        return self.primary.family


def alive_selector(dead: Ids) -> Any:
    """What leaves `dead` (int64 [m]) out, or None where that is nothing."""
    faiss = import_faiss()
    return faiss.IDSelectorNot(faiss.IDSelectorBatch(dead)) if len(dead) else None


def answer(
    parts: Parts,
    queries: npt.ArrayLike,
    k: int,
    *,
    allowed: npt.ArrayLike | None,
    point: OperatingPoint | None,
    default: OperatingPoint,
    observe: Observe | None,
) -> tuple[Ids, Scores]:
    """What `VectorIndex.search` promises; `default` is the point where none is given. Raises `QueryError`."""
    checked = checked_vectors(queries, parts.primary.dimension)
    k = checked_k(k)
    if point is not None:
        check(point, family=parts.family, nlist=parts.primary.nlist)
    ids = None if allowed is None else checked_ids(allowed)
    return search_parts(parts, checked, k, allowed=ids, point=point or default, observe=observe)


def search_parts(
    parts: Parts, queries: Vectors, k: int, *, allowed: Ids | None, point: OperatingPoint, observe: Observe | None
) -> tuple[Ids, Scores]:
    """The nearest vectors of each query: see `VectorIndex.search`. Queries, k, ids and point are checked already."""
    rows = None
    if allowed is not None:
        allowed = _distinct(allowed)
        if not parts.family.exact:
            rows = parts.truth().rows(allowed)
            allowed, rows = allowed[rows >= 0], rows[rows >= 0]
    k = min(k, parts.count if allowed is None else min(parts.count, len(allowed)))
    if k == 0 or not len(queries):
        return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    if parts.family.exact:
        return _search(parts, queries, k, k, allowed, point, observe)
    share = None
    if allowed is not None and rows is not None:
        if len(allowed) <= _EXACT_ALLOWED or parts.family.parameter == "efSearch":
            return _exact(parts.truth(), queries, k, allowed, rows, observe)
        primary, share = parts.primary.within(allowed)
        parts = replace(parts, primary=primary)
    point = _wider(point, len(parts.primary), parts.primary.nlist, k, share)
    if allowed is not None and rows is not None and len(allowed) <= parts.primary.effort(k, point) // _EXACT_COST:
        return _exact(parts.truth(), queries, k, allowed, rows, observe)
    pool = len(allowed) if allowed is not None else parts.count
    ids, scores = _search(parts, queries, k, min(depth_of(k, point), pool), allowed, point, observe)
    if allowed is not None and rows is not None and (ids.shape[1] < k or (ids < 0).any()):
        # The filter left too little where the index looked: what is allowed is known, so nothing need be missing.
        return _exact(parts.truth(), queries, k, allowed, rows, observe)
    return ids, scores


def _wider(point: OperatingPoint, n: int, nlist: int, k: int, share: float | None) -> OperatingPoint:
    """The point at which k are found as well as ten are at `point`, among n vectors of which `share` may be found (None: all).

    To find k among a share of the vectors is about as hard as k / share among all of them. Measured on clustered vectors
    (`benchmarks/filtered_search.py`): 10, 80 and 160 times as many neighbours need 1.5, 2.3 and 3 times as many lists.
    The share is that of the lists that hold anything allowed; others are not visited (`Ann.within`). Re-ranking needs no
    more for a larger k. A graph, which is searched without a filter only, needs two to three times as many steps for
    10 times as many neighbours.
    """
    harder = max(1.0, k / TUNED_K / max(1.0 if share is None else share, 1 / max(1, n)))
    lists, depth = (1.0, 1.0) if share is None else (_ELSEWHERE_LISTS, _ELSEWHERE_DEPTH)
    nprobe, ef_search, k_factor = point.nprobe, point.ef_search, point.k_factor
    if nprobe is not None:
        nprobe = min(nlist, math.ceil(nprobe * lists * harder**_MORE_LISTS))
    if ef_search is not None:
        ef_search = min(max(ef_search, n), math.ceil(ef_search * harder**_MORE_STEPS))
    if k_factor > 1:
        # As many more candidates as for ten: of more results, the last ones are not harder to tell apart.
        k_factor *= 1 + (depth - 1) * min(1.0, TUNED_K / k)
    return OperatingPoint(nprobe=nprobe, ef_search=ef_search, k_factor=k_factor)


def _search(
    parts: Parts,
    queries: Vectors,
    k: int,
    depth: int,
    allowed: Ids | None,
    point: OperatingPoint,
    observe: Observe | None,
) -> tuple[Ids, Scores]:
    faiss = import_faiss()
    threads = faiss.omp_get_max_threads()
    try:
        # One query is worked on by one thread anyway, but waits for the others, which a busy machine makes long. The
        # number is that of the calling thread alone.
        if len(queries) == 1:
            faiss.omp_set_num_threads(1)
        started = time.perf_counter()
        ids, scores = candidates(parts, queries, depth, allowed, point)
        found = time.perf_counter()
        true = scores if parts.primary.true_scores else true_scores(parts.truth(), queries, ids)
        result = _ordered(ids, true, k)
    finally:
        faiss.omp_set_num_threads(threads)
    if observe is not None or instruments.listening():
        reranked = time.perf_counter() - found
        kept = 1.0 if true is scores else _kept(_ordered(ids, scores, k)[0], result[0])
        instruments.observe("faiss_ann_search_duration_seconds", found - started, family=parts.family.name)
        if true is not scores:
            instruments.observe("faiss_refine_duration_seconds", reranked)
            instruments.observe("faiss_refine_kept_ratio", kept)
        if observe is not None:
            observe(SearchCost(len(queries), found - started, reranked, int((ids >= 0).sum()), kept))
    return result


def candidates(parts: Parts, queries: Vectors, depth: int, allowed: Ids | None, point: OperatingPoint) -> tuple[Ids, Scores]:
    """What the index finds by its own scores: ids and scores [q, depth], those of the delta behind; padding anywhere."""
    faiss = import_faiss()
    primary, secondary = parts.alive, None
    if allowed is not None:
        living = np.setdiff1d(allowed, parts.dead, assume_unique=True) if len(parts.dead) else allowed
        # The selectors are named here because FAISS keeps no reference to them.
        primary = faiss.IDSelectorBatch(living)
        secondary = faiss.IDSelectorBatch(allowed) if parts.delta is not None else None
    ids, scores = parts.primary.search(queries, min(depth, max(1, len(parts.primary))), point, primary)
    if parts.delta is not None:
        more_ids, more_scores = parts.delta.search(queries, min(depth, len(parts.delta)), OperatingPoint(), secondary)
        ids, scores = np.hstack([ids, more_ids]), np.hstack([scores, more_scores])
    return ids, scores


def true_scores(truth: TrueVectors, queries: Vectors, ids: Ids) -> Scores:
    """Scores float32 [q, c] of candidates int64 [q, c] on their true vectors; of padding (negative ids) -inf."""
    rows = truth.rows(ids)
    if rows.min(initial=0) < 0 and len(unknown := ids[(rows < 0) & (ids >= 0)]):
        raise IndexCorruptionError(
            f"FAISS answered with {len(unknown)} ids that have no vector, for example {unknown[0]}.",
            hint="Run `indexctl build`.",
        )
    return truth.scores(queries, rows)


def _exact(
    truth: TrueVectors, queries: Vectors, k: int, allowed: Ids, rows: Ids, observe: Observe | None
) -> tuple[Ids, Scores]:
    """The best of few, from true vectors alone: those of ids `allowed`, in `rows` of `truth`, int64 [m]."""
    started = time.perf_counter()
    scores = np.concatenate([truth.scores(query[None], rows[None]) for query in queries])
    result = _ordered(np.broadcast_to(allowed, scores.shape), scores, k)
    seconds = time.perf_counter() - started
    instruments.observe("faiss_flat_rerank_seconds", seconds)
    if observe is not None:
        observe(SearchCost(len(queries), 0.0, seconds, scores.size, 1.0))
    return result


def _ordered(ids: Ids, scores: Scores, k: int) -> tuple[Ids, Scores]:
    """The best k of each row by score, highest first, then by id; padding (id -1) last, and cut off where all rows have it."""
    found = min(k, ids.shape[1])
    # Mostly so from an exact index. Padding scores least, so it would be last.
    if (scores[:, 1:] < scores[:, :-1]).all() and ids[:, -1].min() >= 0:
        return (ids, scores) if found == ids.shape[1] else (ids[:, :found], scores[:, :found])
    padding = ids < 0
    if padding.any():
        scores, ids = np.where(padding, np.float32(-np.inf), scores), np.where(padding, -1, ids)
        found = min(k, int((~padding).sum(axis=1).max()))
    if len(ids) == 1:
        order = np.lexsort((ids[0], -scores[0]))[:found]
        return ids[:, order], scores[:, order]
    order = np.lexsort((ids, -scores), axis=1)[:, :found]
    rows = np.arange(len(ids))[:, None]
    return ids[rows, order], scores[rows, order]


def _distinct(ids: Ids) -> Ids:
    """`ids` ascending, each once. `np.unique` takes four times as long."""
    ids = np.sort(ids)
    return ids[np.concatenate([[True], ids[1:] != ids[:-1]])] if len(ids) else ids


def _kept(own: Ids, final: Ids) -> float:
    """Share of the ids of `own` [q, k] that are in the same row of `final`."""
    there = (np.expand_dims(own, 2) == np.expand_dims(final, 1)).any(axis=2) & (own >= 0)
    return int(there.sum()) / max(1, int((own >= 0).sum()))


def checked_k(k: int) -> int:
    """k as an int. Raises `QueryError` for what is no whole number of at least 1."""
    try:
        number = 0 if isinstance(k, bool) else operator.index(k)
    except TypeError:
        number = 0
    if number < 1:
        raise QueryError(f"k = {k!r} is not a whole number of at least 1.")
    return number
