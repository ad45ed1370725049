"""What the engine counts and times about itself, for whoever listens in this process.

The engine reports here and knows nothing of who listens; with nobody listening a report costs some tens of nanoseconds. Every
metric is declared in `METRICS` with its meaning and its labels, so that dashboards, documentation and tests have one list.

Belongs here: that table, reporting, and listening. Not here: what becomes of a report (`interfaces.observing`), facts of a
build (`stage.Runtime.observe`), traces of searches (`search.trace`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Listener = Callable[["Metric", float, Mapping[str, str]], None]
"""Told of every report: the metric, by how much a counter grew, a value that was observed, or what a gauge is now."""

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

_FAMILIES = (
    "flat", "sq8", "ivf_flat", "ivf_sq8", "ivf_pq", "ivf_pq_refine", "ivf_pqfs", "ivf_rabitq", "hnsw", "hnsw_sq8",
)  # fmt: skip
_CHANNELS = ("lexical", "dense", "symbol", "path", "splade", "xtr", "xtr_rerank")
_JOINS = ("modules", "symbols", "ast", "cst", "faiss", "names", "syntax", "mentions")
_REPOSITORY: Mapping[str, tuple[str, ...]] = {"repository": ()}


class Metric(NamedTuple):
    """One metric. `labels` by name: the values that there are; an empty tuple for the names of repositories."""

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    buckets: tuple[float, ...] = ()
    """Upper bounds, of histograms."""


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "faiss_ann_search_duration_seconds", "histogram",
            "One call into the vector index, without re-ranking; a call may hold many queries.", {"family": _FAMILIES}, SECONDS,
        ),
        Metric(
            "faiss_refine_duration_seconds", "histogram",
            "Re-ranking the candidates of one call on true vectors.", {}, SECONDS,
        ),
        Metric(
            "faiss_flat_rerank_seconds", "histogram",
            "Scoring all that a filter lets through on true vectors, in place of the index.", {}, SECONDS,
        ),
        Metric(
            "faiss_refine_kept_ratio", "histogram",
            "Share of the index's own best that are still among the best after re-ranking.", {}, SHARES,
        ),
        Metric("faiss_idmap_rows", "gauge", "Vectors that can be found, of the version opened last.", _REPOSITORY),
        Metric(
            "faiss_join_ready", "gauge",
            "1 where chunks can be joined to rows of the vector index: by the view, or by the materialised table.",
            {"materialized": ("false", "true"), **_REPOSITORY},
        ),
        Metric(
            "faiss_deletes_total", "counter",
            "Vectors that were deleted from an index, or are not in one that was built on it.",
        ),
        Metric("faiss_param_overrides_total", "counter", "Searches that asked for another operating point than the version's."),
        Metric("faiss_update_collisions_total", "counter", "Ids that were refused because they were in the index already."),
        Metric("hybrid_rrf_written_rows", "counter", "Rows of `hybrid_contrib` that traces wrote."),
        Metric("trace_pool_rows", "counter", "Rows of `trace_pool` that traces wrote."),
        Metric("eval_pools_written_total", "counter", "Evaluations whose `eval_pool` was written."),
        Metric(
            "codeintel_duckdb_hydration_seconds", "histogram", "Fetching chunks by id from the tables.",
            {"op": ("chunks", *_JOINS, "several")}, SECONDS,
        ),
        Metric(
            "codeintel_scope_filter_duration_seconds", "histogram", "From a filter to the ids of the chunks that pass.",
            {"filter_type": ("lang", "path", "kind", "module", "defines", "several", "none")}, SECONDS,
        ),
        Metric(
            "codeintel_catalog_bootstrap_seconds", "histogram", "Making the views over a version in a new connection.", {},
            SECONDS,
        ),
        Metric("codeintel_post_filter_density", "histogram", "Share of the chunks that a filter lets through.", {}, SHARES),
        Metric(
            "codeintel_search_seconds", "histogram", "A search in the engine, by what its query was read as.",
            {"kind": ("name", "path", "question", "phrase", "sentence")}, SECONDS,
        ),
        Metric(
            "codeintel_channel_answers_total", "counter", "How channels fared with queries.",
            {"channel": _CHANNELS, "state": ("answered", "empty", "silent", "off", "broken")},
        ),
        Metric(
            "codeintel_channel_seconds", "histogram", "What a channel took for a query.", {"channel": _CHANNELS}, SECONDS,
        ),
        Metric("codeintel_open_versions", "gauge", "Versions that this process has open now."),
        Metric("codeintel_flips_seen_total", "counter", "Flips of CURRENT that this process met when it opened.", _REPOSITORY),
        Metric(
            "codeintel_requests_total", "counter", "Requests to a server, by how they ended.",
            {
                "interface": ("http", "mcp"),
                "operation": (
                    "search", "fetch", "symbols", "related", "status", "versions", "quality", "other",
                ),
                "state": ("ok", "refused", "busy", "cancelled", "failed"),
            },
        ),
        Metric(
            "codeintel_request_seconds", "histogram", "Requests to a server, from first to last byte of the answer.",
            {"interface": ("http", "mcp")}, SECONDS,
        ),
        Metric("codeintel_repository_ready", "gauge", "1 where searches of a repository are answered.", _REPOSITORY),
        Metric(
            "codeintel_repository_behind", "gauge", "1 where a repository is known to differ from what is indexed.",
            _REPOSITORY,
        ),
        Metric(
            "codeintel_published_timestamp_seconds", "gauge", "When the published version was made, since the epoch.",
            _REPOSITORY,
        ),
    )
}  # fmt: skip
"""Every metric by name."""

_log = logging.getLogger(__name__)
_listeners: tuple[Listener, ...] = ()
_open: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
"""What gauges that go up and down stand at."""
_guard = threading.Lock()


def listening() -> bool:
    """Whether anybody listens: what must be worked out to be reported is not worked out for nobody."""
    return bool(_listeners)


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Have `listener` told of every report while the block lasts, in the thread that reports; it must be quick."""
    global _listeners
    with _guard:
        _listeners = (*_listeners, listener)
    try:
        yield
    finally:
        with _guard:
            _listeners = tuple(other for other in _listeners if other is not listener)


