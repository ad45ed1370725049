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
import numpy as np

from pipeline.structure.scip.positions import column_unit, offsets_in
from pipeline.structure.scip.reader import read_metadata, read_occurrences
from pipeline.structure.scip.texts import Texts


def timed(work: Callable[[], int], runs: int) -> tuple[int, list[float]]:
    """What `work` counts, and its processor seconds in each run."""
    seconds = []
    count = 0
    for _ in range(runs):
        started = time.process_time()
        count = work()
        seconds.append(time.process_time() - started)
    return count, seconds


def in_bytes(folder: Path, index: Path, tool: str) -> Callable[[], int]:
    """Reading an index with both ends of every occurrence as bytes, as work; files are read beforehand."""
    paths = [name for group in read_occurrences(index, language="python") for name in group.paths]
    contents = {name: (folder / name).read_bytes() if (folder / name).is_file() else b"" for name in paths}

    def read() -> int:
        count = lost = 0
        for group in read_occurrences(index, language="python"):
            table = group.occurrences
            document = table["document"].to_numpy()
            texts = Texts.of([contents[name] for name in group.paths])
            units = np.array([column_unit(encoding, tool) for encoding in group.encoding.tolist()])
            for end in ("start", "end"):
                position = (table[f"{end}_{part}"].to_numpy() for part in ("line", "column"))
                lost += int((offsets_in(texts, document, *position, units) < 0).sum())
            count += len(table)
        if lost:
            print(f"{lost} positions lie outside of their files", file=sys.stderr)
        return count

    return read


def report(folder: Path, index: Path, runs: int) -> None:
    """Measure and print."""
    sizes = [len(group.paths) for group in read_occurrences(index, language="python")]
    print(f"`{index.name}`: {index.stat().st_size / 2**20:.1f} MiB, {sum(sizes)} documents, {len(sizes)} groups\n")
    print("| work | occurrences | best, s | first, s | occurrences/s |")
    print("|---|---|---|---|---|")
    works: dict[str, Callable[[], int]] = {
        "read": lambda: sum(len(group.occurrences) for group in read_occurrences(index, language="python")),
        "read, with both ends in bytes": in_bytes(folder, index, read_metadata(index).tool_name),
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
