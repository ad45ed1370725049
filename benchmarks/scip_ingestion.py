"""What it costs to take in a SCIP index, beside what its indexer costs.

    .venv/bin/python benchmarks/scip_ingestion.py [PATH] [--work FOLDER] [--workers N] [--runs N]

PATH is a repository with Python files (default: Django, fetched into the work folder). `ty-scip` indexes it once, as the stage
`scip_index` has it done. Taking the index in is all that follows: reading it over to take its folder out, digesting it,
positions to bytes, the tables of occurrences and symbols, and their join to chunks by intervals, each with its digests and
syncs. Prints a Markdown table of wall times, the median of N, and how many occurrences the reader alone gives a second; ends
with 1 when taking in costs more than 10 % of the indexer's own time.

Belongs here: that one ratio. Not here: the reader in detail (`reader`), all other stages (`stages`).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import corpus
from scip_reader import in_bytes, timed

from pipeline.config import Settings
from pipeline.schemas import ScipIndex, ScipOccurrences
from pipeline.source.scan import scan
from pipeline.stage import Artefact, Stage
from pipeline.stages import CHUNKS, SCIP_INDEX, SCIP_TABLES, SOURCE, SYMBOLS, SYNTAX
from pipeline.store.layout import Repository, create_store
from pipeline.store.settling import Settled, settle
from pipeline.structure.scip import indexers
from pipeline.structure.scip.reader import read_metadata
from pipeline.workers import Runtime, crew, start_crew, worker_count

MOST = 0.10
"""Of the indexer's time."""


class Ingestion:
    """A store with all that the index is joined to, and how long each stage takes there."""

    def __init__(self, path: Path, store: Path, workers: int) -> None:
        self.settings = Settings()
        made = create_store(store)
        self.repository: Repository = made.repository("ingestion")
        self.runtime = Runtime(workers=workers, shared=made.shared)
        self.scanned = scan(path, settings=self.settings.source, skip=made.root)
        self.artefacts: dict[str, Artefact[Any]] = {}

    def settle(self, stage: Stage) -> tuple[float, Settled]:
        """Seconds that a stage takes, with digests and syncs, and what it gave."""
        started = time.perf_counter()
        result = settle(
            self.repository,
            stage,
            {kind.asset: self.artefacts[kind.asset] for kind in stage.inputs.values()},
            self.settings,
            externals={"scan": self.scanned} if "scan" in stage.externals else {},
            runtime=self.runtime,
        )
        self.artefacts |= result.artefacts
        return time.perf_counter() - started, result

    def again(self, stage: Stage, runs: int) -> float:
        """The median of some runs of a stage, each of which builds its objects."""
        seconds = []
        for _ in range(runs):
            for asset in stage.assets:
                shutil.rmtree(self.repository.objects / asset, ignore_errors=True)
            seconds.append(self.settle(stage)[0])
        return statistics.median(seconds)


def settling(index: Path, folder: Path, runs: int) -> float:
    """Seconds to take the folder that it was made in out of an index."""
    seconds = []
    for _ in range(runs):
        copied = Path(shutil.copyfile(index, folder / "copy.scip"))
        started = time.perf_counter()
        indexers.settle(copied)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def report(path: Path, folder: Path, workers: int, runs: int) -> float:
    """Measure and print; returns the ratio."""
    ingestion = Ingestion(path, folder / "store", workers)
    for stage in (SOURCE, SYNTAX):
        ingestion.settle(stage)
    corpus.say("Indexing …")
    whole, result = ingestion.settle(SCIP_INDEX)
    facts = ingestion.artefacts[ScipIndex.asset].facts
    index = ingestion.artefacts[ScipIndex.asset].path / ScipIndex.DIRECTORY / "python.scip"
    if not index.is_file():
        raise SystemExit(f"There is no index to take in: {facts['indexers']}")
    parts = {"the index without its folder": settling(index, folder, runs)}
    indexer = result.seconds - parts["the index without its folder"]
    parts["the index digested and stored"] = whole - result.seconds
    ingestion.settle(CHUNKS)
    parts["positions, occurrences, symbols"] = ingestion.again(SCIP_TABLES, runs)
    parts["chunks and edges"] = ingestion.again(SYMBOLS, runs)
    taken = sum(parts.values())
    occurrences = ingestion.artefacts[ScipOccurrences.asset].facts["by_provenance"]["scip"]
    size = f"{index.stat().st_size / 2**20:.1f} MiB, {facts['files_indexed']} files, {occurrences:,} occurrences"
    print(f"`{index.name}`: {size}; {workers} workers\n")
    print("| work | s | of the indexer |\n|---|---:|---:|")
    print(f"| the indexer | {indexer:.2f} | |")
    for name, seconds in parts.items():
        print(f"| {name} | {seconds:.2f} | {seconds / indexer:.1%} |")
    print(f"| taking it in | {taken:.2f} | {taken / indexer:.1%} |\n")
    count, seconds = timed(in_bytes(path, index, read_metadata(index).tool_name), max(runs, 5))
    print(f"Read with both ends in bytes: {count / min(seconds):,.0f} occurrences a second of processor time.")
    return taken / indexer


def main() -> None:
    """Read the command line, measure, and judge."""
    parser = argparse.ArgumentParser(description="What taking in a SCIP index costs beside its indexer.")
    parser.add_argument("path", type=Path, nargs="?", help="a repository (default: Django, fetched into the work folder)")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="downloads")
    parser.add_argument("--workers", type=int, default=worker_count(), help="worker processes")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    path = given.path or corpus.django(given.work.resolve())
    with tempfile.TemporaryDirectory(prefix="codeintel-ingestion-") as folder, crew(given.workers):
        # As in a build, where parsing has started them long before.
        start_crew(["pipeline.stages"], work_bytes=1 << 40)
        ratio = report(path.resolve(), Path(folder), given.workers, given.runs)
    if ratio > MOST:
        raise SystemExit(f"More than {MOST:.0%} of the indexer's time.")


if __name__ == "__main__":
    main()  # worker processes import this file again
