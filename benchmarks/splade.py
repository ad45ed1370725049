"""The impact index of SPLADE: size, building, updating and searching, beside a product of SciPy's sparse matrices and bm25s.

    .venv/bin/python benchmarks/splade.py [--sizes 12000 100000] [--seconds 4]

Postings are synthetic, and no model is run: terms by Zipf's law over the 30,522 of BERT's vocabulary, about 150 distinct ones
a document, impacts exponential with a mean of 0.5; queries of 8 and 32 terms, half by the same law, half of any term. What it
says is what the index costs, not how good SPLADE is. Times are processor seconds on one thread; latencies are medians over
queries, and engines take turns. Every search is compared with SciPy's product, hit by hit: the script exits with 1 on a
difference.

`pruned` is the same search with the bounds of MaxScore (Turtle and Flood 1995) in NumPy: lists that can add little are looked
up only for documents that they can lift into the first ten. It is exact, too, and here to show what the index does without.
bm25s multiplies nothing at query time: its lists hold finished scores, so all of its query weights are 1.

Peers (in the same environment, or on PYTHONPATH): pip install scipy bm25s. What is not there is left out.

Belongs here: measuring. Not here: the index (`pipeline.index.splade`).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.index.splade import index_files
from pipeline.index.splade.impact_index import ImpactIndex, SparseQuery, sparse_query
from pipeline.index.splade.index_files import EncoderFacts
from pipeline.index.splade.postings import STEPS, Postings, SparseDocuments, build, quantise, update

VOCABULARY, DRAWN, BITS, K = 30_522, 190, 16, 10
QUERIES = 40
_CUT = 0.1
"""Of .1, .3 and .5 the fastest."""
CHANGED = 100
"""Documents of an update."""

Search = Callable[[SparseQuery], tuple[Any, Any]]
"""A query -> ids and scores of the first K."""


def zipf() -> np.ndarray:
    """The share of each term."""
    share = 1 / np.arange(1, VOCABULARY + 1) ** 0.9
    return share / share.sum()


def corpus(count: int, random: np.random.Generator) -> SparseDocuments:
    """Documents with ids in no order."""
    drawn = random.choice(VOCABULARY, size=(count, DRAWN), p=zipf())
    keys = np.unique(np.arange(count)[:, None] * VOCABULARY + drawn)
    impacts = np.maximum(quantise(random.exponential(0.5, len(keys)), BITS), 1)
    offsets = np.searchsorted(keys, np.arange(count + 1) * VOCABULARY)
    ids = random.permutation(count * 3)[:count].astype(np.int64)
    return SparseDocuments(ids, offsets.astype(np.int64), (keys % VOCABULARY).astype(np.int32), impacts)


def queries(terms: int, random: np.random.Generator) -> list[SparseQuery]:
    """Half of the terms by Zipf's law, half any."""
    found = []
    for _ in range(QUERIES):
        drawn = np.concatenate([random.choice(VOCABULARY, size=terms // 2, p=zipf()), random.integers(0, VOCABULARY, terms)])
        numbers = np.unique(drawn)[:terms]
        found.append(sparse_query(numbers, random.exponential(0.8, len(numbers)) + 0.01))
    return found


def by_scipy(postings: Postings) -> Search:
    """A matrix of documents and terms times the query."""
    from scipy.sparse import csc_matrix

    pointers = np.zeros(VOCABULARY + 1, np.int64)
    pointers[postings.terms + 1] = np.diff(postings.offsets)
    values = postings.impacts * STEPS[BITS]
    matrix = csc_matrix((values, postings.rows, np.cumsum(pointers)), shape=(len(postings.ids), VOCABULARY))

    def search(query: SparseQuery) -> tuple[Any, Any]:
        column = csc_matrix((query.weights, (query.terms, np.zeros(len(query.terms), int))), shape=(VOCABULARY, 1))
        product = (matrix @ column).toarray().ravel()
        order = np.lexsort((postings.ids, -product))[:K]
        return postings.ids[order], product[order]

    return search


def by_maxscore(postings: Postings) -> Search:
    """Lists by falling bound; once those left can add less than `_CUT` of the whole, only for documents that they can lift."""
    bounds = np.maximum.reduceat(postings.impacts, postings.offsets[:-1]).astype(np.float64) * STEPS[BITS]

    def search(query: SparseQuery) -> tuple[Any, Any]:
        places = np.searchsorted(postings.terms, query.terms)
        known = postings.terms.take(places, mode="clip") == query.terms
        places, weights = places[known], query.weights[known]
        most = bounds[places] * weights
        order = np.argsort(-most, kind="stable")
        lists = list(zip(postings.offsets[places[order]], postings.offsets[places[order] + 1], weights[order], strict=True))
        cut = int(np.searchsorted(np.cumsum(most[order]), (1 - _CUT) * most.sum())) + 1
        left = float(most[order][cut:].sum())
        scores = np.zeros(len(postings.ids))
        for start, end, weight in lists[:cut]:
            np.add.at(scores, postings.rows[start:end], postings.impacts[start:end] * (weight * STEPS[BITS]))
        least = np.partition(scores, len(scores) - K)[len(scores) - K]
        rows = np.flatnonzero(scores > max(least - left, 0.0) * (1 - 1e-12))
        if left >= least:
            rows = np.arange(len(scores))
        found = scores[rows]
        for start, end, weight in lists[cut:]:
            at = np.minimum(np.searchsorted(postings.rows[start:end], rows), end - start - 1) + start
            found += np.where(postings.rows[at] == rows, postings.impacts[at] * (weight * STEPS[BITS]), 0.0)
        best = np.lexsort((postings.ids[rows], -found))[:K]
        return postings.ids[rows[best]], found[best]

    return search


def by_bm25s(postings: Postings) -> Search:
    """bm25s's own scoring of lists with finished scores, and its own choice of the first."""
    import bm25s
    from bm25s.selection import topk

    pointers = np.zeros(VOCABULARY + 1, np.int64)
    pointers[postings.terms + 1] = np.diff(postings.offsets)
    retriever = bm25s.BM25(backend="numpy")
    retriever.scores = {
        "data": (postings.impacts * STEPS[BITS]).astype(np.float32),
        "indices": postings.rows,
        "indptr": np.cumsum(pointers),
        "num_docs": len(postings.ids),
    }
    retriever.nonoccurrence_array = None

    def search(query: SparseQuery) -> tuple[Any, Any]:
        scores = retriever.get_scores_from_ids(query.terms.tolist())
        found, rows = topk(scores, K, backend="numpy")
        return postings.ids[rows], found

    return search


def latencies(engines: dict[str, Search], asked: list[SparseQuery], seconds: float) -> dict[str, float]:
    """The median latency of each engine in milliseconds; they take turns, query by query, for so long."""
    found: dict[str, list[float]] = {name: [] for name in engines}
    until = time.process_time() + seconds
    while time.process_time() < until:
        for query in asked:
            for name, search in engines.items():
                started = time.process_time()
                search(query)
                found[name].append(time.process_time() - started)
    return {name: 1e3 * float(np.median(times)) for name, times in found.items()}


def exact(search: Search, against: Search, asked: list[SparseQuery]) -> bool:
    """Whether both give the same ids in the same order, and the same scores up to float64's rounding."""
    for query in asked:
        (ids, scores), (others, other_scores) = search(query), against(query)
        if not (np.array_equal(ids, others) and np.allclose(scores, other_scores, rtol=1e-12, atol=0)):
            return False
    return True


def changed(documents: SparseDocuments, postings: Postings, random: np.random.Generator) -> tuple[float, bool]:
    """Seconds of replacing some documents by others, and whether that is what building anew gives."""
    gone = np.sort(random.choice(len(documents.ids), CHANGED, replace=False))
    new = corpus(CHANGED, random)
    new = SparseDocuments(documents.ids[gone], new.offsets, new.terms, new.impacts)
    started = time.process_time()
    updated = update(postings, new, documents.ids[gone], bits=BITS)
    seconds = time.process_time() - started
    stay = np.ones(len(documents.ids), bool)
    stay[gone] = False
    kept = np.repeat(stay, np.diff(documents.offsets))
    lengths = np.concatenate([np.diff(documents.offsets)[stay], np.diff(new.offsets)])
    every = SparseDocuments(
        np.concatenate([documents.ids[stay], new.ids]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([documents.terms[kept], new.terms]),
        np.concatenate([documents.impacts[kept], new.impacts]),
    )
    anew = build(every, bits=BITS)
    same = all(np.array_equal(getattr(updated, name), getattr(anew, name)) for name in Postings.__slots__)
    return seconds, same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[12_000, 100_000])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each number of terms")
    asked = parser.parse_args()
    if importlib.util.find_spec("scipy") is None:
        sys.exit("SciPy is what results are compared with: pip install scipy")
    random = np.random.default_rng(11)
    small, large = queries(8, random), queries(32, random)
    right = True
    print("| documents | postings | MB | build s | update s | open ms | engine | 8 terms ms | 32 terms ms |")
    print("|---:|---:|---:|---:|---:|---:|---|---:|---:|")
    for size in asked.sizes:
        documents = corpus(size, random)
        started = time.process_time()
        made = build(documents, bits=BITS)
        building = time.process_time() - started
        updating, same = changed(documents, made, random)
        right &= same
        with tempfile.TemporaryDirectory() as folder:
            who = EncoderFacts(name="synthetic", digest="", vocabulary=VOCABULARY)
            meta = index_files.write(Path(folder), made, who, bits=BITS, document_terms=DRAWN)
            started = time.process_time()
            index = ImpactIndex(index_files.open_postings(Path(folder), meta, verified=True), bits=BITS)
            opening = time.process_time() - started
            engines: dict[str, Search] = {"this index": lambda query, index=index: index.search(query, K)}
            engines |= {"pruned": by_maxscore(made), "scipy": by_scipy(made)}
            for name in ("this index", "pruned"):
                right &= exact(engines[name], engines["scipy"], [*small, *large])
            if importlib.util.find_spec("bm25s") is not None:
                engines["bm25s"] = by_bm25s(made)
            size_mb = sum(file.bytes for file in meta.files.values()) / 1e6
            shown = f"{size_mb:.1f} | {building:.2f} | {updating:.2f} | {opening * 1e3:.1f}"
            few, many = (latencies(engines, some, asked.seconds) for some in (small, large))
            for name in engines:
                print(f"| {size:,} | {meta.postings:,} | {shown} | {name} | {few[name]:.2f} | {many[name]:.2f} |", flush=True)
                shown = " | | | "
    print(f"\nexact, and an update equals building anew: {'yes' if right else 'NO'}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
