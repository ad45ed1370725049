"""Jobs in this process or in others: the same results, and a clear end when a process dies."""

from __future__ import annotations

import os
import time

import pytest

from pipeline.errors import CodeIntelError, ConfigError, SourceError
from pipeline.workers import POOL_THRESHOLD_BYTES, Runtime, run_jobs, worker_count


def _square(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 3 == 0))
    return number * number, os.getpid()


def _die(number: int) -> int:
    if number == 2:
        os._exit(9)
    return number


def _refuse(number: int) -> int:
    raise SourceError(f"number {number}", hint="the way out")


@pytest.mark.parametrize(
    ("workers", "work", "elsewhere"),
    [(1, POOL_THRESHOLD_BYTES, False), (2, POOL_THRESHOLD_BYTES - 1, False), (2, POOL_THRESHOLD_BYTES, True)],
)
def test_results_are_in_the_order_of_the_jobs(workers: int, work: int, elsewhere: bool) -> None:
    progress: list[tuple[int, int]] = []
    runtime = Runtime(workers=workers, progress=lambda done, total: progress.append((done, total)))

    results = list(run_jobs(_square, list(range(8)), runtime, work_bytes=work))

    assert [square for square, _ in results] == [number * number for number in range(8)]
    assert all((process != os.getpid()) is elsewhere for _, process in results)
    assert progress == [(done, 8) for done in range(1, 9)]


def test_no_jobs_and_one_job_need_no_processes() -> None:
    assert list(run_jobs(_square, [], Runtime(workers=4), work_bytes=1 << 40)) == []
    assert next(run_jobs(_square, [3], Runtime(workers=4), work_bytes=1 << 40))[1] == os.getpid()


def test_a_dying_worker_is_an_error_with_a_way_out() -> None:
    with pytest.raises(CodeIntelError, match="worker process died") as caught:
        list(run_jobs(_die, list(range(4)), Runtime(workers=2), work_bytes=POOL_THRESHOLD_BYTES))
    assert "CODEINTEL_WORKERS=1" in caught.value.hint


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_arrives_whole(workers: int) -> None:
    with pytest.raises(SourceError, match="number 5") as caught:
        list(run_jobs(_refuse, [5, 6], Runtime(workers=workers), work_bytes=POOL_THRESHOLD_BYTES))
    assert caught.value.hint == "the way out" and caught.value.exit_code == 3


@pytest.mark.parametrize(("given", "expected"), [("1", 1), ("256", 256), ("007", 7)])
def test_the_number_of_workers_can_be_set(given: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_WORKERS", given)
    assert worker_count() == expected


@pytest.mark.parametrize("given", ["", "0", "257", "-1", "two", "1.5", " 2", "²", "٣", "9" * 5000])
def test_a_number_of_workers_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_WORKERS", given)
    with pytest.raises(ConfigError, match="CODEINTEL_WORKERS") as caught:
        worker_count()
    assert "1 to 256" in caught.value.hint and caught.value.exit_code == 2


def test_the_default_is_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODEINTEL_WORKERS", raising=False)
    assert 1 <= worker_count() <= (os.cpu_count() or 1)
