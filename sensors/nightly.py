"""The nightly schedules: every watched repository is brought up to date once a night, and then tidied up.

Belongs here: when. Not here: what a build does (`assets`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import dagster as dg

from assets.adapter import AFRESH_TAG
from assets.runs import TRIGGER_TAG
from pipeline.errors import CodeIntelError
from pipeline.schemas import ScipIndex
from pipeline.stages import STAGES
from resources.store import StoreResource
from sensors.partitions import follow_store

NIGHTLY_CRON = "0 2 * * *"
GC_CRON = "0 5 * * *"

BY_NIGHT = tuple(kind.asset for stage in STAGES for kind in stage.bases.values() if kind is not ScipIndex)
"""Assets that are made anew every night, on nothing that was made by day: trained, split and evaluated."""


def nightly_schedule(
    job: dg.UnresolvedAssetJobDefinition, *, cron: str = NIGHTLY_CRON, running: bool = False
) -> dg.ScheduleDefinition:
    """One run a watched repository, at two in the morning unless told otherwise."""

    @dg.schedule(
        name="nightly",
        job=job,
        cron_schedule=cron,
        default_status=_status(running),
        description="Builds every watched repository: indexers as its settings say, trained, tuned and evaluated anew.",
    )
    def nightly(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        for problem in store.synchronise():
            context.log.warning(problem)
        names = store.names()
        if not names:
            yield dg.SkipReason("No repository is registered; `indexctl repos add PATH|URL` registers one.")
        yield from _runs(context, store, {name: _afresh(store, name) for name in names})

    return nightly


def collection_schedule(job: dg.JobDefinition, *, cron: str = GC_CRON, running: bool = False) -> dg.ScheduleDefinition:
    """Garbage collection of every watched repository, after the nightly builds."""

    @dg.schedule(
        name="nightly_gc",
        job=job,
        cron_schedule=cron,
        default_status=_status(running),
        description="Removes old versions of every watched repository, and what only they need.",
    )
    def nightly_gc(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        names = store.names()
        if not names:
            yield dg.SkipReason("No repository is registered.")
        yield from _runs(context, store, {name: {} for name in names})

    return nightly_gc


def _runs(
    context: dg.ScheduleEvaluationContext, store: StoreResource, tags: Mapping[str, Mapping[str, str]]
) -> Iterator[dg.RunRequest]:
    """A run a night for each repository of `tags`, with those and what all of them have."""
    follow_store(context.instance, store)
    day = context.scheduled_execution_time.strftime("%Y-%m-%d")
    for name, own in tags.items():
        yield dg.RunRequest(run_key=f"{name}@{day}", partition_key=name, tags={TRIGGER_TAG: "nightly", **own})


def _status(running: bool) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED


def _afresh(store: StoreResource, name: str) -> dict[str, str]:
    """What is made anew by night, and what the settings of a repository leave to it. Settings that cannot be read are told by
    the run."""
    assets = list(BY_NIGHT)
    with contextlib.suppress(CodeIntelError):
        if store.settings(name).scip.scip_refresh == "nightly":
            assets.append(ScipIndex.asset)
    return {AFRESH_TAG: ",".join(assets)}
