"""The composition root: the one place where assets, checks, resources, jobs, schedules and sensors come together.

`build_definitions` serves the UI (`workspace.yaml`), the command `indexctl build` and the tests; they differ in what they
override.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import msgspec

from assets import chunks, index, quality, release, source, structure
from assets.upkeep import gc_job, verify_job
from pipeline.errors import ConfigError
from pipeline.schemas import EvalQueries, Tuning
from pipeline.store.place import default_data
from resources.artefacts import ArtefactIOManager
from resources.duckdb import catalog_resource
from resources.store import StoreResource
from sensors.alerts import alert_sensors
from sensors.commits import INTERVAL_SECONDS, TICK_SECONDS, commit_sensor
from sensors.nightly import GC_CRON, NIGHTLY_CRON, collection_schedule, nightly_schedule

BUILD_JOB = "build"
ASSET_MODULES = (source, structure, chunks, index, quality, release)


class Overrides(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one set of definitions has of its own."""

    data: Path | None = None
    """The store's folder; None: the one that `indexctl` would use."""
    webhook: str | None = None
    """Where failures and regressions are posted to."""
    automation: bool = False
    """Whether sensor and schedules run from the start; else somebody turns them on in the UI."""
    interval_seconds: int = INTERVAL_SECONDS
    """Between two looks at repositories."""
    tick_seconds: float = TICK_SECONDS
    """What one look may take; below 60, after which Dagster gives up on it."""
    nightly_cron: str = NIGHTLY_CRON
    gc_cron: str = GC_CRON

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Overrides:
        """From `CODEINTEL_DATA`, `CODEINTEL_WEBHOOK`, `CODEINTEL_AUTOMATION`, `CODEINTEL_COMMITS_INTERVAL`,
        `CODEINTEL_NIGHTLY_CRON` and `CODEINTEL_GC_CRON`. Raises `ConfigError`."""
        variables = {
            "webhook": "CODEINTEL_WEBHOOK",
            "automation": "CODEINTEL_AUTOMATION",
            "interval_seconds": "CODEINTEL_COMMITS_INTERVAL",
            "nightly_cron": "CODEINTEL_NIGHTLY_CRON",
            "gc_cron": "CODEINTEL_GC_CRON",
        }
        given = {name: environment[variable] for name, variable in variables.items() if environment.get(variable)}
        for name, value in given.items():
            try:
                # One at a time, so that the message names the variable.
                msgspec.convert({name: value}, cls, strict=False)
            except msgspec.ValidationError as error:
                raise ConfigError(f"The environment: `{variables[name]}` is not valid: {error}.") from None
        overrides = msgspec.convert(given, cls, strict=False)
        return msgspec.structs.replace(overrides, data=default_data(Path.cwd(), environment))


def build_definitions(overrides: Overrides | None = None) -> dg.Definitions:
    """Everything that Dagster needs to know. Raises `ConfigError` for a webhook that is no address."""
    given = overrides or Overrides()
    store = StoreResource(data=str(given.data or default_data(Path.cwd(), os.environ)))
    build, tune, evaluate = _asset_jobs()
    return dg.Definitions(
        assets=[asset for module in ASSET_MODULES for asset in dg.load_assets_from_modules([module])],
        jobs=[build, tune, evaluate, verify_job, gc_job],
        schedules=[
            nightly_schedule(build, cron=given.nightly_cron, running=given.automation),
            collection_schedule(gc_job, cron=given.gc_cron, running=given.automation),
        ],
        sensors=[
            commit_sensor(
                build, interval_seconds=given.interval_seconds, tick_seconds=given.tick_seconds, running=given.automation
            ),
            *alert_sensors(given.webhook),
        ],
        resources={"store": store, "artefacts": ArtefactIOManager(store=store), "catalog": catalog_resource()},
        executor=dg.in_process_executor,
    )


def _asset_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """Build all; or only from tuning, or from evaluation on, made anew from what was built last. All of them publish."""

    def job(name: str, description: str, root: str | None = None) -> dg.UnresolvedAssetJobDefinition:
        return dg.define_asset_job(
            name,
            selection=dg.AssetSelection.all() if root is None else dg.AssetSelection.assets(root).downstream(),
            # Steps share one process: the work itself is spread over processes inside the heavy stages.
            executor_def=dg.in_process_executor,
            description=description,
        )

    return [
        job(BUILD_JOB, "From a repository to a published, verified version."),
        job("tune", "Finds the operating point anew for what was built last, and publishes it.", Tuning.asset),
        job(
            "evaluate",
            "Makes queries, figures and coverage anew for what was built last, and publishes them.",
            EvalQueries.asset,
        ),
    ]


@dg.definitions
def defs() -> dg.Definitions:
    """What `workspace.yaml` loads."""
    return build_definitions(Overrides.from_environment())
