"""Clones on GPUs: what is asked of them and what is not, and that the CPU answers, with the reason told, where there are none.

Devices are played here by a FAISS that hands out its own indexes as clones, and is as strict as FAISS is on a GPU. The real
thing is asked in `test_gpu_device.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.config import IndexSettings, SearchSettings
from pipeline.embed.arrays import write_arrays
from pipeline.index.dense import gpu
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.building import build
from pipeline.index.dense.families import FAMILIES, import_faiss
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.dense.stage import faiss_index
from pipeline.index.dense.updates import UpdatableIndex
from pipeline.index.dense.vectors import VectorIndex
from pipeline.stage import Artefact, Base, Output
from pipeline.workers import Runtime

N, D = 2500, 32
IDS = np.sort(np.random.default_rng(7).choice(1 << 62, N, replace=False))
ON_GPU = [name for name, family in FAMILIES.items() if family.gpu]
SEARCH = SearchSettings()


def unit(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = unit(N, 1), unit(20, 2)


class Clone:
    """An index that says what is asked of it, and takes only what FAISS takes on a GPU."""

    def __init__(self, index: Any, device: int) -> None:
        self.index, self.device = index, device
        self.asked = 0
        self.error: Exception | None = None
        self._busy = threading.Lock()

    def search(self, queries: np.ndarray, depth: int, params: Any = None) -> Any:
        assert self._busy.acquire(blocking=False), "two threads in one clone"
        try:
            self.asked += 1
            if self.error is not None:
                raise self.error
            assert params is None or (type(params) is import_faiss().SearchParametersIVF and params.nprobe <= 2048)
            assert params is None or params.sel is None, "a GPU ignores selectors"
            assert depth <= 2048
            return self.index.search(queries, depth, params=params)
        finally:
            self._busy.release()


class Devices:
    """FAISS with GPU support and devices, as far as it is looked at."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.clones: list[Clone] = []
        self.options: list[Any] = []
        self.error: Exception | None = None
        self.missing: tuple[str, ...] = ()

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "__dict__").get("missing", ()):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        if name in self.missing:
            raise AttributeError(name)
        return getattr(import_faiss(), name)

    def get_num_gpus(self) -> int:
        return self.count

    def StandardGpuResources(self) -> Any:
        return SimpleNamespace(setTempMemory=lambda size: None)

    def GpuMultipleClonerOptions(self) -> Any:
        self.options.append(SimpleNamespace(shard=False))
        return self.options[-1]

    def index_cpu_to_gpu(self, resources: Any, device: int, index: Any, options: Any) -> Clone:
        if self.error is not None:
            raise self.error
        self.clones.append(Clone(index, device))
        return self.clones[-1]

    def index_cpu_to_gpu_multiple_py(self, resources: list[Any], index: Any, options: Any) -> Clone:
        assert options.shard and len(resources) == self.count
        return self.index_cpu_to_gpu(resources, -1, index, options)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Devices]:
    def play(count: int = 1) -> Devices:
        played = Devices(count)
        monkeypatch.setattr(gpu, "import_faiss", lambda: played)
        return played

    return play


