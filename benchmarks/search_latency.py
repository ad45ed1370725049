"""What a warm query costs, by size of the index and kind of query, and which channel takes it.

    .venv/bin/python benchmarks/search_latency.py [--chunks 12000,100000] [--rounds 5] [--work DIR]

Indexes of so many chunks are made of the packages of `docstrings.py`, and where these are too few of copies of them under other
paths: text repeats there, work does not get less. Queries are `corpus.QUERIES` (names, phrases, questions) and docstrings
(sentences). Each is asked once before the clock starts. Exits with 1 where a median is over its bound: 5 ms up to 20,000
chunks, 10 ms beyond.

Belongs here: times of searches in one process. Not here: quality (`code_search`), processes (`main_job`).
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import time
from collections import defaultdict
from pathlib import Path

import corpus
import docstrings
import numpy as np
from indexed import searcher_of

from pipeline.search.engine import Searcher
from pipeline.search.query import parse_query

BOUNDS = ((20_000, 5.0), (10**9, 10.0))
"""(Chunks up to which it holds, milliseconds)."""
_COPY_CHUNKS = 13_367
"""About how many chunks one copy of the three packages has; what is printed is counted."""
_GIVEN = {"scip": "off", "cst": False}
_SENTENCES = 30


def tree_of(work: Path, chunks: int) -> tuple[Path, list[str]]:
    """A tree of about so many chunks, made once, and docstrings of it."""
    copies = max(1, round(chunks / _COPY_CHUNKS))
    tree = work / f"latency-{docstrings.SHAPE}" / str(copies) / "tree"
    texts = []
    missing = not tree.is_dir()
    for requirement in docstrings.PACKAGES:
        source, queries = docstrings.prepared(work, requirement)
        random.Random(2).shuffle(queries)
        texts += [query.text for query in queries[:_SENTENCES]]
        for copy in range(copies if missing else 0):
            name = requirement.partition("==")[0]
            shutil.copytree(source, tree / f"copy{copy}" / name, ignore=shutil.ignore_patterns(".git"))
    if missing:
        corpus.commit(tree, f"{copies} copies")
    return tree, texts


def measure(searcher: Searcher, queries: list[str], rounds: int) -> float:
    """Print a size's table; the median over all queries, in milliseconds.

    Times are of the wall, and beside them of the processor, which a busy machine does not lengthen as much.
    """
    times: dict[str, list[float]] = defaultdict(list)
    worked: dict[str, list[float]] = defaultdict(list)
    spent: dict[str, list[float]] = defaultdict(list)
    for query in queries:
        searcher.search(query)
    for _ in range(rounds):
        for query in queries:
            started, before = time.perf_counter(), time.process_time()
            answer = searcher.answer(query)
            kind = parse_query(query).kind
            times[kind].append((time.perf_counter() - started) * 1e3)
            worked[kind].append((time.process_time() - before) * 1e3)
            for name, one in answer.channels.items():
                if one.seconds:
                    spent[name].append(one.seconds * 1e3)
    every, processor = ([value for values in by_kind.values() for value in values] for by_kind in (times, worked))
    print(f"\n| {len(searcher.opened.lexical):,} chunks | median ms | p95 ms | median ms of processor |\n|---|---:|---:|---:|")
    rows = [("all queries", every, processor), *((kind, values, worked[kind]) for kind, values in times.items())]
    for title, values, spun in [*rows, *((f"channel {name}", found, None) for name, found in spent.items())]:
        cell = f"{statistics.median(spun):.2f}" if spun else ""
        print(f"| {title} | {statistics.median(values):.2f} | {np.percentile(values, 95):.2f} | {cell} |")
    return statistics.median(every)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Latency of warm searches.")
    parser.add_argument("--chunks", default="12000,100000", help="sizes, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--work", type=Path, default=Path(__file__).parent / ".work", help="where downloads and indexes are kept"
    )
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    good = True
    for chunks in map(int, given.chunks.split(",")):
        tree, sentences = tree_of(work, chunks)
        with searcher_of(tree, f"latency{chunks}", _GIVEN) as searcher:
            median = measure(searcher, [*corpus.QUERIES, *sentences], given.rounds)
            bound = next(limit for most, limit in BOUNDS if len(searcher.opened.lexical) <= most)
        print(f"\nThe median is {median:.2f} ms; the bound is {bound:g} ms.")
        good &= median <= bound
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
