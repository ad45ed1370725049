"""The commit sensor: a run for every watched repository whose HEAD is not the published commit.

Belongs here: noticing, and asking once for each commit. Not here: building; runs that died (`lost_runs`). The cursor remembers
what was asked for and how often, because Dagster uses a run key once, even when its run failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import msgspec

from assets.runs import BRANCH_TAG, COMMIT_TAG, TRIGGER_TAG
from pipeline.errors import CodeIntelError
from pipeline.interfaces.looking import freshness_of
from pipeline.source.freshness import head_of
from pipeline.source.remotes import Standing, local_standing, standing
from pipeline.store.layout import Origin, Repository, Store, read_origin, settings_of
from pipeline.store.locks import is_building
from pipeline.store.versions import open_version
from resources.store import StoreResource
from sensors.lost_runs import end_lost_runs, in_flight
from sensors.partitions import follow_store

INTERVAL_SECONDS = 60
TICK_SECONDS = 30.0
"""Whoever was not looked at by then is looked at first in the next tick. Dagster gives up on a tick after 60 seconds."""
MOST_ATTEMPTS = 5
"""After so many runs for one commit the sensor waits for the next commit; each attempt waits twice as long as the last."""
_MOST_WAIT = 6
"""A repository that cannot be read is looked at again after 2, 4, … and at most 2 to the power of this many ticks."""
_AT_ONCE = 8
"""Remotes that are asked at the same time."""
_MOST_TOLD = 5


class Asked(msgspec.Struct, frozen=True):
    """What was last asked for: a commit, how often, and the tick of the last time."""

    commit: str
    attempts: int
    tick: int


class Failing(msgspec.Struct, frozen=True):
    """A repository that could not be read: how often in a row, the tick of the last time, and why."""

    times: int
    tick: int
    why: str


class Cursor(msgspec.Struct):
    """The sensor's memory by repository, and ticks so far."""

    tick: int = 0
    asked: dict[str, Asked] = msgspec.field(default_factory=dict)
    failing: dict[str, Failing] = msgspec.field(default_factory=dict)
    looked: dict[str, int] = msgspec.field(default_factory=dict)
    """The tick at which each was last looked at."""

    def forget(self, names: Sequence[str]) -> None:
        """Keep what is known of these repositories only."""
        self.asked = {name: value for name, value in self.asked.items() if name in names}
        self.failing = {name: value for name, value in self.failing.items() if name in names}
        self.looked = {name: value for name, value in self.looked.items() if name in names}

    def due(self, names: Sequence[str]) -> list[str]:
        """Whom to look at now, the one first that was not looked at for longest."""
        waiting = {name for name, one in self.failing.items() if self.tick - one.tick < 2 ** min(one.times, _MOST_WAIT)}
        return sorted((name for name in names if name not in waiting), key=lambda name: (self.looked.get(name, 0), name))

    def ask(self, name: str, commit: str) -> Asked | None:
        """Note that a commit is asked for, and how often it then was; None where it is too early for that, or too late."""
        asked = self.asked.get(name)
        if asked is None or asked.commit != commit:
            asked = Asked(commit, 0, 0)
        elif asked.attempts >= MOST_ATTEMPTS or self.tick - asked.tick < 2**asked.attempts:
            return None
        self.asked[name] = asked = Asked(commit, asked.attempts + 1, self.tick)
        return asked

    def lost(self, name: str) -> None:
        """What was asked for last died with its process: no fault of the commit, so it is due at once."""
        if (asked := self.asked.get(name)) is not None:
            self.asked[name] = Asked(asked.commit, asked.attempts, self.tick - 2**asked.attempts)


