"""Token vectors: how much wide search finds of what is exactly nearest, what it costs, and what re-scoring does for results.

    .venv/bin/python benchmarks/xtr.py [--package flask==3.1.2] [--bits 4] [--most 200] [--only-recall] [--uncompressed]
        [--work DIR]

Queries are a package's docstrings, taken out of its files (`docstrings.py`). Three tables for each number of bits: the share of
the ten chunks with the highest exact MaxSim that wide search has among its ten, with latencies; MRR@10 of searches with the
channel and the late stage on and off, with the paired interval of the difference; and bytes. `--uncompressed` also encodes
every chunk again and tells how much of its exact ten the compressed index keeps. Needs the extra `minilm`.

Belongs here: MiniLM's tokens on one package. Not here: labels made by people (`code_search`).
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from docstrings import Query, prepared, reciprocal_rank
from indexed import searcher_of
from scoring import K, show_interval

from pipeline import tables
from pipeline.index.xtr import oracle, wide
from pipeline.index.xtr.oracle import encoded_blocks
from pipeline.schemas import Chunks
from pipeline.search.engine import Searcher
from pipeline.search.tokens import TokenSearch

_GIVEN = {"scip": "off", "cst": False, "xtr": "on"}
_POINTS = ((1000, 8), (1000, 16), (1000, 32), (1000, 64), (100, 32), (300, 32), (3000, 32), (1000, 1 << 16))
"""k' and lists; the last visits all lists, so that what is missed is imputation's alone."""
_WAYS: dict[str, dict[str, Any]] = {
    "without tokens": {"xtr_weight": 0.0},
    "tokens alone": {"lexical_weight": 0.0, "dense_weight": 0.0, "symbol_weight": 0.0, "path_weight": 0.0},
    "with the channel": {},
    "with the channel, weight 0.1": {"xtr_weight": 0.1},
    "with the channel, weight 0.5": {"xtr_weight": 0.5},
    "re-scoring 20": {"xtr_weight": 0.0, "xtr_rerank": 20},
    "re-scoring 50": {"xtr_weight": 0.0, "xtr_rerank": 50},
    "re-scoring 50, biased to definitions": {"xtr_weight": 0.0, "xtr_rerank": 50, "xtr_spans": "definitions"},
    "re-scoring 50, biased to symbols": {"xtr_weight": 0.0, "xtr_rerank": 50, "xtr_spans": "symbols"},
    "re-scoring 50, definitions alone": {
        "xtr_weight": 0.0,
        "xtr_rerank": 50,
        "xtr_spans": "definitions",
        "xtr_span_bonus": 0.0,
    },
    "re-scoring 50, weight 0.5, definitions alone": {
        "xtr_weight": 0.0,
        "xtr_rerank": 50,
        "xtr_rerank_weight": 0.5,
        "xtr_spans": "definitions",
        "xtr_span_bonus": 0.0,
    },
    "the channel and re-scoring 50": {"xtr_rerank": 50},
}


def recall(found: Sequence[Any], truth: Sequence[Any]) -> float:
    """The share of the true ten that is among the ten found, over all queries."""
    shares = [
        len(np.intersect1d(ours[0][:K], exact[0][:K])) / len(exact[0][:K]) for ours, exact in zip(found, truth, strict=True)
    ]
    return statistics.fmean(shares)


def timed(function: Callable[[Any], Any], questions: Sequence[Any]) -> tuple[list[Any], float]:
    """Answers, and the median of milliseconds."""
    answers, seconds = [], []
    for question in questions:
        started = time.perf_counter()
        answers.append(function(question))
        seconds.append(time.perf_counter() - started)
    return answers, 1000 * statistics.median(seconds)


def wide_table(tokens: TokenSearch, vectors: Sequence[Any], truth: Sequence[Any], exact_ms: float) -> None:
    """Recall and latency by k' and lists, beside the oracle."""
    print(f"\n| k' | lists of {tokens.index.meta.centroids} | recall@{K} of exact MaxSim | median ms |\n|---:|---:|---:|---:|")
    for count, lists in _POINTS:

        def find(query: Any, count: int = count, lists: int = lists) -> Any:
            return wide.search(tokens.index, query, K, tokens=count, lists=lists)

        found, ms = timed(find, vectors)
        named = "all" if lists >= tokens.index.meta.centroids else lists
        print(f"| {count:,} | {named} | {recall(found, truth):.3f} | {ms:.1f} |", flush=True)
    print(f"| | exact, all tokens | 1.000 | {exact_ms:.1f} |")


