"""How often `related` finds what is known to be near, by vectors alone, by symbols alone and together; and what it costs.

    .venv/bin/python benchmarks/related.py [--work DIR] [--at-most N]

Django and networkx, whose wheels bring tests, are downloaded and built into the work folder (kept for the next time). What is
near is known without any index: for a class, by Python's own parser, its base, where one class alone of the tree has that
name; for a chunk of a test module the module whose name it has (`tests/test_x.py` beside `x.py`). Prints a Markdown table;
exits with 1 when an answer takes 10 ms or more, by median or 95th percentile.

Belongs here: related chunks. Not here: symbols by name (`symbol_queries`), searches (`docstrings`, `code_search`).
"""

from __future__ import annotations

import argparse
import ast
import statistics
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import corpus
import numpy as np
from indexed import searcher_of

from pipeline.schemas import Chunks
from pipeline.search.engine import Searcher
from pipeline.search.related import VECTORS, WEIGHTS, related
from pipeline.tables import read_table

NETWORKX = "networkx==3.6.1"
T = TypeVar("T")
K = 10
WARM_BOUND = 0.010
"""Seconds."""
WAYS: Mapping[str, Mapping[str, float]] = {
    "vectors alone": {name: weight * (name == VECTORS) for name, weight in WEIGHTS.items()},
    "symbols and file alone": {name: weight * (name != VECTORS) for name, weight in WEIGHTS.items()},
    "together": WEIGHTS,
}


@dataclass(frozen=True, slots=True)
class Question:
    """A chunk, and those of which one should be near it."""

    chunk: int
    near: frozenset[int]


@dataclass(frozen=True, slots=True)
class Spans:
    """The chunks of a file by their first bytes, ascending."""

    starts: list[int]
    ids: list[int]

    def at(self, byte: int) -> int:
        """The chunk that holds a byte."""
        return self.ids[int(np.searchsorted(self.starts, byte, "right")) - 1]


def main() -> int:
    parser = argparse.ArgumentParser(description="How often `related` finds what is near, and what it costs.")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work")
    parser.add_argument("--at-most", type=int, default=500, help="Questions of each kind.")
    given = parser.parse_args()
    slow = False
    print(f"| | questions | {' | '.join(f'{way}: in {K} | MRR' for way in WAYS)} |")
    print(f"|---|---:|{'---:|' * (2 * len(WAYS))}")
    costs = []
    for name, tree in (("Django", corpus.django(given.work)), ("networkx", networkx(given.work))):
        with searcher_of(tree, name.lower(), {"cst": False}) as searcher:
            spans = spans_of(searcher)
            for title, asked in (("base of a class", bases(tree, spans)), ("module of a test", tested(spans))):
                chosen = sampled(list(asked), given.at_most)
                if chosen:
                    print(f"| {name}: {title} | {len(chosen)} | {' | '.join(scores(searcher, chosen))} |")
            seconds = timed(searcher, sampled([one for file in spans.values() for one in file.ids], given.at_most))
            median, p95 = statistics.median(seconds), float(np.percentile(seconds, 95))
            slow |= max(median, p95) >= WARM_BOUND
            costs.append(
                f"{name}: {sum(len(file.ids) for file in spans.values()):,} chunks, {len(seconds)} questions: "
                f"median {1e3 * median:.2f} ms, p95 {1e3 * p95:.2f} ms, worst {1e3 * max(seconds):.2f} ms."
            )
    print("\n" + "\n".join(costs))
    return int(slow)


def networkx(work: Path) -> Path:
    """The unpacked wheel as a git repository."""
    root = work / "networkx"
    if not (root / ".git").is_dir():
        with zipfile.ZipFile(corpus.download(work, NETWORKX)) as wheel:
            wheel.extractall(root)
        corpus.commit(root, NETWORKX)
    return root


def spans_of(searcher: Searcher) -> dict[str, Spans]:
    """The chunks of each file."""
    table = read_table(searcher.version.ensure("chunks"), Chunks, ["id", "uri", "start_byte"])
    found: dict[str, Spans] = {}
    for row in sorted(table.to_pylist(), key=lambda row: (row["uri"], row["start_byte"])):
        spans = found.setdefault(row["uri"], Spans([], []))
        spans.starts.append(row["start_byte"])
        spans.ids.append(row["id"])
    return found


def bases(tree: Path, spans: Mapping[str, Spans]) -> Iterator[Question]:
    """For each class its base, where that lies in another chunk."""
    classes: dict[str, list[int]] = {}
    derived: list[tuple[int, str]] = []
    for uri in (uri for uri in spans if uri.endswith(".py")):
        text = (tree / uri).read_bytes()
        starts = np.cumsum([0, *(len(line) for line in text.splitlines(keepends=True))])
        for node in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)):
            chunk = spans[uri].at(int(starts[node.lineno - 1]) + node.col_offset)
            classes.setdefault(node.name, []).append(chunk)
            names = [base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases]
            derived.extend((chunk, name) for name in names)
    for chunk, name in derived:
        if len(found := classes.get(name, ())) == 1 and found[0] != chunk:
            yield Question(chunk, frozenset(found))


def tested(spans: Mapping[str, Spans]) -> Iterator[Question]:
    """For each chunk of `a/tests/test_x.py` the chunks of `a/x.py`."""
    for uri, own in spans.items():
        folder, _, name = uri.rpartition("/")
        module = f"{folder.rpartition('/')[0]}/{name.removeprefix('test_')}"
        if name.startswith("test_") and module in spans:
            yield from (Question(chunk, frozenset(spans[module].ids)) for chunk in own.ids)


def sampled(every: Sequence[T], most: int) -> list[T]:
    """At most so many, from all over."""
    return list(every[:: -(-len(every) // most) or 1])


def scores(searcher: Searcher, questions: Sequence[Question]) -> Iterator[str]:
    """Share of questions answered among the first K, and the mean reciprocal rank, for each way."""
    for weights in WAYS.values():
        ranks = []
        for one in questions:
            hits = [hit.id for hit in related(searcher, one.chunk, K, weights=weights).hits if hit.score > 0]
            ranks.append(next((rank for rank, found in enumerate(hits, 1) if found in one.near), 0))
        yield f"{statistics.fmean(rank > 0 for rank in ranks):.1%}"
        yield f"{statistics.fmean(1 / rank if rank else 0.0 for rank in ranks):.3f}"


def timed(searcher: Searcher, chunks: Sequence[int]) -> list[float]:
    """Seconds of every answer, after one that is not counted."""
    related(searcher, chunks[0], K)
    seconds = []
    for chunk in chunks:
        started = time.perf_counter()
        related(searcher, chunk, K)
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
