"""Group `quality`: how good the index is, and where it is blind.

Belongs here: the assets of evaluation. Not here: how anything is measured (`pipeline.evaluation`), the gate (`release`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset bodies as objects.

import time
from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.adapter import DAGSTER_TYPES, OWNERS, Card, asset_of
from assets.partitions import REPOSITORIES
from assets.quality_metadata import report_metadata
from pipeline.evaluation.report.page import page
from pipeline.evaluation.report.reading import read
from pipeline.evaluation.report.subject import Evaluated
from pipeline.files import digest_bytes
from pipeline.index.tuning.locked_point import Lock, read_lock
from pipeline.release import reporting
from pipeline.schemas import Chunks, Coverage, Embeddings, EvalMetrics, FaissIndex, Snapshot, Tuning
from pipeline.stage import Artefact, External
from pipeline.stages import COVERAGE, EVAL_METRICS, EVAL_QUERIES
from pipeline.store.layout import Repository
from pipeline.store.scans import recall_scan
from resources.store import StoreResource


def _lock(store: StoreResource, repository: str, inputs: Mapping[str, Artefact[Any]]) -> Mapping[str, External]:
    """The operating point that somebody locked: what is published is what is measured."""
    return {"lock": Lock(read_lock(store.repository(repository)))}


eval_queries = asset_of(
    EVAL_QUERIES,
    group="quality",
    cards={
        "eval_queries": Card(
            "Queries made from names, documentation, callers, tests and modules, with every chunk that answers them.",
            frozenset({"json", "parquet"}),
        )
    },
)

eval_metrics = asset_of(
    EVAL_METRICS,
    group="quality",
    externals=_lock,
    cards={
        "eval_metrics": Card(
            "What the index answers to its test queries: hit, recall, MRR and nDCG with intervals, by channel and label.",
            frozenset({"json", "parquet"}),
        )
    },
)

coverage = asset_of(
    COVERAGE,
    group="quality",
    externals=_lock,
    cards={
        "coverage": Card(
            "What of the repository is in every index, which definitions are found by their own queries, and why not.",
            frozenset({"json", "parquet"}),
        )
    },
)


_ABOUT = (
    "One page that tells how good the index is, of every build, also of one that is refused. `indexctl report --open` shows "
    "that of the published version; else copy `path` into the address bar: browsers open no file from this page."
)


@dg.asset(
    name="report",
    ins={
        asset: dg.AssetIn(key=asset, dagster_type=DAGSTER_TYPES[asset], input_manager_key="artefacts")
        for asset in reporting.ASSETS
    },
    group_name="quality",
    kinds={"html"},
    owners=OWNERS,
    code_version="1",
    partitions_def=REPOSITORIES,
    description=_ABOUT,
)
def report(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    source_snapshot: Artefact[Snapshot],
    chunks: Artefact[Chunks],
    embeddings: Artefact[Embeddings],
    faiss_index: Artefact[FaissIndex],
    tuning: Artefact[Tuning],
    eval_metrics: Artefact[EvalMetrics],
    coverage: Artefact[Coverage],
) -> dg.MaterializeResult[None]:
    """No stage, because it has times and history: always made, in a fraction of a second."""
    started = time.perf_counter()
    inputs = (source_snapshot, chunks, embeddings, faiss_index, tuning, eval_metrics, coverage)
    repository, settings = store.repository(context.partition_key), store.settings(context.partition_key)
    scanned = recall_scan(repository, source_snapshot)
    made = {artefact.asset: artefact for artefact in inputs}
    building = reporting.building_of(made, settings, scanned.commit, dirty=scanned.dirty)
    digest, metadata = made_report(repository, reporting.of_building(repository, building), eval_metrics.key)
    if "problem" in metadata:
        context.log.warning(metadata["problem"])
    metadata["seconds"] = round(time.perf_counter() - started, 3)
    return dg.MaterializeResult(data_version=dg.DataVersion(digest), metadata=metadata)


def made_report(repository: Repository, subject: Evaluated, key: str) -> tuple[str, dict[str, Any]]:
    """Make and keep the page about an evaluation, by the key of its `eval_metrics`. Returns its digest, and its metadata."""
    made = page(shown := read(subject))
    path = reporting.report_path(repository, reporting.evaluation_name(key))
    metadata = report_metadata(shown, path)
    try:
        reporting.write_report(path, made)
    except OSError as error:
        # The index can be published all the same; `indexctl report` makes the page again.
        metadata["problem"] = f"The report cannot be written: {error}"
    return digest_bytes(made.encode()), metadata
