"""Telling Dagster of builds that were made without it, as a run of the graph would have told it.

`indexctl build` starts `python -m assets.reported DATA` when it is done and does not wait for it. The build becomes a run that
is over, with the materialisations, metadata, data versions, code versions and check results that the bodies of the assets
give. (Events without a run would do for assets; of a partitioned check Dagster keeps one such event only.) The report page,
which only the graph makes, is made too. No builder's lock is taken; whoever is killed in the middle leaves the build to the
next one, which reports it again from the beginning, as the same run.

Belongs here: from a build to events. Not here: builds that wait (`pipeline.store.unreported`), assets themselves.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import traceback
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.execution.plan.objects import StepSuccessData

from assets import quality, release
from assets.adapter import check_result
from assets.metadata import result_metadata
from assets.partitions import PARTITION_SET
from assets.runs import REPORTED_TAG, TRIGGER_TAG, VERSION_TAG, origin_of, standing_tags
from pipeline.definitions import BUILD_JOB, Overrides, build_definitions
from pipeline.errors import CodeIntelError
from pipeline.interfaces.run import dagster_home, dagster_instance
from pipeline.release import reporting
from pipeline.release.checks import CHECKS
from pipeline.release.findings import Finding
from pipeline.release.quality_gate import GATES
from pipeline.release.switching import Publication
from pipeline.release.verification import VERSION_FINDINGS
from pipeline.schemas import EvalMetrics
from pipeline.stage import Artefact
from pipeline.stages import KINDS, STAGES
from pipeline.store import digests, objects, observed, unreported
from pipeline.store.layout import Repository, Store, open_store, read_origin
from pipeline.store.locks import sole
from pipeline.store.unreported import Unreported
from pipeline.store.versions import open_version
from resources.duckdb import CatalogResource, catalog_resource
from resources.store import PARTITION_TAG

_LOCK = "reporting.lock"
_NICENESS = 10
_RUNS = uuid.UUID("6f1c8a52-7f0e-4c39-9d5b-0e6f3a8d2b41")
"""Makes names of builds to ids of runs."""
_STEP_OF = {asset: stage.name for stage in STAGES for asset in stage.assets} | {"report": "report", "current": "current"}
"""Asset -> the step that makes it."""


def report_all(store: Store) -> int:
    """Report every build that waits; returns how many it reported. While somebody else reports, it is left to him."""
    count = 0
    while any(unreported.is_any(repository) for repository in store.repositories()):
        with only_reporter(store) as mine:
            if not mine:
                break
            job = build_definitions(Overrides(data=store.root)).resolve_job_def(BUILD_JOB)
            with dagster_instance(store) as instance:
                # A build may be left while this goes on; and its process may have come, seen the lock, and gone.
                reported = sum(_report(instance, job, repository) for repository in store.repositories())
        if not reported:
            break
        count += reported
    return count


def only_reporter(store: Store) -> AbstractContextManager[bool]:
    """Whether nobody else reports builds of this store; then nobody does while the block lasts."""
    return sole(os.open(dagster_home(store) / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _report(instance: dg.DagsterInstance, job: dg.JobDefinition, repository: Repository) -> int:
    """Report the builds of a repository, the oldest first; returns how many."""
    digests.recall(repository)
    count = 0
    for path, build in unreported.waiting(repository):
        if build is None:
            _complain(f"{path} is not a build that this program can report.")
            path.unlink(missing_ok=True)
            continue
        try:
            instance.add_dynamic_partitions(PARTITION_SET, [repository.name])
            _as_run(instance, job, repository, build, name=path.stem)
        except Exception:
            # The others are not to wait for it; it is tried again the next time, until too many wait.
            _complain(f"{path} is not reported: {traceback.format_exc()}")
            continue
        path.unlink(missing_ok=True)
        count += 1
    return count


def _as_run(
    instance: dg.DagsterInstance, job: dg.JobDefinition, repository: Repository, build: Unreported, *, name: str
) -> None:
    """Record the build as a run that took place when it did. `name` tells it from others: told again, it is the same run."""
    run_id = str(uuid.uuid5(_RUNS, f"{repository.name}/{name}"))

    def tell(kind: DagsterEventType, data: Any = None, at: float | None = None, step: str | None = None) -> None:
        event = DagsterEvent(kind.value, BUILD_JOB, event_specific_data=data, step_key=step)
        instance.report_dagster_event(event, run_id, timestamp=at)

    if not instance.has_run(run_id):
        instance.create_run_for_job(job, run_id=run_id, tags=_tags(repository, build), remote_job_origin=origin_of(BUILD_JOB))
        tell(DagsterEventType.RUN_START, at=build.started)
    for step, began, took in _steps(build):
        tell(DagsterEventType.STEP_START, at=began, step=step)
        done: Any = StepSuccessData(duration_ms=1000 * took)  # type: ignore[no-untyped-call]
        tell(DagsterEventType.STEP_SUCCESS, done, began + took, step)
    for event in events(repository, build):
        step = _STEP_OF[event.asset_key.path[-1]]
        if isinstance(event, dg.AssetMaterialization):
            tell(DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(event), step=step)
        else:
            tell(DagsterEventType.ASSET_CHECK_EVALUATION, event, step=step)
    tell(DagsterEventType.RUN_SUCCESS, at=build.ended)


def _tags(repository: Repository, build: Unreported) -> dict[str, str]:
    tags = {PARTITION_TAG: repository.name, TRIGGER_TAG: "indexctl", REPORTED_TAG: "true"}
    with suppress(CodeIntelError), open_version(repository, build.version) as version:
        tags |= standing_tags(repository, read_origin(repository), version.manifest.commit)
    return {**tags, VERSION_TAG: build.version}


def _steps(build: Unreported) -> Iterator[tuple[str, float, float]]:
    """Steps, when they began and how many seconds they took: one after the other, as they ran; the rest was publishing."""
    began = build.started
    for stage in STAGES:
        took = max(build.seconds.get(asset, 0.0) for asset in stage.assets)
        yield stage.name, began, took
        began += took
    yield "current", began, max(0.0, build.ended - began)
    yield "report", build.ended, 0.0  # Made now, by whoever reports.


def _complain(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


def events(repository: Repository, build: Unreported) -> Iterator[Event]:
    """What a run of the graph would have told of this build. What is gone from the store by now is left out."""
    made = {asset: found for asset, key in build.keys.items() if (found := _artefact(repository, asset, key)) is not None}
    findings = {name: Finding(tuple(found.problems), found.facts) for name, found in build.findings.items()}
    for gate in GATES:
        findings[gate.name] = Finding(tuple(build.allowed.get(gate.name, ())), findings.get(gate.name, Finding()).facts)
    for stage in STAGES:
        for asset in stage.assets:
            if asset not in made:
                continue
            artefact = _as_built(made[asset], build)
            seen = observed.recall(repository, asset, artefact.key)
            metadata = result_metadata(KINDS[asset], artefact, build.seconds.get(asset, 0.0), seen)
            inputs = {kind.asset: made[kind.asset].digest for kind in stage.inputs.values() if kind.asset in made}
            yield _materialization(repository, asset, artefact.digest, stage.code_version, metadata, inputs)
            yield from _checks(repository, asset, findings)
    try:
        with open_version(repository, build.version) as version:
            yield _page(repository, reporting.of_version(version), made)
            yield from _current(repository, build, version.path, made, findings)
    except CodeIntelError as error:
        _complain(f"{build.version} is gone, or cannot be read any more: {error.message}")


def _artefact(repository: Repository, asset: str, key: str) -> Artefact[Any] | None:
    kind = KINDS.get(asset)
    try:
        return None if kind is None else objects.load(repository, kind, key)
    except CodeIntelError:
        return None


def _as_built(artefact: Artefact[Any], build: Unreported) -> Artefact[Any]:
    return replace(artefact, reused=artefact.asset in build.reused)


def _materialization(
    repository: Repository,
    asset: str,
    data_version: str,
    code_version: str,
    metadata: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> dg.AssetMaterialization:
    """`inputs`: asset -> data version of what it was made from."""
    tags = {CODE_VERSION_TAG: code_version, DATA_VERSION_TAG: data_version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    for name, version in inputs.items():
        # What Dagster says of the one partition of an input.
        tags[get_input_data_version_tag(dg.AssetKey(name))] = hashlib.sha256(version.encode()).hexdigest()
        tags[get_input_event_pointer_tag(dg.AssetKey(name))] = NULL_EVENT_POINTER
    return dg.AssetMaterialization(asset, metadata=metadata, partition=repository.name, tags=tags)


def _checks(repository: Repository, asset: str, findings: Mapping[str, Finding]) -> Iterator[dg.AssetCheckEvaluation]:
    """What was found of an asset, as its body would have said it."""
    blocking = {check.name: check.blocking for check in CHECKS if check.asset == asset}
    blocking |= dict.fromkeys((gate.name for gate in GATES if gate.asset == asset), True)
    if asset == "current":
        blocking = dict.fromkeys(VERSION_FINDINGS, True)
    for name in blocking.keys() & findings.keys():
        result = check_result(name, asset, findings[name], blocking=blocking[name])
        yield dg.AssetCheckEvaluation(
            dg.AssetKey(asset), name, result.passed, result.metadata, severity=result.severity, partition=repository.name
        )


def _page(repository: Repository, subject: Any, made: Mapping[str, Artefact[Any]]) -> dg.AssetMaterialization:
    started = time.perf_counter()
    digest, metadata = quality.made_report(repository, subject, made[EvalMetrics.asset].key)
    metadata["seconds"] = round(time.perf_counter() - started, 3)
    inputs = {asset: made[asset].digest for asset in reporting.ASSETS if asset in made}
    return _materialization(repository, "report", digest, "1", metadata, inputs)


def _current(
    repository: Repository,
    build: Unreported,
    folder: Path,
    made: Mapping[str, Artefact[Any]],
    findings: Mapping[str, Finding],
) -> Iterator[Event]:
    done = Publication(build.version, build.previous, build.flipped, None, folder, build.allowed)
    manifest = made["manifest"]
    catalog: CatalogResource = catalog_resource()
    metadata = release.publication_metadata(done, manifest.facts, catalog)
    yield _materialization(repository, "current", build.version, "1", metadata, {"manifest": manifest.digest})
    yield from _checks(repository, "current", findings)


def main(arguments: Sequence[str]) -> int:
    """Report the builds of the store in `arguments`; a problem goes to standard error, which is a file."""
    warnings.simplefilter("ignore")
    os.nice(_NICENESS)
    try:
        report_all(open_store(Path(arguments[0])))
    except Exception:
        _complain(traceback.format_exc())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
