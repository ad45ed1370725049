"""Building here and now: every stage in its order in this process, then publication, without Dagster.

The stages are settled exactly as the assets settle them: this and a run of the graph are the same operation on the same store.
A small build would wait longer for Dagster than for its own work; what it did is told to Dagster afterwards.

Belongs here: running all stages of a plan. Not here: planning, telling people (`interfaces`), telling Dagster.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InvariantViolationError
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
            try:
                published = publish(repository, made["manifest"], build=facts, allow_regression=allow_regression)
            except InvariantViolationError:
                _keep_report(decided, made)
                raise
        finally:
            digests.remember(repository)
            readings.remember(repository)
    return Built(made, published, seconds, time.perf_counter() - started)


def _keep_report(decided: Plan, made: Mapping[str, Artefact[Any]]) -> None:
    """The page about a version that was refused: the only one that will be made of it. Not to be written undoes nothing."""
    # Only now: what is published has its page made by whoever tells Dagster.
    from pipeline.evaluation.report.page import page
    from pipeline.evaluation.report.reading import read
    from pipeline.release import reporting

    building = reporting.building_of(made, decided.settings, decided.scan.commit, dirty=decided.scan.dirty)
    subject = reporting.of_building(decided.repository, building)
    with contextlib.suppress(OSError):
        reporting.write_report(
            reporting.report_path(decided.repository, reporting.evaluation_name(building.key)), page(read(subject))
        )
