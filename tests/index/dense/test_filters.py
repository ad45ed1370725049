"""Filters and other numbers of results: found as well as the tuned ten are, whatever a filter lets through."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pipeline.config import IndexSettings
from pipeline.index.dense import searching
from pipeline.index.dense.families import FAMILIES, import_faiss
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.dense.searching import SearchCost
from pipeline.index.dense.updates import UpdatableIndex

N, D, LISTS = 6000, 32, 64
LISTED = ["ivf_sq8", "ivf_flat", "ivf_pqfs", "ivf_rabitq"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other over a few thousand vectors take most of the time on a busy machine."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(autouse=True)
def through_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few vectors would be scored one by one."""
    monkeypatch.setattr(searching, "_EXACT_ALLOWED", 0)
    monkeypatch.setattr(searching, "_EXACT_COST", 1 << 40)


def clustered(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors float32 [n, d] and the cluster of each; neighbouring numbers are neighbouring clusters."""
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(99)
    centres = np.repeat(shape.standard_normal((8, D)), 10, axis=0) + shape.standard_normal((80, D))
    of = rng.integers(0, 80, n)
    rows = centres[of] + 0.7 * rng.standard_normal((n, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), of


IDS = np.sort(np.random.default_rng(7).choice(1 << 62, N, replace=False))
VECTORS, CLUSTERS = clustered(N, 1)
QUERIES, _ = clustered(60, 2)


@pytest.fixture(scope="module")
def indexes() -> Any:
    made: dict[str, UpdatableIndex] = {}

    def of(family: Any) -> UpdatableIndex:
        if family not in made:
            options = IndexSettings(faiss_family=family, nlist=LISTS, hnsw_M=12, hnsw_efConstruction=60)
            made[family] = UpdatableIndex.build(IDS, VECTORS, options)
        return made[family]

    return of


def point_of(index: UpdatableIndex) -> OperatingPoint:
    """One that finds nearly all of ten without a filter."""
    if index.family.parameter == "nprobe":
        return OperatingPoint(nprobe=16, k_factor=max(1.0, 2 * index.family.k_factor))
    return OperatingPoint(ef_search=64, k_factor=2.0)


def recall(scores: np.ndarray, rows: np.ndarray, k: int) -> float:
    """By distance, of the best k of VECTORS[rows]."""
    least = np.sort(QUERIES @ VECTORS[rows].T, axis=1)[:, -k]
    return float((scores >= least[:, None] - 1e-6).mean())


def let_through(kind: str, share: float) -> np.ndarray:
    size = int(N * share)
    if kind == "random":
        return np.sort(np.random.default_rng(size).choice(N, size, replace=False))
    return np.sort(np.argsort(CLUSTERS, kind="stable")[N // 5 : N // 5 + size])


@pytest.mark.parametrize("kind", ["random", "region"])
@pytest.mark.parametrize(("share", "k"), [(0.5, 10), (0.5, 50), (0.1, 10), (0.1, 50), (0.03, 10)])
@pytest.mark.parametrize("family", LISTED)
def test_what_passes_a_filter_is_found_as_well_as_ten_are_without_one(
    indexes: Any, family: str, share: float, k: int, kind: str
) -> None:
    index = indexes(family)
    point = point_of(index)
    _, plain = index.search(QUERIES, 10, point=point)
    rows = let_through(kind, share)
    _, scores = index.search(QUERIES, k, allowed=IDS[rows], point=point)
    assert recall(scores, rows, k) >= recall(plain, np.arange(N), 10) - 0.02


@pytest.mark.parametrize("family", [*LISTED, "hnsw_sq8"])
def test_a_hundred_are_found_as_well_as_ten(indexes: Any, family: str) -> None:
    index = indexes(family)
    everything = np.arange(N)
    _, ten = index.search(QUERIES, 10, point=point_of(index))
    _, hundred = index.search(QUERIES, 100, point=point_of(index))
    assert recall(hundred, everything, 100) >= recall(ten, everything, 10) - 0.01


@pytest.mark.parametrize("family", LISTED)
def test_lists_that_hold_nothing_allowed_are_not_visited(indexes: Any, family: str) -> None:
    index = indexes(family)
    lists = index._parts.primary
    rows = let_through("region", 0.1)
    inside, share = lists.within(IDS[rows])
    assert 0 < inside._open.sum() < LISTS / 2
    assert 0.1 < share <= 1
    # Of the others there is nothing to find.
    everywhere = OperatingPoint(nprobe=LISTS, k_factor=1.0)
    ids, _ = inside.search(QUERIES, N, everywhere)
    found = set(ids[ids >= 0].tolist())
    assert set(IDS[rows].tolist()) <= found
    assert len(found) == lists._sizes()[inside._open].sum()
    assert inside.scanned(QUERIES)(10, everywhere) == len(QUERIES) * len(found)
    assert lists.scanned(QUERIES)(10, everywhere) == len(QUERIES) * N


@pytest.mark.parametrize("family", LISTED)
def test_the_lists_of_ids_are_those_of_the_index_after_it_has_changed(family: Any) -> None:
    options = IndexSettings(faiss_family=family, nlist=16)
    index = UpdatableIndex.build(IDS[::2], VECTORS[::2], options)
    index.search(QUERIES, 5, allowed=IDS)
    index.add(IDS[1:1200:2], VECTORS[1:1200:2])
    everything = OperatingPoint(nprobe=16, k_factor=100.0)
    for _ in range(2):
        # First they are all in the delta, where no list holds them; then in lists that were not looked at with them.
        ids, scores = index.search(QUERIES, 5, allowed=IDS[1:1200:2], point=everything)
        assert np.isin(ids, IDS[1:1200:2]).all()
        assert recall(scores, np.arange(1, 1200, 2), 5) == 1
        # What the index does not find would be scored exactly: the lists themselves are looked at.
        assert index._parts.primary.within(IDS[1:1200:2])[0]._open.any() == (index.delta == 0)
        index.merge()
    assert index.delta == 0


def test_a_filter_is_scored_exactly_where_that_costs_less(indexes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index = indexes("ivf_sq8")
    costs: list[SearchCost] = []

    def scored(size: int) -> tuple[int, float]:
        index.search(QUERIES[:1], 5, allowed=IDS[:size], point=point_of(index), observe=costs.append)
        return costs[-1].pool, costs[-1].ann_seconds

    assert scored(50)[1] > 0
    monkeypatch.setattr(searching, "_EXACT_ALLOWED", 50)
    assert scored(50) == (50, 0.0)
    assert scored(51)[1] > 0
    monkeypatch.setattr(searching, "_EXACT_COST", 1)
    assert scored(51) == (51, 0.0)


@pytest.mark.parametrize("family", ["hnsw", "hnsw_sq8"])
def test_what_passes_the_filter_of_a_graph_is_scored_exactly(indexes: Any, family: str) -> None:
    index = indexes(family)
    rows = let_through("region", 0.5)
    costs: list[SearchCost] = []
    _, scores = index.search(QUERIES, 10, allowed=IDS[rows], point=OperatingPoint(ef_search=1), observe=costs.append)
    assert costs[0].pool == len(QUERIES) * len(rows)
    assert recall(scores, rows, 10) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_with_other_filters_points_and_numbers_get_the_answers_of_one_thread(indexes: Any, family: str) -> None:
    index = indexes(family)
    # The stored kind has no lock: FAISS itself is asked by all threads at once.
    parts = index._parts
    parameter = index.family.parameter

    def ask(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        point = OperatingPoint(
            nprobe=seed % LISTS + 1 if parameter == "nprobe" else None,
            ef_search=seed % 50 + 5 if parameter == "efSearch" else None,
            k_factor=float(seed % 5 + 1),
        )
        allowed = [None, IDS[let_through("region", 0.1)], IDS[rng.random(N) < 0.3], IDS[seed % 7 :: 2]][seed % 4]
        queries = QUERIES[seed % 50 : seed % 50 + 1 + seed % 3]
        return searching.search_parts(parts, queries, 1 + seed % 23, allowed=allowed, point=point, observe=None)

    alone = [ask(seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(60)))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
