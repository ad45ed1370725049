"""Vector indexes side by side: our families at their tuned points, FAISS itself at the same points, hnswlib and usearch.

    .venv/bin/python benchmarks/vector_index.py --work DIR [--sizes 1000 10000 60000] [--families auto ...] [--tree FOLDER]
        [--peers] [--seeds 20] [--results FILE]

Vectors have 256 dimensions: clustered ones (`vectors.clustered`), and with `--tree` those of the chunks of that folder of
code. Recall counts the first ten by distance, over queries that no point was chosen by. Families are tuned as a build does
it; hnswlib and usearch get the smallest ef that reaches the target on the very queries it is reported for, which favours
them. Building and tuning are in processor seconds, which a busy machine changes least. Latencies are medians of single
queries on one thread; ours and FAISS's take turns. `to FAISS` is ours to FAISS's: the same index at the same point, re-ranked
by its `IndexRefineFlat` where we re-rank. Indexes stay in the work folder, so that a second run only searches. `--results`
adds what was found to a file of JSON lines, from which `vector_presets.py` makes the presets of `auto`.

Peers (in the same environment, or on PYTHONPATH): pip install hnswlib usearch.

Belongs here: measuring. Not here: vectors (`vectors`), presets (`vector_presets`), peers (`vector_peers`).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from vectors import DIMENSION, Corpus, Vectors, chunks, clustered

from pipeline.config import IndexSettings, TuningSettings
from pipeline.embed.arrays import write_arrays
from pipeline.index.dense.arrays import TrueVectors
from pipeline.index.dense.building import build
from pipeline.index.dense.families import FAMILIES, Family, choose, import_faiss
from pipeline.index.dense.index_files import PrimaryRows, write_parts
from pipeline.index.dense.operating_point import OperatingPoint, first_point
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.tuning.stage import queries_for, tune_on
from pipeline.index.tuning.sweep import TOLERANCE, K, Questions, questions

TARGET = 0.99
ASKED = 1000
"""Queries that recall is reported for."""
TIMED, ROUNDS = 300, 3
SEED_QUERIES = 2000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one index. `build` and `tuning` are processor seconds, `latency` and `raw` microseconds of one query."""

    data: str
    n: int
    engine: str
    family: str
    build: float
    bytes: int
    tuning: float = 0.0
    point: str = ""
    k_factor: float = 1.0
    met: bool = True
    recall: float
    latency: float
    raw: float | None = None
    raw_recall: float | None = None


Search = Callable[[Vectors], np.ndarray]
"""One query float32 [1, d] -> scores of what was found, float32 [1, k]."""


def recall_of(search: Search, asked: Questions) -> float:
    """The share of the ten nearest that is found, by distance."""
    found = [search(query[None])[0] for query in asked.queries]
    right = sum(int((scores >= least - TOLERANCE).sum()) for scores, least in zip(found, asked.least, strict=True))
    return right / (len(found) * asked.k)


def latencies(searches: Sequence[Search], queries: Vectors) -> list[float]:
    """Median microseconds of one query for each search. They take turns."""
    taken: list[list[float]] = [[] for _ in searches]
    for _ in range(ROUNDS):
        for query in queries[:TIMED]:
            for search, times in zip(searches, taken, strict=True):
                started = time.perf_counter()
                search(query[None])
                times.append(time.perf_counter() - started)
    return [1e6 * float(np.median(times)) for times in taken]


