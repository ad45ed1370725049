"""The stage `coverage`: what of a repository is in the index, and what of that is found.

Belongs here: from artefacts to `coverage.json` and its tables. Not here: finding out (`cover`).
"""

from __future__ import annotations

import msgspec

from pipeline.config import EmbedSettings, EvalSettings, SearchSettings, SpladeSettings, XtrSettings
from pipeline.evaluation.cover.covering import cover
from pipeline.evaluation.cover.looking import Search
from pipeline.evaluation.metrics_stage import uses
from pipeline.evaluation.staged import Engine
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
    artefacts = (
        source, definitions, chunks, embeddings, faiss_index, faiss_idmap, tuning, lexical_index, splade_index, xtr_index,
    )  # fmt: skip
    covered = cover(Search(artefacts, Engine(search, embed, splade, xtr), lock, settings.eval_k), settings, runtime)
    document = covered.document
    (out.path / Coverage.FILE).write_bytes(canonical_json(msgspec.to_builtins(document)))
    write_parquet(out.path / Coverage.TABLE, covered.definitions, Coverage.tag())
    write_parquet(out.path / Coverage.MODULES, covered.modules, Coverage.tag())
    return {
        "files": document.files.whole,
        "indexed_files": document.files.part,
        "definitions": document.definitions.whole,
        "covered": document.definitions.part,
        "asked": document.found.whole,
        "found": document.found.part,
        "missed": document.missed,
    }


STAGE = Stage(coverage, code_version="2", uses=uses)
