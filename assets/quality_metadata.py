"""Metadata of the report: where it lies, what it says first, and quality as a picture.

Belongs here: what the Dagster UI shows of a report. Not here: what a report says (`pipeline.evaluation.report`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.metadata import markdown
from assets.plots import as_markdown, quality_of
from pipeline.evaluation.report.figures import decimal, interval, of_all, percent, share, signed
from pipeline.evaluation.report.reading import Shown
from pipeline.evaluation.report.verdict import sentence


def report_metadata(shown: Shown, path: Path) -> dict[str, Any]:
    """Where the page is, its headline, a table of what follows it, and quality by group.

    No address: browsers open no file from a page that a server sent.
    """
    failed = [check for check in shown.subject.checks if not check.passed]
    metadata: dict[str, Any] = {
        "path": dg.MetadataValue.path(str(path)),
        "verdict": dg.MetadataValue.text(sentence(shown)),
        "summary": dg.MetadataValue.md(markdown(pa.Table.from_pylist(_summary(shown)))),
        "failed_checks": len(failed),
    }
    if (drawn := quality_of(shown.metrics)) is not None:
        metadata["ndcg_by_group"] = dg.MetadataValue.md(as_markdown(drawn, "nDCG by group"))
    return metadata


def _summary(shown: Shown) -> list[dict[str, str]]:
    metrics, covered, compared = shown.metrics, shown.coverage, shown.subject.comparison
    said: dict[str, str] = {}
    if metrics.fused is not None:
        said[f"nDCG@{metrics.k}"] = f"{decimal(metrics.fused.ndcg.mean)} ({interval(metrics.fused.ndcg)})"
        said[f"hit@{metrics.k}"] = f"{decimal(metrics.fused.hit.mean)} ({interval(metrics.fused.hit)})"
    if compared is not None:
        change = compared.overall
        figure = f"nDCG {signed(change.ndcg.mean)} ({interval(change.ndcg)})" if change else compared.incomparable
        said[f"beside {shown.subject.before}"] = figure
    if metrics.nearest is not None:
        said["nearest vectors found"] = "all" if metrics.nearest.exact else percent(metrics.nearest.recall.mean)
    said["files indexed"] = of_all(covered.files, "files")
    said["definitions in every index"] = f"{share(covered.definitions)} of {covered.definitions.whole:,}"
    said["definitions found"] = f"{share(covered.found)} of {covered.found.whole:,} asked for"
    said["checks"] = "; ".join(check.name for check in shown.subject.checks if not check.passed) or "all hold"
    return [{"what": what, "value": value} for what, value in said.items()]
