"""From starting `indexctl mcp` to the answer of its first search, as a client waits for it.

    .venv/bin/python benchmarks/mcp_start.py --data DIR [--rounds 10] [--bound 1.0]

Each round starts a process, sends `initialize`, waits for its answer, sends `notifications/initialized` and a `tools/call` of
`search`, and stops the clock when its answer has come. The first round, which finds cold files, does not count. Exits with 1
where the median is over the bound. Beside the wall it prints processor seconds of both processes, which a busy machine changes
less.

Belongs here: the start over standard input and output. Not here: what a search costs in a process (`search_latency`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import measure

QUERIES = (
    "how does the ORM compile a query",
    "csrf token check",
    "QuerySet.filter",
    "where are migrations applied",
    "lazy strings",
)
_HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "mcp_start", "version": "1"},
}


def first_answer(data: Path, query: str) -> tuple[float, float, float]:
    """Seconds to the answer of `initialize` and of the search, and of the processor until all has ended."""
    command = [Path(sys.executable).parent / "indexctl", "mcp", "--data", data]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=measure.environment())
    _send(process, {"id": 1, "method": "initialize", "params": _HELLO})
    _receive(process)
    greeted = time.perf_counter() - started
    _send(process, {"method": "notifications/initialized"})
    _send(process, {"id": 2, "method": "tools/call", "params": {"name": "search", "arguments": {"query": query}}})
    answer = _receive(process)
    answered = time.perf_counter() - started
    if answer["result"].get("isError") or "[1] " not in answer["result"]["content"][0]["text"]:
        raise measure.MeasuredProcessError(f"no result: {answer}")
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return greeted, answered, usage.ru_utime + usage.ru_stime


def _send(process: subprocess.Popen[bytes], message: dict[str, object]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    process.stdin.flush()


def _receive(process: subprocess.Popen[bytes]) -> dict[str, dict]:
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise measure.MeasuredProcessError(f"`indexctl mcp` ended with {process.wait()}")
    return json.loads(line)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--bound", type=float, default=1.0)
    given = parser.parse_args()
    first_answer(given.data, QUERIES[0])
    rows = [first_answer(given.data, QUERIES[number % len(QUERIES)]) for number in range(given.rounds)]
    for title, column in zip(
        ("initialize answered", "first search answered", "processor"), zip(*rows, strict=True), strict=True
    ):
        print(f"{title:<22} median {statistics.median(column):.2f} s   least {min(column):.2f}   most {max(column):.2f}")
    print(f"load of the machine    {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    sys.exit(statistics.median(row[1] for row in rows) > given.bound)


if __name__ == "__main__":
    main()
