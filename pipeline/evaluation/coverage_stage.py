"""The stage `coverage`: what of a repository is in the index, and what of that is found.

Belongs here: from artefacts to `coverage.json` and its tables. Not here: finding out (`cover`).
"""

from __future__ import annotations

import msgspec

from pipeline.config import EmbedSettings, EvalSettings, SearchSettings, SpladeSettings, XtrSettings
from pipeline.evaluation.document import FORMAT, CoverageDocument, Share
from pipeline.evaluation.metrics_stage import uses
from pipeline.files import canonical_json
from pipeline.index.tuning.locked_point import Lock
from pipeline.schemas import (
    Chunks,
    Coverage,
    Definitions,
    Embeddings,
    FaissIdmap,
    FaissIndex,
    LexicalIndex,
    Snapshot,
    SpladeIndex,
    Tuning,
    XtrIndex,
)
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.tables import write_parquet
from pipeline.workers import Runtime


def coverage(
    source: Artefact[Snapshot],
    definitions: Artefact[Definitions],
    chunks: Artefact[Chunks],
    embeddings: Artefact[Embeddings],
    faiss_index: Artefact[FaissIndex],
    faiss_idmap: Artefact[FaissIdmap],
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
    out: Output[Coverage],
) -> Facts:
    """Write `coverage.json` and the tables behind it."""
    none = Share(part=0, whole=0)
    document = CoverageDocument(
        version=FORMAT, k=settings.eval_k, files=none, bytes=none, definitions=none, found=none, skipped={}, missed={},
        by_language={}, by_kind={}, by_channel={},
    )  # fmt: skip
    (out.path / Coverage.FILE).write_bytes(canonical_json(msgspec.to_builtins(document)))
    write_parquet(out.path / Coverage.TABLE, Coverage.definitions.empty_table(), Coverage.tag())
    write_parquet(out.path / Coverage.MODULES, Coverage.modules.empty_table(), Coverage.tag())
    return {"definitions": 0}


STAGE = Stage(coverage, code_version="1", uses=uses)
