"""Failure and regression alerts: to the log of the sensor, and to a webhook where one is set.

A run that failed is a `failure`, unless the gate on quality had something to say: then it is a `regression`, and so is a run
that published in spite of it. The document:

    {"kind", "repo", "job", "run_id", "trigger", "commit", "branch", "version", "message",
     "findings": [{"check", "asset", "problems"}], "at", "text"}

Belongs here: what is told, and when. Not here: posting (`webhook`), the gate (`pipeline.release.quality_gate`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.runs import BRANCH_TAG, COMMIT_TAG, TRIGGER_TAG, VERSION_TAG
from pipeline.release.quality_gate import GATES
from resources.store import PARTITION_TAG
from sensors.webhook import checked_address, post

_GATES = frozenset(gate.name for gate in GATES)
_MOST_MESSAGE = 2000


def alert_sensors(webhook: str | None) -> list[dg.SensorDefinition]:
    """One for runs that failed, one for runs that published a regression; on from the start where there is a webhook."""
    address = checked_address(webhook) if webhook else None
    status = dg.DefaultSensorStatus.RUNNING if address else dg.DefaultSensorStatus.STOPPED

    @dg.run_failure_sensor(
        name="failure_alerts", default_status=status, description="Tells of runs that failed: in its log, and to the webhook."
    )
    def failure_alerts(context: dg.RunFailureSensorContext) -> None:
        findings = gate_findings(context.instance, context.dagster_run.run_id)
        kind = "regression" if findings else "failure"
        _tell(context, address, document(kind, context.dagster_run, failure_message(context), findings))

    @dg.run_status_sensor(
        name="regression_alerts",
        run_status=dg.DagsterRunStatus.SUCCESS,
        default_status=status,
        description="Tells of versions that were published in spite of the gate on quality.",
    )
    def regression_alerts(context: dg.RunStatusSensorContext) -> Iterator[dg.SkipReason]:
        findings = gate_findings(context.instance, context.dagster_run.run_id)
        if not findings:
            yield dg.SkipReason("The gate found nothing.")
            return
        message = f"Published in spite of {', '.join(found['check'] for found in findings)}."
        _tell(context, address, document("regression", context.dagster_run, message, findings))

    return [failure_alerts, regression_alerts]


def document(kind: str, run: dg.DagsterRun, message: str, findings: list[dict[str, Any]]) -> dict[str, Any]:
    """What is told of a run."""
    repo = run.tags.get(PARTITION_TAG)
    return {
        "kind": kind,
        "repo": repo,
        "job": run.job_name,
        "run_id": run.run_id,
        "trigger": run.tags.get(TRIGGER_TAG, "user"),
        "commit": run.tags.get(COMMIT_TAG),
        "branch": run.tags.get(BRANCH_TAG),
        "version": run.tags.get(VERSION_TAG),
        "message": message[:_MOST_MESSAGE],
        "findings": findings,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        # What chat servers show.
        "text": f"{kind} of {repo or run.job_name}: {message[:_MOST_MESSAGE]}",
    }


def gate_findings(instance: dg.DagsterInstance, run_id: str) -> list[dict[str, Any]]:
    """What the gate on quality found wrong in a run."""
    found = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        event = entry.dagster_event
        evaluation = event.asset_check_evaluation_data if event is not None else None
        if evaluation is None or evaluation.passed or evaluation.check_name not in _GATES:
            continue
        problems = evaluation.metadata.get("problems")
        said = str(problems.value if problems is not None else "")
        found.append({
            "check": evaluation.check_name,
            "asset": evaluation.asset_key.to_user_string(),
            "problems": [line.removeprefix("- ") for line in said.splitlines()],
        })  # fmt: skip
    return found


def failure_message(context: dg.RunFailureSensorContext) -> str:
    """The innermost cause of the first step that failed; what Dagster says where no step did."""
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return error.message.strip().partition(": ")[2] or error.message.strip()
    return context.failure_event.message or "The run failed."


def _tell(context: dg.RunStatusSensorContext, address: str | None, told: dict[str, Any]) -> None:
    context.log.warning(told["text"])
    if address is not None and (problem := post(address, told)) is not None:
        context.log.error(f"The webhook was not told: {problem}")
