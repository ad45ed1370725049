"""The jobs, and the factory: what it takes from the environment, and what each job does to a built repository."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.adapter import AFRESH_JOBS, AFRESH_TAG, afresh_in
from assets.partitions import PARTITION_SET
from pipeline.definitions import Overrides, build_definitions
from pipeline.errors import ConfigError
from pipeline.registration import release
from pipeline.store.layout import open_store
from pipeline.store.locks import builder
from resources.store import StoreResource
from sensors.nightly import BY_NIGHT


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions(PARTITION_SET, ["demo"])
        yield made


def execute(name: str, store: Path, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = build_definitions(Overrides(data=store)).resolve_job_def(name)
    return job.execute_in_process(instance=instance, partition_key="demo", raise_on_error=False)


def observed(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = [event for event in result.all_events if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION]
    metadata = event.asset_observation_data.asset_observation.metadata
    return {name: value.value for name, value in metadata.items()}


def test_every_job_and_its_schedule_is_there() -> None:
    definitions = build_definitions(Overrides(data=Path("nowhere")))
    names = {job.name for job in definitions.resolve_all_job_defs()}
    assert {"build", "tune", "evaluate", "verify", "gc"} <= names
    assert definitions.resolve_schedule_def("nightly_gc").job_name == "gc"


def test_verify_tells_what_it_checked_and_fails_where_something_does_not_hold(world: Any, instance: dg.DagsterInstance) -> None:
    result = execute("verify", world.store, instance)
    assert result.success
    assert observed(result)["version"] == world.version
    index = next(world.published.rglob("chunk_listing.npy"))
    data = bytearray(index.read_bytes())
    data[-1] ^= 1
    index.chmod(0o644)
    index.write_bytes(data)
    failed = execute("verify", world.store, instance)
    assert not failed.success
    [step] = [event for event in failed.all_events if event.is_step_failure]
    assert step.step_failure_data.user_failure_data is not None
    assert "does not hold" in str(step.step_failure_data.user_failure_data.metadata["checks"].value)


def test_verify_waits_for_no_builder(world: Any, instance: dg.DagsterInstance, elsewhere: Any) -> None:
    with elsewhere(open_store(world.store).existing("demo")):
        assert execute("verify", world.store, instance).success
        assert not execute("gc", world.store, instance).success


def test_gc_keeps_what_is_published_and_tells_what_it_freed(world: Any, instance: dg.DagsterInstance) -> None:
    rubbish = world.home / "objects" / "chunks" / "0123"
    rubbish.mkdir()
    (rubbish / "x").write_bytes(b"x" * 1000)
    result = execute("gc", world.store, instance)
    assert result.success and not rubbish.exists()
    told = observed(result)
    assert told["objects_removed"] >= 1 and told["freed_bytes"] >= 1000 and world.version in told["kept"]
    assert execute("verify", world.store, instance).success


@pytest.mark.parametrize(("job", "made"), [("tune", "tuning"), ("evaluate", "eval_metrics")])
def test_tune_and_evaluate_go_on_from_what_is_built_and_publish(
    world: Any, instance: dg.DagsterInstance, job: str, made: str
) -> None:
    result = execute(job, world.store, instance)
    assert result.success
    assets = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert {made, "current"} <= assets and "chunks" not in assets
    with builder(open_store(world.store).existing("demo")):
        assert world("verify").code == 0


def test_the_environment_overrides_what_the_factory_makes(tmp_path: Path) -> None:
    environment = {
        "CODEINTEL_DATA": str(tmp_path), "CODEINTEL_WEBHOOK": "https://example.org/x", "CODEINTEL_AUTOMATION": "true",
        "CODEINTEL_COMMITS_INTERVAL": "300", "CODEINTEL_NIGHTLY_CRON": "15 1 * * *", "CODEINTEL_GC_CRON": "",
    }  # fmt: skip
    overrides = Overrides.from_environment(environment)
    assert overrides.data == tmp_path
    definitions = build_definitions(overrides)
    sensor = definitions.resolve_sensor_def("commits")
    assert sensor.minimum_interval_seconds == 300
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert definitions.resolve_schedule_def("nightly").cron_schedule == "15 1 * * *"
    assert definitions.resolve_schedule_def("nightly_gc").cron_schedule == Overrides().gc_cron
    assert definitions.resolve_sensor_def("failure_alerts").default_status is dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize("variable", ["CODEINTEL_AUTOMATION", "CODEINTEL_COMMITS_INTERVAL"])
def test_an_environment_that_makes_no_sense_is_a_sentence_with_the_variable(variable: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        Overrides.from_environment({variable: "perhaps"})


def test_nothing_runs_by_itself_unless_it_is_asked_to(tmp_path: Path) -> None:
    definitions = build_definitions(Overrides(data=tmp_path))
    assert definitions.resolve_sensor_def("commits").default_status is dg.DefaultSensorStatus.STOPPED
    assert definitions.resolve_schedule_def("nightly").default_status is dg.DefaultScheduleStatus.STOPPED


def test_the_night_collects_garbage_of_watched_repositories_alone(world: Any, tmp_path: Path) -> None:
    def asked() -> list[str]:
        schedule = build_definitions(Overrides(data=world.store)).resolve_schedule_def("nightly_gc")
        moment = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
        resources = {"store": StoreResource(data=str(world.store))}
        with (
            dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
            dg.build_schedule_context(instance=instance, scheduled_execution_time=moment, resources=resources) as context,
        ):
            return [str(answer.partition_key) for answer in schedule(context) if isinstance(answer, dg.RunRequest)]

    assert asked() == ["demo"]
    release(open_store(world.store).existing("demo"))
    assert asked() == []


def test_a_publication_tells_its_commit_its_quality_and_where_its_report_is(world: Any, instance: dg.DagsterInstance) -> None:
    result = execute("evaluate", world.store, instance)
    [told] = [
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None and event.asset_key.path == ["current"]
    ]
    assert told["commit"].value == world("status", "--json").json["repos"][0]["commit"]
    assert Path(str(told["report"].value)).is_file()
    assert int(str(told["version_bytes"].value)) > 0


def test_that_nothing_is_built_any_more_shows_at_the_last_asset() -> None:
    graph = build_definitions(Overrides(data=Path("nowhere"))).resolve_asset_graph()
    policies = {key.path[-1]: graph.get(key).freshness_policy for key in graph.get_all_asset_keys()}
    assert [name for name, policy in policies.items() if policy is not None] == ["current"]


def test_jobs_make_their_assets_anew_whoever_launches_them() -> None:
    assert afresh_in(dg.DagsterRun("evaluate")) >= {"eval_queries", "eval_metrics", "coverage"}
    assert "tuning" in afresh_in(dg.DagsterRun("tune"))
    assert afresh_in(dg.DagsterRun("build", tags={AFRESH_TAG: "tuning,coverage"})) == {"tuning", "coverage"}
    made = {asset for assets in AFRESH_JOBS.values() for asset in assets}
    assert made <= set(BY_NIGHT), "each of them can be based on an earlier one"
