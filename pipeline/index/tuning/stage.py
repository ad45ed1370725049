"""The stage `tuning`: at which point an index is searched, found by measurement, with everything that was measured.

Belongs here: from artefacts to queries, and what is written. Not here: the measurement (`sweep`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from pipeline import tables
from pipeline.config import EmbedSettings, Settings, TuningSettings
from pipeline.embed import registry
from pipeline.embed.arrays import open_all
from pipeline.files import canonical_json
from pipeline.index.dense.arrays import TrueVectors, Vectors
from pipeline.index.dense.description import IndexMeta, read_meta
from pipeline.index.dense.families import FAMILIES, Family, import_faiss
from pipeline.index.dense.operating_point import OperatingPoint, parse
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.tuning import nearest
from pipeline.index.tuning.document import FORMAT, Recall, TuningDocument, point_of, read_tuning
from pipeline.index.tuning.nearest import Nearest, search_all, updated
from pipeline.index.tuning.queries import QUERIES, query_texts
from pipeline.index.tuning.sweep import K, Measured, Questions, Tuned, cost_over, latencies, measure, questions, tune
from pipeline.installed import version
from pipeline.schemas import Embeddings, EvalQueries, FaissIndex, Tuning
from pipeline.stage import Artefact, Base, Facts, Output, Stage
from pipeline.workers import Runtime

_SMALL_BELOW = 500_000
_TIMED_QUERIES, _TIMED_POINTS, _TIMED_SECONDS = 32, 4, 0.3
FEWEST = 2
"""Queries: one to choose by, one to hold out."""
_DIGITS = 6
_KEPT_SHARE = 0.75
"""A point is measured again on so many of the queries that it would be found by, or found anew."""
_LEAST_AGAIN, _AGAIN = 96, 4
"""So many of the queries, or one in four, are asked first when a point is measured again."""
_MEASURED = ("queries", "recall", "low", "high", "scored", "bound")


class _Asked(NamedTuple):
    """What a tuning came to, its queries float32 [q, d], what is nearest to them, and whether it kept the point of its base."""

    tuned: Tuned
    queries: Vectors
    nearest: Nearest
    kept: bool


def tuning(
    faiss_index: Artefact[FaissIndex],
    embeddings: Artefact[Embeddings],
    eval_queries: Artefact[EvalQueries],
    base: Base[Tuning],
    embed: EmbedSettings,
    settings: TuningSettings,
    runtime: Runtime,
    out: Output[Tuning],
) -> Facts:
    """Write the operating point of the index, and the sweep that it was chosen from; tell how long searches there take.

    While the index has the primary of its base, the point of the base is kept as long as it is measured to be enough.
    """
    started = time.perf_counter()
    meta = read_meta(faiss_index.path)
    family = FAMILIES[meta.family]
    index: VectorIndex | None = None
    done: _Asked | None = None
    # Of an exact index there is nothing to find out but how long a search takes, and that was told when its primary was new.
    if not family.exact or faiss_index.facts.get("base") is None:
        index = VectorIndex.open(faiss_index.path, vectors=embeddings.path, verified=True)
    if index is not None and not family.exact and index.count and settings.autotune_on_start:
        texts = tuple(query_texts(eval_queries.path, queries_for(settings, index.count)))
        done = _kept(base, faiss_index, embeddings, texts, index, embed, settings)
        if done is None and len(texts) >= FEWEST:
            queries = registry.load(embed).encode_queries(texts)
            found = search_all(texts, queries, TrueVectors.open(embeddings.path))
            done = _Asked(_tuned(index, found.questions(queries), settings.target_recall), queries, found, False)
    tuned = done.tuned if done is not None else None
    point = index.point if index is not None else OperatingPoint(k_factor=meta.k_factor)
    document = _document(meta, family, tuned, point, settings.target_recall, done)
    (out.path / Tuning.FILE).write_bytes(canonical_json(msgspec.to_builtins(document)))
    tables.write_parquet(out.path / Tuning.SWEEP, sweep_table(tuned.sweep if tuned is not None else ()), Tuning.tag())
    nearest.write(out.path, done.nearest if done is not None else None)
    runtime.observe({"tuning_seconds": round(time.perf_counter() - started, 6)})
    if index is not None and (done is None or not done.kept):
        asked = TrueVectors.open(embeddings.path).vectors if done is None else done.queries
        runtime.observe({"latency": observed_latency(index, tuned, np.asarray(asked[:_TIMED_QUERIES]))})
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
        "kept": document.kept,
    }


def _kept(
    base: Base[Tuning],
    faiss_index: Artefact[FaissIndex],
    embeddings: Artefact[Embeddings],
    texts: tuple[str, ...],
    index: VectorIndex,
    embed: EmbedSettings,
    settings: TuningSettings,
) -> _Asked | None:
    """The point of the base, measured again; None where it is another primary's, or is not enough any more.

    Asked are the queries that were asked then and are still there. Where no point was enough, that is so until the primary is
    another one.
    """
    primary = FaissIndex.INDEX
    was, old = (base.inputs.get(kind.asset) for kind in (FaissIndex, Embeddings))
    if base.artefact is None or was is None or old is None or was.digests.get(primary) != faiss_index.digests.get(primary):
        return None
    document, had = read_tuning(base.artefact.path), nearest.read(base.artefact.path)
    known = set(had.texts)
    common = tuple(text for text in texts if text in known)
    if document.family != index.family.name or len(common) < max(FEWEST, _KEPT_SHARE * len(texts)):
        return None
    queries = registry.load(embed).encode_queries(common)
    found = updated(had.of(common), queries, open_all(old.path), open_all(embeddings.path))
    tuned = _measured_again(base.artefact, document, index, found.questions(queries), settings.target_recall)
    return _Asked(tuned, queries, found, True) if tuned.met or not document.met else None


def _measured_again(
    base: Artefact[Tuning], document: TuningDocument, index: VectorIndex, asked: Questions, target: float
) -> Tuned:
    """What the point of a base finds now, and its sweep, with this point as it is now.

    Where some of the queries show that it is enough, those are all.
    """
    point = parse(document.parameters, document.k_factor, family=index.family, nlist=index.nlist, default=index.point)
    some = asked.first(max(_LEAST_AGAIN, len(asked.queries) // _AGAIN))
    chosen, held_out, met = _halves(index, some, point, target)
    if not met and len(some.queries) < len(asked.queries):
        chosen, held_out, met = _halves(index, asked, point, target)
    rows = tables.read_file(base.path / Tuning.SWEEP, Tuning.tag()).to_pylist()
    before = (Measured(point_of(row), *(row[name] for name in _MEASURED)) for row in rows)
    sweep = tuple(chosen if one.point == point and not one.bound else one for one in before)
    return Tuned(chosen, held_out, met, sweep)


def _halves(index: VectorIndex, asked: Questions, point: OperatingPoint, target: float) -> tuple[Measured, Measured, bool]:
    """What a point finds for either half of the queries, and whether that is enough, as `tune` has it."""
    first, second = asked.half(0), asked.half(1)
    cost = cost_over(index, first)
    chosen, held_out = measure(index, first, point, cost), measure(index, second, point, cost)
    return chosen, held_out, chosen.low >= target and held_out.recall >= target


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
    return _tuned(index, questions(truth, queries), target)


def _tuned(index: VectorIndex, asked: Questions, target: float) -> Tuned:
    return tune(index, asked.half(0), asked.half(1), target)


def _document(
    meta: IndexMeta, family: Family, tuned: Tuned | None, own: OperatingPoint, target: float, done: _Asked | None
) -> TuningDocument:
    """What a tuning came to; None: the index's own point, unmeasured."""
    exact = family.exact
    point = tuned.chosen.point if tuned is not None else own
    return TuningDocument(
        version=FORMAT,
        index=meta.seal,
        family=family.name,
        exact=exact,
        k=K,
        target=target,
        met=True if exact else tuned.met if tuned is not None else None,
        parameters=point.parameters,
        k_factor=point.k_factor,
        scored=tuned.chosen.scored if tuned is not None else meta.count if exact else 0,
        queries=_queries_of(done) if done is not None else 0,
        tuning=Recall(recall=1.0, low=1.0, high=1.0) if exact else _recall(tuned.chosen) if tuned is not None else None,
        held_out=_recall(tuned.held_out) if tuned is not None else None,
        grid=len(tuned.sweep) if tuned is not None else 0,
        kept=done is not None and done.kept,
    )


def _queries_of(done: _Asked) -> int:
    return done.tuned.chosen.queries + done.tuned.held_out.queries if done.kept else len(done.queries)


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


STAGE = Stage(tuning, code_version="3", uses=_uses)
