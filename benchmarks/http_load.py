"""What `indexctl serve` stands: how much it answers at most, and how long answers take at half of that while versions flip.

    .venv/bin/python benchmarks/http_load.py --data STORE [--repo NAME] [--seconds 60] [--connections 200] [--threads 2]

The store needs two versions of the repository, for example before and after an edit; CURRENT is put back at the end. The server
is a process of its own, and so is the client. Queries are the version's own test queries, each with k = 10.

Three measurements: one request after another on an idle server (its median); the most that eight connections get done in a
closed loop (capacity); and an open loop at half the capacity over all connections, with arrivals drawn beforehand and latency
counted from the moment a request was due, whether or not it could be sent then, while CURRENT flips every two seconds. Exits
with 1 where a request failed, where the 99th percentile is 20 times the idle median or more, or where memory grew by more than
a tenth.

Belongs here: the service under load. Not here: one search in one process (`search_latency`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from pipeline.evaluation.queries import TEST, read_queries
from pipeline.release.switching import switch
from pipeline.store.layout import Repository, open_store
from pipeline.store.versions import current_name, open_version, version_names

FLIP = 2.0
BOUND = 20.0
"""Times the idle median."""
GROWTH = 0.10
_IDLE_REQUESTS = 300
_CLOSED = 8


@dataclass
class Client:
    """Connections that are kept open, each with one request at a time."""

    port: int
    paths: list[str]
    free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=deque)
    statuses: Counter[str] = field(default_factory=Counter)
    asked: int = 0

    async def open(self, connections: int) -> None:
        """Open them, some at a time."""
        while len(self.free) < connections:
            more = min(32, connections - len(self.free))
            self.free.extend(await asyncio.gather(*(asyncio.open_connection("127.0.0.1", self.port) for _ in range(more))))

    async def ask(self) -> None:
        """One request on the connection that rested longest; a broken one counts as a failure and is replaced."""
        while not self.free:
            await asyncio.sleep(0.001)
        reader, writer = self.free.popleft()
        path = self.paths[self.asked % len(self.paths)]
        self.asked += 1
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            self.statuses[head.split(b" ", 2)[1].decode()] += 1
            self.free.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.statuses[type(error).__name__] += 1
            writer.close()
            self.free.append(await asyncio.open_connection("127.0.0.1", self.port))

    async def closed_loop(self, connections: int, seconds: float, most: int) -> list[float]:
        """Milliseconds of each request, where each connection asks again as soon as it is answered."""
        until, times = time.perf_counter() + seconds, []

        async def go_on() -> None:
            while (begun := time.perf_counter()) < until and len(times) < most:
                await self.ask()
                times.append((time.perf_counter() - begun) * 1e3)

        await asyncio.gather(*(go_on() for _ in range(connections)))
        return times

    async def open_loop(self, rate: float, seconds: float) -> list[float]:
        """Milliseconds from when each request was due, where they arrive at random and wait for nobody."""
        drawn = random.Random(7)
        due, moments = 0.0, []
        while due < seconds:
            moments.append(due)
            due += drawn.expovariate(rate)
        begun, times, tasks = time.perf_counter(), [], set()

        async def one(moment: float) -> None:
            await self.ask()
            times.append((time.perf_counter() - begun - moment) * 1e3)

        for moment in moments:
            wait = begun + moment - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(one(moment))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        return times


async def _client(port: int, paths: list[str], given: dict[str, float]) -> dict[str, object]:
    """What the client's process measures."""
    client = Client(port, paths)
    await client.open(int(given["connections"]))
    begun = time.perf_counter()
    if "rate" in given:
        times = await client.open_loop(given["rate"], given["seconds"])
    else:
        times = await client.closed_loop(int(given["connections"]), given["seconds"], int(given["most"]))
    return {"times": times, "took": time.perf_counter() - begun, "statuses": client.statuses}