def quality_table(searcher: Searcher, queries: Sequence[Query]) -> None:
    """MRR@10 with tokens and without."""
    settings = searcher.opened.settings
    found: dict[str, list[float]] = {}
    cost = {}
    for name, changes in _WAYS.items():
        searcher.opened.settings = msgspec.structs.replace(settings, **changes)

        def find(query: Query) -> list[int]:
            return [hit.id for hit in searcher.search(query.text, K) if hit.score > 0]

        answers, cost[name] = timed(find, queries)
        found[name] = [reciprocal_rank(searcher, ids, query) for ids, query in zip(answers, queries, strict=True)]
    searcher.opened.settings = settings
    print(f"\n| way | MRR@{K} (95 %) | better than without tokens by (95 %, paired) | median ms |\n|---|---:|---:|---:|")
    for name, values in found.items():
        gained = [ours - theirs for ours, theirs in zip(values, found["without tokens"], strict=True)]
        better = "" if name == "without tokens" else show_interval(gained, signed=True)
        print(f"| {name} | {show_interval(values)} | {better} | {cost[name]:.1f} |", flush=True)


def measure(searcher: Searcher, queries: Sequence[Query], *, uncompressed: bool, only_recall: bool) -> None:
    """Print the tables of one index."""
    tokens = searcher.opened.tokens
    assert tokens is not None  # built so
    index = tokens.index
    size = sum(facts.bytes for facts in index.meta.files.values())
    print(
        f"\n{index.meta.bits} bits: {index.tokens:,} tokens of {len(index):,} chunks by {index.maker.name}, "
        f"{index.maker.dimension} dimensions, {index.meta.centroids} centroids; {size:,} bytes, {size / index.tokens:.1f} each"
    )
    _, encoding = timed(tokens.encoder.encode_query, [query.text for query in queries[:50]])
    print(f"\nEncoding a query: {encoding:.1f} ms")
    vectors = [tokens.query(query.text).vectors for query in queries]
    truth, exact_ms = timed(lambda query: oracle.exact(index.blocks(), [query], K)[0], vectors)
    if uncompressed:
        folder = searcher.version.ensure("chunks")
        chunks = tables.read_table(folder, Chunks, ["id", "content"])
        fresh = oracle.exact(encoded_blocks(tokens.encoder, chunks["id"].to_numpy(), chunks["content"].to_pylist()), vectors, K)
        print(f"\nRecall@{K} of the stored tokens' exact ten to the uncompressed ones': {recall(truth, fresh):.3f}")
    wide_table(tokens, vectors, truth, exact_ms)
    if not only_recall:
        quality_table(searcher, queries)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Token vectors: recall, latency, bytes, and what re-scoring does for results.")
    parser.add_argument("--package", default="flask==3.1.2", help="a pure Python package, with its version")
    parser.add_argument("--bits", default="4", help="bits of a dimension: 2, 4, 8, or several with commas")
    parser.add_argument("--most", type=int, default=200, help="queries at most, drawn with a fixed seed")
    parser.add_argument("--only-recall", action="store_true", help="leave out what tokens do to results")
    parser.add_argument("--uncompressed", action="store_true", help="also compare with tokens that are not compressed")
    parser.add_argument(
        "--work", type=Path, default=Path(__file__).parent / ".work", help="where downloads and indexes are kept"
    )
    given = parser.parse_args()
    tree, queries = prepared(given.work.resolve(), given.package)
    random.Random(0).shuffle(queries)
    queries = queries[: given.most]
    print(f"{given.package}: {len(queries)} docstrings")
    for bits in map(int, given.bits.split(",")):
        settings = {**_GIVEN, "xtr_bits": bits}
        with searcher_of(tree, given.package.partition("==")[0], settings) as searcher:
            measure(searcher, queries, uncompressed=given.uncompressed, only_recall=given.only_recall)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
