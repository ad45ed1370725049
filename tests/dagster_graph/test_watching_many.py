"""The commit sensor over many repositories: remotes, failures, runs under way, runs that died, partitions, bounded ticks."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from assets.partitions import PARTITION_SET
from pipeline import registration
from pipeline.definitions import BUILD_JOB, Overrides, build_definitions
from pipeline.errors import SourceError
from pipeline.source.remotes import Standing
from pipeline.store.layout import REPOSITORIES_FILE, Store, create_store
from resources.store import StoreResource
from sensors import commits, lost_runs
from sensors.commits import Cursor, look

Git = Callable[..., str]
CODE = JobPythonOrigin(BUILD_JOB, RepositoryPythonOrigin("python", ModuleCodePointer("pipeline.definitions", "defs")))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


class Tick:
    """Ticks of the sensor, one after the other."""

    def __init__(self, store: Store, instance: dg.DagsterInstance) -> None:
        self.store, self.instance, self.cursor = store, instance, ""
        self.skipped = ""

    def __call__(self) -> list[dg.RunRequest]:
        sensor = build_definitions(Overrides(data=self.store.root)).resolve_sensor_def("commits")
        resources = {"store": StoreResource(data=str(self.store.root))}
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=resources) as context:
            answers = list(sensor(context))
            self.cursor = context.cursor or ""
        self.skipped = "".join(answer.skip_message or "" for answer in answers if isinstance(answer, dg.SkipReason))
        return [answer for answer in answers if isinstance(answer, dg.RunRequest)]


@pytest.fixture
def tick(store: Store, instance: dg.DagsterInstance) -> Tick:
    return Tick(store, instance)


def run_of(instance: dg.DagsterInstance, name: str, status: dg.DagsterRunStatus, job: str = BUILD_JOB) -> dg.DagsterRun:
    """A run that has come so far, with nobody behind it."""
    place = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin(host="localhost", port=1), "repository")
    origin = RemoteJobOrigin(place, job)
    run = instance.add_run(dg.DagsterRun(job, tags={"dagster/partition": name}, remote_job_origin=origin, job_code_origin=CODE))
    kinds = {
        dg.DagsterRunStatus.QUEUED: dg.DagsterEventType.RUN_ENQUEUED,
        dg.DagsterRunStatus.STARTING: dg.DagsterEventType.RUN_STARTING,
        dg.DagsterRunStatus.STARTED: dg.DagsterEventType.RUN_START,
    }
    if (kind := kinds.get(status)) is not None:
        instance.report_dagster_event(dg.DagsterEvent(kind.value, job), run.run_id)
    return run


def test_a_new_commit_of_a_remote_is_asked_for_with_its_branch(store: Store, tick: Tick, upstream: Path, git: Git) -> None:
    registration.register(store, upstream.as_uri())
    git(upstream, "checkout", "-qb", "work/next")
    git(upstream, "commit", "-qm", "Second", "--allow-empty")
    [request] = tick()
    assert request.tags["codeintel/commit"] == git(upstream, "rev-parse", "HEAD")
    assert request.tags["codeintel/branch"] == "work/next"
    assert tick() == []


def test_only_the_revision_that_was_registered_counts(store: Store, tick: Tick, upstream: Path, git: Git) -> None:
    git(upstream, "branch", "stable")
    registration.register(store, upstream.as_uri(), rev="stable")
    git(upstream, "commit", "-qm", "Second", "--allow-empty")
    [request] = tick()
    assert request.tags["codeintel/branch"] == "stable"
    assert request.tags["codeintel/commit"] == git(upstream, "rev-parse", "stable")


def test_a_remote_that_cannot_be_read_is_told_and_asked_ever_more_rarely(
    store: Store, tick: Tick, upstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration.register(store, upstream.as_uri())
    shutil.move(upstream, upstream.with_name("moved"))
    asked_at: list[int] = []
    real = commits.standing

    def counted(*arguments: Any) -> Standing:
        asked_at.append(msgspec.json.decode(tick.cursor or "{}", type=Cursor).tick)
        return real(*arguments)

    monkeypatch.setattr(commits, "standing", counted)
    for _ in range(19):
        assert tick() == []
        assert "service: file://" in tick.skipped
    waits = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
    assert waits == [2, 4, 8]
    shutil.move(upstream.with_name("moved"), upstream)
    assert any(tick() for _ in range(20)), "it is asked again"
    assert "service" not in msgspec.json.decode(tick.cursor, type=Cursor).failing


def test_the_file_is_read_at_each_tick_and_its_errors_are_told(store: Store, tick: Tick, upstream: Path) -> None:
    good = f'[[repository]]\nname = "good"\npath = "{upstream}"\n'
    (store.root / REPOSITORIES_FILE).write_text(good + '[[repository]]\nname = "bad"\npath = "nowhere"\n')
    assert [request.partition_key for request in tick()] == ["good"]
    assert tick() == [] and "`bad`" in tick.skipped


def test_partitions_follow_the_store(store: Store, tick: Tick, upstream: Path, instance: dg.DagsterInstance) -> None:
    repository = registration.register(store, str(upstream))
    instance.add_dynamic_partitions(PARTITION_SET, ["gone"])
    tick()
    assert instance.get_dynamic_partitions(PARTITION_SET) == ["service"]
    registration.release(repository)
    tick()
    assert instance.get_dynamic_partitions(PARTITION_SET) == ["service"], "its index is still there"
    registration.delete(repository)
    tick()
    assert instance.get_dynamic_partitions(PARTITION_SET) == []


def test_partitions_stay_where_the_store_cannot_be_read(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(PARTITION_SET, ["demo"])
    Tick(Store(tmp_path / "unmounted"), instance)()
    assert instance.get_dynamic_partitions(PARTITION_SET) == ["demo"]


def test_what_is_no_longer_watched_is_not_asked_for(store: Store, tick: Tick, upstream: Path) -> None:
    registration.release(registration.register(store, str(upstream)))
    assert tick() == []


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING])
def test_while_a_run_waits_in_the_queue_no_other_is_asked_for(
    store: Store, tick: Tick, upstream: Path, git: Git, instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    registration.register(store, str(upstream))
    run = run_of(instance, "service", status)
    for _ in range(5):
        git(upstream, "commit", "-qm", "More", "--allow-empty")
        assert tick() == []
    instance.report_run_failed(run)
    assert len(tick()) == 1


def test_a_run_whose_process_is_gone_is_ended_and_asked_for_again_in_the_same_tick(
    store: Store, tick: Tick, upstream: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_runs, "_GRACE", 0.0)
    monkeypatch.setattr(lost_runs, "_PAUSE", 0.01)
    registration.register(store, str(upstream))
    [first] = tick()
    run = run_of(instance, "service", dg.DagsterRunStatus.STARTED)
    [again] = tick()
    assert (first.run_key, again.run_key) == (f"{first.run_key[:-2]}#1", f"{first.run_key[:-2]}#2")
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None and ended.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_was_launched_by_a_process_that_is_gone_is_ended_when_it_does_not_start(
    store: Store, tick: Tick, upstream: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration.register(store, str(upstream))
    run = run_of(instance, "service", dg.DagsterRunStatus.STARTING)
    monkeypatch.setattr(lost_runs, "_LAUNCH_GRACE", 0.0)
    monkeypatch.setattr(lost_runs, "_BORN", time.time() - 60)
    assert tick() == [], "this very process launched it"
    monkeypatch.setattr(lost_runs, "_BORN", time.time())
    assert len(tick()) == 1
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None and ended.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_holds_its_lock_and_a_reader_that_needs_none_are_left_alone(
    store: Store, tick: Tick, upstream: Path, instance: dg.DagsterInstance, elsewhere: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(lost_runs, "_GRACE", 0.0)
    monkeypatch.setattr(lost_runs, "_PAUSE", 0.01)
    repository = registration.register(store, str(upstream))
    reading = run_of(instance, "service", dg.DagsterRunStatus.STARTED, job="verify")
    with elsewhere(repository):
        building = run_of(instance, "service", dg.DagsterRunStatus.STARTED)
        assert tick() == []
        for run in (reading, building):
            found = instance.get_run_by_id(run.run_id)
            assert found is not None and found.status is dg.DagsterRunStatus.STARTED


def test_a_tick_ends_in_time_and_the_next_one_begins_with_whom_it_did_not_reach(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"r{number:02}" for number in range(40)]

    def slow(_: Store, name: str) -> Standing | None:
        time.sleep(0.2)
        if name == "r01":
            raise SourceError("It is gone.")
        return Standing("0" * 40, None)

    monkeypatch.setattr(commits, "wanted", slow)
    cursor = Cursor(tick=1)
    seen = look(store, cursor.due(names), 0.5)
    assert 8 <= len(seen.looked) < 40
    assert seen.failing["r01"] == "It is gone."
    assert all("no answer" in why for name, why in seen.failing.items() if name != "r01")
    commits._requests(cursor, seen)
    reached = set(seen.looked)
    following: Sequence[str] = [name for name in names if name not in reached]
    cursor.tick = 2
    assert cursor.due(names)[: len(following)] == following
