"""The manifest: one document that says everything about a version.

Belongs here: what stands in `manifest.json` and how a version is named. Not here: its on-disk schema (`store.versions`),
whether it may be published (`checks`), or publishing (`publication`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from pipeline import __version__, files
from pipeline.config import Settings
from pipeline.evaluation.document import summary
from pipeline.index.tuning.document import operating_point
from pipeline.index.tuning.locked_point import LockedPoint
from pipeline.installed import version
from pipeline.schemas import (
    AstNodes,
    Chunks,
    ChunkSymbols,
    Coverage,
    CstNodes,
    Definitions,
    Embeddings,
    EvalMetrics,
    EvalQueries,
    FaissIdmap,
    FaissIndex,
    LexicalIndex,
    Manifest,
    Modules,
    ScipIndex,
    ScipOccurrences,
    ScipSymbols,
    Snapshot,
    SpladeIndex,
    SymbolEdges,
    Tuning,
    XtrIndex,
)
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.store import readings
from pipeline.store.objects import StoredFile, read_record, sealed_digest
from pipeline.store.versions import FORMAT, MANIFEST, ManifestArtefact, ManifestDocument

_TOOLS = (
    "duckdb",
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
    "pyarrow",
    "pygit2",
    "tantivy",
    "tokenizers",
    "tree-sitter",
    "tree-sitter-language-pack",
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a version is of, beside its artefacts. `parent` is the version that was published before it."""

    repository: str
    commit: str | None
    dirty: bool
    parent: str | None
    settings: Mapping[str, Any]
    locked: LockedPoint | None = None
    """The operating point that somebody locked."""

    @property
    def digest(self) -> str:
        """Over all fields."""
        return hashlib.blake2b(msgspec.json.encode(_fields(self), order="sorted"), digest_size=16).hexdigest()


def _fields(identity: Identity) -> dict[str, Any]:
    return {field.name: getattr(identity, field.name) for field in fields(identity)}


def tool_versions() -> dict[str, str]:
    """Versions of the libraries that make artefacts; absent ones are left out."""
    found = {"codeintel-pipeline": __version__}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def version_name(keys: Mapping[str, str], identity: Identity) -> str:
    """The name of the version that consists of these artefacts (asset -> key): a function of what it is, not of its history."""
    described = {**_fields(identity), "parent": None, "artefacts": {asset: keys[asset] for asset in sorted(keys)}}
    return "v-" + hashlib.blake2b(msgspec.json.encode(described, order="sorted"), digest_size=8).hexdigest()


def manifest(
    source: Artefact[Snapshot],
    ast_nodes: Artefact[AstNodes],
    definitions: Artefact[Definitions],
    scip_index: Artefact[ScipIndex],
    scip_occurrences: Artefact[ScipOccurrences],
    scip_symbols: Artefact[ScipSymbols],
    cst_nodes: Artefact[CstNodes],
    modules: Artefact[Modules],
    chunks: Artefact[Chunks],
    chunk_symbols: Artefact[ChunkSymbols],
    symbol_edges: Artefact[SymbolEdges],
    embeddings: Artefact[Embeddings],
    faiss_index: Artefact[FaissIndex],
    faiss_idmap: Artefact[FaissIdmap],
    tuning: Artefact[Tuning],
    lexical_index: Artefact[LexicalIndex],
    xtr_index: Artefact[XtrIndex],
    splade_index: Artefact[SpladeIndex],
    eval_queries: Artefact[EvalQueries],
    eval_metrics: Artefact[EvalMetrics],
    coverage: Artefact[Coverage],
    identity: Identity,
    out: Output[Manifest],
) -> Facts:
    """Write `manifest.json` over all artefacts of a version."""
    artefacts: tuple[Artefact[Any], ...] = (
        source,
        ast_nodes,
        definitions,
        scip_index,
        scip_occurrences,
        scip_symbols,
        cst_nodes,
        modules,
        chunks,
        chunk_symbols,
        symbol_edges,
        embeddings,
        faiss_index,
        faiss_idmap,
        tuning,
        lexical_index,
        xtr_index,
        splade_index,
        eval_queries,
        eval_metrics,
        coverage,
    )
    meta = msgspec.json.decode((faiss_index.path / FaissIndex.META).read_bytes(), type=dict[str, Any])
    document = ManifestDocument(
        format=FORMAT,
        version=version_name({artefact.asset: artefact.key for artefact in artefacts}, identity),
        program=f"codeintel-pipeline {__version__}",
        repository=identity.repository,
        commit=identity.commit,
        dirty=identity.dirty,
        parent=identity.parent,
        settings=dict(identity.settings),
        tools=tool_versions(),
        counts=_counts(source, ast_nodes, scip_occurrences, chunks, embeddings, lexical_index, splade_index, xtr_index),
        embedder=msgspec.json.decode((embeddings.path / Embeddings.EMBEDDER).read_bytes(), type=dict[str, Any]),
        faiss=meta,
        operating_point=operating_point(tuning.path, identity.locked),
        evaluation=summary(eval_metrics.path, coverage.path),
        artefacts={artefact.asset: _describe(artefact) for artefact in artefacts},
    )
    document = msgspec.structs.replace(document, digest=sealed_digest(document))
    (out.path / MANIFEST).write_bytes(files.canonical_json(msgspec.to_builtins(document)))
    return {"version": document.version, "artefacts": len(artefacts), **document.counts}


def _counts(
    source: Artefact[Snapshot],
    ast_nodes: Artefact[AstNodes],
    occurrences: Artefact[ScipOccurrences],
    chunks: Artefact[Chunks],
    embeddings: Artefact[Embeddings],
    lexical_index: Artefact[LexicalIndex],
    splade_index: Artefact[SpladeIndex],
    xtr_index: Artefact[XtrIndex],
) -> dict[str, int]:
    return {
        "files": source.facts["rows"],
        "indexed_files": source.facts["indexed"],
        "bytes": source.facts["bytes"],
        "nodes": ast_nodes.facts["nodes"],
        "definitions": ast_nodes.facts["definitions"],
        "occurrences": occurrences.facts["occurrences"],
        "symbols": occurrences.facts["symbols"],
        "precise_files": occurrences.facts["precise_files"],
        "chunks": chunks.facts["chunks"],
        "vectors": embeddings.facts["vectors"],
        "documents": lexical_index.facts["documents"],
        "tokens": xtr_index.facts["tokens"],
        "splade_documents": splade_index.facts["documents"],
    }


def _describe(artefact: Artefact[Any]) -> ManifestArtefact:
    record = read_record(artefact)
    return ManifestArtefact(
        key=record.key,
        code_version=record.code_version,
        schema=record.schema,
        digest=record.digest,
        rows=_rows(artefact.path, record.files),
        facts=record.facts,
        recipe=record.recipe,
        files=record.files,
    )


def _rows(root: Path, stored_files: Sequence[StoredFile]) -> dict[str, int]:
    """Rows by table: a table is a folder of parts, or one Parquet file."""
    rows: dict[str, int] = {}
    for stored in stored_files:
        if stored.path.endswith(".parquet"):
            table = stored.path.split("/", 1)[0].removesuffix(".parquet")
            found = readings.reading("rows", [stored.digest], partial(_count_rows, f"{root}/{stored.path}"))
            rows[table] = rows.get(table, 0) + found
    return rows


def _count_rows(path: str) -> int:
    return int(pq.read_metadata(path).num_rows)


def _uses(settings: Settings) -> dict[str, str]:
    return tool_versions()


STAGE = Stage(manifest, code_version="4", uses=_uses)
