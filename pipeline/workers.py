"""Running independent jobs: in this process while they are small, in worker processes when they pay for their start.

Belongs here: how work is spread. Not here: what the work is; a job is a top-level function of one picklable argument.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pipeline.errors import CodeIntelError, ConfigError

Job = TypeVar("Job")
Result = TypeVar("Result")

POOL_THRESHOLD_BYTES = 4_000_000
"""Below this much source, starting processes costs more than they save (`benchmarks/workers.py`)."""


def worker_count() -> int:
    """`CODEINTEL_WORKERS`, or the processors that this process may use."""
    given = os.environ.get("CODEINTEL_WORKERS")
    if given is not None:
        if not (given.isascii() and given.isdigit() and len(given) <= 3 and 1 <= int(given) <= 256):
            raise ConfigError(f"CODEINTEL_WORKERS is `{given}`.", hint="Use a number from 1 to 256.")
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _no_progress(done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a stage may use but must not depend on: nothing here changes its result or enters its key."""

    workers: int = 1
    shared: Path | None = None
    """The store's `_shared` folder, for caches across repositories; None: no cache."""
    progress: Callable[[int, int], None] = field(default=_no_progress)
    """Called with (done, total) while a stage works."""


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], runtime: Runtime, *, work_bytes: int) -> Iterator[Result]:
    """Results in the order of the jobs. `work_bytes` is how much source they read together."""
    total = len(jobs)
    workers = min(runtime.workers, total)
    if workers < 2 or work_bytes < POOL_THRESHOLD_BYTES:
        for done, job in enumerate(jobs, 1):
            yield function(job)
            runtime.progress(done, total)
        return
    # Never plain fork: a forked child would hold the builder's lock and FAISS's threads.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for done, result in enumerate(pool.map(function, jobs), 1):
                yield result
                runtime.progress(done, total)
    except BrokenProcessPool as error:
        raise CodeIntelError(
            "A worker process died, most likely for lack of memory.", hint="Set CODEINTEL_WORKERS=1 and build again."
        ) from error
