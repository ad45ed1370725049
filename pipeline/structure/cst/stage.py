"""The stage of concrete syntax: the Python files of `sources` in, `cst_nodes` out, and a list of the files that libcst rejects.

Belongs here: what all parts together say, and which of them are new. Not here: making one part (`parts`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline import delta, tables
from pipeline.artefacts import Earlier
from pipeline.config import CstSettings, Settings
from pipeline.files import link_or_copy, write_json
from pipeline.installed import version
from pipeline.schemas import CstNodes, Files, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.cst import part_cache
from pipeline.structure.cst.parts import EMPTY, Before, Job, Members, PartFacts, members_of, read_facts, write
from pipeline.workers import Runtime, run_jobs

REJECTED = CstNodes.REJECTED
"""Beside the table: `{"version": 1, "rejected": [{"uri": …, "reason": …}, …]}`, sorted by uri; `reason` is one line."""

_COST = 8
"""How much more work a byte is for libcst than for tree-sitter, at the least."""


def cst_nodes(source: Artefact[Snapshot], settings: CstSettings, runtime: Runtime, out: Output[CstNodes]) -> Facts:
    """Write the concrete syntax of every Python source, cut into the parts of `sources`, and `cst_rejected.json`.

    Only contents that no build of this store has read before are read, unless `runtime` names no shared folder.

    Facts: `cst`, on or off (then every part is empty); files (Python files that have rows), rejected, nodes, and nodes_by_kind.
    """
    count = tables.parts_in(source.path, Sources)
    folder = out.path / CstNodes.name
    earlier = runtime.earlier if settings.cst and delta.cut_alike(runtime.earlier, source, Sources) else None
    unchanged = delta.unchanged_parts(earlier, (source, Sources))
    rejected: dict[str, str] = {}
    known: Facts = {}
    gone: list[Facts] = []
    if earlier is not None:
        before = earlier.outputs[CstNodes.asset].path
        known = {name: told for name, told in earlier.outputs[CstNodes.asset].facts.items() if name != "cst"}
        rejected = {uri: why for uri, why in _listed(before).items() if tables.part_of(uri, count) in unchanged}
        delta.link_parts(before, out.path, CstNodes, sorted(unchanged))
        gone = [read_facts(tables.part_path(before / CstNodes.name, part)).counts() for part in _others(count, unchanged)]
    made = _make(source, _others(count, unchanged) if settings.cst else (), earlier, folder, runtime)
    empty = sorted(set(range(count)) - unchanged - made.keys())
    _write_empty(folder, empty)
    for told in made.values():
        rejected |= told.rejected
    listed = [{"uri": uri, "reason": rejected[uri]} for uri in sorted(rejected)]
    write_json(out.path / REJECTED, {"version": 1, "rejected": listed})
    counts = delta.totals(known, gone, [EMPTY.counts(), *(told.counts() for told in made.values())])
    return {"cst": "on" if settings.cst else "off", **counts}


def _others(count: int, parts: frozenset[int]) -> list[int]:
    return [part for part in range(count) if part not in parts]


def _make(
    source: Artefact[Snapshot], parts: Sequence[int], earlier: Earlier | None, folder: Path, runtime: Runtime
) -> dict[int, PartFacts]:
    """Make those of some parts that have Python files; what each of them says."""
    files = tables.parts(source.path, Files) if parts else []
    members = {part: found for part in parts if (found := members_of(files[part])).uris}
    before: dict[int, Before] = {}
    if earlier is not None:
        made = earlier.outputs[CstNodes.asset].path / CstNodes.name
        for part in members:
            same = delta.part_changes(earlier, source, part).same
            before[part] = Before(tables.part_path(made, part), same)
    jobs = _jobs(members, before, tables.parts(source.path, Sources), folder, _cache(runtime))
    done = list(run_jobs(write, jobs, runtime, work_bytes=sum(job.unread_bytes for job in jobs) * _COST))
    if runtime.shared is not None and not all(job.whole for job in jobs):
        part_cache.trim(runtime.shared, keep={job.cache / job.key for job in jobs if job.cache is not None})
    return dict(zip(members, done, strict=True))


def _jobs(
    members: Mapping[int, Members], before: Mapping[int, Before], sources: Sequence[Path], folder: Path, cache: Path | None
) -> list[Job]:
    """A job for each part that has files, with what was made before."""
    keys = {part: part_cache.part_key(files.uris, files.contents) for part, files in members.items()}
    whole = {part for part, key in keys.items() if cache is not None and part_cache.has(cache, key)}
    wanted = {content for part, files in members.items() if part not in whole for content in files.new(before.get(part))}
    places = part_cache.find(cache, wanted) if cache is not None and wanted else {}
    jobs = []
    for part, files in members.items():
        known = {} if part in whole else {content: places[content] for content in files.contents if content in places}
        jobs.append(Job(sources[part], folder, part, files, keys[part], cache, part in whole, known, before.get(part)))
    return jobs


def _listed(folder: Path) -> dict[str, str]:
    """The files that an earlier result lists as rejected: uri -> reason."""
    document = msgspec.json.decode((folder / REJECTED).read_bytes(), type=_Rejected)
    return {one["uri"]: one["reason"] for one in document.rejected}


class _Rejected(msgspec.Struct):
    version: int
    rejected: list[dict[str, str]]


def _write_empty(folder: Path, parts: Sequence[int]) -> None:
    """Parts without rows are all alike: one file, linked."""
    for part in parts[:1]:
        tables.write_part(folder, CstNodes, part, CstNodes.schema.empty_table(), facts=msgspec.to_builtins(EMPTY))
    for part in parts[1:]:
        link_or_copy(tables.part_path(folder, parts[0]), tables.part_path(folder, part))


def _cache(runtime: Runtime) -> Path | None:
    """Where parts that were made by this code with these versions are; pyarrow decides about the bytes of a table."""
    if runtime.shared is None:
        return None
    uses = {"code": STAGE.code_version, "pyarrow": version("pyarrow"), **_uses(Settings())}
    return part_cache.recipe_folder(runtime.shared, uses)


def _uses(_settings: Settings) -> Mapping[str, str]:
    # The interpreter decides which names are builtins.
    return {
        "libcst": version("libcst"),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "tree-sitter": version("tree-sitter"),
        "tree-sitter-language-pack": version("tree-sitter-language-pack"),
    }


STAGE = Stage(cst_nodes, code_version="2", uses=_uses)
