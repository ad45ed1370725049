"""The stage `symbols`: chunks and occurrences in; what each chunk defines and uses, and how symbols relate, out.

Chunks and their vectors do not wait for an indexer: this is where its symbols are joined to them.

Belongs here: reading and writing tables part by part. Not here: the joins (`symbols`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.chunks.symbols import (
    CHUNK_COLUMNS,
    EDGES,
    OCCURRENCE_COLUMNS,
    Occurrences,
    chunk_symbols,
    symbol_edges,
)
from pipeline.schemas import Chunks, ChunkSymbols, ScipOccurrences, ScipSymbols, SymbolEdges
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.tables import parts_together, read_part, write_part
from pipeline.workers import Runtime, run_jobs

_BYTES_AN_OCCURRENCE = 8
"""The threshold for worker processes is in bytes to parse; joining an occurrence costs about as much as so many."""


@dataclass(frozen=True, slots=True)
class _Job:
    chunks: Path
    occurrences: Path
    scip_symbols: Path
    chunk_symbols: Path
    symbol_edges: Path
    part: int


@dataclass(frozen=True, slots=True)
class _Joined:
    """What a job says of its part."""

    occurrences: int
    local: int
    lost: int
    chunk_symbols: int
    edges: Counter[str]


def symbols(
    chunks: Artefact[Chunks],
    occurrences: Artefact[ScipOccurrences],
    scip_symbols: Artefact[ScipSymbols],
    runtime: Runtime,
    chunk_symbols: Output[ChunkSymbols],
    symbol_edges: Output[SymbolEdges],
) -> Facts:
    """Join every occurrence to its chunk and to the definition around it.

    Facts: occurrences; local_occurrences, of these, which are in neither table; occurrences_without_chunk; chunk_symbols and
    symbol_edges (rows), edges_by_kind (rows). Raises `IndexCorruptionError` when the inputs do not belong together.
    """
    inputs = parts_together((chunks.path, Chunks), (occurrences.path, ScipOccurrences), (scip_symbols.path, ScipSymbols))
    folders = (chunk_symbols.path / ChunkSymbols.name, symbol_edges.path / SymbolEdges.name)
    jobs = [_Job(*paths, *folders, part) for part, paths in enumerate(zip(*inputs, strict=True))]
    work = _BYTES_AN_OCCURRENCE * int(occurrences.facts.get("occurrences", 0))
    done = list(run_jobs(_join_part, jobs, runtime, work_bytes=work))
    edges = sum((part.edges for part in done), Counter[str]())
    return {
        "occurrences": sum(part.occurrences for part in done),
        "local_occurrences": sum(part.local for part in done),
        "occurrences_without_chunk": sum(part.lost for part in done),
        "chunk_symbols": sum(part.chunk_symbols for part in done),
        "symbol_edges": edges.total(),
        "edges_by_kind": {kind: edges[kind] for kind in EDGES},
    }


STAGE = Stage(symbols, code_version="1")


def _join_part(job: _Job) -> _Joined:
    """Write both tables of one part."""
    rows = Occurrences.of(read_part(job.occurrences, ScipOccurrences, OCCURRENCE_COLUMNS))
    table, lost = chunk_symbols(read_part(job.chunks, Chunks, CHUNK_COLUMNS), rows)
    edges = symbol_edges(rows, read_part(job.scip_symbols, ScipSymbols, ["symbol", "relationships"]))
    count = write_part(job.chunk_symbols, ChunkSymbols, job.part, table)
    write_part(job.symbol_edges, SymbolEdges, job.part, edges)
    kinds = edges["kind"].combine_chunks()
    counts = np.bincount(kinds.indices.to_numpy(), minlength=len(EDGES)).tolist()
    local = int(np.count_nonzero(rows.local))
    return _Joined(len(rows.uri), local, lost, count, Counter(dict(zip(kinds.dictionary.to_pylist(), counts, strict=True))))
