"""The stage `scip_tables`: what indexes and syntax say of the files of a snapshot, as the tables of occurrences and symbols.

Belongs here: what concerns all parts. Not here: one part (`part_jobs`), running indexers (`stage`).
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import delta, tables
from pipeline.artefacts import Earlier
from pipeline.files import link_or_copy, write_json
from pipeline.schemas import AstNodes, Definitions, ScipIndex, ScipOccurrences, ScipSymbols, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.scip import covered, from_syntax, outcomes, part_jobs, part_names, small_tables
from pipeline.structure.scip.documents import reasons
from pipeline.structure.scip.part_jobs import Documents, Gathered, Part, Rest
from pipeline.structure.scip.part_names import PartNames
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

    Memory: a worker holds one part, that is its sources, its syntax, its occurrences and a group of its documents. This process
    holds where the documents begin, the names of all definitions and all symbols, but neither sources nor occurrences; what
    passes from the first job of a part to the second lies on the disk.

    Facts: `occurrences`, `symbols`, `by_provenance` (occurrences), `precise_files`, `syntax_files`, and `left_out` (reason ->
    files whose document was not taken or whose references were cut). Raises IndexFormatError for a damaged index, and
    IndexCorruptionError when the inputs do not belong together.
    """
    inputs = tables.parts_together((source.path, Sources), (ast_nodes.path, AstNodes), (definitions.path, Definitions))
    same = small_tables.untouched(runtime.earlier, index, source, ast_nodes, definitions)
    scip_occurrences.path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=scip_occurrences.path) as name:
        scratch = Path(name)
        documents = _documents(index.path, len(inputs[0]))
        parts = [Part(part, *paths, documents[part], scratch) for part, paths in enumerate(zip(*inputs, strict=True))]
        work = _Work(parts, runtime, scip_occurrences.path, scip_symbols.path)
        found = _whole(work) if runtime.earlier is None or not same else _small(work, runtime.earlier, same)
    left_out = {uri: reason for facts in found for uri, reason in facts["left_out"].items()}
    listed = [{"uri": uri, "reason": left_out[uri]} for uri in sorted(left_out)]
    write_json(scip_occurrences.path / ScipOccurrences.LEFT_OUT, {"version": 1, "left_out": listed})
    by_provenance = {name: sum(facts[name] for facts in found) for name in ("scip", "syntax")}
    return {
        "occurrences": sum(by_provenance.values()),
        "by_provenance": by_provenance,
        **{name: sum(facts[name] for facts in found) for name in ("precise_files", "syntax_files", "symbols")},
        "left_out": reasons(left_out),
    }


STAGE = Stage(scip_tables, code_version="2")


class _Work:
    """The two rounds of jobs over parts; `gathered` is what the first said so far."""

    def __init__(self, parts: Sequence[Part], runtime: Runtime, occurrences: Path, symbols: Path) -> None:
        self.parts, self.runtime, self.occurrences, self.symbols = parts, runtime, occurrences, symbols
        self.gathered: dict[int, Gathered] = {}

    def gather(self, numbers: Iterable[int]) -> None:
        """The first round, over some parts."""
        jobs = [self.parts[number] for number in sorted(numbers)]
        work = tables.stored_bytes(part.sources for part in jobs) // _CHEAPER_THAN_PARSING
        for part, found in zip(jobs, run_jobs(part_jobs.gather, jobs, self._half(0), work_bytes=work), strict=True):
            self.gathered[part.number] = found

    def write(self, names: pa.Table, described: Mapping[int, NDArray[np.bool_]]) -> dict[int, dict[str, Any]]:
        """The second round, over the parts that were gathered; returns the facts of each, which it writes beside the tables."""
        place = self.parts[0].scratch / "names.arrow"
        part_jobs.write_scratch(place, from_syntax.standing(names))
        folders = (self.occurrences / ScipOccurrences.name, self.symbols / ScipSymbols.name)
        jobs = [
            Rest(self.parts[part], place, self.gathered[part].files, described[part], *folders)
            for part in sorted(self.gathered)
        ]
        work = tables.stored_bytes(job.part.sources for job in jobs) // _CHEAPER_THAN_PARSING
        facts: dict[int, dict[str, Any]] = {}
        for job, done in zip(jobs, run_jobs(part_jobs.write, jobs, self._half(len(jobs)), work_bytes=work), strict=True):
            part = job.part.number
            found = self.gathered[part]
            facts[part] = {
                "scip": done.scip,
                "syntax": done.syntax,
                "precise_files": found.precise,
                "syntax_files": done.syntax_files,
                "symbols": int(np.count_nonzero(job.described)),
                "left_out": found.left_out | dict.fromkeys(done.capped, part_jobs.CAPPED),
            }
            told = PartNames(found.names, found.asked, found.described, facts[part])
            part_names.write(self.occurrences, part, told)
        return facts

    def _half(self, before: int) -> Runtime:
        """A runtime for one of two rounds of jobs, which together are what is reported."""
        progress = self.runtime.progress
        return replace(self.runtime, progress=lambda done, total: progress(before + done, 2 * total))


