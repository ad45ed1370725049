"""The stage `coverage`: what of a repository is in the index, and what of that is found.

Belongs here: from artefacts to `coverage.json` and its tables. Not here: finding out (`cover`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from pipeline import tables
from pipeline.artefacts import Base
from pipeline.config import EmbedSettings, EvalSettings, QuerySettings, SearchSettings, SpladeSettings, XtrSettings
from pipeline.evaluation.change import change_since
from pipeline.evaluation.cover.answered import Answered, write_answered
from pipeline.evaluation.cover.continuing import continued, write_continued
from pipeline.evaluation.cover.covering import Counts, counts_of, cover, cut
from pipeline.evaluation.cover.looking import Search
from pipeline.evaluation.document import CoverageDocument
from pipeline.evaluation.metrics_stage import uses
from pipeline.evaluation.staged import Engine
from pipeline.files import canonical_json
from pipeline.index.tuning.locked_point import Lock
from pipeline.schemas import (
    Chunks,
    Coverage,
    CoverageRows,
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
    queries: QuerySettings,
    settings: EvalSettings,
    search: SearchSettings,
    embed: EmbedSettings,
    splade: SpladeSettings,
    xtr: XtrSettings,
    lock: Lock,
    base: Base[Coverage],
    runtime: Runtime,
    out: Output[Coverage],
) -> Facts:
    """Write `coverage.json` and the tables behind it; of what the base has, only what changed is looked at anew."""
    artefacts = (
        source, definitions, chunks, embeddings, faiss_index, faiss_idmap, tuning, lexical_index, splade_index, xtr_index,
    )  # fmt: skip
    searched = Search(artefacts, Engine(search, embed, splade, xtr), lock, settings.eval_k)
    change = change_since(base, source, chunks)
    carried = continued(base, change, searched, runtime, seed=chunks.key) if change is not None else None
    if carried is not None and base.artefact is not None:
        write_continued(out.path, base, carried)
        _write(out.path, carried.document, carried.modules, carried.asked)
        kept = {name: base.artefact.facts[name] for name in ("full", "complete")}
        return {**_facts(carried.document, carried.counts), **kept, "drift": carried.drift}
    covered = cover(searched, settings, runtime, ask=queries.eval_queries > 0)
    count = tables.parts_in(chunks.path, Chunks)
    for part, (rows, counts) in enumerate(cut(covered, count)):
        tables.write_part(out.path / CoverageRows.name, CoverageRows, part, rows, facts=msgspec.to_builtins(counts))
    _write(out.path, covered.document, covered.modules, covered.asked)
    full = {"chunks": chunks.facts["chunks"], "asked": len(covered.asked)}
    facts = _facts(covered.document, counts_of(covered.structure))
    return {**facts, "full": full, "complete": covered.complete, "drift": 0, "base": None}


def _write(folder: Path, document: CoverageDocument, modules: pa.Table, asked: Sequence[Answered]) -> None:
    (folder / Coverage.FILE).write_bytes(canonical_json(msgspec.to_builtins(document)))
    tables.write_parquet(folder / Coverage.MODULES, modules, Coverage.tag())
    write_answered(folder, asked)


def _facts(document: CoverageDocument, counts: Counts) -> dict[str, Any]:
    return {
        "files": document.files.whole,
        "indexed_files": document.files.part,
        "definitions": document.definitions.whole,
        "covered": document.definitions.part,
        "asked": document.found.whole,
        "asked_now": document.asked,
        "found": document.found.part,
        "missed": document.missed,
        "counts": msgspec.to_builtins(counts),
    }


STAGE = Stage(coverage, code_version="3", uses=uses)
