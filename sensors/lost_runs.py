"""Runs that are under way, and runs that only seem to be: their process died, and nobody told Dagster.

Dagster's default launcher cannot ask whether the process of a run lives; such a run stays STARTED for ever and, where runs are
limited by repository, keeps every later one waiting. Who builds holds the builder's lock of the store, which the system drops
with its process: so a run that has started and does not hold it is over. And runs are children of the process that sensors run
in: one that was launched before that process began, and has not started since, never will.

Belongs here: telling the two apart, and ending the lost ones. Not here: asking for others (`commits`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from assets.runs import REPORTED_TAG
from pipeline.errors import CodeIntelError
from pipeline.store.locks import is_building
from resources.store import LOCKLESS_JOBS, PARTITION_TAG, StoreResource

_GRACE = 10.0
"""Seconds that a run has to take the lock, after it started."""
_LAUNCH_GRACE = 30.0
"""Seconds that a run has from its launch to its start, once the process that launched it is gone."""
_BORN = time.time()
_PAUSE = 1.0
"""Seconds between two looks: at its end a run gives the lock back before it says that it is over."""


def in_flight(instance: dg.DagsterInstance) -> set[str]:
    """Repositories that have a run which will build them, queued or under way."""
    statuses = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, *IN_PROGRESS_RUN_STATUSES]
    runs = instance.get_runs(dg.RunsFilter(statuses=statuses))
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags and run.job_name not in LOCKLESS_JOBS}


def end_lost_runs(instance: dg.DagsterInstance, store: StoreResource) -> list[str]:
    """Mark runs as failed whose process is gone. Returns their repositories.

    A run that has only just started is waited for, as long as it does not take its lock.
    """
    suspects = _suspects(instance, store)
    while suspects:
        time.sleep(_PAUSE)
        again = _suspects(instance, store)
        suspects = {run_id: again[run_id] for run_id in suspects.keys() & again.keys()}
        if all(time.time() - (record.start_time or 0) > _GRACE for record in suspects.values()):
            break
    lost = [record.dagster_run for record in suspects.values()]
    for run in lost:
        instance.report_run_failed(run, "The process of this run is gone: it does not hold the lock of its repository.")
    never = list(_never_started(instance))
    for run in never:
        instance.report_run_failed(run, "The process that launched this run is gone, and it has not started since.")
    return [run.tags[PARTITION_TAG] for run in (*lost, *never)]


def _never_started(instance: dg.DagsterInstance) -> Iterator[dg.DagsterRun]:
    """Runs that a process launched which is gone, and that did not come to life."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
        launched = instance.get_run_stats(run.run_id).launch_time
        if PARTITION_TAG in run.tags and launched is not None and launched < min(_BORN, time.time() - _LAUNCH_GRACE):
            yield run


def _suspects(instance: dg.DagsterInstance, store: StoreResource) -> dict[str, dg.RunRecord]:
    """Runs that should hold a lock, and do not."""
    found = {}
    for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        run = record.dagster_run
        name = run.tags.get(PARTITION_TAG)
        if name is None or REPORTED_TAG in run.tags or run.job_name in LOCKLESS_JOBS:
            continue
        try:
            held = is_building(store.repository(name))
        except CodeIntelError:
            held = False  # The repository was removed.
        if not held:
            found[run.run_id] = record
    return found
