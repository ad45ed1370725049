"""Group `chunks`: the units that are retrieved.

Belongs here: chunks and what joins symbols to them. Not here: where files are cut (`pipeline.chunks`).
"""

from __future__ import annotations

from assets.adapter import Card, asset_of
from pipeline.stages import CHUNKS, SYMBOLS

chunks = asset_of(
    CHUNKS,
    group="chunks",
    cards={
        "chunks": Card(
            "Consecutive pieces of every indexed file, cut along syntax (cAST), each within the budget, with stable ids.",
            frozenset({"treesitter", "parquet"}),
        )
    },
)

symbols = asset_of(
    SYMBOLS,
    group="chunks",
    cards={
        "chunk_symbols": Card("Which symbols each chunk defines and refers to, and how often.", frozenset({"scip", "parquet"})),
        "symbol_edges": Card("Who calls, imports, implements and contains whom.", frozenset({"scip", "parquet"})),
    },
)
