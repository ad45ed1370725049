"""The stage `tuning`: at which point an index is searched, found by measurement, with everything that was measured.

Belongs here: from artefacts to queries, and what is written. Not here: the measurement (`sweep`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipeline import tables
from pipeline.config import EmbedSettings, Settings, TuningSettings
from pipeline.embed import registry
from pipeline.files import canonical_json
from pipeline.index.dense.arrays import TrueVectors, Vectors
from pipeline.index.dense.families import import_faiss
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.tuning.document import FORMAT, Recall, TuningDocument
from pipeline.index.tuning.queries import QUERIES, query_texts
from pipeline.index.tuning.sweep import K, Measured, Tuned, latencies, questions, tune
from pipeline.installed import version
from pipeline.schemas import Embeddings, EvalQueries, FaissIndex, Tuning
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.workers import Runtime

_SMALL_BELOW = 500_000
_TIMED_QUERIES, _TIMED_POINTS, _TIMED_SECONDS = 32, 4, 0.3
FEWEST = 2
"""Queries: one to choose by, one to hold out."""
_DIGITS = 6


def tuning(
    faiss_index: Artefact[FaissIndex],
    embeddings: Artefact[Embeddings],
    eval_queries: Artefact[EvalQueries],
    embed: EmbedSettings,
    settings: TuningSettings,
    runtime: Runtime,
    out: Output[Tuning],
) -> Facts:
    """Write the operating point of the index, and the sweep that it was chosen from; tell how long searches there take."""
    started = time.perf_counter()
    index = VectorIndex.open(faiss_index.path, vectors=embeddings.path)
    tuned: Tuned | None = None
    asked: Vectors | None = None
    if not index.family.exact and index.count and settings.autotune_on_start:
        texts = query_texts(eval_queries.path, queries_for(settings, index.count))
        if len(texts) >= FEWEST:
            asked = registry.load(embed).encode_queries(texts)
            tuned = tune_on(index, TrueVectors.open(embeddings.path), asked, settings.target_recall)
    document = describe(index, tuned, settings.target_recall, 0 if asked is None else len(asked))
    (out.path / Tuning.FILE).write_bytes(canonical_json(msgspec.to_builtins(document)))
    measured = tuned.sweep if tuned is not None else ()
    tables.write_parquet(out.path / Tuning.SWEEP, sweep_table(measured), Tuning.tag())
    runtime.observe({"tuning_seconds": round(time.perf_counter() - started, 6)})
    queries = TrueVectors.open(embeddings.path).vectors if asked is None else asked
    runtime.observe({"latency": observed_latency(index, tuned, np.asarray(queries[:_TIMED_QUERIES]))})
    return {
        "family": document.family,
        "parameters": document.parameters,
        "k_factor": document.k_factor,
        "recall": document.tuning.recall if document.tuning is not None else None,
        "target": document.target,
        "met": document.met,
        "scored": document.scored,
        "queries": document.queries,
        "points": document.grid,
    }


def observed_latency(index: VectorIndex, tuned: Tuned | None, queries: Vectors) -> list[dict[str, Any]]:
    """How long a single query (of float32 [q, d]) takes here, in milliseconds.

    At the chosen point and a few points of the sweep; where nothing was tuned, at the index's own.
    """
    if not len(queries):
        return []
    chosen = index.point if tuned is None else tuned.chosen.point
    points = [chosen]
    if tuned is not None:
        rows = np.linspace(0, len(tuned.sweep) - 1, _TIMED_POINTS).round().astype(int)
        points += [one for row in np.unique(rows) if (one := tuned.sweep[row].point) != chosen]
    rounds, seconds = (1, _TIMED_SECONDS / 6) if tuned is None else (3, _TIMED_SECONDS)
    return [
        {
            "point": "exact"
            if index.family.exact
            else ",".join(filter(None, [point.parameters, f"k_factor={point.k_factor:g}"])),
            "chosen": point == chosen,
            "median_ms": round(1000 * latency.median, 4),
            "p95_ms": round(1000 * latency.p95, 4),
            "searches": latency.searches,
        }
        for point, latency in zip(points, latencies(index, queries, K, points, rounds=rounds, seconds=seconds), strict=True)
    ]


def queries_for(settings: TuningSettings, count: int) -> int:
    """How many queries an index of so many vectors is tuned on."""
    preset: str = settings.tuning_preset
    if preset == "auto":
        preset = "small" if count < _SMALL_BELOW else "medium"
    return QUERIES[preset]


def tune_on(index: VectorIndex, truth: TrueVectors, queries: Vectors, target: float) -> Tuned:
    """Tune on every other query (float32 [q, d], q at least 2), and hold the rest out."""
    asked = questions(truth, queries)
    return tune(index, asked.half(0), asked.half(1), target)


def describe(index: VectorIndex, tuned: Tuned | None, target: float, queries: int) -> TuningDocument:
    """What a tuning came to; None: the index's own point, unmeasured."""
    exact = index.family.exact
    point = tuned.chosen.point if tuned is not None else index.point
    return TuningDocument(
        version=FORMAT,
        index=index.meta.seal,
        family=index.family.name,
        exact=exact,
        k=K,
        target=target,
        met=True if exact else tuned.met if tuned is not None else None,
        parameters=point.parameters,
        k_factor=point.k_factor,
        scored=tuned.chosen.scored if tuned is not None else index.count if exact else 0,
        queries=queries,
        tuning=Recall(recall=1.0, low=1.0, high=1.0) if exact else _recall(tuned.chosen) if tuned is not None else None,
        held_out=_recall(tuned.held_out) if tuned is not None else None,
        grid=len(tuned.sweep) if tuned is not None else 0,
    )


def _recall(measured: Measured) -> Recall:
    return Recall(recall=round(measured.recall, _DIGITS), low=round(measured.low, _DIGITS), high=round(measured.high, _DIGITS))


def sweep_table(sweep: Sequence[Measured]) -> pa.Table:
    """Every point measured, as a table of the columns of `schemas.Tuning`."""
    columns: dict[str, Any] = {
        "nprobe": [measured.point.nprobe for measured in sweep],
        "ef_search": [measured.point.ef_search for measured in sweep],
        "k_factor": [measured.point.k_factor for measured in sweep],
        "queries": [measured.queries for measured in sweep],
        **{name: [round(getattr(one, name), _DIGITS) for one in sweep] for name in ("recall", "low", "high")},
        "scored": [measured.scored for measured in sweep],
        "bound": [measured.bound for measured in sweep],
    }
    return pa.table(columns, schema=Tuning.schema)


def _uses(settings: Settings) -> Mapping[str, str]:
    return {
        **registry.uses(settings.embed),
        "faiss": str(import_faiss().__version__),
        "numpy": version("numpy"),
    }


STAGE = Stage(tuning, code_version="2", uses=_uses)
