"""The stage `modules`: one row a source file of a programming language, as a table and as JSON lines.

Belongs here: going over the parts, and writing. Not here: what is in a row (`modules`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.config import ModuleSettings
from pipeline.errors import IndexCorruptionError
from pipeline.schemas import AstNodes, Definitions, Modules, Snapshot, Sources
from pipeline.source.history import History
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.file_nodes import NODE_COLUMNS, PartNodes, codes_of, runs
from pipeline.structure.imports import Catalogue
from pipeline.structure.module_rules import FUNCTIONS, RULES
from pipeline.structure.modules import FileDefinitions, Top, hotspot_score, module_row
from pipeline.workers import Runtime, run_jobs

_CHEAPER_THAN_PARSING = 8
"""The threshold for worker processes is in bytes to parse; this costs about so much less."""
_DEFINITION_COLUMNS = ("uri", "name", "kind", "doc", "node_id", "name_start_byte", "parent")


@dataclass(frozen=True, slots=True)
class _Job:
    """One part; `snapshot` and `key` say which files there are for imports to find."""

    sources: Path
    ast_nodes: Path
    definitions: Path
    snapshot: Path
    key: str
    history: dict[str, tuple[int, int]]
    out: Path
    part: int


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
    inputs = (
        tables.parts(source.path, Sources),
        tables.parts(ast_nodes.path, AstNodes),
        tables.parts(definitions.path, Definitions),
    )
    if len({len(paths) for paths in inputs}) != 1:
        raise IndexCorruptionError(
            "The tables of sources, syntax nodes and definitions are cut into different numbers of parts.",
            hint="Run `indexctl build` again.",
        )
    count = len(inputs[0])
    changes: list[dict[str, tuple[int, int]]] = [{} for _ in range(count)]
    for uri, counts in history.by_uri.items():
        changes[tables.part_of(uri, count)][uri] = counts
    folder = out.path / Modules.name
    jobs = [
        _Job(*paths, source.path, source.key, changes[part], folder, part)
        for part, paths in enumerate(zip(*inputs, strict=True))
    ]
    resolved = sum(run_jobs(_write_part, jobs, runtime, work_bytes=sum(map(_size, inputs[0])) // _CHEAPER_THAN_PARSING))
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


def _size(path: Path) -> int:
    """Bytes of a Parquet file before compression."""
    metadata = pq.read_metadata(path)
    return sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))


@lru_cache(maxsize=1)
def _catalogue(snapshot: Path, _key: str) -> Catalogue:
    """The files that imports may mean: once a process, as every part needs all of them."""
    return Catalogue(uri for table in tables.read_parts(snapshot, Sources, ["uri"]) for uri in table["uri"].to_pylist())


def _write_part(job: _Job) -> int:
    """Write the modules of one part; returns how many of their imports are files."""
    sources = tables.read_part(job.sources, Sources)
    catalogue = _catalogue(job.snapshot, job.key)
    nodes = PartNodes(tables.read_part(job.ast_nodes, AstNodes, NODE_COLUMNS))
    definitions = _PartDefinitions(tables.read_part(job.definitions, Definitions, _DEFINITION_COLUMNS))
    rows: list[dict[str, Any]] = []
    langs = sources["lang"].cast(pa.string()).to_pylist()
    for uri, lang, content in zip(sources["uri"].to_pylist(), langs, sources["content"], strict=True):
        if lang not in RULES:
            continue
        data = content.as_py()
        row = module_row(uri, lang, data, nodes.of(uri, data), definitions.of(uri), catalogue)
        row["churn"], row["authors"] = job.history.get(uri, (0, 0))
        row["hotspot_score"] = hotspot_score(row["churn"], row["complexity"])
        rows.append(row)
    plain = pa.schema(
        pa.field(column.name, column.type.value_type if pa.types.is_dictionary(column.type) else column.type, column.nullable)
        for column in Modules.schema
    )
    tables.write_part(job.out, Modules, job.part, pa.Table.from_pylist(rows, plain))
    return sum(target in catalogue.uris for row in rows for target in row["imports"])


class _PartDefinitions:
    """The definitions of one part, by uri."""

    def __init__(self, table: pa.Table) -> None:
        self._spans = runs(table["uri"])
        codes, words = codes_of(table["kind"])
        self._functions = np.concatenate(([0], np.cumsum(np.array([word in FUNCTIONS for word in words], np.bool_)[codes])))
        outermost = np.flatnonzero(pc.is_null(table["parent"]).to_numpy())
        top = table.take(outermost)
        names = top["kind"].cast(pa.string()).to_pylist()
        columns = (top[name].to_pylist() for name in ("node_id", "name_start_byte", "doc"))
        self._top = [Top(*row) for row in zip(top["name"].to_pylist(), names, *columns, strict=True)]
        self._before = np.searchsorted(outermost, np.arange(table.num_rows + 1))

    def of(self, uri: str) -> FileDefinitions:
        """The definitions of a file."""
        at = self._spans.get(uri, slice(0, 0))
        functions = int(self._functions[at.stop] - self._functions[at.start])
        return FileDefinitions(at.stop - at.start, functions, self._top[self._before[at.start] : self._before[at.stop]])
