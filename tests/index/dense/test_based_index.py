"""An index that is built on an earlier one: it finds what a full build finds, and its primary is not written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import instruments
from pipeline.config import IndexSettings
from pipeline.embed.arrays import open_arrays, write_arrays
from pipeline.errors import IndexCorruptionError, InvariantViolationError
from pipeline.files import digest_file, tree_files
from pipeline.index.dense import stage
from pipeline.index.dense.description import read_meta
from pipeline.index.dense.families import FAMILIES
from pipeline.index.dense.index_files import read_rows
from pipeline.index.dense.operating_point import thorough
from pipeline.index.dense.stage import faiss_idmap, faiss_index
from pipeline.index.dense.updates import FOLD_SHARE
from pipeline.index.dense.vectors import VectorIndex, stored_idmap
from pipeline.schemas import FaissIndex
from pipeline.stage import Artefact, Base, Facts, Output
from pipeline.workers import Runtime

N, D = 600, 16
Corpus = dict[int, np.ndarray]
EXACT = ("flat", "ivf_flat")


@pytest.fixture(autouse=True)
def small_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LEAST_BASED", 100)


def settings(family: Any = "flat") -> IndexSettings:
    return IndexSettings(faiss_family=family, nlist=4, pq_nbits=4, hnsw_M=8, hnsw_efConstruction=32)


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.standard_normal((count, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def corpus(seed: int = 0, count: int = N) -> Corpus:
    rng = np.random.default_rng(seed)
    return dict(zip(rng.choice(1 << 62, count, replace=False).tolist(), unit(rng, count), strict=True))


def changed(had: Corpus, rng: np.random.Generator, count: int = 5) -> Corpus:
    """Some go, some come, some get another vector under their id."""
    now = dict(had)
    some = rng.choice(sorted(now), 2 * count, replace=False).tolist()
    for gone in some[:count]:
        del now[gone]
    now |= dict(zip(some[count:], unit(rng, count), strict=True))
    return now | dict(zip(rng.choice(1 << 62, count, replace=False).tolist(), unit(rng, count), strict=True))


class Builds:
    """Embeddings and indexes of corpora, each in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0

    def __call__(self, had: Corpus, base: Artefact[Any] | None = None, family: str = "flat") -> tuple[Artefact[Any], Facts]:
        self.count += 1
        folder = self.root / str(self.count)
        folder.mkdir()
        ids = np.array(sorted(had), np.int64)
        write_arrays(folder, ids, np.array([had[one] for one in ids.tolist()], np.float32).reshape(len(ids), D))
        (folder / "embedder.json").write_text('{"digest": "abc"}')
        source: Artefact[Any] = Artefact("r", "embeddings", f"e{self.count}", folder, "", "", {})
        out = folder / "index"
        out.mkdir()
        facts = faiss_index(source, settings(family), Base(base), Runtime(), Output(out))
        found = {path.name: digest_file(path) for path in tree_files(out)}
        return Artefact("r", "faiss_index", f"k{self.count}", out, "", "", {}, facts, digests=found), facts


@pytest.fixture
def build(tmp_path: Path) -> Builds:
    return Builds(tmp_path)


def opened(made: Artefact[Any]) -> VectorIndex:
    return VectorIndex.open(made.path, vectors=made.path.parent)


def answers(made: Artefact[Any], queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    index = opened(made)
    point = thorough(index.point, index.nlist)
    found = [index.search(query[None], 10, point=point) for query in queries]
    return np.concatenate([ids for ids, _ in found]), np.concatenate([scores for _, scores in found])


@pytest.mark.parametrize("family", EXACT)
def test_after_any_history_an_exact_search_answers_as_after_a_full_build(build: Builds, family: str) -> None:
    rng = np.random.default_rng(1)
    now = corpus()
    known = [now]
    base, _ = build(now, family=family)
    for step in range(6):
        now = known[step // 2] if step == 4 else changed(now, rng, count=2)
        known.append(now)
        full, _ = build(now, family=family)
        based, facts = build(now, base, family)
        assert facts["base"] == base.key and based.path.joinpath(FaissIndex.INDEX).samefile(base.path / FaissIndex.INDEX)
        queries = np.concatenate([unit(rng, 20), np.array(list(now.values())[:20])])
        for ours, theirs in zip(answers(based, queries), answers(full, queries), strict=True):
            assert np.array_equal(ours, theirs), step


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in EXACT])
def test_a_coded_family_finds_as_much_with_a_base_as_without(build: Builds, family: str) -> None:
    rng = np.random.default_rng(2)
    now = corpus()
    base, _ = build(now, family=family)
    for _ in range(3):
        now = changed(now, rng)
    based, facts = build(now, base, family)
    full, _ = build(now, family=family)
    assert facts["base"] == base.key and facts["delta"] and facts["deleted"]
    queries = unit(rng, 50)
    ids = np.array(sorted(now))
    truth = np.sort(queries @ np.array([now[one] for one in ids.tolist()]).T, axis=1)[:, -10]

    def recall(made: Artefact[Any]) -> float:
        return float((answers(made, queries)[1] >= truth[:, None] - 1e-5).mean())

    assert recall(based) >= min(0.95, recall(full) - 0.01)


