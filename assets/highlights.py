"""For each kind of artefact the one small table that says most about it: the hottest files, the indexers, symbols by role.

Belongs here: what is picked, cheaply, from the columns that it takes. Not here: how it is shown (`metadata`), what stages count
and return as facts (edges by kind, syntax nodes by kind), what was lost (`pipeline.catalog.losses`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.catalog.losses import indexers
from pipeline.evaluation.coverage_reading import percent, read_tree, worst_first
from pipeline.evaluation.heat_map import ROWS
from pipeline.evaluation.report.cases import worst_queries
from pipeline.schemas import (
    ChunkSymbols,
    Coverage,
    EvalMetrics,
    Kind,
    Modules,
    ScipIndex,
    ScipOccurrences,
    ScipSymbols,
    Table,
    Tuning,
)

_MOST = 10
_ROLES = {1: "definition", 2: "import", 4: "write", 8: "read", 16: "generated", 32: "test"}
"""SCIP's bits."""


def _hottest(root: Path) -> pa.Table:
    """The files that change most where the code is most complex."""
    names = ["uri", "hotspot_score", "churn", "authors", "complexity", "lines"]
    rows = tables.read_table(root, Modules, names)
    rows = rows.take(pc.select_k_unstable(rows, _MOST, [("hotspot_score", "descending"), ("uri", "ascending")]))
    return rows.set_column(1, "hotspot_score", pc.round(rows["hotspot_score"], 3))


def _indexers(root: Path) -> pa.Table:
    """Which indexer ran on what, and what came of it."""
    found = indexers(root)
    return pa.table(
        {
            "language": [one.language or "all" for one in found],
            "indexer": [f"{one.tool} {one.tool_version}".strip() for one in found],
            "status": [one.status for one in found],
            "files": [one.files_indexed for one in found],
            "left out": [len(one.left_out) for one in found],
            "problem": [one.problem for one in found],
        }
    )


def _occurrences_by_role(root: Path) -> pa.Table:
    rows = _counted(root, ScipOccurrences, ["provenance", "roles"])
    return rows.set_column(1, "roles", pa.array([_role(bits) for bits in rows["roles"].to_pylist()], pa.string()))


def _role(bits: int) -> str:
    return " + ".join(word for bit, word in _ROLES.items() if bits & bit) or "reference"


def _symbols_by_kind(root: Path) -> pa.Table:
    return _counted(root, ScipSymbols, ["provenance", "kind"])


def _chunks_by_role(root: Path) -> pa.Table:
    """How many symbols the chunks define and refer to, and in how many occurrences."""
    parts = [
        part.group_by("role").aggregate([([], "count_all"), ("count", "sum")])
        for part in _parts(root, ChunkSymbols, "role", "count")
    ]
    rows = pa.concat_tables([tables.plain(part) for part in parts])
    rows = rows.group_by("role").aggregate([("count_all", "sum"), ("count_sum", "sum")]).sort_by("role")
    return rows.rename_columns(["role", "rows", "occurrences"])


def _sweep(root: Path) -> pa.Table:
    """Every point that was measured, in the order of the grid; a point that no family takes has nothing to show."""
    rows = pq.read_table(root / Tuning.SWEEP)
    return rows.drop_columns([name for name in ("nprobe", "ef_search") if rows[name].null_count == rows.num_rows])


def _worst_queries(root: Path) -> pa.Table:
    """The test queries that were answered worst, by what they look for, with the rank of the first answer there. Their words
    are in the report: they are copied from comments."""
    rows = [
        {"rank": "not found" if one["rank"] is None else str(one["rank"]), "looked for": one["symbol"] or one["uri"],
         "label": one["label"], "masked": one["masked"], "in": one["uri"]}
        for one in worst_queries(root)
    ]  # fmt: skip
    names = ("rank", "looked for", "label", "masked", "in")
    return pa.table({name: [row[name] for row in rows] for name in names})


def _worst_modules(root: Path) -> pa.Table:
    """The modules of the heat map of which least is indexed or found."""
    tree = read_tree(root)
    top = tree.find("")
    rows = worst_first(tree.cut(top, ROWS))[:_MOST] if top is not None else []
    return pa.table(
        {
            "module": [row.label for row in rows],
            "definitions": [row.counts["definitions"] for row in rows],
            "in every index": [percent(row.counts["covered"], row.counts["definitions"]) for row in rows],
            "asked": [row.counts["asked"] for row in rows],
            "found": [percent(row.counts["found"], row.counts["asked"]) for row in rows],
        }
    )


def _counted(root: Path, kind: type[Table], columns: list[str]) -> pa.Table:
    """How many rows there are of each combination, the most frequent first: added up part by part."""
    parts = [tables.plain(part.group_by(columns).aggregate([([], "count_all")])) for part in _parts(root, kind, *columns)]
    rows = pa.concat_tables(parts).group_by(columns).aggregate([("count_all", "sum")])
    order = [("count", "descending"), *((name, "ascending") for name in columns)]
    return rows.rename_columns([*columns, "count"]).sort_by(order)


def _parts(root: Path, kind: type[Table], *columns: str) -> list[pa.Table]:
    return list(tables.read_parts(root, kind, columns))


HIGHLIGHTS: Mapping[type[Kind], tuple[str, Callable[[Path], pa.Table]]] = {
    Modules: ("hottest", _hottest),
    ScipIndex: ("indexers", _indexers),
    ScipOccurrences: ("by_role", _occurrences_by_role),
    ScipSymbols: ("by_kind", _symbols_by_kind),
    ChunkSymbols: ("by_role", _chunks_by_role),
    Tuning: ("sweep", _sweep),
    EvalMetrics: ("worst_queries", _worst_queries),
    Coverage: ("worst_modules", _worst_modules),
}
"""Kind -> name and maker of its table."""
