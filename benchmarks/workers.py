"""When worker processes pay: the parsing stage over trees of growing size, in this process and in two workers.

    .venv/bin/python benchmarks/workers.py [PATH]

Copies more and more files of a tree (default: the Django of `main_job.py`) and times the stage both ways, the workers' start
included. `pipeline.workers.POOL_THRESHOLD_BYTES` is read off this table. A build that starts its crew while Dagster is imported
gains earlier than this shows.

Belongs here: this one threshold. Not here: whole builds (`main_job`).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import corpus

from pipeline.config import Settings
from pipeline.source.scan import scan
from pipeline.stages import SOURCE, SYNTAX
from pipeline.store.layout import create_store
from pipeline.store.settling import settle
from pipeline.workers import Runtime

SIZES = (1, 2, 4, 8)
"""Megabytes of Python."""
ROUNDS = 3


def subtree(root: Path, target: Path, size: int) -> int:
    """Copy Python files in order of their paths until there are `size` bytes; returns how many bytes there are."""
    total = 0
    for path in sorted(root.rglob("*.py")):
        if total >= size:
            break
        place = target / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        total += path.stat().st_size
    return total


def seconds(tree: Path, work: Path, workers: int) -> float:
    """Of the stage `syntax` over a tree, in a fresh store."""
    store = create_store(work)
    repository = store.repository("tree")
    settings = Settings()
    made = settle(repository, SOURCE, {}, settings, externals={"scan": scan(tree, settings=settings.source)}).artefacts
    started = time.perf_counter()
    settle(repository, SYNTAX, made, settings, runtime=Runtime(workers=workers))
    return time.perf_counter() - started


def main() -> int:
    """Measure and print."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else corpus.django(Path(__file__).parent / ".work")
    print("| MB of Python | one process, s | two workers, s |\n|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            tree = Path(folder) / f"tree-{size}"
            bytes_there = subtree(root, tree, size * 1_000_000)
            best = {}
            for workers in (1, 2):
                runs = [seconds(tree, Path(folder) / f"store-{size}-{workers}-{run}", workers) for run in range(ROUNDS)]
                best[workers] = min(runs)
            print(f"| {bytes_there / 1e6:.1f} | {best[1]:.2f} | {best[2]:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
