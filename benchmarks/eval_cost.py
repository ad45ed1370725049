"""What evaluation adds to a cold build, and whether it comes to the same twice.

    .venv/bin/python benchmarks/eval_cost.py [PATH] [--work DIR] [--workers N]

Settles every stage of a repository in a fresh store, as `stages.py` does, without Dagster: processor and wall seconds of
`eval_queries`, `eval_metrics` and `coverage` beside all other stages, the SCIP indexer among them. Then these three run again
over the same artefacts, and every file that they write must have the same bytes. Exits with 1 where evaluation costs more than
`MOST` of the others' time, or bytes differ.

Belongs here: the comparison. Not here: settling stages (`stages`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import corpus
from stages import REPOSITORY, Cost, profile

from pipeline.stages import COVERAGE, EVAL_METRICS, EVAL_QUERIES
from pipeline.store.layout import open_store
from pipeline.workers import worker_count

MOST = 0.2
EVALUATION = {stage.name: stage for stage in (EVAL_QUERIES, EVAL_METRICS, COVERAGE)}


def share(costs: list[Cost], what: str) -> float:
    """Seconds of evaluation for each second of everything else; `what` is `run` (wall) or `cpu`."""
    own = sum(getattr(cost, what) for cost in costs if cost.name in EVALUATION)
    return own / sum(getattr(cost, what) for cost in costs if cost.name not in EVALUATION)


def bytes_of(data: Path) -> dict[str, bytes]:
    """Every file of the evaluation's objects, but the records."""
    repository = open_store(data).repository(REPOSITORY)
    return {
        str(path.relative_to(repository.objects)): path.read_bytes()
        for asset in ("eval_queries", "eval_metrics", "coverage")
        for path in sorted((repository.objects / asset).rglob("*"))
        if path.is_file() and path.name != "object.json"
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What evaluation adds to a cold build.")
    parser.add_argument("path", type=Path, nargs="?", help="a repository (default: Django, fetched into the work folder)")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="downloads")
    parser.add_argument("--workers", type=int, default=worker_count(), help="worker processes")
    given = parser.parse_args()
    path = (given.path or corpus.django(given.work.resolve())).resolve()
    with tempfile.TemporaryDirectory(prefix="codeintel-evaluation-cost-") as folder:
        first, second = Path(folder) / "first", Path(folder) / "second"
        costs = profile(path, first, given.workers)
        # Processor time of worker processes is known only when they have ended.
        alone = profile(path, second, 1)
        same = bytes_of(first) == bytes_of(second)
    print("| stage | run s | settle s | processor s | rows | MiB |\n|---|---:|---:|---:|---:|---:|")
    for cost in alone:
        if cost.name in EVALUATION:
            print(cost.line())
    wall, processor = share(costs, "run"), share(alone, "cpu")
    told = f"{wall:.1%} of wall time with {given.workers} processes, {processor:.1%} of processor time with one"
    print(f"\nBeside all other stages: {told} (bound: {MOST:.0%}).")
    print(f"Two evaluations, of {given.workers} and of 1 process, give the same bytes: {'yes' if same else 'NO'}.")
    return 0 if same and processor <= MOST else 1


if __name__ == "__main__":
    raise SystemExit(main())  # worker processes import this file again
