"""What tracing costs a search, and what `--explain` does.

    .venv/bin/python benchmarks/tracing.py [--source ~/src/project --store DIR] [--rounds 20]

Builds Django (or takes a store) and asks queries of every kind, warm, in one process: all of them untraced, traced and untraced
again, in turns, so that a slow moment of the machine hits all three. What is traced is written every 256 searches; the means
count that, but for the first time, which loads Arrow. They are of processor time, which other processes disturb least; how far
the two untraced means lie apart says how much to believe. Then whole processes of one search, with tracing off and on, in
turns. Exits with 1 where tracing costs a warm search more than 15 %, and more than the two untraced means differ.

Belongs here: that measurement. Not here: tracing (`pipeline.search.trace`).
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import corpus
from measure import Series, environment, run

from pipeline.config import TraceSettings
from pipeline.search.engine import Searcher, open_searcher
from pipeline.search.explanation import explain
from pipeline.search.trace import Tracer
from pipeline.store import traces
from pipeline.store.layout import open_store, read_origin, settings_of

BOUND = 0.15
QUERIES = (
    *corpus.QUERIES,
    "QuerySet.filter",
    "HttpResponse",
    "django/db/models/query.py",
    "how are sessions expired?",
    "Return the number of rows that the query would fetch without evaluating it.",
)


@dataclass(slots=True)
class Times:
    """Seconds of the searches of one way: of wall time and of processor time."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.cpu)

    def measure(self, ask: Callable[[str], None], query: str, *, keep: bool = True) -> None:
        started, worked = time.perf_counter(), time.process_time()
        ask(query)
        if keep:
            self.cpu.append(time.process_time() - worked)
            self.wall.append(time.perf_counter() - started)

    def row(self, what: str, base: float) -> str:
        median, p99 = statistics.median(self.wall), statistics.quantiles(self.wall, n=100)[-1]
        figures = f"{1e3 * self.mean:.3f} | {100 * (self.mean / base - 1):+.1f} % | {1e3 * median:.3f} | {1e3 * p99:.2f}"
        return f"| {what} | {len(self.wall):,} | {figures} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="What tracing costs a search.")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work")
    parser.add_argument("--source", type=Path, help="A repository that is built already.")
    parser.add_argument("--store", type=Path, help="The store that it is built into.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cold", type=int, default=10, help="Processes of each kind.")
    given = parser.parse_args()
    source = given.source or corpus.django(given.work)
    root = (given.store or given.work / "stores" / "symbols").absolute()
    if given.store is None:
        corpus.say("Building …")
        build = [Path(sys.executable).parent / "indexctl", "build", source, "--data", root]
        run(build, env=environment({"CODEINTEL_CST": "false"}))
    store = open_store(root)
    [repository] = store.repositories()
    settings = settings_of(store, read_origin(repository))
    was_on = traces.is_on(repository.traces)
    try:
        with open_searcher(repository, settings) as searcher:
            held = warm(searcher, repository.traces, settings.trace, given.rounds)
        cold(root, repository.traces, given.cold)
    finally:
        traces.switch(repository.traces, on=was_on)
    return 0 if held else 1


def warm(searcher: Searcher, folder: Path, settings: TraceSettings, rounds: int) -> bool:
    """Print the table of one process; whether the bound holds."""
    off, on, again, explained = Times(), Times(), Times(), Times()
    with Tracer(searcher, settings, corpus.say) as tracer:

        def search(query: str) -> None:
            tracer.record(searcher.answer(query))

        def explain_too(query: str) -> None:
            explain(searcher.opened, searcher.answer(query))

        gc.collect()
        for number in range(rounds + 1):
            for times, traced in ((off, False), (on, True), (again, False)):
                traces.switch(folder, on=traced)
                for query in QUERIES:
                    times.measure(search, query, keep=number > 0)
            if number == 0:
                tracer.flush()  # The first one loads Arrow.
        traces.switch(folder, on=False)
        for query in QUERIES * 2:
            explained.measure(explain_too, query)
    base = off.mean
    print("| warm search | searches | mean processor ms | against off | median wall ms | p99 wall ms |")
    print("|---|--:|--:|--:|--:|--:|")
    print(off.row("off", base), on.row("traced", base), again.row("off, again", base), sep="\n")
    print(explained.row("with what `--explain` says of its ten hits", base))
    size = sum(map(traces.size_of, traces.sets(folder)))
    print(f"\nAll traces of this store take {size / 2**20:.2f} MiB.\n")
    return on.mean / base - 1 <= max(BOUND, abs(again.mean / base - 1))


def cold(root: Path, folder: Path, times: int) -> None:
    """Print the table of whole processes."""
    command = [Path(sys.executable).parent / "indexctl", "search", corpus.QUERIES[0], "--data", root]
    series = {False: Series(), True: Series()}
    for _ in range(times):
        for on, seconds in series.items():
            traces.switch(folder, on=on)
            seconds.add(run(command, env=environment()).wall)
    print("| `indexctl search`, a process | seconds: least / median / most |\n|---|--:|")
    for on, seconds in series.items():
        print(f"| {'traced' if on else 'off'} | {seconds.show(3)} |")


if __name__ == "__main__":
    sys.exit(main())
