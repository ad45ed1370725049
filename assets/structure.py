"""Group `structure`: what the parser knows.

Belongs here: the assets of syntax. Not here: parsing (`pipeline.structure`).
"""

from __future__ import annotations

from assets.adapter import Card, asset_of
from pipeline.stages import SYNTAX

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
