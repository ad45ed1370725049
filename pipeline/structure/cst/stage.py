"""The stage of concrete syntax: the Python files of `sources` in, `cst_nodes` out, and a list of the files that libcst rejects.

Belongs here: what all parts together say, and which of them are new. Not here: making one part (`parts`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import tables
from pipeline.config import CstSettings, Settings
from pipeline.files import link_or_copy, write_json
from pipeline.schemas import CstNodes, Files, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.cst import part_cache
from pipeline.structure.cst.part_cache import Summary
from pipeline.structure.cst.parts import Job, Members, members_of, write
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
    sources = tables.parts(source.path, Sources)
    folder = out.path / CstNodes.name
    members = [members_of(path) for path in tables.parts(source.path, Files)] if settings.cst else []
    filled = {part: files for part, files in enumerate(members) if files.uris}
    _write_empty(folder, [part for part in range(len(sources)) if part not in filled])
    jobs = _jobs(filled, sources, folder, _cache(runtime))
    done = list(run_jobs(write, jobs, runtime, work_bytes=sum(job.unread_bytes for job in jobs) * _COST))
    if runtime.shared is not None and not all(job.whole for job in jobs):
        part_cache.trim(runtime.shared, keep={job.cache / job.key for job in jobs if job.cache is not None})
    rejected = [one for job, summary in zip(jobs, done, strict=True) for one in _rejected(job.members, summary)]
    write_json(out.path / REJECTED, {"version": 1, "rejected": sorted(rejected, key=lambda one: one["uri"])})
    kinds: Counter[str] = Counter()
    for summary in done:
        kinds.update(summary.kinds)
    return {
        "cst": "on" if settings.cst else "off",
        "files": sum(len(summary.rows) for summary in done) - len(rejected),
        "rejected": len(rejected),
        "nodes": kinds.total(),
        "nodes_by_kind": dict(sorted(kinds.items())),
    }


def _jobs(members: Mapping[int, Members], sources: Sequence[Path], folder: Path, cache: Path | None) -> list[Job]:
    """A job for each part that has files, with what was made before."""
    keys = {part: part_cache.part_key(files.uris, files.contents) for part, files in members.items()}
    whole = {part for part, key in keys.items() if cache is not None and part_cache.has(cache, key)}
    wanted = {content for part, files in members.items() if part not in whole for content in files.contents}
    places = part_cache.find(cache, wanted) if cache is not None and wanted else {}
    jobs = []
    for part, files in members.items():
        known = {} if part in whole else {content: places[content] for content in files.contents if content in places}
        jobs.append(Job(sources[part], folder, part, files, keys[part], cache, part in whole, known))
    return jobs


def _rejected(members: Members, summary: Summary) -> list[dict[str, Any]]:
    uris = [uri for uri, rows in zip(members.uris, summary.rows, strict=True) if not rows]
    return [{"uri": uri, "reason": reason} for uri, reason in zip(uris, summary.reasons, strict=True)]


def _write_empty(folder: Path, parts: Sequence[int]) -> None:
    """Parts without rows are all alike: one file, linked."""
    for part in parts[:1]:
        tables.write_part(folder, CstNodes, part, CstNodes.schema.empty_table())
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


STAGE = Stage(cst_nodes, code_version="1", uses=_uses)
