"""Group `release`: the manifest, and the checked flip of CURRENT.

Belongs here: the last two assets. Not here: what may be published (`pipeline.release`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset bodies as objects.

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from assets.adapter import DAGSTER_TYPES, OWNERS, Card, asset_of, check_result
from assets.partitions import REPOSITORIES
from assets.runs import VERSION_TAG
from pipeline.catalog.database import follow_publication
from pipeline.evaluation.document import read_metrics
from pipeline.release import reporting
from pipeline.release.publication import Publication, publish
from pipeline.release.verification import VERSION_FINDINGS, verify_folder
from pipeline.schemas import EvalMetrics, Manifest
from pipeline.stage import Artefact, External
from pipeline.stages import MANIFEST, identity_of
from pipeline.store.layout import Repository
from pipeline.store.scans import recall_scan
from pipeline.store.versions import read_manifest
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


class Publishing(dg.Config):
    """How `current` publishes."""

    allow_regression: bool = Field(
        default=False,
        description="Publish also what the gate refuses (quality that fell, recall or coverage below a bound), and record it.",
    )


@dg.asset(
    name="current",
    ins={"manifest": dg.AssetIn(key="manifest", dagster_type=DAGSTER_TYPES["manifest"], input_manager_key="artefacts")},
    group_name="release",
    kinds={"parquet", "faiss", "tantivy"},
    owners=OWNERS,
    code_version="1",
    partitions_def=REPOSITORIES,
    description="The published version: assembled, verified in this very step, and made current by an atomic flip.",
    # Dagster looks at the last publication of any repository, not of each: this tells that nothing is built any more, because
    # the daemon or the schedule is off. Whether one repository is behind is for the commit sensor.
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)),
    check_specs=[
        dg.AssetCheckSpec(name, asset="current", description=description, partitions_def=REPOSITORIES)
        for name, description in VERSION_FINDINGS.items()
    ],
)
def current(
    context: dg.AssetExecutionContext,
    config: Publishing,
    store: StoreResource,
    catalog: CatalogResource,
    manifest: Artefact[Manifest],
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Publish, whoever asks: blocking checks guard only joint runs, so this body verifies again itself."""
    repository = store.repository(context.partition_key)
    build = {"run_id": context.run.run_id, "seconds": _seconds(context)}
    done = publish(repository, manifest, reason="build", build=build, allow_regression=config.allow_regression)
    context.instance.add_run_tags(context.run.run_id, {VERSION_TAG: done.version})
    for name, problems in done.allowed.items():
        context.log.warning(f"Published in spite of {name}: {' '.join(problems)}")
    if problem := follow_publication(repository, store.settings(repository.name)):
        context.log.warning(problem)
    verification = done.verification or verify_folder(done.path, reread=False)
    for name in VERSION_FINDINGS:
        yield check_result(name, "current", verification.findings[name])
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(done.version),
        metadata=publication_metadata(done, manifest.facts, catalog),
    )


def publication_metadata(done: Publication, facts: Mapping[str, Any], catalog: CatalogResource) -> dict[str, Any]:
    """What is shown of a publication. `facts` are those of its manifest."""
    return {
        "version": done.version,
        "previous": done.previous or "none",
        "flipped": done.flipped,
        "allowed": dg.MetadataValue.md(_allowed(done)),
        "path": dg.MetadataValue.path(str(done.path)),
        "by_language": dg.MetadataValue.md(_by_language(catalog, done.path)),
        **_told_by(done.path),
        **{name: value for name, value in facts.items() if isinstance(value, int)},
    }


def _told_by(folder: Path) -> dict[str, Any]:
    """What a version says of itself: its commit, its size and its quality, as numbers that Dagster draws, and its report."""
    document = read_manifest(folder)
    told: dict[str, Any] = {
        "commit": document.commit or "none",
        "dirty": document.dirty,
        "version_bytes": sum(stored.bytes for artefact in document.artefacts.values() for stored in artefact.files),
    }
    metrics = read_metrics(folder)
    if metrics.fused is not None:
        told |= {"ndcg": metrics.fused.ndcg.mean, "hit": metrics.fused.hit.mean}
    if metrics.nearest is not None:
        told["ann_recall"] = metrics.nearest.recall.mean
    repository = Repository(document.repository, folder.parent.parent)
    page = reporting.report_path(repository, reporting.evaluation_name(document.artefacts[EvalMetrics.asset].key))
    if page.is_file():
        told["report"] = dg.MetadataValue.path(str(page))
    return told


def _seconds(context: dg.AssetExecutionContext) -> float | None:
    """Since the run started, as far as Dagster knows when that was."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return round(time.time() - record.start_time, 3) if record is not None and record.start_time is not None else None


def _allowed(done: Publication) -> str:
    """What the gate would have refused, as a list."""
    return "\n".join(f"- {name}: {' '.join(problems)}" for name, problems in done.allowed.items()) or "nothing"


def _by_language(catalog: CatalogResource, folder: Path) -> str:
    """What is in the version, as a Markdown table, asked of the views that people use."""
    with catalog.version(folder) as connection:
        rows = connection.execute(_BY_LANGUAGE).fetchall()
    lines = ["| language | files | chunks | bytes |", "|---|---:|---:|---:|"]
    return "\n".join([*lines, *(f"| {lang} | {files:,} | {chunks:,} | {size:,} |" for lang, files, chunks, size in rows)])