def settings(family: Any, **others: Any) -> IndexSettings:
    return IndexSettings(faiss_family=family, **({"nlist": 24, "pq_nbits": 5, "hnsw_M": 12} | others))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A stored index of a family, or one with a rotation (`opq`)."""
    made: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in made:
            folder = made[family] = tmp_path_factory.mktemp(family)
            write_arrays(folder, IDS, VECTORS)
            (folder / "embedder.json").write_text('{"digest": "abc"}')
            source: Artefact[Any] = Artefact(
                repo="r", asset="embeddings", key="k", path=folder, schema="", digest="", lineage={}
            )
            options = settings(family)
            if family == "opq":
                options = settings("ivf_pq", nlist=4, pq_nbits=4, pq_m=4, opq_m=4)
                # Rotations want more vectors than there are here, so the index is put in place by hand.
                index, _ = build(FAMILIES["ivf_pq"], IDS, VECTORS, options)
                updatable = UpdatableIndex.build(IDS, VECTORS, settings("ivf_flat"))
                updatable._primary, updatable._point = index, OperatingPoint(nprobe=2)
                updatable.save(folder)
            else:
                faiss_index(source, options, Base(), Runtime(), Output(folder))
        return made[family]

    return folder_of


def equal(one: Any, other: Any) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("family", [*ON_GPU, "opq"])
@pytest.mark.parametrize(("mode", "clones"), [("replicate", 2), ("shard", 1)])
def test_a_clone_answers_as_the_index_does_at_any_point(
    folders: Any, devices: Any, family: str, mode: Any, clones: int
) -> None:
    expected = VectorIndex.open(folders(family))
    played = devices(2)
    index = VectorIndex.open(folders(family), search=SearchSettings(gpu_clone_mode=mode))
    assert str(index.gpu) == f"GPU: {mode} on 2 devices" and len(played.clones) == clones
    points = [index.point] if index.family.exact else [OperatingPoint(nprobe=n, k_factor=2.0) for n in (1, index.nlist)]
    for point in points:
        assert equal(index.search(QUERIES, 10, point=point), expected.search(QUERIES, 10, point=point))
    assert sum(clone.asked for clone in played.clones) == len(points)


@pytest.mark.parametrize("family", ON_GPU)
def test_filters_and_what_is_too_deep_for_a_gpu_go_to_the_cpu(folders: Any, devices: Any, family: str) -> None:
    expected = VectorIndex.open(folders(family))
    played = devices()
    index = VectorIndex.open(folders(family), search=SEARCH)
    some = IDS[::3]
    found = index.search(QUERIES, 10, allowed=some)
    assert equal(found, expected.search(QUERIES, 10, allowed=some)) and np.isin(found[0], some).all()
    deep = None if index.family.exact else OperatingPoint(nprobe=24, k_factor=300.0)
    assert equal(index.search(QUERIES, 2100, point=deep), expected.search(QUERIES, 2100, point=deep))
    assert played.clones[0].asked == 0
    index.search(QUERIES, 10)
    assert played.clones[0].asked == 1


@pytest.mark.parametrize("family", ON_GPU)
def test_an_index_with_a_delta_is_cloned_and_one_with_deletions_is_not(
    folders: Any, devices: Any, tmp_path: Path, family: str
) -> None:
    changing = UpdatableIndex.build(IDS[:-30], VECTORS[:-30], settings(family))
    changing.add(IDS[-30:], VECTORS[-30:])
    for name in ("added", "deleted"):
        (tmp_path / name).mkdir()
        changing.save(tmp_path / name, arrays=True)
        changing.delete(IDS[:20])
    expected = [VectorIndex.open(tmp_path / name).search(QUERIES, 10) for name in ("added", "deleted")]
    played = devices()
    added, deleted = (VectorIndex.open(tmp_path / name, search=SEARCH) for name in ("added", "deleted"))
    assert equal(added.search(QUERIES, 10), expected[0]) and played.clones[0].asked == 1
    assert str(deleted.gpu) == "GPU: off, rows are deleted, which takes a selector" and len(played.clones) == 1
    assert equal(deleted.search(QUERIES, 10), expected[1]) and not np.isin(deleted.search(QUERIES, 10)[0], IDS[:20]).any()


OFF: dict[str, tuple[str, SearchSettings | None, dict[str, Any]]] = {
    "use_gpu is off": ("flat", SearchSettings(use_gpu=False), {}),
    "it was not opened for searching": ("flat", None, {}),
    "FAISS cannot clone the family hnsw": ("hnsw", SEARCH, {}),
    "this FAISS has no GPU support": ("flat", SEARCH, {"missing": ("index_cpu_to_gpu",)}),
    "there is no device": ("ivf_sq8", SEARCH, {"count": 0}),
    "FAISS could not clone the index: out of memory": (
        "ivf_flat",
        SEARCH,
        {"error": RuntimeError("Error in StandardGpuResources:\nout of memory")},
    ),
    "FAISS could not clone the index: MemoryError": ("flat", SEARCH, {"error": MemoryError()}),
}
"""Reason -> the family, how the index is opened, and what is wrong with the devices."""


@pytest.mark.parametrize("reason", OFF)
def test_where_there_is_no_clone_the_cpu_answers_and_the_reason_is_told(
    folders: Any, devices: Any, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    family, search, state = OFF[reason]
    played = devices()
    for name, value in state.items():
        setattr(played, name, value)
    with caplog.at_level(logging.INFO, logger="pipeline.index"):
        index = VectorIndex.open(folders(family), search=search)
    assert (index.gpu.reason, index.gpu.devices, played.clones) == (reason, 0, [])
    opened = [line for line in caplog.messages if line.startswith("opened")]
    assert len(opened) == 1 and opened[0].endswith(f"GPU: off, {reason}")
    assert equal(index.search(QUERIES, 10), VectorIndex.open(folders(family)).search(QUERIES, 10))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ON_GPU])
def test_only_families_that_faiss_has_on_gpus_are_cloned(devices: Any, family: str) -> None:
    devices()
    assert gpu.why_not(SEARCH, FAMILIES[family]) == f"FAISS cannot clone the family {family}"


def test_an_empty_index_is_not_cloned(devices: Any) -> None:
    devices()
    index = Ann(import_faiss().index_factory(D, "IDMap2,Flat", import_faiss().METRIC_INNER_PRODUCT), FAMILIES["flat"])
    assert str(gpu.on_gpus(index, SEARCH)[1]) == "GPU: off, the index is empty"


@pytest.mark.parametrize("error", [RuntimeError("Error in search\ncudaErrorIllegalAddress"), MemoryError("no more")])
def test_an_error_of_the_device_is_answered_by_the_cpu_and_ends_its_use(
    folders: Any, devices: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    expected = VectorIndex.open(folders("ivf_sq8")).search(QUERIES, 10)
    played = devices(2)
    index = VectorIndex.open(folders("ivf_sq8"), search=SEARCH)
    assert equal(index.search(QUERIES, 10), expected) and index.gpu.devices == 2
    for clone in played.clones:
        clone.error = error
    with caplog.at_level(logging.WARNING, logger="pipeline.index"):
        for _ in range(3):
            assert equal(index.search(QUERIES, 10), expected)
    assert str(index.gpu) == f"GPU: off, a search failed: {str(error).splitlines()[-1]}" and index.gpu.devices == 0
    assert len(caplog.messages) == 1 and sum(clone.asked for clone in played.clones) == 2


def test_an_error_that_threads_meet_together_is_told_once_and_nobody_waits(
    folders: Any, devices: Any, caplog: pytest.LogCaptureFixture
) -> None:
    expected = VectorIndex.open(folders("ivf_flat")).search(QUERIES[:1], 10)
    played = devices()
    index = VectorIndex.open(folders("ivf_flat"), search=SEARCH)
    played.clones[0].error = RuntimeError("lost")
    with caplog.at_level(logging.WARNING, logger="pipeline.index"), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: index.search(QUERIES[:1], 10), range(64)))
    assert all(equal(one, expected) for one in found)
    assert len(caplog.messages) == 1 and index.gpu.reason == "a search failed: lost"


def test_threads_share_the_clones_and_no_two_are_in_one(folders: Any, devices: Any) -> None:
    expected = VectorIndex.open(folders("ivf_pq"))
    rows = [expected.search(query[None], 5) for query in QUERIES]
    played = devices(2)
    index = VectorIndex.open(folders("ivf_pq"), search=SEARCH)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: index.search(QUERIES[at % 20][None], 5), range(400)))
    assert all(equal(one, rows[at % 20]) for at, one in enumerate(found))
    assert [clone.device for clone in played.clones] == [0, 1] and sum(clone.asked for clone in played.clones) == 400


def test_lists_that_stay_in_the_file_are_cloned_too(folders: Any, devices: Any) -> None:
    expected = VectorIndex.open(folders("ivf_sq8"), mapped=False)
    played = devices()
    index = VectorIndex.open(folders("ivf_sq8"), mapped=True, search=SEARCH)
    assert equal(index.search(QUERIES, 10), expected.search(QUERIES, 10)) and played.clones[0].asked == 1


@pytest.mark.parametrize(("pq_m", "half"), [(8, False), (48, False), (64, True)])
def test_lookup_tables_are_of_half_precision_only_where_others_do_not_fit(devices: Any, pq_m: int, half: bool) -> None:
    faiss = import_faiss()
    played = devices()
    index = Ann(faiss.index_factory(192, f"IVF4,PQ{pq_m}x8", faiss.METRIC_INNER_PRODUCT), FAMILIES["ivf_pq"])
    index.index.ntotal = 1
    gpu.clone_to_gpus(index, SEARCH)
    assert played.options[0].useFloat16 is half and played.options[0].use_cuvs is False