def test_every_row_is_named_by_what_is_written_beside_the_index(build: Builds, tmp_path: Path) -> None:
    for family in ("flat", "ivf_sq8"):
        base, _ = build(corpus(), family=family)
        based, _ = build(changed(corpus(), np.random.default_rng(3)), base, family)
        for made in (base, based):
            for ours, theirs in zip(stored_idmap(made.path), opened(made).idmap(), strict=True):
                assert np.array_equal(ours, theirs)
            assert np.array_equal(read_rows(made.path, read_meta(made.path), verified=False).ids, opened(made).primary_ids())
        out = tmp_path / f"map-{family}"
        out.mkdir()
        assert faiss_idmap(based, Output(out))["rows"] == based.facts["rows"]


def test_what_says_nothing_of_the_vectors_is_kept_from_the_base(build: Builds) -> None:
    base, _ = build(corpus(), family="ivf_sq8")
    based, _ = build(changed(corpus(), np.random.default_rng(4)), base, "ivf_sq8")
    old, new = read_meta(base.path), read_meta(based.path)
    assert (old.primary, old.training, old.factory, old.parameters) == (new.primary, new.training, new.factory, new.parameters)
    assert new.count == new.primary + new.delta - new.deleted == len(changed(corpus(), np.random.default_rng(4)))
    assert new.files["faiss.index"] == old.files["faiss.index"] and new.seal != old.seal


def test_a_base_that_is_based_itself_serves_as_well(build: Builds) -> None:
    rng = np.random.default_rng(5)
    first, _ = build(corpus())
    second_corpus = changed(corpus(), rng)
    second, _ = build(second_corpus, first)
    third_corpus = changed(second_corpus, rng)
    one, other = build(third_corpus, first)[0], build(third_corpus, second)[0]
    for path in tree_files(one.path):
        assert path.read_bytes() == (other.path / path.name).read_bytes()


def test_beyond_the_share_everything_is_built_anew(build: Builds) -> None:
    had = corpus()
    base, _ = build(had)
    few = int(FOLD_SHARE * N)
    for count, kept in ((few, True), (few + 1, False)):
        now = dict(sorted(had.items())[count:])
        made, facts = build(now, base)
        assert (facts["base"] == base.key) == kept and facts["deleted"] == (count if kept else 0), count
        full, _ = build(now)
        assert kept or (made.path / "faiss.index").read_bytes() == (full.path / "faiss.index").read_bytes()


def test_few_vectors_and_another_family_are_built_anew(build: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    base, facts = build(corpus())
    assert facts["base"] is None
    _, facts = build(corpus(), base, "hnsw")
    assert facts["base"] is None
    monkeypatch.setattr(stage, "LEAST_BASED", N + 1)
    _, facts = build(corpus(), base)
    assert facts["base"] is None


def test_bad_vectors_are_refused_on_a_base_too(build: Builds) -> None:
    base, _ = build(corpus())
    now = corpus()
    now[7] = np.full(D, np.nan, np.float32)
    with pytest.raises(InvariantViolationError, match="id 7 is not finite"):
        build(now, base)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "short"])
def test_damaged_rows_are_refused(build: Builds, damage: str) -> None:
    made, _ = build(corpus())
    path = made.path / FaissIndex.ROWS
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes({"flip": bytes(raw), "truncate": bytes(raw[:-9]), "short": b""}[damage])
    with pytest.raises(IndexCorruptionError, match=r"faiss\.rows\.npy"):
        stored_idmap(made.path)


def test_vectors_of_a_based_index_are_those_of_the_embeddings(build: Builds) -> None:
    now = changed(corpus(), np.random.default_rng(6))
    based, _ = build(now, build(corpus())[0])
    ids, vectors = open_arrays(based.path.parent)
    assert np.array_equal(opened(based).vectors_of(ids), vectors[:])


def test_what_a_small_build_leaves_out_is_counted_as_deleted(build: Builds) -> None:
    base, _ = build(now := corpus())
    heard: list[float] = []

    def note(metric: instruments.Metric, value: float, labels: Any) -> None:
        if metric.name == "faiss_deletes_total":
            heard.append(value)

    with instruments.listen(note):
        build({one: now[one] for one in sorted(now)[7:]}, base)
    assert heard == [7]
