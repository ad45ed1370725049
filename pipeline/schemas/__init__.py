"""What every artefact is: the Arrow schema and version of each table, and the file names of everything that is not a table.

A `Kind` is both a typed name (`Artefact[Chunks]`) and the one place where the shape of that artefact is written down. Files lie
under the same relative names in a store object and in a published version.

Belongs here: schemas and names, a module for each room of the house. Not here: reading and writing (`tables`), digests and keys
(`store`).
"""

from __future__ import annotations

from pipeline.schemas.base import Kind, Table
from pipeline.schemas.indexes import (
    Chunks,
    Embeddings,
    FaissIdmap,
    FaissIndex,
    LexicalIndex,
    Manifest,
    SpladeIndex,
    Tuning,
    XtrIndex,
)
from pipeline.schemas.quality import Coverage, CoverageRows, EvalMetrics, EvalQueries
from pipeline.schemas.structure import (
    AstNodes,
    ChunkSymbols,
    CstNodes,
    Definitions,
    Files,
    Modules,
    ScipIndex,
    ScipOccurrences,
    ScipSymbols,
    Snapshot,
    Sources,
    SymbolEdges,
)
from pipeline.schemas.traces import TRACES, HybridContrib, HybridTopk, TracePool, TraceQueries, TraceTable

__all__ = [
    "TABLES",
    "TRACES",
    "AstNodes",
    "ChunkSymbols",
    "Chunks",
    "Coverage",
    "CoverageRows",
    "CstNodes",
    "Definitions",
    "Embeddings",
    "EvalMetrics",
    "EvalQueries",
    "FaissIdmap",
    "FaissIndex",
    "Files",
    "HybridContrib",
    "HybridTopk",
    "Kind",
    "LexicalIndex",
    "Manifest",
    "Modules",
    "ScipIndex",
    "ScipOccurrences",
    "ScipSymbols",
    "Snapshot",
    "Sources",
    "SpladeIndex",
    "SymbolEdges",
    "Table",
    "TracePool",
    "TraceQueries",
    "TraceTable",
    "Tuning",
    "XtrIndex",
]

TABLES: tuple[type[Table], ...] = (
    Files, Sources, AstNodes, Definitions, ScipOccurrences, ScipSymbols, CstNodes, Modules, Chunks, ChunkSymbols, SymbolEdges,
    Embeddings, CoverageRows,
)  # fmt: skip
"""The tables of a version that are cut into parts."""
