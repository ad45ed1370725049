"""Every family behind the one search path: what is found, what it costs, and that filters, threads and damage do no harm."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline import files
from pipeline.config import IndexSettings
from pipeline.embed.arrays import write_arrays
from pipeline.errors import CodeIntelError, ConfigError, QueryError
from pipeline.index.dense import building, index_files, searching, stage
from pipeline.index.dense.arrays import TrueVectors
from pipeline.index.dense.building import build
from pipeline.index.dense.families import FAMILIES, Maps, import_faiss
from pipeline.index.dense.index_files import write_index
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.dense.searching import SearchCost
from pipeline.index.dense.shards import build_sharded
from pipeline.index.dense.stage import faiss_idmap, faiss_index
from pipeline.index.dense.updates import UpdatableIndex
from pipeline.index.dense.vectors import VectorIndex
from pipeline.stage import Artefact, Base, Output
from pipeline.workers import Runtime

N, D = 3000, 32
APPROXIMATE = [name for name, family in FAMILIES.items() if not family.exact]


def settings(family: Any, **others: Any) -> IndexSettings:
    return IndexSettings(faiss_family=family, **({"nlist": 24, "pq_nbits": 5, "hnsw_M": 12} | others))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other over a few thousand vectors take most of the time on a busy machine."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


def clustered(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, D))
    rows = centres[rng.integers(0, 40, n)] + 0.8 * rng.standard_normal((n, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


IDS = np.sort(np.random.default_rng(7).choice(1 << 62, N, replace=False))
VECTORS = clustered(N, 1)
QUERIES = clustered(50, 2)


def built(folder: Path, options: IndexSettings) -> Path:
    folder.mkdir()
    write_arrays(folder, IDS, VECTORS)
    (folder / "embedder.json").write_text('{"digest": "abc"}')
    source: Artefact[Any] = Artefact(repo="r", asset="embeddings", key="k", path=folder, schema="", digest="", lineage={})
    faiss_index(source, options, Base(), Runtime(), Output(folder))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(family) / "v"
            made[family] = rotated(folder) if family == "opq" else built(folder, settings(family))
        return made[family]

    return folder_of


def recall(found: np.ndarray, rows: np.ndarray, k: int) -> float:
    """By distance: the share of answers that are at least as good as the k-th of those of VECTORS[rows]."""
    scores = QUERIES @ VECTORS[rows].T
    worst = np.sort(scores, axis=1)[:, -k]
    own = np.einsum("qkd,qd->qk", VECTORS[np.searchsorted(IDS, found)], QUERIES)
    return float(((own >= worst[:, None] - 1e-6) & (found >= 0)).sum() / (len(QUERIES) * k))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_index_of_every_family_finds_nearly_all(folders: Any, family: str) -> None:
    index = VectorIndex.open(folders(family))
    ids, scores = index.search(QUERIES, 10)
    assert index.family.name == family
    # Plain product quantisation re-ranks no more than it is asked for: its recall is that of its codes.
    assert recall(ids, np.arange(N), 10) >= (0.4 if family == "ivf_pq" else 0.9)
    true = np.einsum("qkd,qd->qk", VECTORS[np.searchsorted(IDS, ids)], QUERIES)
    assert np.allclose(scores, true, atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("selectors", [False, True])
@pytest.mark.parametrize("share", [4, 300, 1500])
@pytest.mark.parametrize("family", [*APPROXIMATE, "opq"])
def test_a_filter_lets_only_through_what_it_allows_and_leaves_no_row_short(
    folders: Any, family: str, share: int, selectors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if selectors:
        monkeypatch.setattr(searching, "_EXACT_ALLOWED", 0)
        monkeypatch.setattr(searching, "_EXACT_COST", 1 << 40)
    rows = np.sort(np.random.default_rng(share).choice(N, share, replace=False))
    index = VectorIndex.open(folders(family))
    ids, _ = index.search(QUERIES, 10, allowed=np.concatenate([IDS[rows][::-1], [3, 4]]))
    assert ids.shape == (len(QUERIES), min(10, share))
    assert np.isin(ids, IDS[rows]).all()
    assert recall(ids, rows, min(10, share)) >= (0.5 if family == "ivf_pq" else 0.9)


def rotated(folder: Path) -> Path:
    """Product quantisation behind a learned rotation, from fewer vectors than `choose` would learn it from."""
    family = FAMILIES["ivf_pq_refine"]
    options = settings("ivf_pq_refine", opq_m=8)
    folder.mkdir()
    write_arrays(folder, IDS, VECTORS)
    primary, training = build(family, IDS, VECTORS, options)
    index_files.write_parts(
        folder,
        primary,
        None,
        np.empty(0, np.int64),
        rows=index_files.PrimaryRows(primary.ids(), np.zeros(len(primary), np.uint64)),
        factory=family.factory(D, N, options),
        training=training,
        point=OperatingPoint(nprobe=8, k_factor=8.0),
        embedder_digest="",
    )
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cost_of_a_search_is_told_and_depends_on_nothing_but_the_search(folders: Any, family: str) -> None:
    index = VectorIndex.open(folders(family))
    costs: list[SearchCost] = []
    for _ in range(2):
        index.search(QUERIES, 10, observe=costs.append)
    one, other = costs
    assert (one.queries, one.pool, one.kept) == (other.queries, other.pool, other.kept)
    assert one.queries == len(QUERIES)
    assert one.pool <= len(QUERIES) * 10 * index.point.k_factor
    assert 0.3 < one.kept <= 1
    assert min(one.ann_seconds, one.rerank_seconds) >= 0


@pytest.mark.parametrize("family", APPROXIMATE)
def test_trying_harder_scores_more_and_finds_no_less(folders: Any, family: str) -> None:
    index = VectorIndex.open(folders(family))
    parameter = index.family.parameter
    scored, recalls = [], []
    for effort in (1, 8, 24):
        point = OperatingPoint(
            nprobe=effort if parameter == "nprobe" else None,
            ef_search=10 * effort if parameter == "efSearch" else None,
            k_factor=float(effort),
        )
        ids, _ = index.search(QUERIES, 10, point=point)
        scored.append(index.scored(QUERIES, 10)(point))
        recalls.append(recall(ids, np.arange(N), 10))
    assert scored == sorted(set(scored))
    assert recalls[0] <= recalls[1] <= recalls[2] + 0.02
    assert recalls[2] >= 0.97


@pytest.mark.parametrize(
    "point",
    [
        OperatingPoint(nprobe=0),
        OperatingPoint(nprobe=25),
        OperatingPoint(),
        OperatingPoint(nprobe=2, ef_search=3),
        OperatingPoint(nprobe=2, k_factor=0.5),
        OperatingPoint(nprobe=2, k_factor=float("nan")),
        OperatingPoint(nprobe=2, k_factor=float("inf")),
    ],
)
def test_a_point_that_the_index_cannot_be_searched_at_is_refused(folders: Any, point: OperatingPoint) -> None:
    with pytest.raises(QueryError):
        VectorIndex.open(folders("ivf_sq8")).search(QUERIES, 3, point=point)


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_that_search_at_other_points_and_filters_get_their_own_answers(folders: Any, family: str) -> None:
    index = VectorIndex.open(folders(family))
    parameter = index.family.parameter

    def ask(seed: int) -> tuple[np.ndarray, np.ndarray]:
        point = OperatingPoint(
            nprobe=seed % 24 + 1 if parameter == "nprobe" else None,
            ef_search=seed % 50 + 5 if parameter == "efSearch" else None,
            k_factor=float(seed % 5 + 1),
        )
        allowed = IDS[seed % 7 :: 1 + seed % 2] if seed % 3 else None
        ids, scores = index.search(QUERIES[seed % 50 : seed % 50 + 1], 7, allowed=allowed, point=point)
        return ids, scores

    alone = [ask(seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(60)))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_idmap_of_every_family_names_each_id_once(tmp_path: Path, folders: Any, family: str) -> None:
    index: Artefact[Any] = Artefact("r", "faiss_index", "k", folders(family), "", "", {})
    assert faiss_idmap(index, Output(tmp_path)) == {"rows": N}
    idmap = VectorIndex.open(folders(family)).idmap()
    assert np.array_equal(np.sort(idmap.ids), IDS)
    assert np.array_equal(idmap.rows, np.arange(N))


def is_mapped(path: Path) -> bool:
    """Whether this process has a file mapped into its memory."""
    return str(path.resolve()) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.maps])
def test_what_stays_in_the_file_gives_the_same_answers(folders: Any, family: str) -> None:
    faiss = import_faiss()
    path = folders(family) / "faiss.index"
    loaded = VectorIndex.open(folders(family), mapped=False)
    assert not is_mapped(path)
    mapped = VectorIndex.open(folders(family), mapped=True, verified=True)
    assert is_mapped(path)
    if FAMILIES[family].maps == "lists":
        assert isinstance(mapped._parts.primary._lists, faiss.OnDiskInvertedLists)
    for one, other in zip(loaded.search(QUERIES, 10), mapped.search(QUERIES, 10), strict=True):
        assert np.array_equal(one, other)
    del mapped
    assert not is_mapped(path)


@pytest.mark.parametrize("family", [*FAMILIES, "opq"])
def test_a_build_is_the_same_bytes_with_one_thread_and_with_two(tmp_path: Path, family: str) -> None:
    faiss = import_faiss()
    name, options = family, settings(family)
    if family == "opq":
        # Where this many dimensions are rotated, two threads would give other bytes than one.
        name, options = "ivf_pq", settings("ivf_pq", nlist=4, pq_nbits=4, pq_m=4, opq_m=4)
    before = faiss.omp_get_max_threads()
    written = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            index, training = build(FAMILIES[name], IDS[:1000], VECTORS[:1000], options)
            written.append((write_index(index.index, tmp_path / str(threads)), training))
    finally:
        faiss.omp_set_num_threads(before)
    assert written[0] == written[1]


@pytest.mark.parametrize("nlist", [24, 2000])
@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.maps == "lists"])
def test_shards_joined_on_disk_are_the_bytes_of_one_piece(tmp_path: Path, family: str, nlist: int) -> None:
    options = settings(family, nlist=nlist, pq_nbits=4)
    # With few distinct vectors most lists are empty, which FAISS writes in another way.
    vectors = VECTORS if nlist == 24 else VECTORS[np.arange(N) % 300]
    whole, _ = build(FAMILIES[family], IDS, vectors, options)
    written = write_index(whole.index, tmp_path / "whole")
    (tmp_path / "scratch").mkdir()
    sharded, training = build_sharded(
        FAMILIES[family], IDS, vectors, options, tmp_path / "sharded", shard=700, scratch=tmp_path / "scratch"
    )
    assert sharded == written
    assert (tmp_path / "sharded").read_bytes() == (tmp_path / "whole").read_bytes()
    assert training is not None
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("family", ["flat", "hnsw", "ivf_pqfs"])
def test_a_family_without_lists_in_a_file_is_not_built_in_shards(tmp_path: Path, family: str) -> None:
    with pytest.raises(ConfigError, match="cannot be built in shards"):
        build_sharded(FAMILIES[family], IDS, VECTORS, settings(family), tmp_path / "i", shard=9, scratch=tmp_path)


def test_opening_says_in_one_line_what_was_opened_and_how_it_was_vouched_for(
    folders: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="pipeline.index"):
        VectorIndex.open(folders("ivf_sq8"))
    assert len(caplog.records) == 1
    digest = VectorIndex.open(folders("ivf_sq8")).meta.files["faiss.index"].digest
    for word in (
        "ivf_sq8 IVF24,SQ8 (native, inner_product, l2, dimension 32)", f"{N} vectors ({N} rows, 0 in the delta, 0 deleted)",
        "nprobe=8,k_factor=2", f"faiss.index {digest[:16]}", "sealed ", "verified now",
        "GPU: off, it was not opened for searching",
    ):  # fmt: skip
        assert word in caplog.text


def test_the_audit_line_is_one_line_whatever_the_folder_is_called(
    folders: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = shutil.copytree(folders("flat"), tmp_path / "a\nopened \x1b[31mb")
    with caplog.at_level(logging.INFO, logger="pipeline.index"):
        VectorIndex.open(odd)
        UpdatableIndex.open(odd, settings("flat"))
    assert len(caplog.messages) == 2
    assert all(line.isprintable() and "a\\nopened \\x1b[31mb" in line for line in caplog.messages)


def mutations(raw: bytes, seed: int) -> bytes:
    """Truncated, bits flipped, or a piece zeroed; never what it was."""
    rng = np.random.default_rng(seed)
    data = bytearray(raw)
    kind = seed % 3
    at = int(rng.integers(0, len(data)))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        for place in rng.integers(0, len(data), int(rng.integers(1, 9))).tolist():
            data[place] ^= 1 << int(rng.integers(0, 8))
    else:
        data[at : at + int(rng.integers(1, 4096))] = bytes(len(data[at : at + int(rng.integers(1, 4096))]))
    return bytes(data)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_damaged_index_is_refused_or_answers_as_before(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred mutations of each family: FAISS, which can crash, hang or allocate without bound, sees none of them."""
    folder = tmp_path / "v"
    folder.mkdir()
    options = settings(family, nlist=5, pq_nbits=4)
    changing = UpdatableIndex.build(IDS[:800], VECTORS[:800], options)
    changing.add(IDS[800:830], VECTORS[800:830])
    changing.delete(IDS[:20])
    changing.save(folder, arrays=True)
    expected = VectorIndex.open(folder).search(QUERIES[:3], 5)
    names = ["faiss.index", "faiss.delta.index", "deletions.npy", "faiss.meta.json"]
    originals = {name: (folder / name).read_bytes() for name in names}
    parsed: list[bytes] = []
    real = index_files.parse

    def parse(path: Path, file: Any, *, mapped: Maps) -> Any:
        parsed.append(path.read_bytes())
        return real(path, file, mapped=mapped)

    monkeypatch.setattr(index_files, "parse", parse)
    refused = 0
    for seed in range(100):
        name = names[seed % 7 % 4]
        (folder / name).write_bytes(damaged := mutations(originals[name], seed))
        parsed.clear()
        try:
            again = VectorIndex.open(folder, mapped=bool(seed % 2)).search(QUERIES[:3], 5)
            assert all(np.array_equal(one, other) for one, other in zip(again, expected, strict=True))
            assert damaged == originals[name] or name == "faiss.meta.json"
        except CodeIntelError:
            refused += 1
        assert all(raw in originals.values() for raw in parsed), "FAISS was given damaged bytes"
        (folder / name).write_bytes(originals[name])
    assert refused >= 95


