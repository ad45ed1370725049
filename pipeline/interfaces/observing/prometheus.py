"""Metrics for Prometheus: a listener to the engine's reports, and the text that `/metrics` answers with.

Label values come from closed sets, and names of repositories are bounded, so that nobody who asks can fill the memory of
whoever scrapes. What a store says of itself (published, ready, joined) is looked up when somebody scrapes, not more often
than every few seconds.

Belongs here: from reports to exposition. Not here: which metrics there are (`instruments`), HTTP.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from pipeline import __version__, instruments
from pipeline.errors import CodeIntelError
from pipeline.installed import version_or_none
from pipeline.instruments import METRICS, Metric
from pipeline.interfaces.observing.readiness import State, readiness
from pipeline.store.layout import Repository, Store
from pipeline.store.locks import Stamp
from pipeline.store.versions import current_or_none, read_build_facts

OTHER = "other"
"""Stands for a label value that is in no closed set."""
MOST_REPOSITORIES = 200
"""Repositories that have series of their own; those beyond are told as `other` by counters, and not at all by gauges."""
_LOOK_AGAIN = 5.0
"""Seconds for which what was seen of the store holds."""
_SUFFIX = "_total"


class Exposition:
    """A registry that fills as the engine reports. `tell` is the listener; many threads may call it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._held = {name: _held(metric, self.registry) for name, metric in METRICS.items()}
        self._repositories: set[str] = set()
        self._guard = threading.Lock()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        _describe_process(self.registry)

    def tell(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Take a report of the engine."""
        bounded = {name: self._bounded(given, metric.labels[name]) for name, given in labels.items()}
        if metric.kind == "gauge" and bounded.get("repository") == OTHER:
            return
        held = self._held[metric.name]
        one = held.labels(**bounded) if bounded else held
        if metric.kind == "histogram":
            one.observe(value)
        elif metric.kind == "gauge":
            one.set(value)
        else:
            one.inc(value)

    def _bounded(self, given: str, known: tuple[str, ...]) -> str:
        if known:
            return given if given in known else OTHER
        with self._guard:
            if given not in self._repositories and len(self._repositories) < MOST_REPOSITORIES:
                self._repositories.add(given)
            return given if given in self._repositories else OTHER

    def forget_others(self, repositories: Iterable[str]) -> None:
        """Drop the series of repositories that are not among these: they are gone from the store."""
        with self._guard:
            gone = self._repositories - set(repositories)
            self._repositories -= gone
        for name, metric in METRICS.items():
            if "repository" not in metric.labels:
                continue
            for labels in list(_label_sets(self._held[name])):
                if dict(zip(metric.labels, labels, strict=True))["repository"] in gone:
                    # Somebody else may have dropped it meanwhile.
                    with contextlib.suppress(KeyError):
                        self._held[name].remove(*labels)

    def text(self) -> bytes:
        """The exposition, in Prometheus's text format."""
        return generate_latest(self.registry)


def _held(metric: Metric, registry: CollectorRegistry) -> Any:
    names = list(metric.labels)
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, names, registry=registry, buckets=metric.buckets)
    if metric.kind == "counter" and metric.name.endswith(_SUFFIX):
        return Counter(metric.name, metric.help, names, registry=registry)
    # A counter of another name would be told under that name and `_total`.
    return Gauge(metric.name, metric.help, names, registry=registry)


def _label_sets(held: Any) -> Iterable[tuple[str, ...]]:
    return {tuple(sample.labels[name] for name in held._labelnames) for one in held.collect() for sample in one.samples}


def _describe_process(registry: CollectorRegistry) -> None:
    """Which program this is, as a gauge that is always 1."""
    said = {
        "version": __version__,
        "python": platform.python_version(),
        "faiss": version_or_none("faiss-cpu") or version_or_none("faiss-gpu") or "none",
        "duckdb": version_or_none("duckdb") or "none",
    }
    info = Gauge("codeintel_build_info", "The program and what it runs on; always 1.", list(said), registry=registry)
    info.labels(**said).set(1)


class Observing:
    """Metrics of this process, and of a store, from its making until `close`."""

    def __init__(self, store: Store | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.exposition = Exposition()
        self._store = store
        self._clock = clock
        self._looked = -_LOOK_AGAIN
        self._catalogs: dict[str, tuple[Stamp, str | None]] = {}
        self._guard = threading.Lock()
        self._listening = contextlib.ExitStack()
        self._listening.enter_context(instruments.listen(self.exposition.tell))

    def close(self) -> None:
        """Listen no longer."""
        self._listening.close()

    def metrics_text(self) -> bytes:
        """What `/metrics` answers with, once the store has been looked at. Threads may ask at once."""
        with self._guard:
            if self._store is not None and self._clock() - self._looked >= _LOOK_AGAIN:
                self._looked = self._clock()
                self._look(self._store)
        return self.exposition.text()

    def _look(self, store: Store) -> None:
        try:
            repositories = {repository.name: repository for repository in store.repositories()}
        except CodeIntelError:
            repositories = {}
        for one in readiness(store).repositories:
            instruments.gauge("codeintel_repository_ready", one.answers, repository=one.repo)
            if one.state is not State.MISSING and one.repo in repositories:
                self._look_at(repositories[one.repo])
        self.exposition.forget_others(repositories)

    def _look_at(self, repository: Repository) -> None:
        name = current_or_none(repository)
        if name is not None and (at := read_build_facts(repository.versions / name).get("published_at")):
            instruments.gauge("codeintel_published_timestamp_seconds", float(at), repository=repository.name)
        try:
            stamp = Stamp.of(repository.catalog.stat())
        except OSError:
            return
        known = (stamp, name)
        if self._catalogs.get(repository.name) != known:
            self._catalogs[repository.name] = known
            from pipeline.catalog.database import read_contents

            # Reading it reports whether the join is there; what cannot be read is for `indexctl doctor` to tell.
            with contextlib.suppress(CodeIntelError):
                read_contents(repository)


_running: Observing | None = None
_starting = threading.Lock()


def start_observing(store: Store | None = None) -> Observing:
    """The metrics of this process, begun when first asked for; `store` is looked at when somebody scrapes."""
    global _running
    with _starting:
        if _running is None:
            _running = Observing(store)
        return _running


def metrics_text() -> bytes:
    """What `/metrics` answers with; metrics begin with the first call where nobody called `start_observing` before."""
    return start_observing().metrics_text()