def count(name: str, amount: float = 1, **labels: str) -> None:
    """A counter grew."""
    if _listeners:
        _tell("counter", name, amount, labels)


def observe(name: str, value: float, **labels: str) -> None:
    """A value of a histogram was seen: seconds, or a share."""
    if _listeners:
        _tell("histogram", name, value, labels)


def gauge(name: str, value: float, **labels: str) -> None:
    """A gauge stands at a value now."""
    if _listeners:
        _tell("gauge", name, value, labels)


def move(name: str, by: float, **labels: str) -> None:
    """A gauge went up or down; counted also while nobody listens, so that it is right when somebody begins to."""
    key = (name, tuple(labels.items()))
    with _guard:
        value = _open[key] = _open.get(key, 0) + by
    if _listeners:
        _tell("gauge", name, value, labels)


class timed:  # noqa: N801 - read as a verb: `with timed(…)`
    """Observe the seconds that a block takes, also where it raises."""

    __slots__ = ("_labels", "_name", "_started")

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        observe(self._name, time.perf_counter() - self._started, **self._labels)


def _tell(kind: Kind, name: str, value: float, labels: Mapping[str, str]) -> None:
    metric = METRICS.get(name)
    if metric is None or metric.kind != kind or metric.labels.keys() != labels.keys():
        raise LookupError(f"{kind} {name} with the labels {sorted(labels)} is not declared")
    for listener in _listeners:
        try:
            listener(metric, value, labels)
        except Exception:
            # What is told of work must not be what ends it.
            _log.exception("a listener to %s failed", name)
