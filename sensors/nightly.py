"""The nightly schedule: every registered repository is brought up to date once a night.

Belongs here: when. Not here: what a build does (`assets`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import dagster as dg

from assets.adapter import AFRESH_TAG
from assets.partitions import PARTITION_SET
from pipeline.errors import CodeIntelError
from pipeline.schemas import ScipIndex
from pipeline.stages import STAGES
from resources.store import StoreResource

BY_NIGHT = tuple(kind.asset for stage in STAGES for kind in stage.bases.values() if kind is not ScipIndex)
"""Assets that are made anew every night, on nothing that was made by day: trained, split and evaluated."""


def nightly_schedule(job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """One run a registered repository, at two in the morning."""

    @dg.schedule(name="nightly", job=job, cron_schedule="0 2 * * *", description="Builds every registered repository.")
    def nightly(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        names = store.names()
        if not names:
            yield dg.SkipReason("No repository is registered; `indexctl build PATH` registers one.")
        register_partitions(context.instance, names)
        day = context.scheduled_execution_time.strftime("%Y-%m-%d")
        for name in names:
            tags = {"codeintel/trigger": "nightly"} | _afresh(store, name)
            yield dg.RunRequest(run_key=f"{name}@{day}", partition_key=name, tags=tags)

    return nightly


def _afresh(store: StoreResource, name: str) -> dict[str, str]:
    """What is made anew by night, and what the settings of a repository leave to it. Settings that cannot be read are told by
    the run."""
    assets = list(BY_NIGHT)
    with contextlib.suppress(CodeIntelError):
        if store.settings(name).scip.scip_refresh == "nightly":
            assets.append(ScipIndex.asset)
    return {AFRESH_TAG: ",".join(assets)}


def register_partitions(instance: dg.DagsterInstance, names: list[str]) -> None:
    """Make sure that Dagster knows every registered repository as a partition."""
    missing = [name for name in names if not instance.has_dynamic_partition(PARTITION_SET, name)]
    if missing:
        instance.add_dynamic_partitions(PARTITION_SET, missing)
