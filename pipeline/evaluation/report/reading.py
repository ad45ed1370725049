"""What a report shows, as plain data: read from the artefacts once, with nothing decided about how it looks.

Belongs here: picking, counting and joining. Not here: markup (`sections`), queries and what came of them (`cases`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.config import Settings
from pipeline.evaluation.coverage_reading import Module, read_tree, worst_first
from pipeline.evaluation.document import CoverageDocument, MetricsDocument, read_coverage, read_metrics
from pipeline.evaluation.report.cases import Case, worst_cases
from pipeline.evaluation.report.subject import Evaluated
from pipeline.evaluation.report.times import Times, point_name, times_of
from pipeline.index.tuning.document import TuningDocument, point_of, read_tuning
from pipeline.schemas import Chunks, Coverage, Embeddings, EvalMetrics, FaissIndex, Files, Tuning

_MODULES = 40
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Files that are not indexed for one reason; `example` is the largest of them."""

    reason: str
    files: int
    bytes: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """The files of one language."""

    name: str
    files: int
    indexed: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """All that is on the page."""

    subject: Evaluated
    metrics: MetricsDocument
    coverage: CoverageDocument
    tuning: TuningDocument
    chunks: int
    embedder: Row
    faiss: Row
    skipped: Sequence[Skipped]
    languages: Sequence[Language]
    points: Sequence[Row]
    """Operating points with `name` and `cost`: vectors scored for one query, null where the sweep did not have the point."""
    modules: Sequence[Module]
    """The whole repository, and then the parts that it is cut into, the worst first."""
    worst: Sequence[Case]
    times: Times
    settings: Mapping[str, tuple[Any, Any]]
    """Settings that are not as they come: what they are, and what they would be."""

    @property
    def evaluated(self) -> bool:
        """Whether there are figures."""
        return self.metrics.fused is not None

    @property
    def point_milliseconds(self) -> Mapping[str, float]:
        """Observed times of a search, by operating point."""
        return self.times.points


def read(subject: Evaluated) -> Shown:
    """Everything of a version that the page shows. Raises OSError, `msgspec.MsgspecError` and `pyarrow.ArrowException`."""
    roots = subject.roots
    files = tables.plain(tables.read_table(roots[Files.asset], Files, ["uri", "lang", "size", "status", "reason"]))
    metrics = read_metrics(roots[EvalMetrics.asset])
    return Shown(
        subject=subject,
        metrics=metrics,
        coverage=read_coverage(roots[Coverage.asset]),
        tuning=read_tuning(roots[Tuning.asset]),
        chunks=tables.count_rows(tables.parts(roots[Chunks.asset], Chunks)),
        embedder=msgspec.json.decode((roots[Embeddings.asset] / Embeddings.EMBEDDER).read_bytes()),
        faiss=msgspec.json.decode((roots[FaissIndex.asset] / FaissIndex.META).read_bytes()),
        skipped=_skipped(files),
        languages=_languages(files),
        points=_points(subject),
        modules=_modules(roots[Coverage.asset]),
        worst=worst_cases(roots[EvalMetrics.asset], roots[Chunks.asset]) if metrics.fused is not None else (),
        times=times_of(subject.measured),
        settings=_changed(subject.settings),
    )


def _skipped(files: pa.Table) -> list[Skipped]:
    """By reason, the most bytes first."""
    left = files.filter(pc.not_equal(files["status"], "indexed"))
    size = pc.fill_null(left["size"], 0)
    reason = pc.fill_null(left["reason"], left["status"])
    left = pa.table({"reason": reason, "size": size, "uri": left["uri"]})
    left = left.sort_by([("size", "descending"), ("uri", "ascending")])
    rows = left.group_by("reason", use_threads=False).aggregate([([], "count_all"), ("size", "sum"), ("uri", "first")])
    found = [
        Skipped(reason=row["reason"], files=row["count_all"], bytes=row["size_sum"], example=row["uri_first"])
        for row in rows.to_pylist()
    ]
    return sorted(found, key=lambda one: (-one.files, one.reason))


def _languages(files: pa.Table) -> list[Language]:
    """Those of indexed files, the most bytes first."""
    known = files.filter(pc.is_valid(files["lang"]))
    indexed = pc.equal(known["status"], "indexed")
    known = pa.table({
        "lang": known["lang"], "indexed": indexed.cast(pa.int64()),
        "bytes": pc.if_else(indexed, pc.fill_null(known["size"], 0), 0),
    })  # fmt: skip
    rows = known.group_by("lang").aggregate([([], "count_all"), ("indexed", "sum"), ("bytes", "sum")]).to_pylist()
    found = [
        Language(name=row["lang"], files=row["count_all"], indexed=row["indexed_sum"], bytes=row["bytes_sum"])
        for row in rows
        if row["indexed_sum"]
    ]
    return sorted(found, key=lambda one: (-one.bytes, one.name))


def _points(subject: Evaluated) -> list[Row]:
    """What the evaluation measured of each operating point, with its cost as the tuning had it."""
    sweep = pq.read_table(subject.roots[Tuning.asset] / Tuning.SWEEP).to_pylist()
    costs = {point_of(row): row["scored"] for row in sweep}
    rows = pq.read_table(subject.roots[EvalMetrics.asset] / EvalMetrics.POINTS).to_pylist()
    return [
        {**row, "cost": costs.get(point), "name": point_name(point.parameters, point.k_factor)}
        for row, point in ((row, point_of(row)) for row in rows)
    ]


def _modules(root: Path) -> list[Module]:
    tree = read_tree(root)
    top = tree.find("")
    if top is None or not top.counts["files"]:
        return []
    parts = worst_first(tree.cut(top, _MODULES))
    return [top, *parts] if len(parts) > 1 else [top]


def _changed(settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """As JSON has them: tuples and lists are the same there."""
    usual, given = (msgspec.json.decode(msgspec.json.encode(one)) for one in (Settings().recorded(), settings))
    return {name: (given[name], usual[name]) for name in sorted(given) if name in usual and given[name] != usual[name]}
