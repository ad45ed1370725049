"""hnswlib and usearch over the same vectors, with as many links and as much effort in building as our graphs have.

Belongs here: building and searching the peers. Not here: what they are compared with (`vector_index`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from vector_index import Row, latencies, recall_of
from vectors import DIMENSION, Corpus, Vectors

from pipeline.config import IndexSettings
from pipeline.index.tuning.sweep import K, Questions

_EFFORTS = (10, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def _hnswlib(corpus: Corpus, path: Path) -> tuple[float, Callable[[int], Any]]:
    import hnswlib

    options = IndexSettings()
    index = hnswlib.Index(space="ip", dim=DIMENSION)
    seconds = path.with_suffix(".seconds")
    if seconds.exists():
        index.load_index(str(path))
    else:
        index.init_index(len(corpus.vectors), M=options.hnsw_M, ef_construction=options.hnsw_efConstruction)
        started = time.process_time()
        index.add_items(corpus.vectors, num_threads=os.cpu_count() or 1)
        seconds.write_text(json.dumps(time.process_time() - started))
        index.save_index(str(path))

    def at(effort: int) -> Any:
        index.set_ef(effort)
        return lambda query: 1 - index.knn_query(query, k=K, num_threads=1)[1]

    return float(json.loads(seconds.read_text())), at


def _usearch(corpus: Corpus, path: Path) -> tuple[float, Callable[[int], Any]]:
    from usearch.index import Index

    options = IndexSettings()
    effort = options.hnsw_efConstruction
    index = Index(ndim=DIMENSION, metric="ip", dtype="f32", connectivity=options.hnsw_M, expansion_add=effort)
    seconds = path.with_suffix(".seconds")
    if seconds.exists():
        index.load(str(path))
    else:
        started = time.process_time()
        index.add(np.arange(len(corpus.vectors)), corpus.vectors, threads=os.cpu_count() or 1)
        seconds.write_text(json.dumps(time.process_time() - started))
        index.save(str(path))

    def at(effort: int) -> Any:
        index.expansion_search = effort

        def search(query: Vectors) -> Any:
            return 1 - index.search(query[0], K, threads=1).distances[None]

        return search

    return float(json.loads(seconds.read_text())), at


def _measured(name: str, opened: Callable[[Corpus, Path], tuple[float, Callable[[int], Any]]]) -> Callable[..., Row]:
    def measure(corpus: Corpus, asked: Questions, path: Path, target: float) -> Row:
        seconds, at = opened(corpus, path)
        for effort in _EFFORTS:
            recall = recall_of(at(effort), asked)
            if recall >= target:
                break
        (latency,) = latencies([at(effort)], asked.queries)
        return Row(
            data=corpus.name, n=len(corpus.vectors), engine=name, family="hnsw", build=seconds, bytes=path.stat().st_size,
            point=f"ef={effort}", met=recall >= target, recall=recall, latency=latency,
        )  # fmt: skip

    return measure


PEERS: Mapping[str, Callable[..., Row]] = {"hnswlib": _measured("hnswlib", _hnswlib), "usearch": _measured("usearch", _usearch)}