def built(folder: Path, family: Family, vectors: Vectors) -> float:
    """Make the index of a family in `folder`, where it is not yet; the processor seconds that it took."""
    record = folder / "seconds.json"
    if record.exists():
        return float(json.loads(record.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder)
    folder.mkdir()
    ids = np.sort(np.random.default_rng(1).choice(1 << 62, len(vectors), replace=False)).astype(np.int64)
    write_arrays(folder, ids, vectors)
    options = IndexSettings(faiss_family=family.name)  # type: ignore[arg-type]  # it is one of them
    started = time.process_time()
    ann, training = build(family, ids, vectors, options)
    seconds = time.process_time() - started
    # Nothing is ever built on it, so nobody asks for the hashes.
    rows = PrimaryRows(ann.ids(), np.zeros(len(ann), np.uint64))
    write_parts(
        folder, ann, None, np.empty(0, np.int64), rows=rows, factory=family.factory(DIMENSION, len(vectors), options),
        training=training, point=first_point(family, ann.nlist), embedder_digest="benchmark",
    )  # fmt: skip
    record.write_text(json.dumps(seconds))
    return seconds


def raw_search(folder: Path, family: Family, point: OperatingPoint, vectors: Vectors) -> Search:
    """FAISS alone over the same index, with rows as ids, because its own re-ranking takes nothing else."""
    faiss = import_faiss()
    index = faiss.read_index(str(folder / "faiss.index"))
    ids = np.load(folder / "ids.npy")
    if family.mapping == "idmap2":
        inner = faiss.downcast_index(index.index)
    else:
        inner = index
        lists = faiss.downcast_InvertedLists(index.invlists)
        for number in range(index.nlist):
            if size := lists.list_size(number):
                stored = faiss.rev_swig_ptr(lists.get_ids(number), size)
                stored[:] = np.searchsorted(ids, stored)

    def parameters() -> Any:
        if point.nprobe is not None:
            return faiss.SearchParametersIVF(nprobe=point.nprobe)
        return faiss.SearchParametersHNSW(efSearch=point.ef_search) if point.ef_search is not None else None

    plain = family.true_scores or point.k_factor == 1
    searched = inner if plain else faiss.IndexRefineFlat(inner, faiss.swig_ptr(vectors))

    def search(query: Vectors, _kept: Any = (index, vectors)) -> np.ndarray:
        chosen = parameters()
        if not plain:
            chosen = faiss.IndexRefineSearchParameters(k_factor=point.k_factor, base_index_params=chosen)
        return searched.search(query, K, params=chosen)[0]

    return search


def measure(corpus: Corpus, family: Family, asked: Questions, work: Path) -> Row:
    """Build, tune and search one family."""
    n = len(corpus.vectors)
    folder = work / f"{corpus.name}-{n}-{family.name}"
    seconds = built(folder, family, corpus.vectors)
    index = VectorIndex.open(folder)
    point, tuning, met = index.point, 0.0, True
    if not family.exact:
        queries = corpus.queries[ASKED : ASKED + queries_for(TuningSettings(), n)]
        started = time.process_time()
        tuned = tune_on(index, TrueVectors.open(folder), queries, TARGET)
        tuning, point, met = time.process_time() - started, tuned.chosen.point, tuned.met

    def ours(query: Vectors) -> np.ndarray:
        return index.search(query, K, point=point)[1]

    raw = raw_search(folder, family, point, corpus.vectors)
    import_faiss().omp_set_num_threads(1)
    try:
        latency, raw_latency = latencies([ours, raw], asked.queries)
        recall, raw_recall = recall_of(ours, asked), recall_of(raw, asked)
    finally:
        import_faiss().omp_set_num_threads(os.cpu_count() or 1)
    return Row(
        data=corpus.name, n=n, engine="ours", family=family.name, build=seconds, bytes=(folder / "faiss.index").stat().st_size,
        tuning=tuning, point=point.parameters, k_factor=point.k_factor, met=met, recall=recall, latency=latency,
        raw=raw_latency, raw_recall=raw_recall,
    )  # fmt: skip


def promises_kept(corpus: Corpus, family: Family, seeds: int, work: Path, fresh: Callable[[int], Vectors]) -> int:
    """How many of so many tunings, each on queries of its own, reach the target on other queries of their own."""
    folder = work / f"{corpus.name}-{len(corpus.vectors)}-{family.name}"
    built(folder, family, corpus.vectors)
    index, truth = VectorIndex.open(folder), TrueVectors.open(folder)
    kept = 0
    for seed in range(seeds):
        queries = fresh(seed)
        tuned = tune_on(index, truth, queries[SEED_QUERIES:], TARGET)
        asked = questions(truth, queries[:SEED_QUERIES])
        _, scores = index.search(asked.queries, K, point=tuned.chosen.point)
        kept += bool((scores >= asked.least[:, None] - TOLERANCE).mean() >= TARGET)
    return kept


def line(row: Row) -> str:
    """A row of the table."""
    ratio = f"{row.latency / row.raw:.2f}" if row.raw else ""
    share = f"{row.tuning / row.build:.1%}" if row.tuning else ""
    point = " ".join(filter(None, [row.point, f"×{row.k_factor:g}" if row.k_factor != 1 else ""]))
    return (
        f"| {row.data} | {row.n:,} | {row.engine} | {row.family} | {row.build:.2f} | {row.bytes / row.n:.0f} | {share} "
        f"| {point} | {row.recall:.4f}{'' if row.met else ' (!)'} | {row.latency:.0f} | {ratio} |"
    )


HEAD = (
    "| vectors | n | engine | family | build | bytes a vector | tuning/build | point | recall@10 | µs a query | to FAISS |\n"
    "|---|---:|---|---|---:|---:|---:|---|---:|---:|---:|"
)


def rows_of(corpus: Corpus, arguments: argparse.Namespace) -> Iterator[Row]:
    """Everything measured on one corpus."""
    n = len(corpus.vectors)
    truth = TrueVectors(np.arange(n, dtype=np.int64), corpus.vectors)
    asked = questions(truth, corpus.queries[:ASKED])
    settings = IndexSettings()
    done: set[str] = set()
    for name in arguments.families:
        family = choose(settings, n, DIMENSION) if name == "auto" else FAMILIES[name]
        if (name != "auto" and (n > arguments.others_to or n < family.least_training(n, settings))) or family.name in done:
            continue
        done.add(family.name)
        yield measure(corpus, family, asked, arguments.work)
    if arguments.peers and n <= arguments.others_to:
        from vector_peers import PEERS

        for name, peer in PEERS.items():
            yield peer(corpus, asked, arguments.work / f"{corpus.name}-{n}-{name}", TARGET)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 60_000])
    parser.add_argument("--families", nargs="+", default=["auto", *FAMILIES], choices=["auto", *FAMILIES])
    parser.add_argument("--tree", type=Path, help="a folder of code, whose chunks are measured on, too")
    parser.add_argument("--only-tree", action="store_true")
    parser.add_argument("--others-to", type=int, default=200_000, help="the size up to which all but auto are measured")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--seeds", type=int, default=0, help="tune so many times, and count the kept promises")
    parser.add_argument("--results", type=Path)
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for; 1 where a promise of ours is not kept."""
    arguments = parsed()
    arguments.work.mkdir(parents=True, exist_ok=True)
    faiss = import_faiss()
    print(f"FAISS {faiss.__version__} ({faiss.get_compile_options().strip()}), {os.cpu_count()} processors\n")
    print(HEAD, flush=True)
    queries = max(ASKED + 2048, arguments.seeds * (SEED_QUERIES + 2048))
    makers: list[tuple[Sequence[int], Callable[[int], Corpus]]] = []
    if not arguments.only_tree:
        makers.append((arguments.sizes, lambda n: clustered(n, ASKED + 2048)))
    if arguments.tree is not None:
        whole = functools.cache(lambda: chunks(arguments.tree, arguments.work, queries))
        makers.append(([n for n in arguments.sizes if n <= len(whole().vectors)], lambda n: whole().part(n)))
    failed = False
    for sizes, make in makers:
        for n in sizes:
            corpus = make(n)
            for row in rows_of(corpus, arguments):
                print(line(row), flush=True)
                failed |= row.engine == "ours" and row.met and row.recall < TARGET - 0.005
                if arguments.results is not None:
                    with arguments.results.open("ab") as file:
                        file.write(msgspec.json.encode(row) + b"\n")
            if arguments.seeds:
                failed |= not told_promises(corpus, arguments)
    return int(failed)


def told_promises(corpus: Corpus, arguments: argparse.Namespace) -> bool:
    """Tune for each seed, say how often that held, and whether it was at least 19 times of 20."""
    n = len(corpus.vectors)
    each = SEED_QUERIES + queries_for(TuningSettings(), n)

    def fresh(seed: int) -> Vectors:
        if corpus.name == "clustered":
            return clustered(0, each, seed=seed + 1).queries
        return corpus.queries[seed * each : (seed + 1) * each]

    held = True
    for name in arguments.families:
        family = choose(IndexSettings(), n, DIMENSION) if name == "auto" else FAMILIES[name]
        if family.exact or n < family.least_training(n, IndexSettings()):
            continue
        kept = promises_kept(corpus, family, arguments.seeds, arguments.work, fresh)
        print(f"{corpus.name} {n:,} {family.name}: {kept} of {arguments.seeds} tunings kept their promise", flush=True)
        held &= kept >= 0.95 * arguments.seeds
    return held


if __name__ == "__main__":
    sys.exit(main())
