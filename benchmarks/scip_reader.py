"""How fast a SCIP index is read, and its columns are turned into bytes.

    .venv/bin/python benchmarks/scip_reader.py FOLDER [--index FILE] [--runs N]

FOLDER is a Python package; `ty-scip` indexes it, unless `--index` is an index of it that is there already. Prints a Markdown
table of processor time, best of N and the first run, which pays for fresh memory.

Belongs here: the reader alone. Not here: the tables that are made of it, which `stages.py` measures.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import measure

from pipeline.structure.scip_reader import DocumentGroup, byte_offsets, column_unit, read_metadata, read_occurrences


def timed(work: Callable[[], int], runs: int) -> tuple[int, list[float]]:
    """What `work` counts, and its processor seconds in each run."""
    seconds = []
    count = 0
    for _ in range(runs):
        started = time.process_time()
        count = work()
        seconds.append(time.process_time() - started)
    return count, seconds


def offsets(folder: Path, groups: list[DocumentGroup], tool: str) -> Callable[[], int]:
    """Converting both ends of all occurrences, as work; files are read beforehand."""
    jobs = []
    for group in groups:
        document = group.occurrences["document"].to_numpy()
        for number, name in enumerate(group.paths):
            rows = group.occurrences.filter(document == number)
            content = (folder / name).read_bytes() if (folder / name).is_file() else b""
            unit = column_unit(int(group.encoding[number]), tool)
            ends = [(rows[f"{end}_line"].to_numpy(), rows[f"{end}_column"].to_numpy()) for end in ("start", "end")]
            jobs.extend((content, lines, columns, unit) for lines, columns in ends)

    def convert() -> int:
        lost = sum(int((byte_offsets(*job) < 0).sum()) for job in jobs)
        if lost:
            print(f"{lost} positions lie outside of their files", file=sys.stderr)
        return sum(len(job[1]) for job in jobs)

    return convert


def report(folder: Path, index: Path, runs: int) -> None:
    """Measure and print."""
    groups = list(read_occurrences(index, language="python"))
    size = index.stat().st_size / 2**20
    print(f"`{index.name}`: {size:.1f} MiB, {sum(len(g.paths) for g in groups)} documents, {len(groups)} groups\n")
    print("| work | rows | best, s | first, s | rows/s |")
    print("|---|---|---|---|---|")
    works: dict[str, Callable[[], int]] = {
        "occurrences read": lambda: sum(len(g.occurrences) for g in read_occurrences(index, language="python")),
        "positions to bytes": offsets(folder, groups, read_metadata(index).tool_name),
    }
    for name, work in works.items():
        count, seconds = timed(work, runs)
        print(f"| {name} | {count:,} | {min(seconds):.3f} | {seconds[0]:.3f} | {count / min(seconds):,.0f} |")


def main() -> None:
    """Read the command line, make the index when none is given, and measure."""
    parser = argparse.ArgumentParser(description="How fast a SCIP index is read.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        index = arguments.index
        if index is None:
            index = Path(work) / "index.scip"
            tool = Path(sysconfig.get_path("scripts")) / "ty-scip"
            run = measure.run([tool, "--quiet", "--output", index, arguments.folder])
            print(f"ty-scip: {run.cpu:.1f} s of processor time, {run.peak:.0f} MiB", file=sys.stderr)
        report(arguments.folder, index, arguments.runs)


if __name__ == "__main__":
    main()
