"""Where a cold build spends its time: every stage of the engine once, in order, without Dagster.

    .venv/bin/python benchmarks/stages.py [PATH] [--workers N] [--work DIR]

Prints a Markdown table; without PATH the repository is the Django of `main_job.py`. `run` is the stage's own function; what
`settle` takes beyond it is digests, fsync and the rename into the store. A fresh store each time, so nothing is reused.

Belongs here: stage costs. Not here: whole builds, searches and peers (`main_job`).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
import pyarrow.parquet as pq

from pipeline.config import Settings
from pipeline.index.tuning.locked_point import UNLOCKED
from pipeline.source.history import read_history
from pipeline.source.scan import scan
from pipeline.stage import Artefact, External
from pipeline.stages import STAGES, identity_of, plan_choices
from pipeline.store.layout import create_store
from pipeline.store.settling import settle
from pipeline.workers import Runtime, worker_count

REPOSITORY = "profile"


@dataclass(frozen=True, slots=True)
class Cost:
    """One stage: seconds, processor seconds with worker processes, rows of its tables, bytes of its objects."""

    name: str
    run: float
    settle: float
    cpu: float
    rows: int
    size: int

    def line(self) -> str:
        """A table line."""
        rate = f"{self.rows:,}" if self.rows else "–"
        return f"| {self.name} | {self.run:.2f} | {self.settle:.2f} | {self.cpu:.2f} | {rate} | {self.size / 2**20:.1f} |"


def processor_seconds() -> float:
    """Of this process and of the children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def rows_and_bytes(root: Path) -> tuple[int, int]:
    """Rows of all Parquet files, by their footers, and bytes of all files."""
    files = [path for path in root.rglob("*") if path.is_file()]
    rows = sum(pq.read_metadata(path).num_rows for path in files if path.suffix == ".parquet")
    return int(rows), sum(path.stat().st_size for path in files)


def profile(path: Path, data: Path, workers: int) -> list[Cost]:
    """Scan a repository and settle every stage in a fresh store under `data`."""
    settings = Settings()
    store = create_store(data)
    repository = store.repository(REPOSITORY)
    runtime = Runtime(workers=workers, shared=store.shared)
    started, used = time.perf_counter(), processor_seconds()
    scanned = scan(path, settings=settings.source, skip=store.root)
    seconds = time.perf_counter() - started
    costs = [Cost("scan", seconds, seconds, processor_seconds() - used, 0, 0)]
    history = read_history(path, commit=scanned.commit, days=settings.modules.churn_days)
    keys = {asset: choice.key for asset, choice in plan_choices(settings, scanned, history, repository).items()}
    identity = identity_of(settings, repository, scanned.commit, scanned.dirty, keys)
    known: dict[str, External] = {"scan": scanned, "history": history, "identity": identity, "lock": UNLOCKED}
    settled: dict[str, Artefact[Any]] = {}
    for stage in STAGES:
        started, used = time.perf_counter(), processor_seconds()
        result = settle(
            repository,
            stage,
            {kind.asset: settled[kind.asset] for kind in stage.inputs.values()},
            settings,
            externals={name: known[name] for name in stage.externals},
            runtime=runtime,
        )
        seconds = time.perf_counter() - started
        measured = [rows_and_bytes(artefact.path) for artefact in result.artefacts.values()]
        rows, size = (sum(column) for column in zip(*measured, strict=True))
        costs.append(Cost(stage.name, result.seconds, seconds, processor_seconds() - used, rows, size))
        settled |= result.artefacts
    return costs


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description="Profiles one cold build stage by stage, without Dagster.")
    parser.add_argument("path", type=Path, nargs="?", help="a repository (default: Django, fetched into the work folder)")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="downloads")
    parser.add_argument("--workers", type=int, default=worker_count(), help="worker processes")
    given = parser.parse_args()
    path = given.path or corpus.django(given.work.resolve())
    with tempfile.TemporaryDirectory(prefix="codeintel-stages-") as folder:
        costs = profile(path.resolve(), Path(folder) / "store", given.workers)
    print("| stage | run s | settle s | processor s | rows | MiB |\n|---|---:|---:|---:|---:|---:|")
    for cost in costs:
        print(cost.line())
    whole = Cost("all", *(sum(getattr(cost, name) for cost in costs) for name in ("run", "settle", "cpu", "rows", "size")))
    print(whole.line())


if __name__ == "__main__":
    main()  # worker processes import this file again