def _whole(work: _Work) -> list[dict[str, Any]]:
    """Make every part; returns their facts."""
    work.gather({part.number for part in work.parts} - work.gathered.keys())
    gathered = [work.gathered[part.number] for part in work.parts]
    families = pa.array(sorted({family for found in gathered for _, family in found.files}), pa.string())
    names = from_syntax.merged([found.names.filter(pc.is_in(found.names["family"], value_set=families)) for found in gathered])
    facts = work.write(names, dict(enumerate(_described(gathered))))
    return [facts[part] for part in sorted(facts)]


def _small(work: _Work, earlier: Earlier, same: frozenset[int]) -> list[dict[str, Any]]:
    """Make the parts that a change touches, and link the others; returns the facts of all."""
    root, symbols = (earlier.outputs[kind.asset].path for kind in (ScipOccurrences, ScipSymbols))
    before = [part_names.read(root, part.number) for part in work.parts]
    work.gather({part.number for part in work.parts} - same)
    more = small_tables.touched(before, work.gathered)
    if more is None:
        return _whole(work)
    work.gather(more)
    words = [part_jobs.words_of(work.parts[part]) for part in work.gathered]
    described = {
        part: small_tables.described(found, before[part], tables.part_path(symbols / ScipSymbols.name, part))
        for part, found in work.gathered.items()
    }
    facts = work.write(small_tables.names(before, work.gathered, words), described)
    others = [part for part in range(len(before)) if part not in facts]
    part_names.path_in(work.occurrences, 0).parent.mkdir(exist_ok=True)
    delta.link_parts(root, work.occurrences, ScipOccurrences, others)
    delta.link_parts(symbols, work.symbols, ScipSymbols, others)
    for part in others:
        link_or_copy(part_names.path_in(root, part), part_names.path_in(work.occurrences, part))
    return [facts.get(part, known.facts) for part, known in enumerate(before)]


def _documents(root: Path, parts: int) -> list[tuple[Documents, ...]]:
    """Which documents of the indexes belong to each part. External symbols belong to the first, as no file describes them."""
    found: list[list[Documents]] = [[] for _ in range(parts)]
    for entry in outcomes.read(root):
        if not entry.has_index:
            continue
        path = root / ScipIndex.DIRECTORY / f"{entry.language}.scip"
        rows = covered.read(root, entry.language)
        rows = rows.filter(pc.is_valid(rows["start"]))
        of = rows["slot"].to_numpy() % parts
        rows = rows.take(pa.array(np.argsort(of, kind="stable"))).combine_chunks()
        edges = np.searchsorted(np.sort(of), np.arange(parts + 1)).tolist()
        for part, (low, high) in enumerate(itertools.pairwise(edges)):
            if high > low:
                supplied = entry.status == "supplied"
                own = rows.slice(low, high - low)
                found[part].append(Documents(path, entry.language, entry.tool, entry.name, supplied, own))
    return [tuple(one) for one in found]


def _described(gathered: Sequence[Gathered]) -> list[NDArray[np.bool_]]:
    """Which of its symbols each part is to write: one row a symbol, in the part of the first file by uri that describes it."""
    lengths = [found.symbols.num_rows for found in gathered]
    kept = np.zeros(sum(lengths), np.bool_)
    kept[part_jobs.first_described(pa.concat_tables([found.symbols for found in gathered]))] = True
    return np.split(kept, np.cumsum(lengths)[:-1])
