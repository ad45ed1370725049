"""How Dagster's home in a store is: its size, its databases and their schema, runs that will never end, what reporting said.

Dagster is not imported for it: its SQLite files are opened for reading, and of its package only the names of its migrations
are looked at.

Belongs here: looking at that folder. Not here: changing it, which is Dagster's.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.evaluation.report.figures import size
from pipeline.interfaces.examining.findings import Finding, Level
from pipeline.interfaces.output import counts
from pipeline.store.layout import DAGSTER_HOME, Store
from pipeline.store.locks import is_building

AREA = "dagster"
_LARGE = 2_000_000_000
_RUNS = Path("history") / "runs.db"
_DATABASES = (_RUNS, Path("history") / "runs" / "index.db", Path("schedules") / "schedules.db")
_GOING = ("STARTING", "STARTED", "CANCELING")
_SILENT = 600.0
"""Seconds without a word after which a run that nobody builds for is over."""
_QUEUED = 3600.0
_REVISION = re.compile(r"^(revision|down_revision) = ['\"]([0-9a-f]+)['\"]", re.MULTILINE)
_TAIL = 4096


def examine_home(store: Store) -> Iterator[Finding]:
    """Look at the Dagster home of a store."""
    home = store.root / DAGSTER_HOME
    if not home.is_dir():
        yield Finding(AREA, "home", Level.NOTE, "there is none yet: the first build that is not --ephemeral makes it")
        return
    total = sum(_sizes(home))
    text = f"{home}, {size(total)}"
    if total > _LARGE:
        hint = "Delete old runs in the Dagster UI (`indexctl ui`), or remove the folder: only the history of runs is lost."
        yield Finding(AREA, "home", Level.WARNING, text, hint, facts={"bytes": total})
    else:
        yield Finding(AREA, "home", Level.OK, text, facts={"bytes": total})
    if not (home / "dagster.yaml").is_file():
        text = "dagster.yaml is missing, so Dagster would start with telemetry on and without this program's settings"
        yield Finding(AREA, "settings", Level.WARNING, text, "The next `indexctl build` or `indexctl ui` writes it.")
    yield from _databases(home)
    yield from _runs(home, store)
    yield from _reporting(home)


def _sizes(folder: Path) -> Iterator[int]:
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield (Path(root) / name).lstat().st_size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A database of Dagster's, for reading; raises `sqlite3.Error`."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
        yield connection


def _databases(home: Path) -> Iterator[Finding]:
    """Whether the databases can be read, and have the schema of the Dagster that is installed."""
    newest, revisions = _migrations()
    behind: list[str] = []
    ahead: list[str] = []
    for name in _DATABASES:
        if not (home / name).exists():
            continue
        try:
            with _opened(home / name) as connection:
                found = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
                [(checked,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
        except sqlite3.Error as error:
            if "locked" in str(error):
                continue
            found, checked = [], str(error)
        if checked != "ok":
            hint = f"Move {home} away: a new one is made, and only the history of runs is lost; indexes do not depend on it."
            yield Finding(AREA, "database", Level.PROBLEM, f"{home / name} is damaged: {checked}", hint)
        elif newest and found and found[0] != newest:
            (behind if found[0] in revisions else ahead).append(name.name)
    if behind:
        text = f"{', '.join(behind)} has the schema of an older Dagster"
        hint = f"Run `DAGSTER_HOME={home} dagster instance migrate` while nothing builds."
        yield Finding(AREA, "schema", Level.WARNING, text, hint)
    if ahead:
        text = f"{', '.join(ahead)} has a schema that the installed Dagster does not know: it is of a newer one"
        yield Finding(AREA, "schema", Level.PROBLEM, text, "Install the newer Dagster again, or move the folder away.")


def _migrations() -> tuple[str, frozenset[str]]:
    """The newest schema that the installed Dagster knows, and all; nothing where that cannot be told."""
    found = importlib.util.find_spec("dagster")
    if found is None or found.origin is None:
        return "", frozenset()
    revisions: set[str] = set()
    followed: set[str] = set()
    for path in (Path(found.origin).parent / "_core" / "storage" / "alembic" / "versions").glob("*.py"):
        for what, name in _REVISION.findall(path.read_text("utf-8", "replace")):
            (revisions if what == "revision" else followed).add(name)
    newest = revisions - followed
    return (newest.pop() if len(newest) == 1 else ""), frozenset(revisions)


def _runs(home: Path, store: Store) -> Iterator[Finding]:
    """Runs that go on by the record and not in truth, and runs that nobody starts."""
    if not (home / _RUNS).exists():
        return
    going = ", ".join(f"'{status}'" for status in _GOING)
    sql = f"SELECT run_id, status, partition, update_timestamp FROM runs WHERE status IN ('QUEUED', {going})"  # noqa: S608 - ours
    try:
        with _opened(home / _RUNS) as connection:
            rows = connection.execute(sql).fetchall()
    except sqlite3.Error:
        return  # Told above, or busy.
    building = {one.name for one in store.repositories() if is_building(one)}
    stuck = [row for row in rows if row[1] in _GOING and row[2] not in building and _silent(row[3]) > _SILENT]
    queued = [row for row in rows if row[1] == "QUEUED" and _silent(row[3]) > _QUEUED]
    if stuck:
        run, status, partition, _ = stuck[0]
        text = f"{counts(len(stuck), 'run')} will never end, for example {run[:8]} of {partition or 'nothing'}, {status}"
        hint = "Terminate them in the Dagster UI (`indexctl ui`, Runs): their processes are gone."
        yield Finding(AREA, "runs", Level.PROBLEM, text, hint, facts={"runs": [row[0] for row in stuck]})
    if queued:
        text = f"{counts(len(queued), 'run')} {'has' if len(queued) == 1 else 'have'} waited for more than an hour"
        hint = "Start the daemon: `indexctl ui` does, or `dagster-daemon run`."
        yield Finding(AREA, "runs", Level.WARNING, text, hint, facts={"runs": [row[0] for row in queued]})


def _silent(updated: str) -> float:
    """Seconds since a run was heard of."""
    try:
        moment = datetime.fromisoformat(updated)
    except (TypeError, ValueError):
        return 0.0
    return time.time() - moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _reporting(home: Path) -> Iterator[Finding]:
    """What the process that tells Dagster of builds said last."""
    try:
        said = (home / "reporting.log").read_bytes()[-_TAIL:].decode("utf-8", "replace").strip()
    except OSError:
        return
    last = said.splitlines()[-1] if said else ""
    if re.match(r"[\w.]*(?:Error|Exception)\b", last):
        text = f"telling Dagster of builds failed: {last[:200]}"
        yield Finding(AREA, "reporting", Level.WARNING, text, f"See {home / 'reporting.log'}; searches do not depend on it.")
