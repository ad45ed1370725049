"""Opening, searching and looking up vectors."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline import files
from pipeline.config import IndexSettings
from pipeline.embed.arrays import write_arrays
from pipeline.errors import CodeIntelError, IndexCorruptionError, IndexFormatError, NotFoundError, QueryError
from pipeline.index.dense import index_files
from pipeline.index.dense.description import IndexMeta
from pipeline.index.dense.families import import_faiss
from pipeline.index.dense.stage import faiss_index
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.sealed import seal
from pipeline.stage import Artefact, Base, Output
from pipeline.workers import Runtime

N, D = 400, 16


def unit(n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def build(folder: Path, ids: np.ndarray, vectors: np.ndarray) -> Path:
    """Index and arrays in one folder, as in a version."""
    folder.mkdir()
    write_arrays(folder, ids, vectors)
    (folder / "embedder.json").write_text('{"digest": "abc"}')
    source: Artefact[Any] = Artefact(repo="r", asset="embeddings", key="k", path=folder, schema="", digest="", lineage={})
    faiss_index(source, IndexSettings(), Base(), Runtime(), Output(folder))
    return folder


IDS = np.sort(np.random.default_rng(7).choice(1 << 62, N, replace=False))
VECTORS = unit(N)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build(tmp_path / "v", IDS, VECTORS)


@pytest.fixture
def index(folder: Path) -> VectorIndex:
    return VectorIndex.open(folder)


def nearest(ids: np.ndarray, scores: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> bool:
    """Whether these are the best of VECTORS[rows]; scores may differ by rounding, and so may the order of near-ties."""
    found = np.searchsorted(IDS, ids)
    best = -np.sort(-(queries @ VECTORS[rows].T), axis=1)[:, : ids.shape[1]]
    return bool(
        np.array_equal(IDS[found], ids)
        and np.isin(found, rows).all()
        and all(len(set(row)) == len(row) for row in ids.tolist())
        and np.allclose(scores, np.take_along_axis(queries @ VECTORS.T, found, axis=1), atol=1e-6)
        and np.allclose(scores, best, atol=1e-6)
        and (np.diff(scores, axis=1) <= 0).all()
    )


@pytest.mark.parametrize("q", [1, 64])
@pytest.mark.parametrize("k", [1, 10, 200])
def test_search_finds_exactly_the_nearest(index: VectorIndex, q: int, k: int) -> None:
    queries = unit(q, seed=3)
    ids, scores = index.search(queries, k)
    assert (ids.dtype, scores.dtype, ids.shape, scores.shape) == (np.int64, np.float32, (q, k), (q, k))
    assert nearest(ids, scores, queries, np.arange(N))


@pytest.mark.parametrize("q", [1, 64])
@pytest.mark.parametrize("share", [1, 7, 300])
def test_an_allow_list_gives_the_nearest_of_those_that_it_allows(index: VectorIndex, q: int, share: int) -> None:
    rows = np.sort(np.random.default_rng(share).choice(N, share, replace=False))
    queries = unit(q, seed=4)
    allowed = np.random.default_rng(0).permutation(np.concatenate([IDS[rows], IDS[rows][:3], [5, 6, -1]]))
    ids, scores = index.search(queries, 20, allowed=allowed)
    assert ids.shape == (q, min(20, share))
    assert nearest(ids, scores, queries, rows)


@pytest.mark.parametrize("allowed", [[], [1, 2, 3], np.array([-1])])
def test_an_allow_list_of_nothing_finds_nothing(index: VectorIndex, allowed: Any) -> None:
    ids, scores = index.search(unit(2), 5, allowed=allowed)
    assert ids.shape == scores.shape == (2, 0)


def test_a_search_does_not_remember_the_allow_list_of_another(index: VectorIndex) -> None:
    queries = unit(5, seed=8)
    before, _ = index.search(queries, 10)
    index.search(queries, 10, allowed=IDS[:3])
    assert np.array_equal(index.search(queries, 10)[0], before)


@pytest.mark.parametrize("q", [1, 64])
@pytest.mark.parametrize("k", [1, 5, 40, 60, 150])
@pytest.mark.parametrize("filtered", [False, True])
def test_equal_scores_come_in_order_of_their_ids(tmp_path: Path, q: int, k: int, filtered: bool) -> None:
    vectors = VECTORS.copy()
    vectors[100:150] = vectors[100]
    index = VectorIndex.open(build(tmp_path / "v", IDS, vectors))
    ids, _ = index.search(np.repeat(vectors[100:101], q, axis=0), k, allowed=IDS if filtered else None)
    assert (ids[:, :50] == IDS[100 : 100 + min(k, 50)]).all()


def test_k_is_clipped_to_what_there_is(index: VectorIndex) -> None:
    assert index.search(unit(1), 10_000)[0].shape == (1, N)
    assert index.search(unit(1), np.int64(3))[0].shape == (1, 3)  # type: ignore[arg-type]
    assert index.search(np.empty((0, D), np.float32), 3)[0].shape == (0, 0)


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None, "3"])
def test_a_k_that_is_no_whole_number_above_0_is_refused(index: VectorIndex, k: Any) -> None:
    with pytest.raises(QueryError, match="k = "):
        index.search(unit(1), k)


@pytest.mark.parametrize(
    "queries",
    [
        unit(1)[0],
        unit(2)[:, :5],
        np.zeros((1, 1, D), np.float32),
        np.full((1, D), np.nan),
        np.full((1, D), 1e300),
        [[1.0], [1.0, 2.0]],
        [["a"] * D],
        None,
    ],
)
def test_queries_that_faiss_would_misread_are_refused(index: VectorIndex, queries: Any) -> None:
    with pytest.raises(QueryError):
        index.search(queries, 3)


@pytest.mark.parametrize("ids", [[1.5], ["a"], [[1]], [1 << 63], [1 << 70], [True], None, 3])
def test_ids_that_are_none_are_refused(index: VectorIndex, ids: Any) -> None:
    with pytest.raises(QueryError):
        index.vectors_of(ids)
    if ids is not None:
        with pytest.raises(QueryError):
            index.search(unit(1), 3, allowed=ids)


def test_queries_of_other_layouts_and_types_are_understood(index: VectorIndex) -> None:
    queries = unit(4, seed=5)
    expected, _ = index.search(queries, 5)
    for same in (queries.astype(np.float64), np.asfortranarray(queries), queries.tolist()):
        assert np.array_equal(index.search(same, 5)[0], expected)


def test_padding_is_masked_and_stands_last(index: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: object) -> tuple[np.ndarray, np.ndarray]:
        """As an inverted file answers that visited too few lists."""
        return (
            np.array([[7, 8, -1, -1], [9, -1, -1, -1]]),
            np.array([[0.5, 0.9, 3.4e38, 3.4e38], [0.1, -3.4e38, -3.4e38, -3.4e38]], np.float32),
        )

    monkeypatch.setattr(index._parts.primary, "search", search)
    ids, scores = index.search(unit(2), 4)
    assert ids.tolist() == [[8, 7], [9, -1]]
    assert scores.tolist() == [[np.float32(0.9), 0.5], [np.float32(0.1), -np.inf]]


def test_threads_that_search_at_once_get_their_own_answers(index: VectorIndex) -> None:
    def ask(seed: int) -> bool:
        rows = np.sort(np.random.default_rng(seed).choice(N, 50, replace=False))
        queries = unit(2, seed=seed)
        ids, scores = index.search(queries, 9, allowed=IDS[rows])
        return ids.shape == (2, 9) and nearest(ids, scores, queries, rows)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(300)))


def test_a_search_leaves_the_number_of_threads_as_it_was(index: VectorIndex) -> None:
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        index.search(unit(1), 2)
        index.search(unit(9), 2)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


def test_vectors_come_in_the_order_asked(index: VectorIndex) -> None:
    rows = [5, 399, 0, 5]
    assert np.array_equal(index.vectors_of(IDS[rows]), VECTORS[rows])
    assert index.vectors_of([]).shape == (0, D)


@pytest.mark.parametrize("unknown", [0, (1 << 63) - 1, -1])
def test_an_id_without_a_vector_is_named(index: VectorIndex, unknown: int) -> None:
    with pytest.raises(NotFoundError, match=str(unknown)):
        index.vectors_of([int(IDS[0]), unknown])


def test_an_index_alone_searches_and_finds_vectors_elsewhere(tmp_path: Path, folder: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("faiss.index", "faiss.meta.json"):
        (folder / name).rename(alone / name)
    index = VectorIndex.open(alone, vectors=folder)
    ids, _ = index.search(VECTORS[:3], 1)
    assert np.array_equal(index.vectors_of(ids[:, 0]), VECTORS[:3])


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    index = VectorIndex.open(build(tmp_path / "v", np.empty(0, np.int64), np.empty((0, D), np.float32)))
    assert index.search(unit(2), 3)[0].shape == (2, 0)
    assert index.vectors_of([]).shape == (0, D)
    with pytest.raises(NotFoundError):
        index.vectors_of([1])


def no_faiss(path: Path, file: object, *, mapped: str) -> Any:
    raise AssertionError("FAISS was given damaged bytes")


def test_no_truncation_reaches_faiss(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_files, "parse", no_faiss)
    path = folder / "faiss.index"
    whole = path.read_bytes()
    for length in {0, 1, 4, len(whole) - 1, *range(0, len(whole), 997)}:
        path.write_bytes(whole[:length])
        for verified in (False, True):
            with pytest.raises(IndexCorruptionError, match=r"faiss\.index has"):
                VectorIndex.open(folder, verified=verified)
    path.write_bytes(whole + b"\0")
    with pytest.raises(IndexCorruptionError):
        VectorIndex.open(folder)
    path.unlink()
    with pytest.raises(IndexCorruptionError, match="cannot be read"):
        VectorIndex.open(folder)


def test_no_flipped_bit_reaches_faiss(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_files, "parse", no_faiss)
    path = folder / "faiss.index"
    whole = bytearray(path.read_bytes())
    for position in [*range(64), *range(64, len(whole), 499), len(whole) - 1]:
        whole[position] ^= 1 << position % 8
        path.write_bytes(whole)
        with pytest.raises(IndexCorruptionError, match="digest"):
            VectorIndex.open(folder)
        whole[position] ^= 1 << position % 8


def test_a_digest_that_was_checked_is_not_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again() -> Any:
        raise AssertionError("digested")

    monkeypatch.setattr(files, "new_hash", again)
    assert VectorIndex.open(folder, verified=True).count == N


def test_a_damaged_description_is_refused_or_says_the_same(folder: Path) -> None:
    path = folder / "faiss.meta.json"
    whole = path.read_bytes()
    expected, _ = VectorIndex.open(folder).search(VECTORS[:4], 5)
    refused = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            # What is left over are names that nothing depends on, such as the version of FAISS.
            assert np.array_equal(VectorIndex.open(folder).search(VECTORS[:4], 5)[0], expected)
        except CodeIntelError:
            refused += 1
        path.write_bytes(whole[:position])
        with pytest.raises(IndexCorruptionError) if position < len(whole) - 1 else pytest.MonkeyPatch.context():
            VectorIndex.open(folder)
    assert refused > len(whole) * 0.6
    path.unlink()
    with pytest.raises(IndexCorruptionError):
        VectorIndex.open(folder)


def rewrite(folder: Path, **changes: Any) -> None:
    """Another description under a seal of its own."""
    path = folder / "faiss.meta.json"
    changed = msgspec.json.decode(path.read_bytes()) | changes
    with contextlib.suppress(msgspec.ValidationError):
        changed["seal"] = seal(msgspec.convert(changed, IndexMeta)).seal
    path.write_bytes(msgspec.json.encode(changed))


@pytest.mark.parametrize(
    "change",
    [
        {"dimension": D + 1},
        {"count": N - 1, "primary": N - 1},
        {"metric": "l2"},
        {"family": "ivf_sq8", "mapping": "native"},
    ],
)
def test_an_index_that_is_not_as_described_is_refused(folder: Path, change: dict[str, Any]) -> None:
    rewrite(folder, **change)
    with pytest.raises(IndexCorruptionError, match="holds 400 vectors of dimension 16"):
        VectorIndex.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"count": N - 1},
        {"mapping": "native"},
        {"family": "ivf"},
        {"normalisation": "none"},
        {"delta": 3, "count": N + 3},
        {"deleted": 3, "count": N - 3},
        {"files": {}},
        {"files": {"faiss.index": {"bytes": 1, "digest": ""}, "deletions.npy": {"bytes": 1, "digest": ""}}},
    ],
)
def test_a_description_that_contradicts_itself_is_refused(folder: Path, change: dict[str, Any]) -> None:
    rewrite(folder, **change)
    with pytest.raises(IndexCorruptionError, match="contradicts itself"):
        VectorIndex.open(folder)


def test_a_description_without_its_seal_vouches_for_nothing(folder: Path) -> None:
    path = folder / "faiss.meta.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {"count": N - 1, "primary": N - 1}))
    with pytest.raises(IndexCorruptionError, match="seal"):
        VectorIndex.open(folder)


def test_a_newer_format_is_told_from_damage(folder: Path) -> None:
    rewrite(folder, version=4, something="new")
    with pytest.raises(IndexFormatError, match="format 4"):
        VectorIndex.open(folder)


def test_bytes_that_faiss_cannot_read_are_an_error_of_ours(folder: Path) -> None:
    raw = b"no index at all" * 100
    (folder / "faiss.index").write_bytes(raw)
    meta = msgspec.json.decode((folder / "faiss.meta.json").read_bytes())
    rewrite(folder, files=meta["files"] | {"faiss.index": {"bytes": len(raw), "digest": files.digest_bytes(raw)}})
    with pytest.raises(IndexCorruptionError, match="FAISS cannot read"):
        VectorIndex.open(folder)


@pytest.mark.parametrize("name", ["ids.npy", "vectors/shard-000.npy"])
def test_damaged_arrays_are_refused_when_vectors_are_asked_for(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for length in {0, 5, 60, 128, len(whole) // 2, len(whole) - 1}:
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(IndexCorruptionError, match=name):
            VectorIndex.open(folder).vectors_of(IDS[:1])


def test_arrays_of_another_index_are_refused(folder: Path) -> None:
    write_arrays(folder, IDS[:-1], VECTORS[:-1])
    with pytest.raises(IndexCorruptionError, match="399 vectors"):
        VectorIndex.open(folder).vectors_of(IDS[:1])


def test_reading_vectors_loads_neither_pyarrow_nor_duckdb(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.index.dense.vectors import VectorIndex; "
        f"VectorIndex.open(Path({str(folder)!r})).search([[1.0] * {D}], 3); "
        "sys.exit(any(name in sys.modules for name in ('pyarrow', 'duckdb', 'pandas', 'dagster')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
