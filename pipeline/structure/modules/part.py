"""The modules of one part, as rows.

Belongs here: reading and writing one part. Not here: what is in a row (`modules`), all parts (`stage`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.columns import codes_of, runs
from pipeline.schemas import AstNodes, Definitions, Modules, Sources
from pipeline.structure.modules.facts import FileDefinitions, Top, hotspot_score, module_row
from pipeline.structure.modules.file_nodes import NODE_COLUMNS, PartNodes
from pipeline.structure.modules.imports import Catalogue
from pipeline.structure.modules.rules import FUNCTIONS, RULES

_DEFINITION_COLUMNS = ("uri", "name", "kind", "doc", "node_id", "name_start_byte", "parent")


@dataclass(frozen=True, slots=True)
class Job:
    """One part; `snapshot` and `key` say which files there are for imports to find."""

    sources: Path
    ast_nodes: Path
    definitions: Path
    snapshot: Path
    key: str
    history: dict[str, tuple[int, int]]
    out: Path
    part: int


@lru_cache(maxsize=1)
def _catalogue(snapshot: Path, _key: str) -> Catalogue:
    """The files that imports may mean: once a process, as every part needs all of them."""
    return Catalogue(uri for table in tables.read_parts(snapshot, Sources, ["uri"]) for uri in table["uri"].to_pylist())


def write_part(job: Job) -> int:
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
        codes, kinds = codes_of(table["kind"])
        words = kinds.to_pylist()
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
