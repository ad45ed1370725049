"""Running the asset graph from the command line, in the Dagster instance of the store.

The only module of the interfaces that imports Dagster, and it does so when it is called: whatever can be decided without a run
is decided before.

Belongs here: instance, run, progress, and turning events into a result. Not here: planning.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import sqlite3
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.artefacts import Artefact
from pipeline.errors import CodeIntelError, InvariantViolationError
from pipeline.store import unreported
from pipeline.store.layout import DAGSTER_HOME, Store

_FORMER_CONFIG = b"""\
# The Dagster instance of this store: runs of `indexctl build` are recorded here, and `indexctl ui` shows them.
telemetry:
  enabled: false
nux:
  enabled: false
"""
_INSTANCE_CONFIG = (
    _FORMER_CONFIG
    + b"""\
concurrency:
  runs:
    # Each run has worker processes of its own.
    max_concurrent_runs: 2
    tag_concurrency_limits:
      # One builder a repository: later runs wait in the queue, instead of failing because the repository is locked.
      - key: dagster/partition
        value:
          applyLimitPerUniqueValue: true
        limit: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
retention:
  sensor:
    purge_after_days:
      skipped: 2
      failure: 30
      success: 30
"""
)


_MOST_LOG_BYTES = 1 << 20


@dataclass
class RunResult:
    """What a run did: assets built and reused in order, seconds by asset, failed checks, and the error that ended it."""

    run_id: str
    built: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    failed_checks: list[str] = field(default_factory=list)
    error: CodeIntelError | None = None


_AMOUNTS: dict[str, tuple[str, ...]] = {
    "source_snapshot": ("rows",),
    "ast_nodes": ("nodes",),
    "definitions": ("definitions",),
    "scip_occurrences": ("occurrences",),
    "scip_symbols": ("symbols",),
    "cst_nodes": ("nodes",),
    "modules": ("modules",),
    "chunks": ("chunks",),
    "embeddings": ("vectors",),
    "lexical_index": ("documents",),
}
"""Asset -> the fact that counts its rows."""

Progress = Callable[[str, str, str], None]
"""Called with ("started" | "done" | "failed", asset or step, note)."""


def dagster_home(store: Store) -> Path:
    """The folder of the store's Dagster instance, with its configuration."""
    home = store.root / DAGSTER_HOME
    config = home / "dagster.yaml"
    # One that somebody wrote stays as it is.
    if not config.is_file() or config.read_bytes() == _FORMER_CONFIG:
        files.write_file(config, _INSTANCE_CONFIG)
    return home


def start_reporting(store: Store) -> None:
    """Tell Dagster of builds that were made without it, in a process of its own that nobody waits for.

    Nothing is started where no build waits. What goes wrong there stands in `reporting.log` beside the instance.
    """
    if not any(unreported.is_any(repository) for repository in store.repositories()):
        return
    # -P: a folder `assets` where somebody stands is not ours.
    command = [sys.executable, "-P", "-m", "assets.reported", str(store.root.resolve())]
    # A store that cannot be written, or no more processes: the next build tries again.
    with contextlib.suppress(OSError):
        leave_running(command, dagster_home(store) / "reporting.log")


def leave_running(command: Sequence[str], log: Path) -> None:
    """Start a process that outlives this one. What it says goes to the end of `log`."""
    with log.open("ab") as file:
        if file.tell() > _MOST_LOG_BYTES:
            file.truncate(0)
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )


def run_build(
    store: Store, repository: str, *, ephemeral: bool, progress: Progress, allow_regression: bool = False
) -> RunResult:
    """Materialise every asset of a repository's partition in this process."""
    # Quiets what Dagster says about itself while it is imported and while it runs.
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    import dagster as dg

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # That an API of Dagster is in preview is news for us, not for whoever builds an index.
        warnings.simplefilter("ignore")
        from assets.partitions import PARTITION_SET
        from assets.runs import TRIGGER_TAG, origin_of
        from pipeline.definitions import BUILD_JOB, Overrides, build_definitions

        job = build_definitions(Overrides(data=store.root)).resolve_job_def(BUILD_JOB)
    result = RunResult(run_id=str(uuid.uuid4()))
    with dagster_instance(store, ephemeral=ephemeral) as instance:
        instance.add_dynamic_partitions(PARTITION_SET, [repository])
        instance.add_event_listener(result.run_id, _listener(result, progress))
        # `execute_in_process` knows of no origin, and without one the UI's timeline does not show the run.
        instance.create_run_for_job = functools.partial(instance.create_run_for_job, remote_job_origin=origin_of(BUILD_JOB))
        try:
            job.execute_in_process(
                instance=instance,
                partition_key=repository,
                run_id=result.run_id,
                tags={TRIGGER_TAG: "indexctl"},
                run_config={
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                    "ops": {"current": {"config": {"allow_regression": allow_regression}}},
                },
            )
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except Exception as error:
            result.error = _known_cause(error)
            if result.error is None and result.failed_checks:
                result.error = InvariantViolationError(
                    f"`{repository}` is not published: {'; '.join(result.failed_checks)}.", hint="CURRENT is unchanged."
                )
            if result.error is None:
                raise
    if not ephemeral:
        start_reporting(store)
    return result


