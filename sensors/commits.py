"""The commit sensor: a run for every registered git repository whose HEAD is not the published commit.

Belongs here: noticing. Not here: building. The cursor remembers what was asked for and how often, because Dagster uses a run
key once, even when its run failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import msgspec

from pipeline.errors import CodeIntelError
from pipeline.interfaces.looking import freshness_of
from pipeline.source.freshness import head_of
from pipeline.store.layout import Origin, Repository, Store, read_origin, settings_of
from pipeline.store.locks import is_building
from pipeline.store.versions import open_version
from resources.store import StoreResource
from sensors.nightly import register_partitions

INTERVAL_SECONDS = 60
MOST_ATTEMPTS = 5
"""After so many runs for one commit the sensor waits for the next commit; each attempt waits twice as long as the last."""


class Asked(msgspec.Struct, frozen=True):
    """What was last asked for: a commit, how often, and the tick of the last time."""

    commit: str
    attempts: int
    tick: int


class Cursor(msgspec.Struct):
    """The sensor's memory: ticks so far, and what was asked for by repository."""

    tick: int = 0
    asked: dict[str, Asked] = msgspec.field(default_factory=dict)


def wanted(store: Store, name: str) -> str | None:
    """The commit that should be built, or None when there is nothing to do.

    What a build of a changed work tree published is of its commit and of the changes: it is built again when they are others.
    A repository that is gone, has no commits, or cannot be read wants nothing, and keeps none of the others from being built.
    """
    try:
        repository = store.existing(name)
        origin = read_origin(repository)
        head = head_of(Path(origin.path), origin.rev)
        if head is None or is_building(repository):
            return None
        return None if _is_published(store, repository, origin, head) else head
    except (CodeIntelError, OSError):
        return None


def _is_published(store: Store, repository: Repository, origin: Origin, head: str) -> bool:
    try:
        with open_version(repository) as version:
            if version.manifest.commit != head:
                return False
            return (
                not version.manifest.dirty
                or not freshness_of(store, repository, version, settings_of(store, origin), Path(origin.path)).stale
            )
    except CodeIntelError:
        return False


def _decode(cursor: str | None) -> Cursor:
    try:
        return msgspec.json.decode(cursor or "{}", type=Cursor)
    except msgspec.DecodeError:
        return Cursor()


def commit_sensor(job: dg.UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Looks once a minute at every registered repository."""

    @dg.sensor(
        name="commits",
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        description="Builds repositories whose HEAD moved since the published version.",
    )
    def commits(context: dg.SensorEvaluationContext, store: StoreResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        cursor = _decode(context.cursor)
        cursor.tick += 1
        names = store.names()
        cursor.asked = {name: asked for name, asked in cursor.asked.items() if name in names}
        requests: list[dg.RunRequest] = []
        for name in names:
            commit = wanted(store.open(), name)
            if commit is None:
                continue
            asked = cursor.asked.get(name)
            if asked is None or asked.commit != commit:
                asked = Asked(commit, 0, 0)
            elif asked.attempts >= MOST_ATTEMPTS or cursor.tick - asked.tick < 2**asked.attempts:
                continue
            cursor.asked[name] = asked = Asked(commit, asked.attempts + 1, cursor.tick)
            tags = {"codeintel/trigger": "commit", "codeintel/commit": commit}
            requests.append(dg.RunRequest(run_key=f"{name}@{commit}#{asked.attempts}", partition_key=name, tags=tags))
        register_partitions(context.instance, [str(request.partition_key) for request in requests])
        context.update_cursor(msgspec.json.encode(cursor).decode())
        if not requests:
            yield dg.SkipReason("Every registered repository is published at its HEAD, or is being built.")
        yield from requests

    return commits
