"""Group `chunks`: the units that are retrieved.

Belongs here: the chunks asset. Not here: where files are cut (`pipeline.chunks`).
"""

from __future__ import annotations

from assets.adapter import Card, asset_of
from pipeline.stages import CHUNKS

chunks = asset_of(
    CHUNKS,
    group="chunks",
    cards={
        "chunks": Card(
            "Consecutive pieces of every indexed file, cut along syntax (cAST), each within the budget, with stable ids.",
            frozenset({"python", "parquet"}),
        )
    },
)
