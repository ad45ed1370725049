"""The arrays of all vectors: sorted, in shards, and never taken for what they are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from pipeline.embed import arrays
from pipeline.embed.arrays import (
    Arrays,
    Shards,
    hashes_of,
    open_all,
    open_arrays,
    shard_count,
    shard_path,
    shard_starts,
    write_arrays,
)
from pipeline.errors import IndexCorruptionError
from pipeline.files import tree_files
from pipeline.index.dense.arrays import TrueVectors

D = 6


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "ONE_SHARD", 8)
    monkeypatch.setattr(arrays, "SHARD", 4)


def made(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(1 << 62, n, replace=False)) * 2, rng.standard_normal((n, D)).astype(np.float32)


def written(folder: Path, ids: np.ndarray, vectors: np.ndarray) -> Path:
    folder.mkdir()
    write_arrays(folder, ids, vectors)
    return folder


@pytest.mark.parametrize("n", [0, 1, 8, 9, 100])
def test_what_was_written_is_read(tmp_path: Path, n: int) -> None:
    ids, vectors = made(n)
    found = open_all(written(tmp_path / "a", ids, vectors))
    assert np.array_equal(found.ids, ids) and np.array_equal(found.vectors[:], vectors)
    assert found.vectors.shape == (n, D) and np.array_equal(found.hashes, hashes_of(vectors))
    assert isinstance(found.vectors, Shards) == (n > 8)


def test_how_many_shards_there_are_depends_on_the_number_of_vectors_alone() -> None:
    assert [shard_count(n) for n in (0, 8, 9, 32, 33, 10**9)] == [1, 1, 4, 8, 16, arrays.MOST_SHARDS]


def test_shards_one_after_the_other_are_the_vectors_in_the_order_of_their_ids(tmp_path: Path) -> None:
    ids, vectors = made(100)
    folder = written(tmp_path / "a", ids, vectors)
    shards = [np.load(shard_path(folder, number)) for number in range(shard_count(100))]
    assert np.array_equal(np.concatenate(shards), vectors)
    starts = shard_starts(ids)
    for number, (low, high) in enumerate(itertools.pairwise(starts)):
        assert (ids[low:high] >> (63 - 5) == number).all()


def test_ids_that_are_no_hashes_are_uneven_and_right(tmp_path: Path) -> None:
    ids, vectors = np.arange(1, 101), made(100)[1]
    _, rows = open_arrays(written(tmp_path / "a", ids, vectors))
    assert np.array_equal(rows[:], vectors) and np.array_equal(rows[np.array([99, 0])], vectors[[99, 0]])


def test_rows_are_read_by_slices_and_numbers_as_from_an_array(tmp_path: Path) -> None:
    ids, vectors = made(100)
    _, rows = open_arrays(written(tmp_path / "a", ids, vectors))
    rng = np.random.default_rng(1)
    for _ in range(30):
        start, stop = sorted(rng.integers(0, 101, 2).tolist())
        assert np.array_equal(rows[start:stop], vectors[start:stop])
        wanted = rng.integers(0, 100, (3, 5))
        assert np.array_equal(rows[wanted], vectors[wanted])
    assert np.array_equal(rows[5:90:7], vectors[5:90:7]) and rows[np.empty(0, np.int64)].shape == (0, D)


def test_scores_do_not_depend_on_shards(tmp_path: Path) -> None:
    ids, vectors = made(100)
    sharded, whole = TrueVectors.open(written(tmp_path / "a", ids, vectors)), TrueVectors(ids, vectors)
    rows = np.random.default_rng(2).integers(-1, 100, (4, 40))
    queries = made(4, seed=3)[1]
    assert np.array_equal(sharded.scores(queries, rows), whole.scores(queries, rows))
    assert np.array_equal(sharded.take(ids[[70, 3]]), vectors[[70, 3]])


def test_a_shard_that_did_not_change_is_linked(tmp_path: Path) -> None:
    ids, vectors = made(100)
    old = written(tmp_path / "a", ids, vectors)
    hashes = hashes_of(vectors)
    # One goes, one gets another vector.
    keep = np.arange(100) != 3
    vectors = vectors.copy()
    vectors[90] *= 2
    after = tmp_path / "b"
    after.mkdir()
    write_arrays(after, ids[keep], vectors[keep], earlier=(old, Arrays(ids, hashes, vectors)))
    whole = written(tmp_path / "whole", ids[keep], vectors[keep])
    for path in tree_files(after):
        assert path.read_bytes() == (whole / path.relative_to(after)).read_bytes()
    homes = {int(one >> (63 - 5)) for one in ids[[3, 90]]}
    for number in range(shard_count(99)):
        assert shard_path(after, number).samefile(shard_path(old, number)) == (number not in homes)


def test_opening_looks_into_no_shard_but_the_first(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", *made(100))
    for number in range(1, shard_count(100)):
        shard_path(folder, number).unlink()
    _, rows = open_arrays(folder)
    assert rows.shape == (100, D)
    with pytest.raises(IndexCorruptionError, match="shard-"):
        rows[:]


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize("damage", ["empty", "fewer", "type", "dimension", "remove"])
def test_a_damaged_shard_is_refused(tmp_path: Path, number: int, damage: str) -> None:
    folder = written(tmp_path / "a", *made(100))
    path = shard_path(folder, number)
    held = np.load(path)
    if damage in ("empty", "remove"):
        path.write_bytes(b"") if damage == "empty" else path.unlink()
    else:
        np.save(path, {"fewer": held[1:], "type": held.astype(np.float64), "dimension": held[:, 1:]}[damage])
    with pytest.raises(IndexCorruptionError, match=r"shard-"):
        open_arrays(folder)[1][:]


@pytest.mark.parametrize("name", ["ids.npy", "vector_hashes.npy"])
def test_ids_and_hashes_that_do_not_fit_are_refused(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / "a", *made(5))
    np.save(folder / name, np.load(folder / name)[1:])
    with pytest.raises(IndexCorruptionError):
        open_all(folder)
