"""The stage `eval_metrics`: the test queries asked to the index that is about to be published.

Belongs here: from artefacts to figures and tables. Not here: asking (`evaluator`), arithmetic (`metrics`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.config import EmbedSettings, EvalSettings, SearchSettings, Settings, SpladeSettings, XtrSettings
from pipeline.embed import registry
from pipeline.errors import RuntimeLifecycleError
from pipeline.evaluation.document import MetricsDocument
from pipeline.evaluation.evaluator import evaluate, no_evaluation
from pipeline.evaluation.points import points_around
from pipeline.evaluation.queries import TEST, read_queries
from pipeline.evaluation.staged import Engine, staged
from pipeline.evaluation.twin import twin_of
from pipeline.files import canonical_json
from pipeline.index.dense.families import import_faiss
from pipeline.index.tuning.locked_point import Lock
from pipeline.installed import version
from pipeline.schemas import (
    Chunks,
    Definitions,
    Embeddings,
    EvalMetrics,
    EvalQueries,
    FaissIndex,
    LexicalIndex,
    SpladeIndex,
    Tuning,
    XtrIndex,
)
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.tables import write_parquet
from pipeline.workers import Runtime


def eval_metrics(
    eval_queries: Artefact[EvalQueries],
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
    runtime: Runtime,
    out: Output[EvalMetrics],
) -> Facts:
    """Write `metrics.json` and the tables behind it; tell how long searches take here.

    Raises `RuntimeLifecycleError` where an embedding server does not answer.
    """
    queries = read_queries(eval_queries.path, TEST)
    if queries:
        # Of the artefacts that a search or the twin reads.
        read = (chunks, definitions, embeddings, faiss_index, tuning, lexical_index, splade_index, xtr_index)
        started = time.perf_counter()
        with staged(read, Engine(search, embed, splade, xtr), lock) as opened, twin_of(opened, queries) as twin:
            made = evaluate(
                opened, twin, queries, settings.eval_k, points=points_around(opened), oracle_tokens=True, runtime=runtime
            )
        runtime.observe({"evaluation_seconds": round(time.perf_counter() - started, 6), "search_latency": made.seconds})
        _require_answers(made.document, embed)
    else:
        made = no_evaluation(settings.eval_k)
    (out.path / EvalMetrics.FILE).write_bytes(canonical_json(msgspec.to_builtins(made.document)))
    for name, table in ((EvalMetrics.DETAILS, made.details), (EvalMetrics.POOL, made.pool), (EvalMetrics.POINTS, made.points)):
        write_parquet(out.path / name, table, EvalMetrics.tag())
    return _facts(made.document)


def _require_answers(document: MetricsDocument, embed: EmbedSettings) -> None:
    """Raise where a server was silent: that would be kept as what these artefacts are worth, and refused forever."""
    if embed.embedder == "http" and "dense" in document.broken:
        raise RuntimeLifecycleError(
            f"The index cannot be evaluated: {document.broken['dense']}",
            hint="Build again when the server answers; what is built already is kept.",
        )


def _facts(document: MetricsDocument) -> Facts:
    facts: dict[str, Any] = {"state": document.state, "queries": document.queries}
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


STAGE = Stage(eval_metrics, code_version="2", uses=uses)
