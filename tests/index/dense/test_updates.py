"""An index that changes: whatever is added, deleted, merged, stored and opened, no answer names a wrong id.

The sequences are random and seeded. `FAISS_TEST_OPERATIONS=5000` makes each of them longer than CI has time for.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import IndexSettings
from pipeline.embed import arrays
from pipeline.errors import IndexCorruptionError, InvariantViolationError, NotFoundError, QueryError, RuntimeLifecycleError
from pipeline.files import tree_files
from pipeline.index.dense import searching
from pipeline.index.dense.families import FAMILIES, import_faiss
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.dense.updates import UpdatableIndex
from pipeline.index.dense.vectors import VectorIndex

D, START, LEAST, MOST = 16, 800, 680, 1000
OPERATIONS = int(os.environ.get("FAISS_TEST_OPERATIONS", "120"))
TOLERANCE = 1e-5
MOST_MISSES = 0.01
"""A graph may miss so many of the nearest, where it tries its hardest."""


def settings(family: Any) -> IndexSettings:
    return IndexSettings(faiss_family=family, nlist=5, pq_nbits=4, hnsw_M=8, hnsw_efConstruction=32)


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.standard_normal((n, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other over a few hundred vectors take most of the time on a busy machine."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


class Model:
    """An index and what must be in it, changed together."""

    def __init__(self, family: str, seed: int, folder: Path, start: int = START, step: int = 40) -> None:
        self.done: Counter[str] = Counter()
        self.wanted = self.misses = 0
        self.least, self.most, self.several = start * LEAST // START, start * MOST // START, step
        self.rng = np.random.default_rng(seed)
        self.folder = folder
        self.options = settings(family)
        ids = np.sort(self.rng.choice(1 << 62, start, replace=False))
        vectors = unit(self.rng, start)
        self.truth = dict(zip(ids.tolist(), vectors, strict=True))
        self.gone: list[int] = []
        self.index: Any = UpdatableIndex.build(ids, vectors, self.options, embedder_digest="abc")
        self.saves = 0
        self.exact = family not in ("hnsw", "hnsw_sq8")

    def some(self, most: int) -> np.ndarray:
        living = np.fromiter(self.truth, np.int64, len(self.truth))
        return self.rng.choice(living, min(len(living), int(self.rng.integers(1, most + 1))), replace=False)

    def add(self) -> None:
        if len(self.truth) > self.most:
            return
        count = int(self.rng.integers(1, self.several))
        # What was deleted comes back under its id with another vector, near another one or equal to it.
        back = self.rng.permutation(self.gone)[: count // 2].astype(np.int64)
        ids = np.concatenate([back, self.rng.choice(1 << 62, count - len(back), replace=False)])
        vectors = unit(self.rng, count)
        if self.truth and self.rng.random() < 0.3:
            vectors[0] = self.truth[int(self.some(1)[0])]
        self.index.add(ids, vectors)
        self.truth.update(zip(ids.tolist(), vectors, strict=True))
        self.gone = [one for one in self.gone if one not in self.truth]

    def delete(self) -> None:
        if len(self.truth) < self.least:
            return
        known = self.some(self.several)
        unknown = self.rng.choice(1 << 62, 3, replace=False)
        assert self.index.delete(np.concatenate([known, unknown, known[:2]])) == len(known)
        for one in known.tolist():
            del self.truth[one]
        self.gone.extend(known.tolist())

    def collide(self) -> None:
        taken = self.some(3)
        ids = np.concatenate([taken, self.rng.choice(1 << 62, 2, replace=False)])
        before = self.index.collisions
        with pytest.raises(InvariantViolationError, match="already or given twice"):
            self.index.add(ids, unit(self.rng, len(ids)))
        assert self.index.collisions == before + len(taken)

    def merge(self) -> None:
        self.index.merge()
        if FAMILIES[self.index.family.name].deletes == "remove":
            assert (self.index.delta, self.index.dead) == (0, 0)

    def store(self) -> None:
        folder = self.folder / str(self.saves)
        self.saves += 1
        folder.mkdir()
        self.index.save(folder, arrays=True)
        stored = VectorIndex.open(folder, mapped=bool(self.saves % 2))
        self.compare(stored)
        self.search(stored)
        self.index = UpdatableIndex.open(folder, self.options)

    def search(self, index: Any = None) -> None:
        index = index or self.index
        queries = unit(self.rng, int(self.rng.integers(1, 4)))
        k = int(self.rng.integers(1, 30))
        living = np.sort(np.fromiter(self.truth, np.int64, len(self.truth)))
        matrix = np.stack([self.truth[one] for one in living.tolist()]) if len(living) else np.empty((0, D), np.float32)
        allowed = None
        if self.rng.random() < 0.5 and len(living):
            allowed = np.concatenate(
                [self.some(int(self.rng.choice([3, 50, 600]))), self.rng.choice(1 << 62, 2), np.array(self.gone[:5], np.int64)]
            )
        everything = self.rng.random() < 0.5
        point = self.point(index) if everything else None
        ids, scores = index.search(queries, k, allowed=allowed, point=point)
        candidates = living if allowed is None else np.intersect1d(living, allowed)
        for query, row, given in zip(queries, ids, scores, strict=True):
            found = row[row >= 0]
            assert np.isin(found, candidates).all(), "an id that is not there, or not allowed"
            assert len(set(found.tolist())) == len(found), "an id twice"
            true = matrix[np.searchsorted(living, found)] @ query
            assert np.allclose(given[row >= 0], true, atol=TOLERANCE), "a score of another vector"
            assert (np.diff(given) <= 0).all()
            self.done["answers"] += 1
            best = -np.sort(-(matrix[np.searchsorted(living, candidates)] @ query))[:k]
            if self.exact and (everything or allowed is not None):
                assert len(found) == len(best), "a row that is too short"
            if self.exact and everything:
                assert np.allclose(true, best, atol=TOLERANCE), "not the nearest"
            if everything and len(best):
                self.wanted += len(best)
                self.misses += len(best) - int((true >= best[-1] - TOLERANCE).sum())

    def point(self, index: Any) -> OperatingPoint:
        """Where nothing can be missed."""
        parameter = index.family.parameter
        return OperatingPoint(
            nprobe=5 if parameter == "nprobe" else None,
            ef_search=self.most + 100 if parameter == "efSearch" else None,
            k_factor=1000.0,
        )

    def compare(self, index: Any = None) -> None:
        idmap = (index or self.index).idmap()
        assert np.array_equal(np.sort(idmap.ids), np.sort(np.fromiter(self.truth, np.int64, len(self.truth))))
        assert (np.diff(idmap.rows) > 0).all()

    def step(self) -> None:
        names = ["add", "delete", "search", "collide", "merge", "store"]
        name = str(self.rng.choice(names, p=[0.3, 0.25, 0.3, 0.05, 0.06, 0.04]))
        getattr(self, name)()
        self.done[name] += 1


@pytest.mark.parametrize("selectors", [False, True], ids=["as-it-is", "selectors"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_sequence_of_changes_makes_an_answer_wrong(
    tmp_path: Path, family: str, selectors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if selectors:
        # So few ids would be scored one by one; what FAISS does with a selector is to be seen here.
        monkeypatch.setattr(searching, "_EXACT_ALLOWED", 0)
        monkeypatch.setattr(searching, "_EXACT_COST", 1 << 40)
    model = Model(family, seed=sum(family.encode()) + selectors, folder=tmp_path)
    for _ in range(OPERATIONS):
        model.step()
    model.compare()
    model.merge()
    model.compare()
    model.store()
    assert model.index.family.name == family
    assert len(model.index) == len(model.truth)
    assert model.misses <= MOST_MISSES * model.wanted


@pytest.mark.parametrize("family", ["ivf_sq8", "ivf_pqfs", "ivf_rabitq", "hnsw", "hnsw_sq8"])
def test_thousands_of_vectors_survive_many_deletions(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_EXACT_ALLOWED", 0)
    monkeypatch.setattr(searching, "_EXACT_COST", 1 << 40)
    model = Model(family, seed=11, folder=tmp_path, start=3000, step=300)
    most = 0
    for _ in range(OPERATIONS // 2):
        model.step()
        most = max(most, model.index.dead)
    assert model.index.family.name == family
    assert most > 250
    model.compare()
    model.store()
    assert model.misses <= MOST_MISSES * model.wanted


@pytest.mark.parametrize("family", ["flat", "ivf_sq8", "hnsw"])
def test_an_index_can_shrink_to_nothing_and_grow_again(tmp_path: Path, family: str) -> None:
    model = Model(family, seed=1, folder=tmp_path)
    everything = np.fromiter(model.truth, np.int64, len(model.truth))
    assert model.index.delete(everything) == START
    assert model.index.search(unit(model.rng, 2), 3)[0].shape == (2, 0)
    model.index.merge()
    assert (len(model.index), model.index.family.name) == (0, family if family == "hnsw" else "flat")
    model.truth.clear()
    model.store()
    vectors = unit(model.rng, START)
    model.index.add(everything, vectors)
    model.truth.update(zip(everything.tolist(), vectors, strict=True))
    model.search()
    model.index.merge()
    assert model.index.family.name == family
    model.compare()
    model.search()
    model.store()


@pytest.mark.parametrize("family", ["hnsw", "hnsw_sq8"])
def test_a_graph_is_built_anew_when_too_much_of_it_is_dead(tmp_path: Path, family: str) -> None:
    model = Model(family, seed=2, folder=tmp_path)
    ids = np.fromiter(model.truth, np.int64, len(model.truth))
    model.index.delete(ids[:100])
    model.index.merge()
    assert model.index.dead == 100
    model.index.delete(ids[100:250])
    model.index.merge()
    assert model.index.dead == 0
    model.truth = {one: vector for one, vector in model.truth.items() if one not in set(ids[:250].tolist())}
    model.compare()


@pytest.mark.parametrize("family", ["hnsw", "hnsw_sq8"])
def test_an_id_that_comes_back_is_found_under_its_new_vector_while_its_dead_row_is_there(tmp_path: Path, family: str) -> None:
    model = Model(family, seed=3, folder=tmp_path)
    one = int(model.some(1)[0])
    old, new = model.truth[one], unit(model.rng, 1)[0]
    model.index.delete([one])
    model.index.add([one], [new])
    for _ in range(2):
        ids, scores = model.index.search([new, old], 1)
        assert ids[0, 0] == one
        assert scores[0, 0] == pytest.approx(1.0, abs=1e-5)
        assert ids[1, 0] != one or scores[1, 0] == pytest.approx(float(old @ new), abs=1e-5)
        model.index.merge()
        assert (model.index.dead, model.index.delta) == (1, 1)


def test_change_is_due_at_a_share() -> None:
    model = Model("ivf_sq8", seed=4, folder=Path())
    assert not model.index.due
    model.index.delete(np.fromiter(model.truth, np.int64, len(model.truth))[:81])
    assert model.index.due
    model.index.merge()
    assert not model.index.due


@pytest.mark.parametrize(
    ("ids", "vectors", "error"),
    [
        ([-1], np.eye(D)[:1], QueryError),
        ([5, 5], np.eye(D)[:2], InvariantViolationError),
        ([5], np.eye(D)[:2], QueryError),
        ([5], np.zeros((1, D)), QueryError),
        ([5], np.full((1, D), np.nan), QueryError),
        ([5], np.eye(D)[:1] * 1.1, QueryError),
        ([5], np.eye(D)[:1, :3], QueryError),
        ([5.5], np.eye(D)[:1], QueryError),
    ],
)
def test_what_may_not_be_added_leaves_the_index_as_it_was(tmp_path: Path, ids: Any, vectors: Any, error: Any) -> None:
    model = Model("flat", seed=5, folder=tmp_path)
    with pytest.raises(error):
        model.index.add(ids, vectors)
    model.compare()
    assert model.index.delta == 0


def test_an_id_that_was_deleted_has_no_vector(tmp_path: Path) -> None:
    model = Model("flat", seed=6, folder=tmp_path)
    one = int(model.some(1)[0])
    assert np.array_equal(model.index.vectors_of([one])[0], model.truth[one])
    model.index.delete([one])
    with pytest.raises(NotFoundError):
        model.index.vectors_of([one])


def test_an_index_of_other_vectors_is_not_opened_for_changes(tmp_path: Path) -> None:
    model = Model("flat", seed=7, folder=tmp_path)
    model.store()
    np.save(tmp_path / "0" / "ids.npy", np.arange(START))
    with pytest.raises(IndexCorruptionError, match="different ids"):
        UpdatableIndex.open(tmp_path / "0", model.options)


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_changes_give_equal_bytes(tmp_path: Path, family: str) -> None:
    for name in "ab":
        model = Model(family, seed=8, folder=tmp_path)
        for step in ("delete", "add", "merge", "add", "delete", "add"):
            getattr(model, step)()
        (tmp_path / name).mkdir()
        model.index.save(tmp_path / name, arrays=True)
    for path in tree_files(tmp_path / "a"):
        name = path.relative_to(tmp_path / "a")
        assert path.read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scratch_copy_is_what_saving_makes_and_points_to_what_stayed(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "ONE_SHARD", 16)
    monkeypatch.setattr(arrays, "SHARD", START // 16)
    model = Model(family, seed=9, folder=tmp_path)
    with pytest.raises(RuntimeLifecycleError, match="no longer the one that was opened"):
        model.index.save_beside(tmp_path, tmp_path)
    model.store()
    gone = np.array(sorted(model.truth)[:2])
    model.index.delete(gone)
    model.index.add(gone, -np.stack([model.truth[one] for one in gone.tolist()]))
    for name in ("whole", "beside"):
        (tmp_path / name).mkdir()
    model.index.save(tmp_path / "whole", arrays=True)
    model.index.save_beside(tmp_path / "0", tmp_path / "beside")
    whole, beside = tree_files(tmp_path / "whole"), tree_files(tmp_path / "beside")
    assert [path.relative_to(tmp_path / "whole") for path in whole] == [
        path.relative_to(tmp_path / "beside") for path in beside
    ]
    for one, other in zip(whole, beside, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    links = [path.relative_to(tmp_path / "beside").as_posix() for path in beside if path.is_symlink()]
    assert {"faiss.index", "faiss.rows.npy", "vectors/shard-015.npy"} <= set(links) and "vectors/shard-000.npy" not in links


@pytest.mark.parametrize("family", ["flat", "ivf_sq8", "ivf_pqfs", "hnsw_sq8"])
def test_searches_while_the_index_changes_see_it_before_or_after(tmp_path: Path, family: str) -> None:
    model = Model(family, seed=9, folder=tmp_path)
    ever = dict(model.truth)
    stop = threading.Event()

    def search(seed: int) -> int:
        rng = np.random.default_rng(seed)
        searches = 0
        while not stop.is_set():
            query = unit(rng, 1)
            ids, scores = model.index.search(query, 5)
            searches += 1
            for one, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True):
                assert score == pytest.approx(float(ever[one] @ query[0]), abs=TOLERANCE)
        return searches

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(search, seed) for seed in range(3)]
        try:
            for round_ in range(30):
                ids = model.rng.choice(1 << 62, 10, replace=False)
                vectors = unit(model.rng, 10)
                ever.update(zip(ids.tolist(), vectors, strict=True))
                model.index.add(ids, vectors)
                model.index.delete(list(ever)[round_ * 5 : round_ * 5 + 5])
                if round_ % 10 == 9:
                    model.index.merge()
        finally:
            stop.set()
        assert sum(one.result() for one in running) > 0