@contextmanager
def dagster_instance(store: Store, *, ephemeral: bool = False) -> Iterator[Any]:
    """The Dagster instance of a store; raises `CodeIntelError` where it cannot be written."""
    import dagster as dg
    import sqlalchemy

    if ephemeral:
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance
        return
    try:
        home = dagster_home(store)
        with _calm_sqlite(), _opened_alone(home, dg.DagsterInstance.from_config) as instance:
            yield instance
    except (OSError, sqlalchemy.exc.DBAPIError) as error:
        reason = str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error)
        raise CodeIntelError(
            f"The run cannot be recorded in {store.root / DAGSTER_HOME}: {reason}.",
            hint="Free some space, or build with --ephemeral; nothing published is lost.",
        ) from error


@contextmanager
def _opened_alone(home: Path, open_instance: Callable[[str], Any]) -> Iterator[Any]:
    """The instance, opened while no other process opens it: two that make its databases at once leave them unusable."""
    descriptor = os.open(home / "opening.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        instance = open_instance(str(home))
    finally:
        os.close(descriptor)
    with instance:
        yield instance


@contextmanager
def _calm_sqlite() -> Iterator[None]:
    """Make SQLite cheap for a Dagster instance inside the block.

    For every statement Dagster makes an engine and opens and closes a connection: a thousand times in a build. So an engine is
    made once a file. Closing the last connection of a file folds its write-ahead log back with two fsyncs; so one more stays
    open. And a commit waits for no fsync: a power cut may cost the history of the last moments, and never the index, which is
    not in these files.
    """
    import sqlalchemy
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage

    engines: dict[str, sqlalchemy.Engine] = {}
    kept: dict[str, sqlite3.Connection] = {}
    logged: set[str] = set()

    def calm(path: str, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")
        if path not in kept:
            kept[path] = sqlite3.connect(path, check_same_thread=False)
        if path not in logged:
            # Reading is what makes a connection take part in the log, which a new file gets only later.
            kept[path].execute("SELECT 1 FROM sqlite_master").fetchone()
            if kept[path].execute("PRAGMA journal_mode").fetchone() == ("wal",):
                logged.add(path)

    def engine_of(url: str, **options: Any) -> sqlalchemy.Engine:
        if url not in engines:
            engine = engines[url] = sqlalchemy.create_engine(url, **options)
            path = engine.url.database
            if path:
                sqlalchemy.event.listen(engine, "connect", lambda connection, _record: calm(path, connection))
        return engines[url]

    modules: tuple[Any, ...] = (sqlite_event_log, sqlite_run_storage)
    for module in modules:
        module.create_engine = engine_of
    try:
        yield
    finally:
        for module in modules:
            module.create_engine = sqlalchemy.create_engine
        for connection in kept.values():
            connection.close()


def _listener(result: RunResult, progress: Progress) -> Callable[[Any], None]:
    started: dict[str, float] = {}

    def listen(entry: Any) -> None:
        event = entry.dagster_event
        if event is None:
            return
        match event.event_type_value:
            case "STEP_START":
                started[event.step_key] = time.perf_counter()
                progress("started", event.step_key, "")
            case "ASSET_MATERIALIZATION":
                materialization = event.step_materialization_data.materialization
                asset = materialization.asset_key.path[-1]
                facts = {name: value.value for name, value in materialization.metadata.items()}
                reused = bool(facts.get("reused", False))
                (result.reused if reused else result.built).append(asset)
                result.seconds[asset] = float(facts.get("seconds") or time.perf_counter() - started[event.step_key])
                progress("done", asset, _note(asset, facts, reused))
            case "ASSET_CHECK_EVALUATION" if not event.asset_check_evaluation_data.passed:
                evaluation = event.asset_check_evaluation_data
                if evaluation.severity.value != "ERROR":
                    return  # A warning: it is in the UI and in `indexctl verify`.
                found = evaluation.metadata.get("problems")
                result.failed_checks.append(
                    f"{evaluation.asset_key.path[-1]}: {evaluation.check_name}: {str(found.value if found else '').strip('- ')}"
                )
            case "STEP_FAILURE":
                progress("failed", event.step_key, "")

    return listen


def note_of(artefact: Artefact[Any], seconds: float) -> str:
    """What is said of an artefact that was settled without Dagster."""
    rows = next((artefact.facts[name] for name in _AMOUNTS.get(artefact.asset, ()) if name in artefact.facts), None)
    return _told(rows, f"{seconds:.2f} s" if not artefact.reused else "reused")


def _told(rows: object, took: str) -> str:
    return f"{f'{rows:>9,} rows' if isinstance(rows, int) else ' ' * 14}  {took}"


def _note(asset: str, facts: dict[str, Any], reused: bool) -> str:
    rows = facts.get("dagster/row_count") or facts.get("count") or facts.get("documents")
    if asset == "current":
        return str(facts.get("version", ""))
    return _told(rows, "reused" if reused else f"{facts.get('seconds', 0):.2f} s")


def _known_cause(error: BaseException | None) -> CodeIntelError | None:
    """The error of ours at the bottom of what Dagster raised. Chains of exceptions can be circles."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, CodeIntelError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
