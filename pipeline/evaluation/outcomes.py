"""All queries asked, by this process or by several.

Belongs here: who asks which queries. Not here: asking one (`asking`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import EmbedSettings, SearchSettings, SpladeSettings, XtrSettings
from pipeline.embed import registry
from pipeline.evaluation.asking import Outcome, judge
from pipeline.evaluation.queries import Query
from pipeline.evaluation.staged import Staged
from pipeline.evaluation.twin import Twin
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.search.channels.registry import CHANNELS
from pipeline.search.opened import Opened
from pipeline.store.versions import ManifestDocument
from pipeline.workers import Runtime, run_jobs

SEARCHED = ("lexical_index", "faiss_index", "embeddings", "splade_index", "xtr_index")
"""The assets that channels read."""
_LEAST = 64
"""Queries for which another process opens the index."""
_QUERY_COSTS = 20_000
"""Bytes of source that are parsed in the time that one query takes."""


@dataclass(frozen=True, slots=True)
class _Where:
    """What a worker opens."""

    path: Path
    manifest: ManifestDocument
    name: str
    search: SearchSettings
    embed: EmbedSettings
    splade: SpladeSettings
    xtr: XtrSettings
    resting: Mapping[str, str]
    """Channels that are broken already, with the reason."""

    def open(self) -> Opened:
        version = Staged(self.path, self.manifest, self.name)
        opened = Opened(version, self.search, self.embed, self.splade, self.xtr)
        for channel, reason in self.resting.items():
            opened.rest(channel, reason, math.inf)
        return opened


@dataclass(frozen=True, slots=True)
class _Job:
    index: _Where
    twin: _Where | None
    queries: Sequence[Query]
    k: int
    points: Sequence[OperatingPoint]


def outcomes_of(
    opened: Opened, twin: Twin | None, queries: Sequence[Query], k: int, points: Sequence[OperatingPoint], runtime: Runtime
) -> list[Outcome]:
    """The outcome of each query, the same for any number of processes."""
    other = None if twin is None else twin.opened
    workers = min(runtime.workers, len(queries) // _LEAST)
    if workers < 2 or not _shareable(opened):
        return _ask(opened, other, queries, k, points)
    cuts = [len(queries) * number // workers for number in range(workers + 1)]
    index, masked = _where(opened), None if other is None else _where(other)
    jobs = [_Job(index, masked, queries[start:end], k, points) for start, end in itertools.pairwise(cuts)]
    parts = run_jobs(_asked, jobs, runtime, work_bytes=_QUERY_COSTS * len(queries) * (1 + len(points)))
    return [outcome for part in parts for outcome in part]


def _shareable(opened: Opened) -> bool:
    """Whether several processes may ask at once: not where each would load a model for itself, or has a device to share."""
    built = opened.version.manifest.artefacts
    models = any(name in built and built[name].facts["state"] != "off" for name in ("splade_index", "xtr_index"))
    return not models and not opened.vectors.gpu.devices and registry.spread_of(opened.embed_settings).processes


def _where(opened: Opened) -> _Where:
    version = opened.version
    path = version.ensure(*(asset for asset in SEARCHED if asset in version.manifest.artefacts))
    resting = {channel.name: reason for channel in CHANNELS if (reason := opened.resting(channel.name)) is not None}
    models = (opened.embed_settings, opened.splade_settings, opened.xtr_settings)
    return _Where(path, version.manifest, version.name, opened.settings, *models, resting)


def _asked(job: _Job) -> list[Outcome]:
    """One job, in whatever process."""
    opened, twin = job.index.open(), None if job.twin is None else job.twin.open()
    try:
        return _ask(opened, twin, job.queries, job.k, job.points)
    finally:
        opened.close()
        if twin is not None:
            twin.close()


def _ask(
    opened: Opened, twin: Opened | None, queries: Sequence[Query], k: int, points: Sequence[OperatingPoint]
) -> list[Outcome]:
    return [judge(opened if twin is None or query.mask is None else twin, query, k, points) for query in queries]
