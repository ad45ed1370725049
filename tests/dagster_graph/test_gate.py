"""The gate in Dagster: red checks that stop nothing, an asset that refuses, and its configuration that lets pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.partitions import PARTITION_SET
from pipeline.definitions import BUILD_JOB, Overrides, build_definitions
from pipeline.errors import InvariantViolationError
from pipeline.stages import EVAL_METRICS
from pipeline.store.layout import open_store
from pipeline.store.versions import current_name

GOOD = {f"name/{number}": 1 for number in range(60)}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions(PARTITION_SET, ["demo"])
        yield made


@pytest.fixture
def fallen(world: Any, sabotage: Any, evaluate: Callable[..., Path]) -> Any:
    """A store whose published version was good, and whose repository has an edit that makes it worse."""
    ranks: dict[str, int | None] = dict(GOOD)

    def write(folders: Mapping[str, Path]) -> None:
        evaluate(folders["eval_metrics"], ranks)
        (folders["eval_metrics"] / "coverage.json").unlink()

    sabotage(EVAL_METRICS, write)
    (world.repo / "edit.py").write_text("EDIT = 1\n")
    assert world.build().code == 0
    ranks.update(dict.fromkeys(GOOD))
    (world.repo / "edit.py").write_text("EDIT = 2\n")
    return world


def _run(world: Any, instance: dg.DagsterInstance, *assets: str, allow: bool | None = None) -> dg.ExecuteInProcessResult:
    config = {} if allow is None else {"ops": {"current": {"config": {"allow_regression": allow}}}}
    return (
        build_definitions(Overrides(data=world.store))
        .resolve_job_def(BUILD_JOB)
        .execute_in_process(
            instance=instance, partition_key="demo", run_config=config, raise_on_error=False,
            asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
        )
    )  # fmt: skip


def test_a_red_check_stops_no_step_and_the_flip_refuses(fallen: Any, instance: dg.DagsterInstance) -> None:
    before = fallen.version
    done = _run(fallen, instance)
    assert not done.success and fallen.version == before
    failed = [check for check in done.get_asset_check_evaluations() if not check.passed]
    assert [(check.check_name, check.severity, check.blocking) for check in failed] == [
        ("quality_not_regressed", dg.AssetCheckSeverity.ERROR, False)
    ]
    assert "60 queries got worse" in str(failed[0].metadata["problems"].value)
    assert [event.step_key for event in done.get_step_failure_events()] == ["current"]


def test_the_flip_refuses_also_where_it_is_asked_for_alone(fallen: Any, instance: dg.DagsterInstance) -> None:
    before = fallen.version
    _run(fallen, instance)
    done = _run(fallen, instance, "current")
    assert not done.success and fallen.version == before
    with pytest.raises(InvariantViolationError, match="quality_not_regressed"):
        build_definitions(Overrides(data=fallen.store)).resolve_job_def(BUILD_JOB).execute_in_process(
            instance=instance, partition_key="demo", asset_selection=[dg.AssetKey("current")]
        )


def test_its_configuration_lets_it_pass_and_it_says_so(fallen: Any, instance: dg.DagsterInstance) -> None:
    before = fallen.version
    done = _run(fallen, instance, allow=True)
    (made,) = [
        event.materialization for event in done.get_asset_materialization_events() if event.asset_key == dg.AssetKey("current")
    ]
    assert done.success and current_name(open_store(fallen.store).existing("demo")) == fallen.version != before
    assert str(made.metadata["allowed"].value).startswith("- quality_not_regressed: compared with")


def test_a_run_that_needs_no_permission_says_so(world: Any, instance: dg.DagsterInstance) -> None:
    (world.repo / "edit.py").write_text("EDIT = 1\n")
    done = _run(world, instance, allow=False)
    (made,) = [
        event.materialization for event in done.get_asset_materialization_events() if event.asset_key == dg.AssetKey("current")
    ]
    assert made.metadata["allowed"].value == "nothing"
