"""The stage `symbols`: chunks and occurrences in; what each chunk defines and uses, and how symbols relate, out.

Chunks and their vectors do not wait for an indexer: this is where its symbols are joined to them.

Belongs here: reading and writing tables part by part. Not here: the joins (`symbols`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.chunks.symbols import (
    CHUNK_COLUMNS,
    EDGES,
    OCCURRENCE_COLUMNS,
    Occurrences,
    chunk_symbols,
    symbol_edges,
)
from pipeline.delta import link_part, totals, unchanged_parts
from pipeline.schemas import Chunks, ChunkSymbols, ScipOccurrences, ScipSymbols, SymbolEdges
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.tables import part_facts, part_path, parts_together, read_part, write_part
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
    earlier = runtime.earlier
    same = unchanged_parts(earlier, (chunks, Chunks), (occurrences, ScipOccurrences), (scip_symbols, ScipSymbols))
    jobs = [_Job(*paths, *folders, part) for part, paths in enumerate(zip(*inputs, strict=True)) if part not in same]
    work = _BYTES_AN_OCCURRENCE * int(occurrences.facts.get("occurrences", 0)) * len(jobs) // len(inputs[0])
    made = list(run_jobs(_join_part, jobs, runtime, work_bytes=work))
    before: Facts = {}
    gone: list[Facts] = []
    if earlier is not None and same:
        tables, edges = (earlier.outputs[kind.asset] for kind in (ChunkSymbols, SymbolEdges))
        before = tables.facts
        gone = [part_facts(part_path(tables.path / ChunkSymbols.name, job.part)) for job in jobs]
        for part in same:
            link_part(tables.path, chunk_symbols.path, ChunkSymbols, part)
            link_part(edges.path, symbol_edges.path, SymbolEdges, part)
    found = totals(before, gone, made)
    return {**found, "edges_by_kind": {kind: found["edges_by_kind"].get(kind, 0) for kind in EDGES}}


STAGE = Stage(symbols, code_version="3")


def _join_part(job: _Job) -> dict[str, Any]:
    """Write both tables of one part; returns the stage's facts, of this part alone."""
    rows = Occurrences.of(read_part(job.occurrences, ScipOccurrences, OCCURRENCE_COLUMNS))
    table, lost = chunk_symbols(read_part(job.chunks, Chunks, CHUNK_COLUMNS), rows)
    edges = symbol_edges(rows, read_part(job.scip_symbols, ScipSymbols, ["symbol", "relationships"]))
    kinds = edges["kind"].combine_chunks()
    counts = np.bincount(kinds.indices.to_numpy(), minlength=len(EDGES)).tolist()
    facts = {
        "occurrences": len(rows.uri),
        "local_occurrences": int(np.count_nonzero(rows.local)),
        "occurrences_without_chunk": lost,
        "chunk_symbols": table.num_rows,
        "symbol_edges": edges.num_rows,
        "edges_by_kind": dict(zip(kinds.dictionary.to_pylist(), counts, strict=True)),
    }
    write_part(job.chunk_symbols, ChunkSymbols, job.part, table, facts=facts)
    write_part(job.symbol_edges, SymbolEdges, job.part, edges)
    return facts
