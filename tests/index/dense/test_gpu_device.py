"""Every family that FAISS has on GPUs, on the GPUs of this machine: skipped without FAISS's GPU support or a device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import IndexSettings, SearchSettings
from pipeline.index.dense import gpu
from pipeline.index.dense.families import FAMILIES
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.dense.updates import UpdatableIndex
from pipeline.index.dense.vectors import VectorIndex

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(reason := gpu.why_not(SearchSettings(), FAMILIES["flat"])), reason=f"no search on a GPU: {reason}"),
]

N, D, K = 12_000, 64, 10
ON_GPU = [name for name, family in FAMILIES.items() if family.gpu]
IDS = np.sort(np.random.default_rng(7).choice(1 << 62, N, replace=False))
OPTIONS: dict[str, dict[str, Any]] = {
    **{family: {"nlist": 64} for family in ON_GPU},
    "opq": {"nlist": 64, "opq_m": 16, "pq_m": 16},
    # Tables of 64 sub-quantisers fit the shared memory of a block in half precision only.
    "half": {"nlist": 64, "pq_m": 64},
}


def unit(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((200, D))
    rows = centres[rng.integers(0, 200, n)] + 0.8 * rng.standard_normal((n, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = unit(N, 1), unit(64, 2)


@pytest.fixture(scope="module", params=OPTIONS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored index: whole, with a delta, and with deletions beside that."""
    root = tmp_path_factory.mktemp(request.param)
    family = request.param if request.param in ON_GPU else "ivf_pq"
    changing = UpdatableIndex.build(IDS[:-100], VECTORS[:-100], IndexSettings(faiss_family=family, **OPTIONS[request.param]))
    assert changing.family.name == family
    for name in ("whole", "added", "deleted"):
        (root / name).mkdir()
        changing.save(root / name, arrays=True)
        if name == "whole":
            changing.add(IDS[-100:], VECTORS[-100:])
        else:
            changing.delete(IDS[:500])
    return root


def points(index: VectorIndex) -> list[OperatingPoint]:
    """All lists at a depth at which no rounding decides what is found, and few lists."""
    if index.family.exact:
        return [index.point]
    return [OperatingPoint(nprobe=index.nlist, k_factor=50.0), OperatingPoint(nprobe=4, k_factor=50.0)]


def same(found: Any, expected: Any) -> bool:
    """Equal scores within float32, and of all neighbours nearly all (rounding may swap what is equally good)."""
    overlap = np.mean([len(np.intersect1d(one, other)) / K for one, other in zip(found[0], expected[0], strict=True)])
    return bool(np.allclose(found[1], expected[1], atol=1e-4) and overlap > 0.99)


@pytest.mark.parametrize("mode", ["replicate", "shard"])
@pytest.mark.parametrize("name", ["whole", "added"])
def test_a_gpu_finds_what_the_cpu_finds(folder: Path, mode: Any, name: str) -> None:
    cpu = VectorIndex.open(folder / name)
    index = VectorIndex.open(folder / name, search=SearchSettings(gpu_clone_mode=mode), mapped=mode == "shard")
    for point in points(index):
        assert same(index.search(QUERIES, K, point=point), cpu.search(QUERIES, K, point=point))
        assert same(index.search(QUERIES[:1], K, point=point), cpu.search(QUERIES[:1], K, point=point))
    assert index.gpu.devices >= 1 and index.gpu.mode == mode, index.gpu.reason


def test_a_filter_holds_and_deep_searches_are_answered(folder: Path) -> None:
    cpu = VectorIndex.open(folder / "whole")
    index = VectorIndex.open(folder / "whole", search=SearchSettings())
    allowed = IDS[::2]
    found = index.search(QUERIES, K, allowed=allowed)
    assert same(found, cpu.search(QUERIES, K, allowed=allowed)) and np.isin(found[0], allowed).all()
    assert index.search(QUERIES[:2], 3000, point=points(index)[0])[0].shape == (2, 3000)
    assert not index.gpu.reason


def test_what_is_deleted_is_not_found(folder: Path) -> None:
    index = VectorIndex.open(folder / "deleted", search=SearchSettings())
    assert "deleted" in index.gpu.reason
    assert not np.isin(index.search(VECTORS[:500], K)[0], IDS[:500]).any()


def test_threads_may_search_at_the_same_time(folder: Path) -> None:
    index = VectorIndex.open(folder / "whole", search=SearchSettings())
    point = points(index)[0]
    expected = index.search(QUERIES, K, point=point)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: index.search(QUERIES[at][None], K, point=point), range(len(QUERIES))))
    assert same([np.vstack([one[at] for one in found]) for at in (0, 1)], expected)
    assert not index.gpu.reason
