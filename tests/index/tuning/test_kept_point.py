"""While an index keeps its primary, its point is measured again and not looked for again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.config import EmbedSettings, IndexSettings, TuningSettings
from pipeline.embed import registry
from pipeline.embed.arrays import open_all, write_arrays
from pipeline.errors import IndexCorruptionError
from pipeline.files import digest_file, tree_files
from pipeline.index.dense import stage as dense
from pipeline.index.dense.arrays import TrueVectors
from pipeline.index.dense.stage import faiss_index
from pipeline.index.tuning import nearest
from pipeline.index.tuning import stage as module
from pipeline.index.tuning.document import TuningDocument
from pipeline.index.tuning.nearest import search_all, updated
from pipeline.index.tuning.stage import tuning
from pipeline.schemas import EvalQueries, Tuning
from pipeline.stage import Artefact, Base, Output
from pipeline.workers import Runtime

D, WORDS = 256, 100


@pytest.fixture(autouse=True)
def small_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "LEAST_BASED", 100)


@dataclasses.dataclass
class Built:
    """The artefacts of one build."""

    embeddings: Artefact[Any]
    index: Artefact[Any]
    tuning: Artefact[Any] | None = None
    document: TuningDocument | None = None


def digested(asset: str, path: Path, facts: Any = None) -> Artefact[Any]:
    found = {one.relative_to(path).as_posix(): digest_file(one) for one in tree_files(path)}
    return Artefact("r", asset, path.name, path, "", "", {}, facts or {}, digests=found)


def texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"word{word}" for word in rng.integers(0, WORDS, 6).tolist()) for _ in range(count)]


def corpus(count: int = 1500, seed: int = 0) -> dict[int, np.ndarray]:
    """Vectors of texts of a few words, so that queries of the same words have neighbours."""
    vectors = registry.load(EmbedSettings()).encode(texts(count, seed))
    return dict(zip(np.random.default_rng(seed).choice(1 << 62, count, replace=False).tolist(), vectors, strict=True))


class World:
    """Builds one after the other; `queries` are those that the next one is tuned on."""

    def __init__(self, root: Path, family: str = "ivf_flat") -> None:
        self.root, self.family, self.count = root, family, 0
        self.queries = sorted(set(texts(160, seed=99)))
        self.settings = TuningSettings(tuning_preset="small", target_recall=0.9)

    def folder(self, name: str) -> Path:
        path = self.root / f"{self.count}-{name}"
        path.mkdir()
        return path

    def build(self, vectors: dict[int, np.ndarray], base: Built | None = None) -> Built:
        self.count += 1
        folder = self.folder("embeddings")
        ids = np.array(sorted(vectors), np.int64)
        write_arrays(folder, ids, np.array([vectors[one] for one in ids.tolist()], np.float32))
        (folder / "embedder.json").write_text('{"digest": "abc"}')
        made = digested("embeddings", folder)
        out = self.folder("index")
        options = IndexSettings(faiss_family=self.family, nlist=16)  # type: ignore[arg-type]
        facts = faiss_index(made, options, Base(base.index if base else None), Runtime(), Output(out))
        built = Built(made, digested("faiss_index", out, facts))
        self.tune(built, base)
        return built

    def tune(self, built: Built, base: Built | None) -> None:
        count = len(self.queries)
        columns: dict[str, Any] = {
            "qid": [f"{at:05}" for at in range(count)], "query": self.queries, "label": ["name"] * count,
            "split": ["tune"] * count, "uri": [""] * count, "symbol": [""] * count, "lang": ["python"] * count,
            "positives": [[]] * count, "answers": [[]] * count, "neutral": [[]] * count, "mask": [None] * count,
        }  # fmt: skip
        source, out = self.folder(f"queries{len(list(self.root.iterdir()))}"), self.folder(f"t{len(list(self.root.iterdir()))}")
        tables.write_parquet(source / EvalQueries.FILE, pa.table(columns, schema=EvalQueries.schema), EvalQueries.tag())
        given: Base[Any] = Base()
        if base is not None and base.tuning is not None:
            given = Base(base.tuning, {"faiss_index": base.index, "embeddings": base.embeddings})
        facts = tuning(
            built.index, built.embeddings, digested("eval_queries", source), given, EmbedSettings(), self.settings, Runtime(),
            Output(out),
        )  # fmt: skip
        built.tuning = digested("tuning", out, facts)
        built.document = msgspec.json.decode((out / Tuning.FILE).read_bytes(), type=TuningDocument)


def changed(vectors: dict[int, np.ndarray], seed: int, count: int = 10) -> dict[int, np.ndarray]:
    kept = dict(sorted(vectors.items())[count:])
    return kept | corpus(count, seed=seed)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_point_of_the_same_primary_is_kept_and_its_recall_measured_on_what_is_there_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.build(corpus())
    assert first.document is not None and first.document.met and not first.document.kept
    fresh = world.build(changed(corpus(), seed=5))
    monkeypatch.setattr(module, "tune", lambda *rest: pytest.fail("the sweep was made again"))
    second = world.build(changed(corpus(), seed=5), first)
    document = second.document
    assert document is not None and document.kept and document.met and document.queries <= first.document.queries
    assert (document.parameters, document.k_factor) == (first.document.parameters, first.document.k_factor)
    assert document.index != first.document.index and document.grid == first.document.grid
    assert document.tuning is not None and fresh.document is not None and document.tuning.low >= 0.9
    assert second.tuning is not None
    rows = pq.read_table(second.tuning.path / Tuning.SWEEP).to_pylist()
    [now] = [row for row in rows if f"nprobe={row['nprobe']}" == document.parameters and not row["bound"]]
    assert (now["recall"], now["low"]) == (document.tuning.recall, document.tuning.low)


def test_what_is_nearest_after_a_change_is_what_a_search_of_everything_finds(world: World) -> None:
    queries = registry.load(EmbedSettings()).encode_queries(world.queries)
    vectors = corpus()
    build = world.build(vectors)
    had = search_all(tuple(world.queries), queries, TrueVectors.open(build.embeddings.path))
    for seed in range(1, 6):
        vectors = changed(vectors, seed, count=120 if seed == 3 else 15)
        after = world.build(vectors)
        had = updated(had, queries, open_all(build.embeddings.path), open_all(after.embeddings.path))
        truth = search_all(tuple(world.queries), queries, TrueVectors.open(after.embeddings.path))
        assert np.array_equal(had.questions(queries).least, truth.questions(queries).least)
        listed = had.ids >= 0
        assert (had.scores[listed] >= np.broadcast_to(had.floor[:, None], listed.shape)[listed]).all()
        build = after


def test_many_new_vectors_are_compared_with_all_queries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MOST_NEW", 3)
    queries = registry.load(EmbedSettings()).encode_queries(world.queries)
    one, other = world.build(corpus()), world.build(changed(corpus(), seed=5))
    had = search_all(tuple(world.queries), queries, TrueVectors.open(one.embeddings.path))
    found = updated(had, queries, open_all(one.embeddings.path), open_all(other.embeddings.path))
    truth = search_all(tuple(world.queries), queries, TrueVectors.open(other.embeddings.path))
    assert np.array_equal(found.ids, truth.ids)


def test_a_new_primary_is_tuned_anew(world: World) -> None:
    first = world.build(corpus())
    second = world.build(changed(corpus(), seed=5, count=400), first)
    assert second.index.facts["base"] is None and second.document is not None and not second.document.kept


def test_a_point_that_is_not_enough_any_more_is_looked_for_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.build(corpus())
    honest = module.measure

    def worse(*given: Any) -> Any:
        return dataclasses.replace(honest(*given), low=0.5)

    monkeypatch.setattr(module, "measure", worse)
    second = world.build(changed(corpus(), seed=5), first)
    assert second.document is not None and not second.document.kept and second.document.met


def test_other_queries_are_tuned_on_anew(world: World) -> None:
    first = world.build(corpus())
    world.queries = world.queries[: len(world.queries) // 2] + sorted(set(texts(80, seed=7)))
    second = world.build(changed(corpus(), seed=5), first)
    assert second.document is not None and not second.document.kept
    world.queries = world.queries[3:]
    third = world.build(changed(corpus(), seed=6), second)
    assert third.document is not None and third.document.kept
    assert third.document.queries == 96 < len(world.queries)


def test_an_exact_index_on_a_base_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, "flat")
    first = world.build(corpus())
    monkeypatch.setattr(module.VectorIndex, "open", lambda *rest, **named: pytest.fail("it was opened"))
    second = world.build(changed(corpus(), seed=5), first)
    assert first.document is not None and second.document is not None
    assert msgspec.structs.replace(second.document, index="", scored=0) == msgspec.structs.replace(
        first.document, index="", scored=0
    )
    assert second.document.scored == len(corpus())


def test_what_is_nearest_is_read_as_it_was_written(world: World, tmp_path: Path) -> None:
    build = world.build(corpus(40))
    queries = registry.load(EmbedSettings()).encode_queries(world.queries)
    for number, had in enumerate((search_all(tuple(world.queries), queries, TrueVectors.open(build.embeddings.path)), None)):
        (tmp_path / f"out{number}").mkdir()
        nearest.write(tmp_path / f"out{number}", had)
        found = nearest.read(tmp_path / f"out{number}")
        assert found.texts == (had.texts if had else ())
        if had is not None:
            assert all(np.array_equal(getattr(found, name), getattr(had, name)) for name in ("ids", "scores", "floor"))
    (tmp_path / "out0" / Tuning.NEAREST).write_bytes(b"PAR1")
    with pytest.raises(IndexCorruptionError, match=Tuning.NEAREST):
        nearest.read(tmp_path / "out0")
