"""The stage `eval_metrics`: the test queries asked to the index that is about to be published.

Belongs here: from artefacts to figures and tables. Not here: asking (`evaluator`), arithmetic (`metrics`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import msgspec

from pipeline.config import EmbedSettings, EvalSettings, SearchSettings, Settings, SpladeSettings, XtrSettings
from pipeline.embed import registry
from pipeline.evaluation.document import FORMAT, METHOD, MetricsDocument
from pipeline.files import canonical_json
from pipeline.index.dense.families import import_faiss
from pipeline.index.tuning.locked_point import Lock
from pipeline.schemas import (
    Chunks,
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
    """Write `metrics.json` and the tables behind it; tell how long searches take here."""
    document = MetricsDocument(
        version=FORMAT, method=METHOD, state="off", k=settings.eval_k, queries=0, fused=None, by_half={}, by_label={},
        by_language={}, by_module={}, channels={}, nearest=None, tokens=None, agreement=None, broken={},
    )  # fmt: skip
    (out.path / EvalMetrics.FILE).write_bytes(canonical_json(msgspec.to_builtins(document)))
    for name, schema in (
        (EvalMetrics.DETAILS, EvalMetrics.details),
        (EvalMetrics.POOL, EvalMetrics.pool),
        (EvalMetrics.POINTS, EvalMetrics.points),
    ):
        write_parquet(out.path / name, schema.empty_table(), EvalMetrics.tag())
    return {"state": document.state, "queries": 0}


def uses(settings: Settings) -> Mapping[str, str]:
    """What searches depend on beside the artefacts."""
    return {
        **registry.uses(settings.embed),
        "faiss": str(import_faiss().__version__),
        "numpy": version("numpy"),
        "tantivy": version("tantivy"),
    }


STAGE = Stage(eval_metrics, code_version="1", uses=uses)
