"""Running one process and saying what it cost.

Belongs here: wall time, processor time and memory of a process with all its children, and the summary of repeated runs.
Not here: which processes are run (`ours`, `peers`) and what their figures are compared with (`main_job`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_SECONDS = 0.1
"""How often the memory of a process tree is read; a shorter peak can be missed, but not one of a single process (`wait4`)."""
_DROPPED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables of the caller that would slow a measured process down (no .pyc files) or send it to other packages."""


class MeasuredProcessError(RuntimeError):
    """A measured process failed, so its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process. Seconds and MiB; `cpu` and `peak` include its children."""

    wall: float
    cpu: float
    peak: float
    """The largest sum over the process tree of proportional set sizes: a page that n processes share counts 1/n in each."""
    largest: float
    """The largest resident set of any one process of the tree."""
    stdout: str
    stderr: str


def environment(extra: Mapping[str, str | Path] | None = None) -> dict[str, str]:
    """The caller's environment without what would distort a measurement, with `extra` on top."""
    kept = {name: value for name, value in os.environ.items() if name not in _DROPPED and not name.startswith("CODEINTEL_")}
    return kept | {name: str(value) for name, value in (extra or {}).items()}


def run(
    command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 900
) -> Run:
    """Run a command to its end and measure it. Raises `MeasuredProcessError` when it fails or takes longer than `timeout`."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # Files, not pipes: nobody has to read while the process runs, so nothing can block.
        started = time.perf_counter()
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=dict(env or environment()),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        sampler = _Sampler(process.pid)
        killer = threading.Timer(timeout, _kill_group, (process.pid,))
        killer.start()
        sampler.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        finally:
            killer.cancel()
            sampler.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    if process.returncode != 0:
        raise MeasuredProcessError(f"`{' '.join(words)}` ended with {process.returncode}:\n{(texts[1] or texts[0])[-2000:]}")
    largest = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20
    return Run(
        wall=wall,
        # What the system adds up leaves out workers that another process than their parent's waited for.
        cpu=max(usage.ru_utime + usage.ru_stime, sum(sampler.ticks.values()) / os.sysconf("SC_CLK_TCK")),
        peak=sampler.peak / 2**20 or largest,
        largest=largest,
        stdout=texts[0],
        stderr=texts[1],
    )


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


class _Sampler(threading.Thread):
    """Reads the resident sets of a process and its descendants from /proc until stopped. Finds nothing where /proc is not."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.ticks: dict[int, int] = {}
        """Processor time of each process of the tree when it was last seen, in clock ticks."""
        self._root = root
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            tree = _tree(self._root)
            self.peak = max(self.peak, sum(_proportional(pid) for pid in tree))
            for pid in tree:
                self.ticks[pid] = _ticks(pid) or self.ticks.get(pid, 0)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _tree(root: int) -> list[int]:
    """`root` and its descendants, by the kernel's list of the children of each thread."""
    found = [root]
    for pid in found:  # grows while it is walked
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - no Path objects every 30 ms
                with open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123
                    found.extend(int(child) for child in file.read().split())
    return found


def _proportional(pid: int) -> int:
    """Bytes; 0 for a process that is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def _ticks(pid: int) -> int:
    """User and system time of a process, in clock ticks; 0 for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])
    except (OSError, IndexError):
        return 0


@dataclass(slots=True)
class Series:
    """The same figure from several runs."""

    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """One more run."""
        self.values.append(value)

    @property
    def median(self) -> float:
        """The middle value; NaN without runs."""
        return statistics.median(self.values) if self.values else float("nan")

    @property
    def highest(self) -> float:
        """The largest value; NaN without runs."""
        return max(self.values, default=float("nan"))

    def show(self, digits: int = 2) -> str:
        """`min / median / max`, or a dash without runs; a single or constant value is written once."""
        if not self.values:
            return "–"
        low, middle, high = (f"{value:,.{digits}f}" for value in (min(self.values), self.median, max(self.values)))
        return middle if low == high else f"{low} / **{middle}** / {high}"


def file_bytes(root: Path) -> int:
    """Bytes that the files under `root` take on disk; a file with several hard links counts once."""
    blocks: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            status = Path(folder, name).lstat()
            blocks[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(blocks.values())
