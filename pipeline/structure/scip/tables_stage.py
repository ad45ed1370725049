"""The stage `scip_tables`: what indexes and syntax say of the files of a snapshot, as the tables of occurrences and symbols.

Belongs here: what concerns all parts. Not here: one part (`part_jobs`), running indexers (`stage`).
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import tables
from pipeline.files import write_json
from pipeline.schemas import AstNodes, Definitions, ScipIndex, ScipOccurrences, ScipSymbols, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.scip import from_syntax, outcomes, part_jobs, reader
from pipeline.structure.scip.documents import reasons
from pipeline.structure.scip.part_jobs import Documents, Gathered, Part, Rest
from pipeline.workers import Runtime, run_jobs

_CHEAPER_THAN_PARSING = 8
"""The threshold for worker processes is in bytes to parse; this costs about so much less."""


def scip_tables(
    index: Artefact[ScipIndex],
    source: Artefact[Snapshot],
    ast_nodes: Artefact[AstNodes],
    definitions: Artefact[Definitions],
    runtime: Runtime,
    scip_occurrences: Output[ScipOccurrences],
    scip_symbols: Output[ScipSymbols],
) -> Facts:
    """Write what the indexes say of each file, and of files that none describes what their syntax says.

    Memory: a worker holds one part, that is its sources, its occurrences and a group of its documents. This process holds where
    the documents begin, the names of all definitions and all symbols, but neither sources nor occurrences; what passes from the
    first job of a part to the second lies on the disk.

    Facts: `occurrences`, `symbols`, `by_provenance` (occurrences), `precise_files`, `syntax_files`, and `left_out` (reason ->
    files whose document was not taken or whose references were cut). Raises IndexFormatError for a damaged index, and
    IndexCorruptionError when the inputs do not belong together.
    """
    inputs = tables.parts_together((source.path, Sources), (ast_nodes.path, AstNodes), (definitions.path, Definitions))
    count = len(inputs[0])
    work = tables.stored_bytes(inputs[0]) // _CHEAPER_THAN_PARSING
    early, late = (_half(runtime, done * count, count) for done in (0, 1))
    scip_occurrences.path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=scip_occurrences.path) as name:
        scratch = Path(name)
        described_in = _documents(index.path, count)
        parts = [Part(part, *paths, described_in[part], scratch) for part, paths in enumerate(zip(*inputs, strict=True))]
        gathered = list(run_jobs(part_jobs.gather, parts, early, work_bytes=work))
        names = scratch / "names.arrow"
        part_jobs.write_scratch(names, _names(gathered))
        described = _described(gathered)
        folders = (scip_occurrences.path / ScipOccurrences.name, scip_symbols.path / ScipSymbols.name)
        rests = [
            Rest(part, names, found.precise, kept, *folders)
            for part, found, kept in zip(parts, gathered, described, strict=True)
        ]
        written = list(run_jobs(part_jobs.write, rests, late, work_bytes=work))
    left_out = {uri: reason for found in gathered for uri, reason in found.left_out.items()}
    left_out |= {uri: part_jobs.CAPPED for done in written for uri in done.capped}
    listed = [{"uri": uri, "reason": left_out[uri]} for uri in sorted(left_out)]
    write_json(scip_occurrences.path / ScipOccurrences.LEFT_OUT, {"version": 1, "left_out": listed})
    scip, syntax = sum(done.scip for done in written), sum(done.syntax for done in written)
    return {
        "occurrences": scip + syntax,
        "by_provenance": {"scip": scip, "syntax": syntax},
        "precise_files": sum(len(found.precise) for found in gathered),
        "syntax_files": sum(done.syntax_files for done in written),
        "symbols": sum(int(np.count_nonzero(kept)) for kept in described),
        "left_out": reasons(left_out),
    }


STAGE = Stage(scip_tables, code_version="1")


def _half(runtime: Runtime, before: int, jobs: int) -> Runtime:
    """A runtime for one of two rounds of jobs, which together are what is reported."""
    return replace(runtime, progress=lambda done, _total: runtime.progress(before + done, 2 * jobs))


def _documents(root: Path, parts: int) -> list[tuple[Documents, ...]]:
    """Which documents of the indexes belong to each part. External symbols belong to the first, as no file describes them."""
    found: list[list[Documents]] = [[] for _ in range(parts)]
    for entry in outcomes.read(root):
        if not entry.has_index:
            continue
        path = root / ScipIndex.DIRECTORY / f"{entry.language}.scip"
        contents = reader.read_contents(path, language=entry.language)
        of = np.array([tables.part_of(posixpath.normpath(uri), parts) for uri in contents.paths], np.int64)
        for part in range(parts):
            starts = contents.starts[of == part]
            if part == 0:
                starts = np.sort(np.concatenate((starts, contents.external)))
            if len(starts):
                supplied = entry.status == "supplied"
                found[part].append(Documents(path, entry.language, entry.tool, entry.name, supplied, starts))
    return [tuple(one) for one in found]


def _names(gathered: Sequence[Gathered]) -> pa.Table:
    """What names stand for in the languages that have files without precise occurrences."""
    asked = pa.array(sorted(set().union(*(found.families for found in gathered))), pa.string())
    return from_syntax.merged([found.names.filter(pc.is_in(found.names["family"], value_set=asked)) for found in gathered])


def _described(gathered: Sequence[Gathered]) -> list[NDArray[np.bool_]]:
    """Which of its symbols each part is to write: one row a symbol, in the part of the first file by uri that describes it."""
    lengths = [found.symbols.num_rows for found in gathered]
    kept = np.zeros(sum(lengths), np.bool_)
    kept[part_jobs.first_described(pa.concat_tables([found.symbols for found in gathered]))] = True
    return np.split(kept, np.cumsum(lengths)[:-1])
