"""Running independent jobs: in this process while they are small, in worker processes when they pay for their start.

A *crew* is worker processes that the stages of a run share. Whoever runs many stages opens one; it starts its processes when
they are first needed, or ahead of time, while the main process is busy importing.

Belongs here: how work is spread. Not here: what the work is; a job is a top-level function of one picklable argument.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

from pipeline.artefacts import Earlier
from pipeline.errors import CodeIntelError, ConfigError

Observe = Callable[[Mapping[str, Any]], None]
"""Called with what a stage sees that is no function of its key (times, threads, latencies): JSON values by name."""

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


def _unobserved(facts: Mapping[str, Any]) -> None:
    """Forget it."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a stage may use but must not depend on: nothing here changes its result or enters its key."""

    workers: int = 1
    shared: Path | None = None
    """The store's `_shared` folder, for caches across repositories; None: no cache."""
    progress: Callable[[int, int], None] = field(default=_no_progress)
    """Called with (done, total) while a stage works."""
    observe: Observe = field(default=_unobserved)
    earlier: Earlier | None = None
    """What the stage settled on before, by the same method (`delta`); None: nothing, or nothing that can be compared."""


class _Crew:
    """Worker processes, started when first needed."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._start: threading.Thread | None = None

    @property
    def started(self) -> bool:
        """Whether its processes run, or are being started."""
        return self._pool is not None or self._start is not None

    def start(self, modules: Sequence[str], prepare: Sequence[Callable[[], object]]) -> None:
        """Start the processes in the background: until they have imported `modules`, whoever starts them waits."""

        def begin() -> None:
            pool = self._make(modules)
            for _ in range(self.workers):
                pool.submit(_stand_by, prepare)

        self._start = threading.Thread(target=begin)
        self._start.start()

    def pool(self) -> Executor:
        """The processes."""
        if self._start is not None:
            self._start.join()
            self._start = None
        return self._make(())

    def _make(self, modules: Sequence[str]) -> ProcessPoolExecutor:
        if self._pool is None:
            # Never plain fork: a forked child would hold the builder's lock and FAISS's threads. The server that forks the
            # workers is a process of its own; what it has imported, they share.
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(list(modules))
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_prepare_worker)
        return self._pool

    def close(self) -> None:
        """End the processes."""
        if self._start is not None:
            self._start.join()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


_crew: _Crew | None = None
"""The crew of the run that this process is in."""


@contextlib.contextmanager
def crew(workers: int) -> Iterator[None]:
    """Let the stages inside the block share worker processes; inside another crew's block, that one serves."""
    global _crew
    if _crew is not None or workers < 2:
        yield
        return
    _crew = _Crew(workers)
    try:
        yield
    finally:
        ended, _crew = _crew, None
        ended.close()


def start_crew(modules: Sequence[str], *prepare: Callable[[], object], work_bytes: int) -> None:
    """Start the crew's processes now, if so much work will need them.

    They import `modules`, then each of them calls every `prepare`, a picklable function that loads what jobs will want.
    """
    if _crew is not None and work_bytes >= POOL_THRESHOLD_BYTES:
        _crew.start(modules, prepare)


def _stand_by(prepare: Sequence[Callable[[], object]]) -> None:
    for function in prepare:
        function()


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends: an orphan would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (connection.wait([sentinel]), os._exit(1)), daemon=True).start()


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], runtime: Runtime, *, work_bytes: int) -> Iterator[Result]:
    """Results in the order of the jobs. `work_bytes` is how much source they read together.

    A crew that is running takes every work of several jobs; starting one must pay.
    """
    total = len(jobs)
    workers = min(runtime.workers, total)
    serving = _crew if _crew is not None and _crew.started and runtime.workers > 1 else None
    if workers < 2 or (serving is None and work_bytes < POOL_THRESHOLD_BYTES):
        for done, job in enumerate(jobs, 1):
            yield function(job)
            runtime.progress(done, total)
        return
    own = contextlib.nullcontext() if _crew is not None else crew(workers)
    try:
        with own:
            assert _crew is not None  # the block above saw to it
            for done, result in enumerate(_crew.pool().map(function, jobs), 1):
                yield result
                runtime.progress(done, total)
    except BrokenProcessPool as error:
        raise CodeIntelError(
            "A worker process died, most likely for lack of memory.", hint="Set CODEINTEL_WORKERS=1 and build again."
        ) from error
