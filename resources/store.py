"""The store as a Dagster resource.

One instance serves a run: it takes the builder's lock of the run's repository before the first step and gives it back after
the last. Sensors and schedules use the same resource without a partition, and then no lock is taken.

Belongs here: what ties a store to a run. Not here: how artefacts are stored (`pipeline.store`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from pipeline import registration
from pipeline.config import Settings
from pipeline.errors import CodeIntelError
from pipeline.store.layout import Origin, Repository, Store, open_store, read_origin, settings_of
from pipeline.store.locks import builder
from pipeline.workers import Runtime, crew, worker_count

PARTITION_TAG = "dagster/partition"
LOCKLESS_JOBS = frozenset({"verify"})
"""Jobs that only read: they neither wait for a builder nor keep one waiting."""


def repository_of(context: dg.InitResourceContext) -> str | None:
    """The name of the repository that a run is for; None outside of runs, and in one that is for none."""
    return context.run.tags.get(PARTITION_TAG) if context.run else None


class StoreResource(dg.ConfigurableResource["StoreResource"]):
    """Where artefacts lie."""

    data: str
    """The store's folder."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[StoreResource]:
        """Hold the builder's lock of the run's repository while the run lasts."""
        partition = repository_of(context)
        if partition is None or (context.run is not None and context.run.job_name in LOCKLESS_JOBS):
            yield self
            return
        with builder(self.open().existing(partition)), crew(worker_count()):
            yield self

    def open(self) -> Store:
        """The store. Raises `NotFoundError` where there is none."""
        return open_store(Path(self.data))

    def repository(self, name: str) -> Repository:
        """A registered repository."""
        return self.open().existing(name)

    def origin(self, name: str) -> Origin:
        """Where a repository is read from."""
        return read_origin(self.repository(name))

    def settings(self, name: str) -> Settings:
        """The settings that hold for a repository."""
        return settings_of(self.open(), self.origin(name))

    def runtime(self) -> Runtime:
        """How stages work here."""
        return Runtime(workers=worker_count(), shared=self.open().shared)

    def names(self) -> list[str]:
        """The watched repositories; none where there is no store yet. One whose record is damaged is among them: runs tell."""
        try:
            repositories = self.open().repositories()
        except CodeIntelError:
            return []
        return [repository.name for repository in repositories if _is_watched(repository)]

    def synchronise(self) -> list[str]:
        """Follow `repositories.toml`. Returns what is wrong with it, a sentence each."""
        try:
            return registration.synchronise(self.open())
        except (CodeIntelError, OSError) as error:
            return [str(error)] if Path(self.data).exists() else []

    def fetch(self, name: str) -> None:
        """Bring a repository up to date that is read from a git remote. Raises `SourceError`."""
        registration.refresh(self.repository(name), self.origin(name))


def _is_watched(repository: Repository) -> bool:
    try:
        return read_origin(repository).watched
    except CodeIntelError:
        return True
