"""The stage `modules`: one row a source file of a programming language, as a table and as JSON lines.

Belongs here: going over the parts, which of them are as they were, and facts. Not here: one part (`part`), what is in a row
(`facts`), the lines (`lines`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pipeline import delta, tables
from pipeline.artefacts import Earlier
from pipeline.config import ModuleSettings
from pipeline.schemas import AstNodes, Definitions, Modules, Snapshot, Sources
from pipeline.source.history import History
from pipeline.source.listing import read_listing
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.modules.imports import Catalogue, probes_of, root_probes
from pipeline.structure.modules.lines import splice_lines, write_lines
from pipeline.structure.modules.part import Counts, Job, checksums, digest_of_history, read_facts, write_part
from pipeline.workers import Runtime, run_jobs

_CHEAPER_THAN_PARSING = 8
"""The threshold for worker processes is in bytes to parse; this costs about so much less."""
_HISTORY = "history"


def modules(
    source: Artefact[Snapshot],
    ast_nodes: Artefact[AstNodes],
    definitions: Artefact[Definitions],
    history: History,
    settings: ModuleSettings,
    runtime: Runtime,
    out: Output[Modules],
) -> Facts:
    """Write the facts of every source file of a programming language; `history` counts over `settings.churn_days`.

    Facts: modules; imports, and of these those `resolved` to files; changed, the modules with a commit in the window;
    languages and tags {name: modules}; churn_days; history, the digest of what was counted. Raises `IndexCorruptionError` when
    the inputs do not belong together.
    """
    inputs = tables.parts_together((source.path, Sources), (ast_nodes.path, AstNodes), (definitions.path, Definitions))
    count = len(inputs[0])
    earlier = runtime.earlier if delta.cut_alike(runtime.earlier, source, Sources) else None
    before = earlier.outputs[Modules.asset] if earlier is not None else None
    same = _same_rows(earlier, source, ast_nodes, definitions)
    changes = _Changes(source, history, inputs[0])
    unchanged = _same_history(before, same, history, changes)
    jobs = [
        Job(*paths, source.path, source.key, changes.of(part), out.path / Modules.name, part, _part(before, part, same))
        for part, paths in enumerate(zip(*inputs, strict=True))
        if part not in unchanged
    ]
    work = tables.stored_bytes([job.sources for job in jobs if job.before is None])
    come = [told.counts() for told in run_jobs(write_part, jobs, runtime, work_bytes=work // _CHEAPER_THAN_PARSING)]
    gone: list[Facts] = []
    known: Facts = {}
    if before is not None:
        delta.link_parts(before.path, out.path, Modules, sorted(unchanged))
        gone = [read_facts(_of(before.path, job.part)).counts() for job in jobs]
        known = {name: told for name, told in before.facts.items() if name not in ("churn_days", _HISTORY)}
    new = [_of(out.path, job.part) for job in jobs]
    if before is not None and len(jobs) * 2 < count:
        splice_lines(before.path, out.path, [_of(before.path, job.part) for job in jobs], new)
    else:
        write_lines(out.path)
    return {**delta.totals(known, gone, come), "churn_days": settings.churn_days, _HISTORY: history.digest}


def _of(folder: Path, part: int) -> Path:
    return tables.part_path(folder / Modules.name, part)


def _part(before: Artefact[Modules] | None, part: int, same: Collection[int]) -> Path | None:
    """A part as it was, if its rows are the same but for history."""
    return _of(before.path, part) if before is not None and part in same else None


class _Changes:
    """What is known of the history of the indexed files of a part; asked of a few parts, it opens these, else none."""

    def __init__(self, source: Artefact[Snapshot], history: History, parts: Sequence[Path]) -> None:
        self._source, self._history, self._parts = source, history, parts
        self._found: dict[int, dict[str, Counts]] = {}

    def of(self, part: int) -> dict[str, Counts]:
        """uri -> counts, of the files that were changed in the window."""
        if part not in self._found:
            uris = tables.read_part(self._parts[part], Sources, ["uri"])["uri"].to_pylist()
            self._found[part] = {uri: counts for uri in uris if (counts := self._history.of(uri)) is not None}
        return self._found[part]

    def of_all(self) -> list[dict[str, Counts]]:
        """The same of every part."""
        count = len(self._parts)
        self._found = {part: {} for part in range(count)}
        for uri in read_listing(self._source.path).indexed:
            if (counts := self._history.of(uri)) is not None:
                self._found[tables.part_of(uri, count)][uri] = counts
        return list(self._found.values())


def _same_history(
    before: Artefact[Modules] | None, same: frozenset[int], history: History, changes: _Changes
) -> frozenset[int]:
    """Of parts whose rows are the same but for history, those whose history is the same, too."""
    if before is None or before.facts[_HISTORY] == history.digest:
        return same
    now = changes.of_all()
    return frozenset(part for part in same if read_facts(_of(before.path, part)).history == digest_of_history(now[part]))


def _same_rows(
    earlier: Earlier | None, source: Artefact[Snapshot], ast_nodes: Artefact[AstNodes], definitions: Artefact[Definitions]
) -> frozenset[int]:
    """The parts whose rows are the same but for history: their files are, and none of their imports means another file."""
    same = delta.unchanged_parts(earlier, (source, Sources), (ast_nodes, AstNodes), (definitions, Definitions))
    if earlier is None or not same:
        return frozenset()
    now, then = (read_listing(one.path).indexed for one in (source, earlier.inputs[source.asset]))
    if now == then:
        return same
    moved = {*now} ^ {*then}
    looked_for = {probe for uri in moved for probe in probes_of(uri)} | root_probes(moved, Catalogue(now), Catalogue(then))
    sums = checksums(looked_for)
    folder = earlier.outputs[Modules.asset].path
    return frozenset(part for part in same if not read_facts(_of(folder, part)).looked_for(sums))


STAGE = Stage(modules, code_version="2")
