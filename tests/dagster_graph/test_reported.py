"""A build that was made without Dagster is told to Dagster afterwards, as a run of the graph would have told it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import pytest
from dagster._core.execution.stats import StepEventStatus

from assets import reported
from assets.partitions import PARTITION_SET
from pipeline.definitions import BUILD_JOB, Overrides, build_definitions
from pipeline.interfaces.run import dagster_instance
from pipeline.release.checks import CHECKS
from pipeline.release.quality_gate import GATES
from pipeline.release.verification import VERSION_FINDINGS
from pipeline.stages import KINDS, STAGES
from pipeline.store import unreported
from pipeline.store.layout import Repository, Store, open_store

ASSETS = {*KINDS, "report", "current"}
VARYING = ("seconds", "times", "reused", "flipped", "previous", "by_language", "page", "path")
"""Metadata that another run of the same build may give otherwise."""


@pytest.fixture
def quiet() -> Iterator[list[Sequence[str]]]:
    """No process is started to report: the test does that. Holds what would have been started."""
    started: list[Sequence[str]] = []
    with mock.patch("pipeline.interfaces.run.leave_running", lambda command, log: started.append(command)):
        yield started


@pytest.fixture
def edited(world: Any, quiet: list[Sequence[str]]) -> Any:
    """The demo with a file changed and built on top of what was published, as people do it."""
    (world.repo / "harbour/tides.py").write_text("def ebb(hours: float) -> float:\n    return hours - 6.21\n")
    done = world("build", world.repo, "--json")
    assert done.code == 0 and len(quiet) == 1
    return world


def place(world: Any) -> tuple[Store, Repository]:
    store = open_store(world.store)
    return store, store.existing("demo")


def latest(instance: dg.DagsterInstance) -> dict[str, dg.AssetMaterialization]:
    found = {}
    for asset in ASSETS:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        if event is not None and event.asset_materialization is not None:
            found[asset] = event.asset_materialization
    return found


def checked(instance: dg.DagsterInstance, store: Path) -> dict[tuple[str, str], Any]:
    keys = build_definitions(Overrides(data=store)).resolve_asset_graph().asset_check_keys
    summaries = {key: instance.event_log_storage.get_asset_check_execution_history(key, limit=5) for key in keys}
    return {(key.asset_key.path[-1], key.name): records for key, records in summaries.items() if records}


def test_every_asset_and_check_of_the_build_is_reported_once(edited: Any) -> None:
    store, repository = place(edited)
    assert unreported.is_any(repository)
    assert reported.report_all(store) == 1
    assert not unreported.is_any(repository)
    with dagster_instance(store) as instance:
        found = latest(instance)
        assert set(found) == ASSETS
        assert {one.partition for one in found.values()} == {"demo"} == set(instance.get_dynamic_partitions(PARTITION_SET))
        assert found["current"].metadata["version"].value == edited.version
        assert found["chunks"].metadata["reused"].value is False and found["chunks"].metadata["dagster/row_count"].value > 0
        checks = checked(instance, edited.store)
        assert len(checks) == len(CHECKS) + len(GATES) + len(VERSION_FINDINGS)
        assert all(len(records) == 1 and records[0].status.value == "SUCCEEDED" for records in checks.values())
        [run] = instance.get_run_records()
        assert run.dagster_run.status is dg.DagsterRunStatus.SUCCESS and run.dagster_run.tags["dagster/partition"] == "demo"
        assert run.start_time is not None and run.end_time is not None and run.start_time < run.end_time
    assert list((repository.path / "reports").glob("e-*.html"))


def test_its_run_is_one_of_the_job_with_steps_commit_and_branch(edited: Any, git: Callable[..., str]) -> None:
    store, _ = place(edited)
    reported.report_all(store)
    with dagster_instance(store) as instance:
        [run] = instance.get_runs()
        assert run.remote_job_origin is not None and run.remote_job_origin.location_name == "pipeline.definitions"
        assert run.tags["codeintel/commit"] == git(edited.repo, "rev-parse", "HEAD") and run.tags["codeintel/branch"] == "main"
        assert run.tags["codeintel/version"] == edited.version and run.execution_plan_snapshot_id is not None
        steps = {one.step_key: one for one in instance.get_run_step_stats(run.run_id)}
    assert set(steps) == {*(stage.name for stage in STAGES), "report", "current"}
    assert all(one.start_time and one.end_time and one.start_time <= one.end_time for one in steps.values())
    assert {one.status for one in steps.values()} == {StepEventStatus.SUCCESS}


def test_it_is_reported_as_a_run_of_the_graph_would_have_done(edited: Any) -> None:
    store, _ = place(edited)
    reported.report_all(store)
    with dagster_instance(store) as instance:
        told = latest(instance)
        job = build_definitions(Overrides(data=edited.store)).resolve_job_def(BUILD_JOB)
        assert job.execute_in_process(instance=instance, partition_key="demo").success
        for asset, ran in latest(instance).items():
            one = told[asset]
            same = {name: ran.metadata[name].value for name in ran.metadata if name not in VARYING}
            assert set(ran.metadata) == set(one.metadata), asset
            if asset != "report":  # A page has times.
                assert {name: one.metadata[name].value for name in same} == same, asset
            pointers = {tag: value for tag, value in (ran.tags or {}).items() if "data_version" in tag or "code_version" in tag}
            if asset != "report":
                assert {tag: (one.tags or {}).get(tag) for tag in pointers} == pointers, asset


def test_a_reporter_that_was_killed_leaves_the_build_to_the_next_one(edited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, repository = place(edited)
    honest = reported.events

    def dies(place: Repository, build: Any) -> Iterator[Any]:
        yield from list(honest(place, build))[:7]
        raise KeyboardInterrupt

    monkeypatch.setattr(reported, "events", dies)
    with pytest.raises(KeyboardInterrupt):
        reported.report_all(store)
    assert unreported.is_any(repository)
    monkeypatch.setattr(reported, "events", honest)
    assert reported.report_all(store) == 1
    with dagster_instance(store) as instance:
        assert set(latest(instance)) == ASSETS
        [run] = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert all(len(records) == 1 for records in checked(instance, edited.store).values())


def test_two_reporters_do_not_do_the_same_work(edited: Any) -> None:
    store, repository = place(edited)
    with reported.only_reporter(store) as mine:
        assert mine
        assert reported.report_all(store) == 0
    assert unreported.is_any(repository)
    assert reported.report_all(store) == 1


def test_a_build_that_cannot_be_reported_keeps_no_other_from_it(edited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    store, repository = place(edited)
    folder = repository.path / "unreported"
    (folder / "0-torn.json").write_bytes(b"{torn")
    [good] = [path for path in folder.iterdir() if path.name != "0-torn.json"]
    gone = folder / "1-gone.json"
    gone.write_bytes(good.read_bytes().replace(edited.version.encode(), b"v-0123456789abcdef"))
    assert reported.report_all(store) == 2
    assert not unreported.is_any(repository)
    assert "0-torn.json" in (said := capsys.readouterr().err) and "v-0123456789abcdef" in said


def test_the_reporting_process_needs_nothing_of_its_surroundings(
    edited: Any, tmp_path: Path, quiet: list[Sequence[str]]
) -> None:
    _, repository = place(edited)
    command = list(quiet[0])
    assert command[0] == sys.executable
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/reported.py").write_text("raise SystemExit('another folder of this name')")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert not unreported.is_any(repository)


def test_builds_that_nobody_can_report_do_not_pile_up(edited: Any) -> None:
    _, repository = place(edited)
    [(_, build)] = unreported.waiting(repository)
    assert build is not None
    for _ in range(unreported.MOST + 5):
        unreported.write(repository, build)
    assert len(list(unreported.waiting(repository))) == unreported.MOST


def test_an_ephemeral_build_is_not_reported(world: Any, quiet: list[Sequence[str]]) -> None:
    (world.repo / "harbour/tides.py").write_text("def flood(): pass\n")
    assert world.build().code == 0
    assert not quiet and not unreported.is_any(place(world)[1])


def test_the_graph_can_be_asked_for(world: Any, quiet: list[Sequence[str]]) -> None:
    (world.repo / "harbour/tides.py").write_text("def flood(): pass\n")
    assert world("build", world.repo, "--graph", "--json").code == 0
    store, repository = place(world)
    assert not quiet and not unreported.is_any(repository)
    with dagster_instance(store) as instance:
        [run] = instance.get_runs()
    assert run.remote_job_origin is not None and run.tags["codeintel/version"] == world.version
