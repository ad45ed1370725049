"""Jobs that make no artefact: reading a published version again, and collecting garbage.

Belongs here: what their runs show. Not here: verification and collection themselves (`pipeline.release`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of ops as objects.

from typing import Any

import dagster as dg
import pyarrow as pa

from assets.metadata import markdown
from assets.partitions import REPOSITORIES
from pipeline.evaluation.report.figures import size
from pipeline.release.collection import collect
from pipeline.release.verification import verify_folder
from pipeline.store.versions import open_version
from resources.store import StoreResource


@dg.op(description="Reads the published version from the first byte to the last, and checks everything that must hold.")
def verify_version(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Fails where something does not hold, with what that is."""
    with open_version(store.repository(context.partition_key)) as version:
        result = verify_folder(version.path)
    rows = [
        {"check": name, "state": "holds" if finding.passed else "does not hold", "problems": " ".join(finding.problems)}
        for name, finding in result.findings.items()
    ]
    shown: dict[str, Any] = {
        "version": result.version,
        "things checked": result.checked,
        "checks": dg.MetadataValue.md(_table(rows)),
    }
    context.log_event(dg.AssetObservation("current", partition=context.partition_key, metadata=shown))
    if not result.ok:
        problems = "; ".join(f"{problem.artefact}: {problem.problem}" for problem in result.problems)
        raise dg.Failure(f"{result.version} does not hold: {problems}", metadata=shown, allow_retries=False)
    context.log.info(f"{result.version}: everything holds, {result.checked} things checked")


@dg.op(description="Removes old versions and what only they need; what is published, pinned or read stays.")
def collect_garbage(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Tells what stayed and why, what went, and how many bytes that freed."""
    done = collect(store.repository(context.partition_key))
    kept = [{"version": one.version, "because": one.reason} for one in done.kept]
    shown: dict[str, Any] = {
        "freed_bytes": done.bytes, "versions_removed": len(done.versions), "objects_removed": len(done.objects),
        "kept": dg.MetadataValue.md(_table(kept)),
    }  # fmt: skip
    context.log_event(dg.AssetObservation("current", partition=context.partition_key, metadata=shown))
    context.log.info(f"{len(done.versions)} versions and {len(done.objects)} objects removed, {size(done.bytes)} freed")


def _table(rows: list[dict[str, str]]) -> str:
    return markdown(pa.Table.from_pylist(rows)) if rows else "nothing"


@dg.job(
    name="verify",
    partitions_def=REPOSITORIES,
    executor_def=dg.in_process_executor,
    description="Is the published version what its manifest says?",
)
def verify_job() -> None:
    """One repository's published version."""
    verify_version()


@dg.job(
    name="gc",
    partitions_def=REPOSITORIES,
    executor_def=dg.in_process_executor,
    description="Frees what no kept version needs.",
)
def gc_job() -> None:
    """One repository."""
    collect_garbage()
