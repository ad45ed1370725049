"""Group `source`: what is indexed.

Belongs here: the asset at the root of the graph. Not here: how trees are read (`pipeline.source`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assets.adapter import Card, asset_of
from assets.runs import standing_tags
from pipeline import planning
from pipeline.stage import Artefact, External
from pipeline.stages import SOURCE
from pipeline.store.scans import recall_scan, remember_scan
from resources.store import StoreResource


def _scan(store: StoreResource, repository: str, inputs: Mapping[str, Artefact[Any]]) -> Mapping[str, External]:
    """The repository as it is at this moment; its commit is kept for the manifest."""
    opened = store.open()
    place = opened.existing(repository)
    if not planning.is_handed_over(place):
        store.fetch(repository)
    scanned = planning.scan_origin(opened, place, store.origin(repository), store.settings(repository))
    remember_scan(place, scanned.digest, scanned.commit, scanned.dirty)
    return {"scan": scanned}


def _standing(store: StoreResource, repository: str, made: Mapping[str, Artefact[Any]]) -> Mapping[str, str]:
    """What the run builds: known from here on, whoever started it."""
    place = store.repository(repository)
    return standing_tags(place, store.origin(repository), recall_scan(place, made["source_snapshot"]).commit)


source_snapshot = asset_of(
    SOURCE,
    group="source",
    externals=_scan,
    run_tags=_standing,
    cards={
        "source_snapshot": Card(
            "Every file of the repository, indexed or with the reason why not, and the bytes of what is indexed: "
            "all later assets are functions of this snapshot, not of a work tree that moves.",
            frozenset({"git", "parquet"}),
        )
    },
)
