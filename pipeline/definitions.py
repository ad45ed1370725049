"""The composition root: the one place where assets, checks, resources, jobs, schedules and sensors come together.

`build_definitions` serves the UI (`workspace.yaml`), the command `indexctl build` and the tests; they differ in the store only.
"""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from assets import chunks, index, quality, release, source, structure
from pipeline.store.place import default_data
from resources.artefacts import ArtefactIOManager
from resources.duckdb import catalog_resource
from resources.store import StoreResource
from sensors.commits import commit_sensor
from sensors.nightly import nightly_schedule

BUILD_JOB = "build"
ASSET_MODULES = (source, structure, chunks, index, quality, release)


def build_definitions(data: Path | None = None) -> dg.Definitions:
    """Everything that Dagster needs to know, over the store in `data` (default: the one that `indexctl` would use)."""
    store = StoreResource(data=str(data or default_data(Path.cwd(), os.environ)))
    job = dg.define_asset_job(
        BUILD_JOB,
        selection=dg.AssetSelection.all(),
        # Steps share one process: the work itself is spread over processes inside the heavy stages.
        executor_def=dg.in_process_executor,
        description="From a repository to a published, verified version.",
    )
    return dg.Definitions(
        assets=[asset for module in ASSET_MODULES for asset in dg.load_assets_from_modules([module])],
        jobs=[job],
        schedules=[nightly_schedule(job)],
        sensors=[commit_sensor(job)],
        resources={"store": store, "artefacts": ArtefactIOManager(store=store), "catalog": catalog_resource()},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `workspace.yaml` loads."""
    return build_definitions()
