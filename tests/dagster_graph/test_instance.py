"""The Dagster instance: what Dagster takes of the configurations that come with the project, and what they make it do."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.config import dagster_instance_config

from pipeline.interfaces.run import dagster_home, dagster_instance
from pipeline.store.layout import Store, create_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


def limits(configured: dict[str, object]) -> object:
    """The limit of runs by tags."""
    runs = configured["concurrency"]["runs"]  # type: ignore[index]
    return runs["tag_concurrency_limits"]


ONE_A_REPOSITORY = [{"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}]


def test_the_instance_of_a_store_runs_one_builder_a_repository(store: Store) -> None:
    with dagster_instance(store) as instance:
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None and queue.tag_concurrency_limits == ONE_A_REPOSITORY
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled


def test_a_configuration_that_somebody_wrote_stays_and_an_old_one_of_ours_does_not(store: Store) -> None:
    config = dagster_home(store) / "dagster.yaml"
    config.write_text("telemetry:\n  enabled: false\n")
    dagster_home(store)
    assert config.read_text() == "telemetry:\n  enabled: false\n"
    old = "# The Dagster instance of this store: runs of `indexctl build` are recorded here, and `indexctl ui` shows them.\n"
    config.write_text(old + "telemetry:\n  enabled: false\nnux:\n  enabled: false\n")
    dagster_home(store)
    assert "tag_concurrency_limits" in config.read_text()


def test_the_configuration_of_a_checkout_is_valid(tmp_path: Path) -> None:
    configured, _ = dagster_instance_config(str(ROOT))
    assert limits(dict(configured)) == ONE_A_REPOSITORY


def test_the_postgres_configuration_is_valid_and_holds_no_password(tmp_path: Path) -> None:
    text = (ROOT / "docs/dagster-postgres.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    configured, _ = dagster_instance_config(str(tmp_path))
    postgres = configured["storage"]["postgres"]["postgres_db"]
    assert postgres["password"] == {"env": "CODEINTEL_PG_PASSWORD"}
    assert limits(dict(configured)) == ONE_A_REPOSITORY
    (tmp_path / "dagster.yaml").write_text(text.replace("hostname", "hostnmae"))
    with pytest.raises(dg.DagsterInvalidConfigError):
        dagster_instance_config(str(tmp_path))
