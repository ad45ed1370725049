"""Whether a filter, or another k than ten, keeps the recall that a point was tuned for, and what it costs.

    .venv/bin/python benchmarks/filtered_search.py [--sizes 60000,300000] [--families ivf_sq8,hnsw_sq8] [--queries 200]

Builds clustered unit vectors of 256 dimensions: topics, clusters inside of topics, and noise, turned at random. Each family is
tuned for ten without a filter, and then searched for 10, 50 and 100 without one, and for 10 and 50 with filters that let a
share through:

- `random`: any vectors;
- `region`: neighbouring clusters, as one language or folder is, asked with questions about everything;
- `region, near`: the same, and only the questions that are about that region.

The columns: recall by distance; candidates scored on true vectors, a query; the median time of a single query, and how many
times that of a search for ten without a filter it is. Exits with 1 where recall is more than 0.005 below the target, or below
what the point reaches without a filter where that is less.

Belongs here: that measurement. Not here: choosing a point (`pipeline.index.tuning`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import IndexSettings
from pipeline.embed.arrays import write_arrays
from pipeline.index.dense.building import build
from pipeline.index.dense.families import FAMILIES
from pipeline.index.dense.index_files import PrimaryRows, write_parts
from pipeline.index.dense.operating_point import first_point
from pipeline.index.dense.searching import SearchCost
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.tuning.sweep import TOLERANCE, questions, tune

D = 256
TOPICS, CLUSTERS = 40, 50
FAMILIES_ASKED = ("ivf_sq8", "ivf_flat", "ivf_pqfs", "ivf_rabitq", "hnsw_sq8")
MOST_OF_GRAPHS = 100_000
"""Graphs are not built of more: it takes minutes."""
SHARES = (0.5, 0.1, 0.03, 0.01, 0.001)
TARGET, SLACK = 0.99, 0.005
TIMED = 40


@dataclass(frozen=True, slots=True)
class World:
    """Vectors float32 [n, d] with ids int64 [n] and clusters int64 [n]; queries float32 [q, d] with clusters int64 [q]."""

    ids: np.ndarray
    vectors: np.ndarray
    clusters: np.ndarray
    queries: np.ndarray
    asked_of: np.ndarray


def world(n: int, queries: int, seed: int) -> World:
    """Clustered vectors, and queries that are drawn as they are."""
    rng = np.random.default_rng(seed)
    spectrum = (1.0 + np.arange(D)) ** -0.5
    spectrum /= np.sqrt((spectrum**2).mean())
    topics = rng.standard_normal((TOPICS, D)) * spectrum
    clusters = 0.7 * (np.repeat(topics, CLUSTERS, axis=0) + rng.standard_normal((TOPICS * CLUSTERS, D)) * spectrum)
    labels = rng.choice(len(clusters), n + queries, p=rng.dirichlet(np.ones(len(clusters))))
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
    rows = np.empty((n + queries, D), np.float32)
    for at in range(0, len(rows), 1 << 15):
        some = labels[at : at + (1 << 15)]
        rows[at : at + len(some)] = (clusters[some] + 0.8 * rng.standard_normal((len(some), D)) * spectrum) @ turn
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = np.sort(rng.choice(1 << 62, n, replace=False))
    return World(ids, rows[:n], labels[:n], rows[n:], labels[n:])


def opened(made: World, family: str, folder: Path) -> tuple[VectorIndex, float]:
    """The index at its tuned point, and the recall of that over held-out queries."""
    options = IndexSettings(faiss_family=family)  # type: ignore[arg-type]
    chosen = FAMILIES[family]
    primary, training = build(chosen, made.ids, made.vectors, options)
    point = first_point(chosen, primary.nlist)
    for turn in ("untuned", "tuned"):
        (folder / turn).mkdir()
        write_parts(
            folder / turn,
            primary,
            None,
            np.empty(0, np.int64),
            rows=PrimaryRows(primary.ids(), np.zeros(len(primary), np.uint64)),
            factory=chosen.factory(D, len(made.ids), options),
            training=training,
            point=point,
            embedder_digest="",
        )
        index = VectorIndex.open(folder / turn, vectors=folder)
        if turn == "untuned":
            asked = questions(index._truth, made.queries[len(made.queries) // 4 :], 10)
            tuned = tune(index, asked.half(0), asked.half(1), TARGET)
            point = tuned.chosen.point
    return index, tuned.held_out.recall


def let_through(made: World, kind: str, share: float, rng: np.random.Generator) -> np.ndarray:
    """Ascending rows."""
    n = len(made.ids)
    size = max(1, int(n * share))
    if kind == "random":
        return np.sort(rng.choice(n, size, replace=False))
    start = int(rng.integers(0, n - size + 1))
    return np.sort(np.lexsort((rng.random(n), made.clusters))[start : start + size])


def asked(index: VectorIndex, made: World, queries: np.ndarray, k: int, rows: np.ndarray | None) -> tuple[float, int, float]:
    """Recall, candidates scored on true vectors a query, and the median milliseconds of a single query."""
    candidates = made.vectors if rows is None else made.vectors[rows]
    allowed = None if rows is None else made.ids[rows]
    k = min(k, len(candidates))
    least = -np.partition(-(queries @ candidates.T), k - 1, axis=1)[:, k - 1]
    costs: list[SearchCost] = []
    _, scores = index.search(queries, k, allowed=allowed, observe=costs.append)
    recall = float((scores >= least[:, None] - TOLERANCE).sum() / (len(queries) * k))
    taken = []
    for query in queries[:TIMED]:
        started = time.perf_counter()
        index.search(query[None], k, allowed=allowed)
        taken.append(time.perf_counter() - started)
    return recall, sum(cost.pool for cost in costs) // len(queries), 1000 * float(np.median(taken))


def measured(n: int, family: str, made: World, folder: Path, seed: int) -> bool:
    """Print the rows of a family; whether all kept the target, or what the family reaches without a filter."""
    index, held_out = opened(made, family, folder)
    mine = slice(0, len(made.queries) // 4)
    queries, of = made.queries[mine], made.asked_of[mine]
    point = f"{index.point.parameters}, k_factor {index.point.k_factor:g}"
    plain = asked(index, made, queries, 10, None)
    least = min(TARGET, held_out, plain[0]) - SLACK
    kept = True

    def show(share: float, kind: str, k: int, found: tuple[float, int, float]) -> None:
        nonlocal kept
        kept &= found[0] >= least
        mark = "" if found[0] >= least else " (below)"
        print(
            f"| {family} | {n:,} | {share:.1%} | {kind} | {k} | {found[0]:.4f}{mark} | {found[1]:,} | {found[2]:.2f} "
            f"| {found[2] / plain[2]:.1f} |",
            flush=True,
        )

    print(f"| {family}: {point} | | | | | held out {held_out:.4f} | | | |")
    show(1, "none", 10, plain)
    for k in (50, 100):
        show(1, "none", k, asked(index, made, queries, k, None))
    rng = np.random.default_rng(seed)
    for share in SHARES:
        for k in (10, 50):
            show(share, "random", k, asked(index, made, queries, k, let_through(made, "random", share, rng)))
            rows = let_through(made, "region", share, rng)
            show(share, "region", k, asked(index, made, queries, k, rows))
            near = np.isin(of, made.clusters[rows])
            if near.any():
                show(share, "region, near", k, asked(index, made, queries[near], k, rows))
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="60000,300000")
    parser.add_argument("--families", default=",".join(FAMILIES_ASKED))
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| family | vectors | share | filter | k | recall | candidates | ms | times unfiltered |")
    print("|---|---|---|---|---|---|---|---|---|")
    kept = True
    for n in (int(size) for size in options.sizes.split(",")):
        # A quarter of the questions are measured with; points are tuned on the others.
        made = world(n, 4 * options.queries, options.seed)
        for family in options.families.split(","):
            if family.startswith("hnsw") and n > MOST_OF_GRAPHS:
                continue
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                write_arrays(folder, made.ids, made.vectors)
                kept &= measured(n, family, made, folder, options.seed)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
