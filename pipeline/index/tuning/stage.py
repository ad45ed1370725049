"""The stage `tuning`: at which point an index is searched, found by measurement, with everything that was measured.

Belongs here: from artefacts to queries, and what is written. Not here: the measurement (`tuning`), times (the command `tune`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
import pyarrow as pa

from pipeline import tables
from pipeline.config import EmbedSettings, Settings, TuningSettings
from pipeline.embed import registry
from pipeline.files import canonical_json
from pipeline.index.dense.arrays import TrueVectors, Vectors
from pipeline.index.dense.families import import_faiss
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.tuning.document import FORMAT, Recall, TuningDocument
from pipeline.index.tuning.queries import query_texts
from pipeline.index.tuning.sweep import K, Measured, Tuned, questions, tune
from pipeline.schemas import Chunks, Definitions, Embeddings, FaissIndex, Tuning
from pipeline.stage import Artefact, Facts, Output, Stage

QUERIES: Mapping[str, int] = {"small": 320, "medium": 768, "large": 2048}
"""Preset -> queries; the point is chosen on one half of them and confirmed on the other."""
_BELOW = (("small", 100_000), ("medium", 1_000_000))
FEWEST = 2
"""Queries: one to choose by, one to hold out."""
_DIGITS = 6


def tuning(
    faiss_index: Artefact[FaissIndex],
    embeddings: Artefact[Embeddings],
    definitions: Artefact[Definitions],
    chunks: Artefact[Chunks],
    embed: EmbedSettings,
    settings: TuningSettings,
    out: Output[Tuning],
) -> Facts:
    """Write the operating point of the index, and the sweep that it was chosen from."""
    index = VectorIndex.open(faiss_index.path, vectors=embeddings.path)
    tuned: Tuned | None = None
    asked: Vectors | None = None
    if not index.family.exact and index.count and settings.autotune_on_start:
        texts = query_texts(definitions.path, chunks.path, queries_for(settings, index.count))
        if len(texts) >= FEWEST:
            asked = registry.load(embed).encode_queries(texts)
            tuned = tune_on(index, TrueVectors.open(embeddings.path), asked, settings.target_recall)
    document = describe(index, tuned, settings.target_recall, 0 if asked is None else len(asked))
    (out.path / Tuning.FILE).write_bytes(canonical_json(msgspec.to_builtins(document)))
    measured = tuned.sweep if tuned is not None else ()
    tables.write_parquet(out.path / Tuning.SWEEP, sweep_table(measured), Tuning.tag())
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


def queries_for(settings: TuningSettings, count: int) -> int:
    """How many queries an index of so many vectors is tuned on."""
    preset: str = settings.tuning_preset
    if preset == "auto":
        preset = next((name for name, below in _BELOW if count < below), "large")
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
    }
    return pa.table(columns, schema=Tuning.schema)


def _uses(settings: Settings) -> Mapping[str, str]:
    return {
        **registry.uses(settings.embed),
        "faiss": str(import_faiss().__version__),
        "numpy": version("numpy"),
    }


STAGE = Stage(tuning, code_version="1", uses=_uses)
