"""The stage `eval_metrics`: the test queries asked to the index that is about to be published.

Belongs here: from artefacts to figures and tables. Not here: asking (`evaluator`), arithmetic (`metrics`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline import instruments
from pipeline.artefacts import Base
from pipeline.config import EmbedSettings, EvalSettings, SearchSettings, Settings, SpladeSettings, XtrSettings
from pipeline.embed import registry
from pipeline.errors import RuntimeLifecycleError
from pipeline.evaluation.carrying import carry_on, drift
from pipeline.evaluation.change import Change, change_since
from pipeline.evaluation.document import MetricsDocument
from pipeline.evaluation.evaluator import Evaluation, evaluate, no_evaluation
from pipeline.evaluation.measured import read_measured
from pipeline.evaluation.points import points_around
from pipeline.evaluation.queries import TEST, Query, read_queries
from pipeline.evaluation.staged import Engine, staged, unsearchable
from pipeline.evaluation.twin import twin_of
from pipeline.files import canonical_json
from pipeline.index.dense.families import import_faiss
from pipeline.index.tuning.locked_point import Lock
from pipeline.installed import version
from pipeline.npy import save_array
from pipeline.schemas import (
    Chunks,
    Definitions,
    Embeddings,
    EvalMetrics,
    EvalQueries,
    FaissIndex,
    LexicalIndex,
    Snapshot,
    SpladeIndex,
    Tuning,
    XtrIndex,
)
from pipeline.search.opened import Opened
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.tables import write_parquet
from pipeline.workers import Runtime


def eval_metrics(
    eval_queries: Artefact[EvalQueries],
    source: Artefact[Snapshot],
    chunks: Artefact[Chunks],
    definitions: Artefact[Definitions],
    embeddings: Artefact[Embeddings],
    faiss_index: Artefact[FaissIndex],
    tuning: Artefact[Tuning],
    lexical_index: Artefact[LexicalIndex],
    splade_index: Artefact[SpladeIndex],
    xtr_index: Artefact[XtrIndex],
    settings: EvalSettings,
    search: SearchSettings,
    embed: EmbedSettings,
    splade: SpladeSettings,
    xtr: XtrSettings,
    lock: Lock,
    base: Base[EvalMetrics],
    runtime: Runtime,
    out: Output[EvalMetrics],
) -> Facts:
    """Write `metrics.json` and the tables behind it; tell how long searches take here.

    What the base measured and no change can have moved is taken over (`carrying`); then times are not taken.

    Raises `RuntimeLifecycleError` where an embedding server does not answer.
    """
    queries = read_queries(eval_queries.path, TEST)
    made, drifted = no_evaluation(settings.eval_k), None
    if queries:
        # Of the artefacts that a search or the twin reads.
        read = (chunks, definitions, embeddings, faiss_index, tuning, lexical_index, splade_index, xtr_index)
        started = time.perf_counter()
        with staged(read, Engine(search, embed, splade, xtr), lock) as opened:
            change = change_since(base, source, chunks)
            made, drifted = _asked(opened, queries, base, change, settings, seed=chunks.key, runtime=runtime)
        runtime.observe({"evaluation_seconds": round(time.perf_counter() - started, 6)})
        _require_answers(made.document, embed)
    (out.path / EvalMetrics.FILE).write_bytes(canonical_json(msgspec.to_builtins(made.document)))
    for name, table in ((EvalMetrics.DETAILS, made.details), (EvalMetrics.POOL, made.pool), (EvalMetrics.POINTS, made.points)):
        write_parquet(out.path / name, table, EvalMetrics.tag())
    instruments.count("eval_pools_written_total")
    save_array(out.path / EvalMetrics.VECTORS, made.vectors)
    facts = _facts(made.document)
    if drifted is None or base.artefact is None:
        return {**facts, "full": {"chunks": chunks.facts["chunks"], "queries": len(queries)}, "drift": 0, "base": None}
    return {**facts, "full": base.artefact.facts["full"], "drift": drifted}


def _asked(
    opened: Opened,
    queries: Sequence[Query],
    base: Base[EvalMetrics],
    change: Change | None,
    settings: EvalSettings,
    *,
    seed: str,
    runtime: Runtime,
) -> tuple[Evaluation, int | None]:
    """The evaluation, and how many chunks have changed since all was asked; None where all was asked now."""
    if wrong := unsearchable(opened):
        return no_evaluation(settings.eval_k, {"lexical": wrong}), None
    measured = read_measured(base) if change is not None else None
    if change is not None and measured is not None:
        carried = carry_on(measured, opened, queries, change, seed, runtime)
        if carried is not None:
            return carried, drift(measured, change)
    return _all_asked(opened, queries, settings, runtime), None


def _all_asked(opened: Opened, queries: Sequence[Query], settings: EvalSettings, runtime: Runtime) -> Evaluation:
    """Every query asked now, and times taken."""
    with twin_of(opened, queries) as twin:
        points = points_around(opened)
        made = evaluate(opened, twin, queries, settings.eval_k, points=points, oracle_tokens=True, runtime=runtime)
    runtime.observe({"search_latency": made.seconds})
    return made


def _require_answers(document: MetricsDocument, embed: EmbedSettings) -> None:
    """Raise where a server was silent: that would be kept as what these artefacts are worth, and refused forever."""
    if embed.embedder == "http" and "dense" in document.broken:
        raise RuntimeLifecycleError(
            f"The index cannot be evaluated: {document.broken['dense']}",
            hint="Build again when the server answers; what is built already is kept.",
        )


def _facts(document: MetricsDocument) -> dict[str, Any]:
    facts: dict[str, Any] = {"state": document.state, "queries": document.queries, "asked": document.asked}
    if document.fused is not None:
        whole = document.fused
        facts |= {"ndcg": whole.ndcg.mean, "hit": whole.hit.mean, "mrr": whole.mrr.mean, "recall": whole.recall.mean}
    if document.nearest is not None:
        facts["ann_recall"] = document.nearest.recall.mean
    return facts | {"broken": sorted(document.broken)}


def uses(settings: Settings) -> Mapping[str, str]:
    """What searches depend on beside the artefacts."""
    return {
        **registry.uses(settings.embed),
        "faiss": str(import_faiss().__version__),
        "numpy": version("numpy"),
        "tantivy": version("tantivy"),
    }


STAGE = Stage(eval_metrics, code_version="4", uses=uses)
