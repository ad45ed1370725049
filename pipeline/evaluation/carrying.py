"""An evaluation carried on: what a small change cannot have moved is taken over, the rest is asked.

Asked are the queries that the change may have moved (`touching`), and a sample of the others, to see that nothing else moved
them: where one of those finds other things than before, or a channel fares otherwise with it, nothing is taken over and all are
asked. Scores of words drift a little with every document, so all are asked, too, when a share of the chunks has changed since
they last were.

Belongs here: what is taken over, and putting both together. Not here: asking (`asking`, `outcomes`), how `metrics.json` is made
of outcomes (`evaluator`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import NotFoundError
from pipeline.evaluation import tables
from pipeline.evaluation.agreement import agreement
from pipeline.evaluation.asking import Outcome
from pipeline.evaluation.change import MOST_CHANGED, Change
from pipeline.evaluation.document import FUSED, Agreement, MetricsDocument
from pipeline.evaluation.evaluator import Evaluation, broken_in, channel_figures, figures
from pipeline.evaluation.measured import Measured
from pipeline.evaluation.outcomes import outcomes_of
from pipeline.evaluation.points import embedded, found_nearest, from_counts, nearest_of, true_vectors
from pipeline.evaluation.queries import Query
from pipeline.evaluation.synthesis.sampling import draw
from pipeline.evaluation.touching import touched
from pipeline.evaluation.twin import twin_of
from pipeline.index.dense.arrays import Vectors
from pipeline.schemas import EvalMetrics
from pipeline.search.channels.interface import Asked
from pipeline.search.channels.registry import consult
from pipeline.search.opened import Opened
from pipeline.search.query import parse_query
from pipeline.search.ranking import pool_size, rank
from pipeline.workers import Runtime

MOST_ASKED = 0.5
"""The share of the queries from which on asking the rest, too, is worth more than it costs."""
SAMPLE = 16
"""Untouched queries that are asked all the same. Masked ones are not among them: the twin would cost more than they all."""
_RANKED = 4
"""So many of them are ranked, too; of the others only what channels find is looked at: a ranking costs twice as much."""
_DRIFT = 0.05
"""The share of what the sample found that may be found no more: scores of words move a little, and so does inexact search."""
_AGREEING = 8
"""Chunks that are embedded once more, and so many of the new ones."""


@dataclass(frozen=True, slots=True)
class _Fresh:
    """What was asked now: qids with outcomes and counts of nearest vectors found."""

    queries: Sequence[Query]
    outcomes: Sequence[Outcome]
    nearest: Sequence[int]
    vectors: Vectors


def drift(measured: Measured, change: Change) -> int:
    """Chunks that changed since all queries were asked, those of this change among them."""
    return int(measured.facts["drift"]) + change.chunks


def carry_on(
    measured: Measured, opened: Opened, queries: Sequence[Query], change: Change, seed: str, runtime: Runtime
) -> Evaluation | None:
    """The evaluation of these queries, with what `measured` knows; None where all of them are to be asked.

    `seed` draws the sample: another one for another build, the same for the same.
    """
    before, k = measured.document, measured.document.k
    point = before.nearest
    if (
        drift(measured, change) > MOST_CHANGED * measured.facts["full"]["chunks"]
        or point is None
        or (point.parameters, point.k_factor, point.exact)
        != (opened.point.parameters, opened.point.k_factor, opened.vectors.family.exact)
    ):
        return None
    try:
        again = touched(measured, opened, queries, change)
    except NotFoundError:
        # An index lacks a new chunk.
        return None
    if len(again) > MOST_ASKED * len(queries):
        return None
    sample = _sample([query for query in queries if query.qid not in again and query.mask is None], seed)
    if not sample or not _as_before(measured, opened, sample, k):
        return None
    asked = [query for query in queries if query.qid in again]
    with twin_of(opened, asked) as twin:
        outcomes = outcomes_of(opened, twin, asked, k, (), runtime)
        broken = broken_in(outcomes, [opened] if twin is None else [opened, twin.opened])
    vectors = embedded(opened, asked) if asked else measured.vectors[:0]
    seen = _agreement(opened, change, seed)
    if broken or len(vectors) != len(asked) or seen is None:
        return None
    fresh = _Fresh(asked, outcomes, found_nearest(opened, vectors, k), vectors)
    return _together(measured, opened, queries, fresh, seen)


def _sample(untouched: Sequence[Query], seed: str) -> list[Query]:
    return sorted(untouched, key=lambda query: draw("sample", seed, query.qid))[:SAMPLE]


def _as_before(measured: Measured, opened: Opened, sample: Sequence[Query], k: int) -> bool:
    """Whether queries that nothing touched find what they found: every channel in the state that it was in, and with what it
    had within k, but for a small share where scores may drift."""
    lost: Counter[str] = Counter()
    had: Counter[str] = Counter()
    for number, query in enumerate(sample):
        row = measured.rows[query.qid]
        asked = Asked(parse_query(query.query), pool_size(k))
        consulted = consult(opened, asked)
        found = {name: [] if one.found is None else one.found.ranking.ids[:k].tolist() for name, one in consulted.items()}
        if number < _RANKED:
            found[FUSED] = rank(opened, asked, consulted).best(k).tolist()
        for name, ids in found.items():
            before = measured.pool.of(row, name)
            had[name] += len(before)
            lost[name] += len(set(before) - set(ids))
        before_of = measured.outcomes[row].channels
        if any(one.state != before_of[name].state for name, one in consulted.items()):
            return False
    exact = {"dense"} if opened.vectors.family.exact else set()
    if any(lost[name] > (0 if name in exact else max(1.0, _DRIFT * had[name])) for name in had):
        return False
    rows = [measured.rows[query.qid] for query in sample]
    right = np.array(found_nearest(opened, measured.vectors[rows], k), np.int64)
    right_before = np.array([measured.nearest[row] for row in rows], np.int64)
    worse = int(np.maximum(right_before - right, 0).sum()) if len(right) == len(rows) else len(rows)
    return worse <= (0 if exact else _DRIFT * int(right_before.sum()))


def _agreement(opened: Opened, change: Change, seed: str) -> Agreement | None:
    """A few chunks and the new ones embedded once more; None where one of them cannot be."""
    ids = true_vectors(opened).ids
    rows = np.unique([draw("agreement", seed, str(number)) % len(ids) for number in range(_AGREEING)])
    chosen = np.unique(np.concatenate([ids[rows], change.new[:_AGREEING]]))
    try:
        return agreement(opened, {row["id"]: row["uri"] for row in opened.lexical.documents(chosen)})
    except NotFoundError:
        return None


def _together(measured: Measured, opened: Opened, queries: Sequence[Query], fresh: _Fresh, seen: Agreement) -> Evaluation:
    """The carried and the fresh in the order of the queries."""
    k = measured.document.k
    new = {query.qid: row for row, query in enumerate(fresh.queries)}
    rows = [measured.rows[query.qid] if query.qid not in new else -1 for query in queries]
    outcomes = [
        fresh.outcomes[new[query.qid]] if row < 0 else measured.outcomes[row] for query, row in zip(queries, rows, strict=True)
    ]
    nearest = [
        fresh.nearest[new[query.qid]] if row < 0 else measured.nearest[row] for query, row in zip(queries, rows, strict=True)
    ]
    since = {
        query.qid: measured.since.get(query.qid, measured.key) for query, row in zip(queries, rows, strict=True) if row >= 0
    }
    vectors = measured.vectors[np.maximum(rows, 0)]
    vectors[np.array(rows) < 0] = fresh.vectors[[new[query.qid] for query, row in zip(queries, rows, strict=True) if row < 0]]
    own = from_counts(opened, nearest, k, outcomes)
    document: MetricsDocument = msgspec.structs.replace(
        measured.document,
        queries=len(queries),
        asked=len(fresh.queries),
        since=dict(sorted(Counter(since.values()).items())),
        **figures(queries, outcomes),
        channels=channel_figures(outcomes),
        nearest=nearest_of(opened, [own]),
        agreement=seen,
        broken={},
    )
    others = measured.points.filter(pc.invert(measured.points["chosen"]))
    run = tables.run_id(opened, queries, k)
    return Evaluation(
        document=document,
        details=tables.details(queries, outcomes, nearest, since),
        pool=_pool(measured, fresh, since, opened.settings.fusion, run),
        points=pa.concat_tables([others, tables.points([own])]).sort_by(
            [("nprobe", "ascending"), ("ef_search", "ascending"), ("k_factor", "ascending")]
        ),
        vectors=vectors,
        seconds={},
    )


def _pool(measured: Measured, fresh: _Fresh, since: Mapping[str, str], method: str, run: str) -> pa.Table:
    """The carried rows with who asked them, and the fresh ones, by query."""
    carried = measured.pool.table.filter(
        pc.is_in(measured.pool.table["query_id"], value_set=pa.array(sorted(since), pa.string()))
    )
    carried = carried.set_column(0, EvalMetrics.pool.field("run_id"), _word(run, carried.num_rows))
    earlier = pc.fill_null(carried["since"].cast(pa.string()), measured.key).cast(EvalMetrics.pool.field("since").type)
    carried = carried.set_column(carried.schema.get_field_index("since"), EvalMetrics.pool.field("since"), earlier)
    made = tables.pool(fresh.queries, fresh.outcomes, method, run)
    both = pa.concat_tables([carried.cast(EvalMetrics.pool), made]).unify_dictionaries()
    return both.take(pc.sort_indices(both["query_id"].cast(pa.string())))


def _word(word: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([word], pa.string()))
