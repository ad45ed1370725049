"""Group `release`: the manifest, and the checked flip of CURRENT.

Belongs here: the last two assets. Not here: what may be published (`pipeline.release`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset bodies as objects.

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.adapter import DAGSTER_TYPES, OWNERS, Card, asset_of, check_result
from assets.partitions import REPOSITORIES
from pipeline.catalog.database import follow_publication
from pipeline.release.publication import publish
from pipeline.release.verification import VERSION_FINDINGS, verify_folder
from pipeline.schemas import Manifest
from pipeline.stage import Artefact, External
from pipeline.stages import MANIFEST, identity_of
from pipeline.store.scans import recall_scan
from resources.duckdb import CatalogResource
from resources.store import StoreResource

_BY_LANGUAGE = """
    SELECT lang, count(DISTINCT uri) AS files, count(*) AS chunks, sum(end_byte - start_byte) AS bytes
    FROM chunk_rows GROUP BY lang ORDER BY chunks DESC, lang LIMIT 20
"""


def _identity(store: StoreResource, repository: str, inputs: Mapping[str, Artefact[Any]]) -> Mapping[str, External]:
    """Commit and dirtiness of the scan that the snapshot in `inputs` was made from."""
    place = store.repository(repository)
    scanned = recall_scan(place, inputs["source_snapshot"])
    keys = {asset: artefact.key for asset, artefact in inputs.items()}
    return {"identity": identity_of(store.settings(repository), place, scanned.commit, scanned.dirty, keys)}


manifest = asset_of(
    MANIFEST,
    group="release",
    externals=_identity,
    cards={
        "manifest": Card(
            "Everything that a version is made of: files with digests, keys, settings, tools, counts, the embedder.",
            frozenset({"json"}),
        )
    },
)


@dg.asset(
    name="current",
    ins={"manifest": dg.AssetIn(key="manifest", dagster_type=DAGSTER_TYPES["manifest"], input_manager_key="artefacts")},
    group_name="release",
    kinds={"python"},
    owners=OWNERS,
    code_version="1",
    partitions_def=REPOSITORIES,
    description="The published version: assembled, verified in this very step, and made current by an atomic flip.",
    check_specs=[
        dg.AssetCheckSpec(name, asset="current", description=description, partitions_def=REPOSITORIES)
        for name, description in VERSION_FINDINGS.items()
    ],
)
def current(
    context: dg.AssetExecutionContext, store: StoreResource, catalog: CatalogResource, manifest: Artefact[Manifest]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Publish, whoever asks: blocking checks guard only joint runs, so this body verifies again itself."""
    repository = store.repository(context.partition_key)
    done = publish(repository, manifest, reason="build", build={"run_id": context.run.run_id})
    if problem := follow_publication(repository, store.settings(repository.name)):
        context.log.warning(problem)
    verification = done.verification or verify_folder(done.path, reread=False)
    for name in VERSION_FINDINGS:
        yield check_result(name, "current", verification.findings[name])
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(done.version),
        metadata={
            "version": done.version,
            "previous": done.previous or "none",
            "flipped": done.flipped,
            "path": dg.MetadataValue.path(str(done.path)),
            "by_language": dg.MetadataValue.md(_by_language(catalog, done.path)),
            **{name: value for name, value in manifest.facts.items() if isinstance(value, int)},
        },
    )


def _by_language(catalog: CatalogResource, folder: Path) -> str:
    """What is in the version, as a Markdown table, asked of the views that people use."""
    with catalog.version(folder) as connection:
        rows = connection.execute(_BY_LANGUAGE).fetchall()
    lines = ["| language | files | chunks | bytes |", "|---|---:|---:|---:|"]
    return "\n".join([*lines, *(f"| {lang} | {files:,} | {chunks:,} | {size:,} |" for lang, files, chunks, size in rows)])