def measured(port: int, paths: list[str], **given: float) -> dict:
    """Run the client in a process of its own."""
    said = json.dumps({"port": port, "paths": paths, "given": given})
    done = subprocess.run([sys.executable, __file__, "--client"], input=said, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def flip(repository: Repository, names: list[str], ended: threading.Event, done: list[str]) -> None:
    """Make the versions current in turn."""
    while not ended.wait(FLIP):
        name = names[len(done) % len(names)]
        switch(repository, name, reason="benchmark")
        done.append(name)


def watch_memory(process: int, ended: threading.Event, seen: list[float]) -> None:
    """Megabytes of the process, once a second."""
    while not ended.wait(1.0):
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        seen.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def paths_of(repository: Repository) -> list[str]:
    """Requests for the version's own queries."""
    with open_version(repository) as version:
        queries = read_queries(version.ensure("eval_queries"), TEST)
    texts = sorted({query.query for query in queries})
    random.Random(3).shuffle(texts)
    return [f"/search?{urlencode({'query': text, 'repo': repository.name, 'k': 10})}" for text in texts[:400]]


def start(store: Path, threads: int) -> tuple[subprocess.Popen[str], int]:
    """The server, and its port."""
    program = Path(sys.executable).parent / "indexctl"
    command = [program, "serve", "--data", store, "--port", "0", "--threads", str(threads)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    line = server.stderr.readline()
    threading.Thread(target=lambda: [sys.stderr.write(said) for said in server.stderr or ()], daemon=True).start()
    return server, int(line.split(" ", 1)[0].rpartition(":")[2])


def percentiles(times: list[float]) -> str:
    """Of milliseconds."""
    return (
        "  ".join(f"p{share:g} {np.percentile(times, share):.1f}" for share in (50, 90, 99, 99.9))
        + f"  max {max(times):.1f} ms"
    )


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repo")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rate", type=float, help="Requests a second, in place of half the capacity.")
    arguments = parser.parse_args()
    store = open_store(arguments.data.absolute())
    repository = store.existing(arguments.repo) if arguments.repo else store.repositories()[0]
    before, names = current_name(repository), version_names(repository)[:2]
    if before is None or len(names) < 2:
        parser.error(f"{repository.name} needs two versions in {store.root}.")
    server, port = start(store.root, arguments.threads)
    ended, flips, memory = threading.Event(), [], []
    try:
        paths = paths_of(repository)
        measured(port, paths, connections=2, seconds=60, most=2 * len(paths))  # every query once, so that nothing is cold
        idle = measured(port, paths, connections=1, seconds=30, most=_IDLE_REQUESTS)
        median = float(np.median(idle["times"]))
        print(f"load average {os.getloadavg()[0]:.1f}, {len(paths)} queries, {arguments.threads} threads", flush=True)
        print(f"idle       {percentiles(idle['times'])}", flush=True)
        busy = measured(port, paths, connections=_CLOSED, seconds=10, most=10**9)
        capacity = len(busy["times"]) / busy["took"]
        print(f"capacity   {capacity:.0f} requests/s  {percentiles(busy['times'])}", flush=True)
        rate = arguments.rate or capacity / 2
        turns = [*(name for name in names if name != before), before]
        threads = [
            threading.Thread(target=flip, args=(repository, turns, ended, flips)),
            threading.Thread(target=watch_memory, args=(server.pid, ended, memory)),
        ]
        for thread in threads:
            thread.start()
        loaded = measured(port, paths, connections=arguments.connections, seconds=arguments.seconds, rate=rate)
        ended.set()
        for thread in threads:
            thread.join()
        print(f"open loop  {rate:.0f} requests/s, {arguments.connections} connections, {len(flips)} flips", flush=True)
        print(f"           {percentiles(loaded['times'])}")
        early, late = np.median(memory[len(memory) // 4 : len(memory) // 2]), np.median(memory[-len(memory) // 4 :])
        print(f"memory     {memory[0]:.0f} MB at first, {early:.0f} MB early, {late:.0f} MB late, at most {max(memory):.0f} MB")
        print(f"statuses   {loaded['statuses']}, load average {os.getloadavg()[0]:.1f}")
        ratio = float(np.percentile(loaded["times"], 99)) / median
        failed = sum(count for status, count in loaded["statuses"].items() if status != "200")
        judged = {
            "no request failed": failed == 0,
            f"p99 is {ratio:.1f} times the idle median, under {BOUND:g}": ratio < BOUND,
            f"memory grew by {late / early - 1:.1%}, at most {GROWTH:.0%}": late / early - 1 <= GROWTH,
        }
        for said, held in judged.items():
            print(f"{'holds' if held else 'FAILS'}      {said}")
        return 0 if all(judged.values()) else 1
    finally:
        ended.set()
        server.terminate()
        print(f"the server ended with {server.wait(30)}")
        if current_name(repository) != before:
            switch(repository, before, reason="benchmark")


if __name__ == "__main__":
    if sys.argv[1:] == ["--client"]:
        given = json.load(sys.stdin)
        json.dump(asyncio.run(_client(given["port"], given["paths"], given["given"])), sys.stdout)
        sys.exit(0)
    sys.exit(main())
