"""The evaluator: test queries asked to an open version, and what that comes to.

Belongs here: from queries to the document, the tables and the times of an evaluation. Not here: one query (`asking`), the copy
without the text of masked queries (`twin`), vectors against exact search (`points`), tokens against theirs (`token_oracle`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.evaluation import tables
from pipeline.evaluation.agreement import agreement
from pipeline.evaluation.asking import Outcome, Reply, reply
from pipeline.evaluation.document import FORMAT, FUSED, HALVES, METHOD, ChannelFigures, MetricsDocument
from pipeline.evaluation.figures import figures_by, figures_of, loss_of, modules_of
from pipeline.evaluation.latency import latency
from pipeline.evaluation.outcomes import outcomes_of
from pipeline.evaluation.points import embedded, measured_points, nearest_of
from pipeline.evaluation.queries import Query
from pipeline.evaluation.token_oracle import token_oracle
from pipeline.evaluation.twin import Twin
from pipeline.index.dense.arrays import Vectors
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.schemas import EvalMetrics
from pipeline.search.channels.registry import State
from pipeline.search.opened import Opened
from pipeline.workers import Runtime

__all__ = ["Evaluation", "Reply", "evaluate", "no_evaluation", "reply"]


_ALONE = Runtime()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation came to: `metrics.json`, the tables behind it, and times, which are in no artefact."""

    document: MetricsDocument
    details: pa.Table
    pool: pa.Table
    points: pa.Table
    vectors: Vectors
    """The queries embedded, float32 [queries, d]; [0, 0] where they could not be."""
    seconds: Mapping[str, Any]


def evaluate(
    opened: Opened,
    twin: Twin | None,
    queries: Sequence[Query],
    k: int,
    *,
    points: Sequence[OperatingPoint] = (),
    oracle_tokens: bool = False,
    rounds: int = 3,
    runtime: Runtime = _ALONE,
) -> Evaluation:
    """Ask every query and judge the answers at `k`. Masked queries go to the twin; without one, to the index itself.

    `points` are measured beside the version's own operating point, `oracle_tokens` says whether tokens are compared with exact
    search over all of them, and `rounds` how often the time of a search is taken (0: not at all). A channel that cannot answer
    is told in the document. Raises `IndexCorruptionError` and `IndexFormatError` where the version is damaged.
    """
    if not queries:
        return no_evaluation(k)
    # Damage is an error, and no channel that is broken.
    index, _, _ = opened.vectors, opened.lexical, opened.files
    others = [point for point in points if point != opened.point] if not index.family.exact else []
    outcomes = outcomes_of(opened, twin, queries, k, others, runtime)
    vectors = embedded(opened, queries)
    measured = measured_points(opened, vectors, outcomes, k, others)
    document = MetricsDocument(
        version=FORMAT,
        method=METHOD,
        state="on",
        k=k,
        queries=len(queries),
        asked=len(queries),
        since={},
        **figures(queries, outcomes),
        channels=channel_figures(outcomes),
        nearest=nearest_of(opened, measured),
        tokens=token_oracle(opened, queries, k) if oracle_tokens else None,
        agreement=agreement(opened),
        twin=None if twin is None else twin.facts,
        broken=broken_in(outcomes, [opened] if twin is None else [opened, twin.opened]),
    )
    return Evaluation(
        document=document,
        details=tables.details(queries, outcomes, next((one.right for one in measured if one.chosen), ())),
        pool=tables.pool(queries, outcomes, opened.settings.fusion, tables.run_id(opened, queries, k)),
        points=tables.points(measured),
        vectors=vectors,
        seconds=latency(opened, queries, k, rounds=rounds, points=[opened.point, *others]) if rounds else {},
    )


def no_evaluation(k: int, broken: Mapping[str, str] | None = None) -> Evaluation:
    """What there is to say where nothing was asked; `broken` says of which channels it could not be."""
    document = MetricsDocument(
        version=FORMAT, method=METHOD, state="off", k=k, queries=0, asked=0, since={}, fused=None,
        by_half={}, by_label={}, by_language={},
        by_module={}, channels={}, nearest=None, tokens=None, agreement=None, twin=None,
        broken=dict(broken or {}),
    )  # fmt: skip
    return Evaluation(
        document, EvalMetrics.details.empty_table(), EvalMetrics.pool.empty_table(), EvalMetrics.points.empty_table(),
        np.empty((0, 0), np.float32), {},
    )  # fmt: skip


def figures(queries: Sequence[Query], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The whole engine, by what queries are."""
    scores = [outcome.channels[FUSED].scores for outcome in outcomes]
    halves = [HALVES[query.mask is not None] for query in queries]
    return {
        "fused": figures_of(scores),
        "by_half": figures_by(halves, scores),
        "by_label": figures_by([query.label for query in queries], scores),
        "by_language": figures_by([query.lang for query in queries], scores),
        "by_module": figures_by(modules_of([query.uri for query in queries]), scores),
    }


def channel_figures(outcomes: Sequence[Outcome]) -> dict[str, ChannelFigures]:
    """Each channel over the queries for which it is not off; one that is always off is left out."""
    found = {}
    for name in outcomes[0].without:
        asked = [outcome for outcome in outcomes if outcome.channels[name].state != State.OFF]
        if not asked:
            continue
        states = [outcome.channels[name].state for outcome in outcomes]
        alone, without = [one.channels[name].scores for one in asked], [one.without[name] for one in asked]
        found[name] = ChannelFigures(
            alone=figures_of(alone),
            without=figures_of(without),
            lost=loss_of(without, [one.channels[FUSED].scores for one in asked]),
            states={state: states.count(state) for state in sorted(set(states))},
        )
    return found


def broken_in(outcomes: Sequence[Outcome], asked: Sequence[Opened]) -> dict[str, str]:
    """Each channel that was broken for any query, with its first reason; scratch folders, whose names are random, unnamed."""
    found: dict[str, str] = {}
    for outcome in outcomes:
        for name, reason in outcome.broken.items():
            found.setdefault(name, reason)
    for one in asked:
        folder = f"{one.version.ensure()}/"
        found = {name: reason.replace(folder, "") for name, reason in found.items()}
    return dict(sorted(found.items()))
