"""What `indexctl eval` tells about one version: what its own evaluation says, or what one comes to that runs now.

Belongs here: gathering that, and its JSON. Not here: options (`commands_eval`), tables for people (`evaluation_tables`),
measuring (`pipeline.evaluation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import IndexCorruptionError, IndexFormatError, NotFoundError, QueryError
from pipeline.evaluation.document import FORMAT, MetricsDocument, asked_when, of_engine, read_metrics
from pipeline.evaluation.evaluator import Evaluation, evaluate
from pipeline.evaluation.grid import points_of
from pipeline.evaluation.history import by_evaluation, history
from pipeline.evaluation.own_queries import OwnQueries, read_own
from pipeline.evaluation.places import Chunked
from pipeline.evaluation.points import points_around
from pipeline.evaluation.queries import TEST, Query, read_queries
from pipeline.evaluation.twin import twin_of
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.interfaces.output import as_text
from pipeline.schemas import EvalMetrics, EvalQueries
from pipeline.search.engine import Searcher
from pipeline.search.opened import Opened
from pipeline.store.versions import Version
from pipeline.workers import Runtime, worker_count

_GROUPS = ("by_half", "by_label", "by_language", "by_module", "channels")
_ROUNDS = 5
"""How often the time of each search is taken."""
_COLUMNS = ("qid", "query", "label", "masked", "uri", "symbol", "lang", "rank", "hit", "recall", "rr", "ndcg")


@dataclass(frozen=True, kw_only=True)
class Report:
    """One evaluation of one version."""

    repo: str
    version: str
    stale: bool
    document: MetricsDocument
    queries: Sequence[Mapping[str, Any]]
    """What the whole engine made of each query that has answers."""
    points: Sequence[Mapping[str, Any]]
    times: Sequence[Mapping[str, Any]] = ()
    """Milliseconds by stage, where the evaluation ran now."""
    file: str = ""
    """Whose queries they are, where they are not the version's."""
    unjudged: int = 0
    """Queries without answers."""
    first: Sequence[Mapping[str, Any]] = ()
    """What comes first for each of those."""
    warnings: Sequence[str] = ()
    carried: str = ""
    """Which queries were asked in the version's build, where that was not all of them."""

    @property
    def asked(self) -> int:
        """Queries, with answers or without."""
        return len(self.queries) + self.unjudged

    def examples(self, most: int) -> list[Mapping[str, Any]]:
        """Some of the queries without an answer within k: of each label in turn, not masked and not found at all first, each
        text once."""
        missed = [row for row in self.queries if row["hit"] == 0]
        missed.sort(key=lambda row: (row["masked"], row["rank"] is not None, -(row["rank"] or 0), row["qid"]))
        once: dict[str, Mapping[str, Any]] = {}
        for row in missed:
            once.setdefault(row["query"], row)
        turns: dict[str, int] = {}
        in_turn = []
        for row in once.values():
            turns[row["label"]] = turn = turns.get(row["label"], 0) + 1
            in_turn.append((turn, row["label"], row))
        return [row for _, _, row in sorted(in_turn, key=lambda one: one[:2])][:most]

    def as_json(self) -> dict[str, Any]:
        """As `eval --json` prints it."""
        return {
            "repo": self.repo, "version": self.version, "stale": self.stale, "measured": "now" if self.times else "at build",
            "file": self.file or None, "asked": self.asked, "unjudged": self.unjudged,
            "metrics": msgspec.to_builtins(self.document), "points": list(self.points), "latency": list(self.times),
            "queries": list(self.queries), "first": list(self.first), "warnings": list(self.warnings),
        }  # fmt: skip


def stored(version: Version, *, stale: bool) -> Report:
    """What a version's own evaluation says. Raises `NotFoundError` where it has none, and what damage raises."""
    folder = version.ensure(EvalMetrics.asset)
    try:
        document = read_metrics(folder)
        tables = [pq.read_table(folder / name) for name in (EvalMetrics.DETAILS, EvalMetrics.POINTS)]
    except msgspec.ValidationError as error:
        raise IndexFormatError(
            f"The evaluation of {version.name} has another form: {error}.", hint="Run `indexctl build`, or eval with --now."
        ) from None
    except (OSError, msgspec.DecodeError, pa.ArrowException) as error:
        raise IndexCorruptionError(
            f"The evaluation of {version.name} cannot be read: {error}.", hint="Run `indexctl build`."
        ) from None
    if document.version != FORMAT:
        raise IndexFormatError(
            f"The evaluation of {version.name} has format {document.version}; this program reads {FORMAT}.",
            hint="Run `indexctl build`.",
        )
    if document.state == "off":
        raise NotFoundError(
            f"The version {version.name} was not evaluated: it was built without test queries.",
            hint="Give --queries FILE, or build with the setting `eval_queries` above 0.",
        )
    details, points = tables
    carried = asked_when(document, by_evaluation(history(version.repository))) if document.since else ""
    return Report(
        repo=version.repository.name, version=version.name, stale=stale, document=document, queries=_fused(details),
        points=_points(points, judged=True), carried=carried,
    )  # fmt: skip


