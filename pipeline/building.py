"""Building here and now: every stage in its order in this process, then publication, without Dagster.

The stages are settled exactly as the assets settle them: this and a run of the graph are the same operation on the same store.
A small build would wait longer for Dagster than for its own work; what it did is told to Dagster afterwards.

Belongs here: running all stages of a plan. Not here: planning, telling people (`interfaces`), telling Dagster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.index.tuning.locked_point import Lock, read_lock
from pipeline.planning import Plan
from pipeline.release.publication import Publication, publish
from pipeline.stage import Artefact, External
from pipeline.stages import MANIFEST, STAGES, identity_of
from pipeline.store import digests, readings
from pipeline.store.layout import Store
from pipeline.store.locks import builder
from pipeline.store.scans import remember_scan
from pipeline.store.settling import Settled, settle
from pipeline.workers import Runtime

Progress = Callable[[str, Settled | None], None]
"""Called with the name of a stage, when it starts (None) and with what it settled on."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did: seconds by stage (0 where all was reused), what it settled on, and the publication."""

    artefacts: Mapping[str, Artefact[Any]]
    publication: Publication
    seconds: Mapping[str, float] = field(default_factory=dict)
    took: float = 0.0
    """Seconds from the first stage to the flip."""

    def seconds_of(self, asset: str) -> float:
        """Those of the stage that makes an asset."""
        return next((self.seconds.get(stage.name, 0.0) for stage in STAGES if asset in stage.assets), 0.0)


def build_here(store: Store, decided: Plan, *, runtime: Runtime, progress: Progress, allow_regression: bool = False) -> Built:
    """Settle every stage of a plan and publish. Raises what stages and `publish` raise; then CURRENT stays where it was."""
    repository, settings, scan = decided.repository, decided.settings, decided.scan
    started = time.perf_counter()
    with builder(repository):
        remember_scan(repository, scan.digest, scan.commit, scan.dirty)
        externals: dict[str, External] = {
            "scan": scan,
            "history": decided.history,
            "lock": Lock(read_lock(repository)),
        }
        made: dict[str, Artefact[Any]] = {}
        seconds: dict[str, float] = {}
        try:
            for stage in STAGES:
                if stage is MANIFEST:
                    keys = {asset: artefact.key for asset, artefact in made.items()}
                    externals["identity"] = identity_of(settings, repository, scan.commit, scan.dirty, keys)
                progress(stage.name, None)
                inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
                needed = {name: externals[name] for name in stage.externals}
                settled = settle(repository, stage, inputs, settings, externals=needed, runtime=runtime)
                made |= settled.artefacts
                seconds[stage.name] = settled.seconds
                progress(stage.name, settled)
            facts = {"run_id": None, "seconds": round(time.perf_counter() - started, 3), "stages": seconds}
            published = publish(repository, made["manifest"], build=facts, allow_regression=allow_regression)
        finally:
            digests.remember(repository)
            readings.remember(repository)
    return Built(made, published, seconds, time.perf_counter() - started)