def test_an_index_of_a_small_corpus_is_exact_whatever_is_set(tmp_path: Path) -> None:
    index = VectorIndex.open(built(tmp_path / "v", settings("ivf_sq8", nlist=1024)))
    meta = msgspec.json.decode((tmp_path / "v" / "faiss.meta.json").read_bytes())
    assert (index.family.name, meta["factory"], meta["training"]) == ("flat", "IDMap2,Flat", None)


def test_what_does_not_fit_the_memory_is_built_in_shards_to_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = built(tmp_path / "whole", settings("ivf_flat"))
    joined: list[int] = []

    def noted(*given: Any, shard: int, **others: Any) -> Any:
        joined.append(shard)
        # A megabyte holds more than all of these vectors.
        return build_sharded(*given, shard=500, **others)

    monkeypatch.setattr(stage, "build_sharded", noted)
    monkeypatch.setattr(stage, "beyond", lambda *given: building.beyond(*given) or 500)
    sharded = built(tmp_path / "sharded", settings("ivf_flat", faiss_memory_mb=1))
    assert len(joined) == 1
    for path in files.tree_files(sharded):
        assert path.read_bytes() == (whole / path.relative_to(sharded)).read_bytes(), path.name


def test_only_what_does_not_fit_and_can_be_cut_is_cut() -> None:
    options = settings("ivf_sq8", faiss_memory_mb=1)
    assert building.beyond(FAMILIES["ivf_sq8"], 10_000, 32, options) == 0
    assert building.beyond(FAMILIES["ivf_sq8"], 100_000, 32, options) == (1 << 20) // 40
    assert building.beyond(FAMILIES["hnsw_sq8"], 100_000, 32, options) == 0
    assert building.beyond(FAMILIES["ivf_sq8"], 100_000, 32, settings("ivf_sq8")) == 0


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.true_scores])
@pytest.mark.parametrize("count", [1, 300])
def test_scores_that_are_not_re_ranked_are_those_of_the_true_vectors_bit_by_bit(folders: Any, family: str, count: int) -> None:
    index = VectorIndex.open(folders(family))
    queries = clustered(count, 77)
    ids, scores = index.search(queries, 20)
    truth = TrueVectors.open(folders(family))
    assert np.array_equal(scores, truth.scores(queries, truth.rows(ids)))