def wanted(store: Store, name: str) -> Standing | None:
    """The commit that should be built, or None when there is nothing to do.

    What a build of a changed work tree published is of its commit and of the changes: it is built again when they are others.
    Raises `CodeIntelError` or OSError for a repository that cannot be read.
    """
    repository = store.existing(name)
    if is_building(repository):
        return None
    origin = read_origin(repository)
    if origin.remote is not None:
        found = standing(origin.remote, origin.rev, repository.mirror)
    elif head_of(Path(origin.path), origin.rev) is None:
        return None  # A folder without git, or without commits: left to the night.
    else:
        found = local_standing(Path(origin.path), origin.rev)
    return None if _is_published(store, repository, origin, found.commit) else found


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


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at repositories found: who wants what, and who cannot be read. Who is in neither wants nothing."""

    wants: Mapping[str, Standing]
    failing: Mapping[str, str]
    looked: Sequence[str]


def look(store: Store, names: Sequence[str], seconds: float) -> Seen:
    """Look at repositories in their order, for about so many seconds; who is not reached by then is not in `looked`."""
    until = time.monotonic() + seconds
    wants: dict[str, Standing] = {}
    failing: dict[str, str] = {}
    looked: list[str] = []
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="look")
    try:
        futures: dict[Future[Standing | None], str] = {pool.submit(wanted, store, name): name for name in names}
        done, late = wait(futures, timeout=max(0.0, until - time.monotonic()))
        for future, name in futures.items():
            if future in done:
                looked.append(name)
                try:
                    if (found := future.result()) is not None:
                        wants[name] = found
                except (CodeIntelError, OSError) as error:
                    failing[name] = str(error)
            elif future in late and not future.cancel():
                # Begun, and no answer: it waits for its turn like others that cannot be read.
                looked.append(name)
                failing[name] = f"`{name}` gave no answer within {seconds:g} seconds."
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return Seen(wants, failing, looked)


def _decode(cursor: str | None) -> Cursor:
    try:
        return msgspec.json.decode(cursor or "{}", type=Cursor)
    except msgspec.DecodeError:
        return Cursor()


def commit_sensor(
    job: dg.UnresolvedAssetJobDefinition,
    *,
    interval_seconds: int = INTERVAL_SECONDS,
    tick_seconds: float = TICK_SECONDS,
    running: bool = False,
) -> dg.SensorDefinition:
    """Looks at every watched repository. `running`: from the start, and not only once somebody turns it on in the UI."""

    @dg.sensor(
        name="commits",
        job=job,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Builds watched repositories whose HEAD moved since the published version.",
    )
    def commits(context: dg.SensorEvaluationContext, store: StoreResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        cursor = _decode(context.cursor)
        cursor.tick += 1
        problems = store.synchronise()
        names = store.names()
        cursor.forget(names)
        follow_store(context.instance, store)
        for name in end_lost_runs(context.instance, store):
            cursor.lost(name)
        busy = in_flight(context.instance)
        seen = look(store.open(), [name for name in cursor.due(names) if name not in busy], tick_seconds) if names else None
        requests = _requests(cursor, seen) if seen is not None else []
        for problem in (*problems, *(f"{name}: {one.why}" for name, one in cursor.failing.items() if one.tick == cursor.tick)):
            context.log.warning(problem)
        context.update_cursor(msgspec.json.encode(cursor).decode())
        if not requests:
            yield dg.SkipReason(_why_nothing(cursor, problems, busy & set(names)))
        yield from requests

    return commits


def _requests(cursor: Cursor, seen: Seen) -> list[dg.RunRequest]:
    for name in seen.looked:
        cursor.looked[name] = cursor.tick
        if (why := seen.failing.get(name)) is None:
            cursor.failing.pop(name, None)
        else:
            before = cursor.failing.get(name)
            cursor.failing[name] = Failing((before.times if before else 0) + 1, cursor.tick, why)
    requests = []
    for name, found in sorted(seen.wants.items()):
        asked = cursor.ask(name, found.commit)
        if asked is not None:
            tags = {TRIGGER_TAG: "commit", COMMIT_TAG: found.commit}
            if found.branch:
                tags[BRANCH_TAG] = found.branch
            key = f"{name}@{found.commit}#{asked.attempts}"
            requests.append(dg.RunRequest(run_key=key, partition_key=name, tags=tags))
    return requests


def _why_nothing(cursor: Cursor, problems: Sequence[str], busy: set[str]) -> str:
    """What a tick without requests says in the UI."""
    said = [*problems[:_MOST_TOLD], *(f"{name}: {one.why}" for name, one in list(cursor.failing.items())[:_MOST_TOLD])]
    if busy:
        said.append(f"{len(busy)} wait for a run that was asked for: {', '.join(sorted(busy)[:_MOST_TOLD])}.")
    said.append("Every other watched repository is published at its HEAD, or is being built, or was tried too often.")
    return " ".join(said)
