"""Alerts: what is told of runs that failed or published a regression, and that telling harms nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest

from pipeline.errors import ConfigError, SourceError
from sensors import webhook
from sensors.alerts import alert_sensors, gate_findings
from sensors.webhook import checked_address, post

_GATE = "quality_not_regressed"


class Listener(ThreadingHTTPServer):
    """Takes what is posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.told: list[dict[str, Any]] = []
        self.status = 204

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/s3cret"


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def job(*, fails: bool, regressed: bool) -> dg.JobDefinition:
    """A job with the gate's check in it."""

    @dg.asset(name="eval_metrics", check_specs=[dg.AssetCheckSpec(_GATE, asset="eval_metrics")])
    def evaluated() -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster reads it
        problems = dg.MetadataValue.md("- nDCG fell\n- and hit")
        result = dg.AssetCheckResult(check_name=_GATE, passed=not regressed, metadata={"problems": problems})
        return dg.MaterializeResult(check_results=[result])

    @dg.asset(deps=[evaluated])
    def current() -> None:
        if fails:
            try:
                raise SourceError("The tree is gone.", hint="Bring it back.")
            except SourceError as error:
                raise RuntimeError("outer") from error

    definitions = dg.Definitions(assets=[evaluated, current], jobs=[dg.define_asset_job("build")])
    return definitions.resolve_job_def("build")


def ran(instance: dg.DagsterInstance, *, fails: bool = False, regressed: bool = False) -> dg.ExecuteInProcessResult:
    tags = {"dagster/partition": "team/a", "codeintel/trigger": "commit", "codeintel/commit": "c0ffee"}
    return job(fails=fails, regressed=regressed).execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def alert(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, address: str | None) -> None:
    """What the daemon does when it sees the end of a run."""
    failing, ending = alert_sensors(address)
    kind = dg.DagsterEventType.RUN_SUCCESS if result.success else dg.DagsterEventType.RUN_FAILURE
    [event] = [event for event in result.all_events if event.event_type is kind]
    context = dg.build_run_status_sensor_context(
        sensor_name="alerts", dagster_event=event, dagster_instance=instance, dagster_run=result.dagster_run
    )
    if result.success:
        list(ending(context))
    else:
        failing(context.for_run_failure())


def test_a_failure_is_told_with_its_innermost_cause(listener: Listener) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        alert(ran(instance, fails=True), instance, listener.address)
    [told] = listener.told
    assert (told["kind"], told["repo"], told["job"], told["commit"], told["trigger"]) == (
        "failure", "team/a", "build", "c0ffee", "commit",
    )  # fmt: skip
    assert told["message"] == "The tree is gone. Bring it back."
    assert told["findings"] == []


def test_a_failure_after_the_gate_found_something_is_a_regression(listener: Listener) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        alert(ran(instance, fails=True, regressed=True), instance, listener.address)
    [told] = listener.told
    assert told["kind"] == "regression"
    assert told["findings"] == [{"check": _GATE, "asset": "eval_metrics", "problems": ["nDCG fell", "and hit"]}]


def test_a_regression_that_was_published_is_told_and_a_good_run_is_not(listener: Listener) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        alert(ran(instance), instance, listener.address)
        assert listener.told == []
        alert(ran(instance, regressed=True), instance, listener.address)
    [told] = listener.told
    assert told["kind"] == "regression" and _GATE in told["message"]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_refuses_harms_nothing_and_is_not_followed(listener: Listener, status: int) -> None:
    listener.status = status
    with dg.DagsterInstance.ephemeral() as instance:
        alert(ran(instance, fails=True), instance, listener.address)
    problem = post(listener.address, {})
    assert problem is not None and str(status) in problem and "s3cret" not in problem


def test_a_webhook_that_is_gone_or_silent_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "cannot be reached" in str(post(f"http://127.0.0.1:{port}/s3cret", {}))
    problem = str(post(f"http://127.0.0.1:{port}/s3cret", {}))
    assert "cannot be reached" in problem and "s3cret" not in problem


def test_without_a_webhook_failures_are_logged_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = ran(instance, fails=True, regressed=True)
        assert [found["check"] for found in gate_findings(instance, result.run_id)] == [_GATE]
        alert(result, instance, None)
    assert all(sensor.default_status is dg.DefaultSensorStatus.STOPPED for sensor in alert_sensors(None))
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in alert_sensors("https://example.org/x"))


@pytest.mark.parametrize(
    "address", ["example.org/s3cret", "ftp://example.org/s3cret", "http:///s3cret", "http://[s3cret", "http://x/ s3cret"]
)
def test_what_is_no_address_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        checked_address(address)
    assert "s3cret" not in str(refused.value)
