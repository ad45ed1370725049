"""The nightly schedule and the commit sensor: what they ask for, and when they keep still."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest

from assets.adapter import AFRESH_TAG
from assets.partitions import PARTITION_SET
from pipeline.definitions import Overrides, build_definitions
from pipeline.store.layout import open_store
from resources.store import StoreResource
from sensors.commits import MOST_ATTEMPTS, Cursor


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as made:
        yield made


def tick(store: Path, instance: dg.DagsterInstance, cursor: str | None) -> tuple[list[dg.RunRequest], str | None, str]:
    """One evaluation of the sensor: its requests, the new cursor, the reason for skipping."""
    sensor = build_definitions(Overrides(data=store)).resolve_sensor_def("commits")
    resources = {"store": StoreResource(data=str(store))}
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
        answers = list(sensor(context))
        skipped = "".join(answer.skip_message or "" for answer in answers if isinstance(answer, dg.SkipReason))
        return [answer for answer in answers if isinstance(answer, dg.RunRequest)], context.cursor, skipped


@pytest.fixture
def committed(world: Any, git: Callable[..., str]) -> Any:
    """The demo repository, clean at its HEAD and published from there."""
    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-q", "-m", "all", "--allow-empty")
    assert world.build().code == 0
    return world


def test_the_sensor_keeps_still_while_head_is_published(committed: Any, instance: dg.DagsterInstance) -> None:
    requests, _, reason = tick(committed.store, instance, None)
    assert requests == []
    assert "published at its HEAD" in reason


def test_a_commit_is_asked_for_once_with_its_partition_and_tags(
    committed: Any, instance: dg.DagsterInstance, git: Callable[..., str]
) -> None:
    git(committed.repo, "commit", "-q", "-m", "next", "--allow-empty")
    head = git(committed.repo, "rev-parse", "HEAD")
    requests, cursor, _ = tick(committed.store, instance, None)
    assert [(request.partition_key, request.run_key) for request in requests] == [("demo", f"demo@{head}#1")]
    assert requests[0].tags["codeintel/commit"] == head
    assert instance.has_dynamic_partition(PARTITION_SET, "demo")
    assert tick(committed.store, instance, cursor)[0] == []


def test_the_requested_run_publishes_the_commit_and_the_sensor_is_quiet_again(
    committed: Any, instance: dg.DagsterInstance, git: Callable[..., str]
) -> None:
    git(committed.repo, "commit", "-q", "-m", "next", "--allow-empty")
    requests, cursor, _ = tick(committed.store, instance, None)
    job = build_definitions(Overrides(data=committed.store)).resolve_job_def("build")
    assert job.execute_in_process(instance=instance, partition_key=requests[0].partition_key).success
    assert tick(committed.store, instance, cursor)[0] == []
    assert committed("status", "--json").json["repos"][0]["commit"] == git(committed.repo, "rev-parse", "HEAD")


def test_failing_commits_are_tried_again_ever_more_rarely_and_then_left(
    committed: Any, instance: dg.DagsterInstance, git: Callable[..., str]
) -> None:
    git(committed.repo, "commit", "-q", "-m", "next", "--allow-empty")
    cursor, asked_at = None, []
    for number in range(1, 100):
        requests, cursor, _ = tick(committed.store, instance, cursor)
        asked_at.extend([number] * len(requests))
    assert len(asked_at) == MOST_ATTEMPTS
    waits = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
    assert waits == sorted(waits) and waits[-1] > waits[0]
    git(committed.repo, "commit", "-q", "-m", "another", "--allow-empty")
    assert len(tick(committed.store, instance, cursor)[0]) == 1


def test_a_repository_that_is_being_built_is_not_asked_for(
    committed: Any, instance: dg.DagsterInstance, git: Callable[..., str], elsewhere: Callable[..., Any]
) -> None:
    git(committed.repo, "commit", "-q", "-m", "next", "--allow-empty")
    with elsewhere(open_store(committed.store).existing("demo")):
        assert tick(committed.store, instance, None)[0] == []


def test_a_repository_that_is_gone_or_a_cursor_that_is_damaged_does_not_break_the_tick(
    committed: Any, instance: dg.DagsterInstance
) -> None:
    assert tick(committed.store, instance, "not json")[0] == []
    committed.repo.rename(committed.repo.with_name("moved"))
    requests, cursor, _ = tick(committed.store, instance, None)
    assert requests == []
    assert msgspec.json.decode(str(cursor), type=Cursor).tick == 1


def test_repositories_that_are_gone_unborn_or_damaged_keep_no_other_from_being_built(
    committed: Any, instance: dg.DagsterInstance, git: Callable[..., str], tmp_path: Path
) -> None:
    broken = {}
    for name in ("gone", "unborn", "headless", "torn"):
        shutil.copytree(committed.home, committed.store / name)
        broken[name] = shutil.copytree(committed.repo, tmp_path / name)
        origin = (committed.store / name / "repository.json").read_text()
        origin = origin.replace(str(committed.repo), str(broken[name])).replace('"name": "demo"', f'"name": "{name}"')
        (committed.store / name / "repository.json").write_text(origin)
    shutil.rmtree(broken["gone"])
    git(broken["unborn"], "checkout", "-q", "--orphan", "nothing")
    (broken["headless"] / ".git/HEAD").write_text("rubbish\n")
    (committed.store / "torn/repository.json").write_text("{")
    git(committed.repo, "commit", "-q", "-m", "next", "--allow-empty")
    assert [request.partition_key for request in tick(committed.store, instance, None)[0]] == ["demo"]


def test_a_changed_work_tree_that_is_published_is_asked_for_again_only_when_the_changes_are_others(
    committed: Any, instance: dg.DagsterInstance
) -> None:
    (committed.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    assert committed.build().code == 0
    assert tick(committed.store, instance, None)[0] == []
    (committed.repo / "harbour/tides.py").write_text("def flood(): pass\n")
    assert len(tick(committed.store, instance, None)[0]) == 1


def test_without_a_store_sensor_and_schedule_say_so(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    assert tick(tmp_path / "none", instance, None)[0] == []


def test_the_night_asks_for_every_repository_once(world: Any, instance: dg.DagsterInstance) -> None:
    definitions = build_definitions(Overrides(data=world.store))
    schedule = definitions.resolve_schedule_def("nightly")
    moment = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
    resources = {"store": StoreResource(data=str(world.store))}
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=moment, resources=resources) as context:
        requests = list(schedule(context))
    assert [(request.partition_key, request.run_key) for request in requests] == [("demo", "demo@2026-11-21")]
    assert instance.has_dynamic_partition(PARTITION_SET, "demo")


def test_the_night_runs_indexers_again_where_the_settings_leave_it_to_the_night(
    world: Any, instance: dg.DagsterInstance
) -> None:
    def asks() -> bool:
        schedule = build_definitions(Overrides(data=world.store)).resolve_schedule_def("nightly")
        moment = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
        resources = {"store": StoreResource(data=str(world.store))}
        with dg.build_schedule_context(instance=instance, scheduled_execution_time=moment, resources=resources) as context:
            [request] = list(schedule(context))
            return "scip_index" in request.tags[AFRESH_TAG].split(",")

    assert not asks()
    (world.store / "codeintel.toml").write_text('scip_refresh = "nightly"\n')
    assert asks()
    (world.store / "codeintel.toml").write_text("scip_refresh = 7\n")
    assert not asks(), "the run will say what is wrong"
