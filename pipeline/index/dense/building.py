"""Building a FAISS index from sorted ids and (memory-mapped) unit vectors: in bounded memory, equal bytes for equal input.

Belongs here: training, filling in blocks. Not here: which family (`families`), files (`index_files`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import IndexSettings
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids, Rows
from pipeline.index.dense.families import Family, import_faiss, nlist_of
from pipeline.workers import Observe

SEED = 1234
BLOCK = 1 << 16
"""Vectors added at a time. A graph depends on it, so it is a constant."""
_SAMPLE_PER_LIST = 64
_LEAST_SAMPLE, _MOST_SAMPLE = 1 << 14, 1 << 22


def build(
    family: Family, ids: Ids, vectors: Rows, options: IndexSettings, observe: Observe | None = None
) -> tuple[Ann, dict[str, Any] | None]:
    """An index of a family over vectors float32 [n, d] under ids int64 [n], and the facts of its training.

    `observe` is told how many seconds training (where there is any) and adding took.
    """
    started = time.perf_counter()
    index, training = trained(family, vectors, options)
    ann = Ann(index, family)
    ready = time.perf_counter()
    fill(ann, ids, vectors)
    if observe is not None:
        observe(build_seconds(training, ready - started, time.perf_counter() - ready))
    return ann, training


def build_seconds(training: object, trained_in: float, added_in: float) -> dict[str, float]:
    """Seconds of the two halves of building; what did not train has none of the first."""
    seconds = {"training_seconds": trained_in, "adding_seconds": added_in}
    return {name: round(value, 6) for name, value in seconds.items() if training is not None or name != "training_seconds"}


def trained(family: Family, vectors: Rows, options: IndexSettings) -> tuple[Any, dict[str, Any] | None]:
    """An empty index for these vectors, trained on an even sample of them, and the facts of that training."""
    faiss = import_faiss()
    n, dimension = vectors.shape
    factory = family.factory(dimension, max(n, 1), options)
    index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    _set_up(index, options)
    if not family.trains:
        return index, None
    rows = sample_rows(n, _SAMPLE_PER_LIST * nlist_of(n, options) if family.parameter == "nprobe" else _LEAST_SAMPLE)
    with threads_for(family, options):
        index.train(np.ascontiguousarray(vectors[rows]))
    return index, {"sample": len(rows), "of": n, "seed": SEED, "rows": "even"}


def sample_rows(n: int, wanted: int) -> npt.NDArray[np.int64]:
    """Rows spread evenly over n, at least 2^14 and at most 2^22 where there are as many.

    Rows are in order of their ids, which are hashes, so an even sample is a random one, and depends on no generator.
    """
    size = min(n, max(wanted, _LEAST_SAMPLE), _MOST_SAMPLE)
    return np.arange(size, dtype=np.int64) * n // max(1, size)


@contextmanager
def threads_for(family: Family, options: IndexSettings) -> Iterator[None]:
    """A rotation is learned by one thread: with more, its bytes depend on how many there are."""
    faiss = import_faiss()
    threads = faiss.omp_get_max_threads()
    try:
        if options.opq_m and family.name.startswith("ivf_pq"):
            faiss.omp_set_num_threads(1)
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _set_up(index: Any, options: IndexSettings) -> None:
    faiss = import_faiss()
    inner = faiss.downcast_index(index.index) if hasattr(index, "index") else index
    if isinstance(inner, faiss.IndexIVF):
        inner.cp.seed = SEED
    if hasattr(inner, "hnsw"):
        inner.hnsw.efConstruction = options.hnsw_efConstruction


def beyond(family: Family, n: int, dimension: int, options: IndexSettings) -> int:
    """How many vectors fit into `faiss_memory_mb`, where n do not and the family can be built in shards; else 0."""
    each = family.bytes_per_vector(dimension, options)
    budget = options.faiss_memory_mb * 2**20
    return max(1, int(budget / each)) if family.maps == "lists" and budget and n * each > budget else 0


def fill(ann: Ann, ids: Ids, vectors: Rows) -> None:
    """Add everything, in blocks, so that no more than a block of the memory-mapped vectors is copied at a time."""
    for start in range(0, len(ids), BLOCK):
        ann.add(ids[start : start + BLOCK], vectors[start : start + BLOCK])
