"""Group `quality`: how good the index is, and where it is blind.

Belongs here: the assets of evaluation. Not here: how anything is measured (`pipeline.evaluation`), the gate (`release`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assets.adapter import Card, asset_of
from pipeline.index.tuning.locked_point import Lock, read_lock
from pipeline.stage import Artefact, External
from pipeline.stages import COVERAGE, EVAL_METRICS, EVAL_QUERIES
from resources.store import StoreResource


def _lock(store: StoreResource, repository: str, inputs: Mapping[str, Artefact[Any]]) -> Mapping[str, External]:
    """The operating point that somebody locked: what is published is what is measured."""
    return {"lock": Lock(read_lock(store.repository(repository)))}


eval_queries = asset_of(
    EVAL_QUERIES,
    group="quality",
    cards={
        "eval_queries": Card(
            "Queries made from names, documentation, callers, tests and modules, with every chunk that answers them.",
            frozenset({"json", "parquet"}),
        )
    },
)

eval_metrics = asset_of(
    EVAL_METRICS,
    group="quality",
    externals=_lock,
    cards={
        "eval_metrics": Card(
            "What the index answers to its test queries: hit, recall, MRR and nDCG with intervals, by channel and label.",
            frozenset({"json", "parquet"}),
        )
    },
)

coverage = asset_of(
    COVERAGE,
    group="quality",
    externals=_lock,
    cards={
        "coverage": Card(
            "What of the repository is in every index, which definitions are found by their own queries, and why not.",
            frozenset({"json", "parquet"}),
        )
    },
)
