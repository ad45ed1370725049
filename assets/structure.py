"""Group `structure`: what the parser knows.

Belongs here: the assets of syntax and symbols. Not here: parsing (`pipeline.structure`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assets.adapter import Card, asset_of
from pipeline import planning
from pipeline.stage import Artefact, External
from pipeline.stages import CST, MODULES, SCIP_INDEX, SCIP_TABLES, SYNTAX
from pipeline.store.scans import recall_scan
from resources.store import StoreResource


def _history(store: StoreResource, repository: str, inputs: Mapping[str, Artefact[Any]]) -> Mapping[str, External]:
    """Who changed what, up to the commit of the scan that the snapshot was made from."""
    place = store.repository(repository)
    commit = recall_scan(place, inputs["source_snapshot"]).commit
    days = store.settings(repository).modules.churn_days
    return {"history": planning.history_of(place, store.origin(repository), commit, days)}


syntax = asset_of(
    SYNTAX,
    group="structure",
    cards={
        "ast_nodes": Card(
            "Every node of every syntax tree, by tree-sitter: type, field, parent, depth and byte span.",
            frozenset({"treesitter", "parquet"}),
        ),
        "definitions": Card(
            "Named definitions with qualified name, kind, signature, documentation and spans, by queries for each language.",
            frozenset({"treesitter", "parquet"}),
        ),
    },
)

scip_index = asset_of(
    SCIP_INDEX,
    group="structure",
    cards={
        "scip_index": Card(
            "SCIP indexes by language, built by an indexer or supplied, and what was left out for which reason.",
            frozenset({"scip"}),
        )
    },
)

scip_tables = asset_of(
    SCIP_TABLES,
    group="structure",
    cards={
        "scip_occurrences": Card(
            "Every occurrence of a symbol with bytes, lines, roles and provenance: precise (scip) or from syntax.",
            frozenset({"scip", "parquet"}),
        ),
        "scip_symbols": Card(
            "What is known of each symbol: name, kind, signature, documentation, relationships.",
            frozenset({"scip", "parquet"}),
        ),
    },
)

cst_nodes = asset_of(
    CST,
    group="structure",
    cards={
        "cst_nodes": Card(
            "Concrete syntax of Python by libcst: statements, parameters, decorators, imports, calls and comments with owners.",
            frozenset({"python", "parquet"}),
        )
    },
)

modules = asset_of(
    MODULES,
    group="structure",
    externals=_history,
    cards={
        "modules": Card(
            "One row a source file: imports, exports, documentation, tags, churn, authors, complexity, hotspot score.",
            frozenset({"git", "parquet"}),
        )
    },
)