def stored_k(version: Version) -> int | None:
    """The k of a version's own evaluation; None where it was not evaluated."""
    k = version.manifest.evaluation.get("k")
    return k if version.manifest.evaluation.get("state") == "on" and isinstance(k, int) else None


def measured(
    searcher: Searcher, *, stale: bool, k: int, file: Path | None = None, grid: str | None = None, tokens: bool = False
) -> Report:
    """Evaluate now. Raises `QueryError` for options that do not fit the version, `NotFoundError` where it has no queries, and
    what reading the file raises."""
    opened = searcher.opened
    searcher.checked_k(k)
    points = points_of(grid, opened.vectors, opened.point) if grid is not None else points_around(opened)
    if tokens and opened.tokens is None:
        raise QueryError(
            f"The version {searcher.version.name} has no token vectors to ask.",
            hint="Build with the setting `xtr` on, or use --oracle flat.",
        )
    own = _own(searcher.version, file)
    made = _evaluated(opened, own, k, points, tokens=tokens)
    unjudged = [query for query in own.queries if not query.positives]
    warnings = own.warnings()
    if grid is not None and opened.vectors.family.exact:
        warnings.append(f"the index is `{opened.vectors.family.name}`, which is exact: every point finds the same")
    return Report(
        repo=searcher.version.repository.name, version=searcher.version.name, stale=stale, document=made.document,
        queries=_fused(made.details) if own.judged else (), points=_points(made.points, judged=bool(own.judged)),
        times=_times(made.seconds), file="" if file is None else as_text(str(file)), unjudged=len(unjudged),
        first=_first(opened, made.pool, unjudged), warnings=warnings,
    )  # fmt: skip


def _own(version: Version, file: Path | None) -> OwnQueries:
    """The queries of a file, or those of the version."""
    if file is not None:
        return read_own(file, Chunked(version.ensure("chunks")))
    queries = read_queries(version.ensure(EvalQueries.asset), TEST)
    if not queries:
        raise NotFoundError(f"The version {version.name} has no test queries.", hint="Give --queries FILE.")
    return OwnQueries(tuple(queries))


def _evaluated(opened: Opened, own: OwnQueries, k: int, points: Sequence[OperatingPoint], *, tokens: bool) -> Evaluation:
    """All queries asked; those with answers are judged."""
    runtime = Runtime(workers=worker_count())
    with twin_of(opened, own.queries) as twin:
        every = evaluate(opened, twin, own.queries, k, points=points, oracle_tokens=tokens, rounds=_ROUNDS, runtime=runtime)
        if len(own.judged) == len(own.queries):
            return every
        if own.judged:
            judged = evaluate(opened, twin, own.judged, k, points=points, oracle_tokens=tokens, rounds=0, runtime=runtime)
    if not own.judged:
        nothing: dict[str, Any] = {name: {} for name in _GROUPS}
        return replace(every, document=msgspec.structs.replace(every.document, fused=None, **nothing))
    # The nearest vectors, times and what comes first are of all.
    document = msgspec.structs.replace(judged.document, nearest=every.document.nearest, broken=every.document.broken)
    return replace(every, document=document, details=judged.details, points=judged.points)


def _fused(details: pa.Table) -> list[dict[str, Any]]:
    """The rows of the whole engine."""
    found: list[dict[str, Any]] = of_engine(details).select(_COLUMNS).to_pylist()
    return found


def _points(points: pa.Table, *, judged: bool) -> list[dict[str, Any]]:
    quality = {} if judged else dict.fromkeys(("hit", "rr", "ndcg"))
    return [_point(row) | quality for row in points.to_pylist()]


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    point = OperatingPoint(nprobe=row["nprobe"], ef_search=row["ef_search"], k_factor=row["k_factor"])
    return {"parameters": point.parameters, **row}


def _times(seconds: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"stage": stage, **taken} for stage, taken in seconds.get("stages", {}).items()]


def _first(opened: Opened, pool: pa.Table, unjudged: Sequence[Query]) -> list[dict[str, Any]]:
    """For each query the chunk that comes first, as a line of results has it; nothing where nothing was found."""
    if not unjudged:
        return []
    best = of_engine(pool.filter(pc.equal(pool["rank"], 1)))
    chunk_of = dict(zip(best["query_id"].to_pylist(), best["chunk_id"].to_pylist(), strict=True))
    asked = [query for query in unjudged if query.qid in chunk_of]
    shown = opened.lexical.documents([chunk_of[query.qid] for query in asked])
    places = {query.qid: document for query, document in zip(asked, shown, strict=True)}
    names = ("uri", "start_line", "end_line", "kind", "name")
    return [
        {"qid": query.qid, "query": query.query, **{name: places.get(query.qid, {}).get(name) for name in names}}
        for query in unjudged
    ]
