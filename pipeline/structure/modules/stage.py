"""The stage `modules`: one row a source file of a programming language, as a table and as JSON lines.

Belongs here: going over the parts, and writing. Not here: one part (`part`), what is in a row (`modules`).
"""

from __future__ import annotations

from collections import Counter

import msgspec

from pipeline import tables
from pipeline.config import ModuleSettings
from pipeline.schemas import AstNodes, Definitions, Modules, Snapshot, Sources
from pipeline.source.history import History
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.modules.part import Job, write_part
from pipeline.workers import Runtime, run_jobs

_CHEAPER_THAN_PARSING = 8
"""The threshold for worker processes is in bytes to parse; this costs about so much less."""


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
    languages and tags {name: modules}; churn_days. Raises `IndexCorruptionError` when the inputs do not belong together.
    """
    inputs = tables.parts_together((source.path, Sources), (ast_nodes.path, AstNodes), (definitions.path, Definitions))
    count = len(inputs[0])
    changes: list[dict[str, tuple[int, int]]] = [{} for _ in range(count)]
    for uri, counts in history.by_uri.items():
        changes[tables.part_of(uri, count)][uri] = counts
    folder = out.path / Modules.name
    jobs = [
        Job(*paths, source.path, source.key, changes[part], folder, part)
        for part, paths in enumerate(zip(*inputs, strict=True))
    ]
    resolved = sum(run_jobs(write_part, jobs, runtime, work_bytes=tables.stored_bytes(inputs[0]) // _CHEAPER_THAN_PARSING))
    rows = tables.read_table(out.path, Modules).sort_by("uri").to_pylist()
    with (out.path / Modules.JSONL).open("wb") as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
    return {
        "modules": len(rows),
        "imports": sum(len(row["imports"]) for row in rows),
        "resolved": resolved,
        "changed": sum(row["churn"] > 0 for row in rows),
        "languages": dict(sorted(Counter(row["lang"] for row in rows).items())),
        "tags": dict(sorted(Counter(tag for row in rows for tag in row["tags"]).items())),
        "churn_days": settings.churn_days,
    }


STAGE = Stage(modules, code_version="1")
