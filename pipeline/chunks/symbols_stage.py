"""The stage `symbols`: chunks and occurrences in; what each chunk defines and uses, and how symbols relate, out.

Chunks and their vectors do not wait for an indexer: this is where its symbols are joined to them.

Belongs here: reading and writing tables part by part. Not here: the joins (`symbols`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artefacts import Earlier
from pipeline.chunks.symbols import (
    CHUNK_COLUMNS,
    EDGES,
    OCCURRENCE_COLUMNS,
    Occurrences,
    chunk_symbols,
    symbol_edges,
)
from pipeline.delta import link_part, unchanged_parts
from pipeline.schemas import Chunks, ChunkSymbols, ScipOccurrences, ScipSymbols, SymbolEdges
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.tables import part_facts, parts_together, read_part, write_part
from pipeline.workers import Runtime, run_jobs

_BYTES_AN_OCCURRENCE = 8
"""The threshold for worker processes is in bytes to parse; joining an occurrence costs about as much as so many."""
_COUNTS = ("occurrences", "local_occurrences", "occurrences_without_chunk", "chunk_symbols")
"""What is counted in each part, besides edges by kind."""


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
    found = list(run_jobs(_join_part, jobs, runtime, work_bytes=work))
    if earlier is not None:
        found += [_link_part(earlier, part, chunk_symbols, symbol_edges) for part in same]
    totals = {name: sum(facts[name] for facts in found) for name in (*_COUNTS, *EDGES)}
    by_kind = {kind: totals.pop(kind) for kind in EDGES}
    return {**totals, "symbol_edges": sum(by_kind.values()), "edges_by_kind": by_kind}


STAGE = Stage(symbols, code_version="2")


def _link_part(
    earlier: Earlier, part: int, chunk_symbols: Output[ChunkSymbols], symbol_edges: Output[SymbolEdges]
) -> dict[str, Any]:
    """Take both tables of one part from where they are; returns what `_join_part` said of it."""
    link_part(earlier.outputs[SymbolEdges.asset].path, symbol_edges.path, SymbolEdges, part)
    return part_facts(link_part(earlier.outputs[ChunkSymbols.asset].path, chunk_symbols.path, ChunkSymbols, part))


def _join_part(job: _Job) -> dict[str, Any]:
    """Write both tables of one part; returns how many rows of each sort it has."""
    rows = Occurrences.of(read_part(job.occurrences, ScipOccurrences, OCCURRENCE_COLUMNS))
    table, lost = chunk_symbols(read_part(job.chunks, Chunks, CHUNK_COLUMNS), rows)
    edges = symbol_edges(rows, read_part(job.scip_symbols, ScipSymbols, ["symbol", "relationships"]))
    kinds = edges["kind"].combine_chunks()
    counts = np.bincount(kinds.indices.to_numpy(), minlength=len(EDGES)).tolist()
    numbers = (len(rows.uri), int(np.count_nonzero(rows.local)), lost, table.num_rows)
    facts = dict(zip(_COUNTS, numbers, strict=True)) | dict(zip(kinds.dictionary.to_pylist(), counts, strict=True))
    write_part(job.chunk_symbols, ChunkSymbols, job.part, table, facts=facts)
    write_part(job.symbol_edges, SymbolEdges, job.part, edges)
    return facts
