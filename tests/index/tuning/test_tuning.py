"""The operating point is found by measurement, keeps its promise on other queries, and is the same every time."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.plots import recall_over_cost
from pipeline import tables
from pipeline.config import EmbedSettings, IndexSettings, TuningSettings
from pipeline.embed.arrays import open_arrays, write_arrays
from pipeline.index.dense.arrays import TrueVectors
from pipeline.index.dense.families import FAMILIES
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.dense.stage import faiss_index
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.tuning.document import TuningDocument
from pipeline.index.tuning.queries import query_texts
from pipeline.index.tuning.stage import queries_for, tuning
from pipeline.index.tuning.sweep import cost_over, grid, interval, latencies, measure, measured_row, most, questions, tune
from pipeline.schemas import EvalQueries, Tuning
from pipeline.stage import Artefact, Base, Output
from pipeline.workers import Runtime

N, D = 4000, 256
APPROXIMATE = ("ivf_flat", "ivf_sq8", "hnsw")


@cache
def clusters() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N // 40, D))


def points(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = clusters()[rng.integers(0, len(clusters()), count)] + 1.2 * rng.standard_normal((count, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def artefact(path: Path, asset: str) -> Artefact[Any]:
    return Artefact(repo="r", asset=asset, key="k", path=path, schema="", digest="", lineage={})


def build(folder: Path, family: str, vectors: np.ndarray | None = None, **options: Any) -> Path:
    folder.mkdir()
    vectors = points(N, seed=1) if vectors is None else vectors
    write_arrays(folder, np.arange(1, len(vectors) + 1), vectors)
    (folder / "embedder.json").write_text('{"digest": "abc"}')
    settings = IndexSettings(faiss_family=family, **options)  # type: ignore[arg-type]
    faiss_index(artefact(folder, "embeddings"), settings, Base(), Runtime(), Output(folder))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tuned")
    return {family: build(root / family, family) for family in (*APPROXIMATE, "flat", "ivf_rabitq")}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries of both halves."""
    root = tmp_path_factory.mktemp("sources")
    names = [f"read_{thing}_{verb}" for thing in ("file", "row", "page", "header", "block") for verb in range(90)]
    count = len(names)
    columns = {
        "qid": [hashlib.sha256(name.encode()).hexdigest()[:16] for name in names], "query": names, "label": ["name"] * count,
        "split": ["test" if at % 10 == 0 else "tune" for at in range(count)], "uri": ["a.py"] * count, "symbol": names,
        "lang": ["python"] * count, "positives": [[1]] * count, "answers": [[0]] * count, "neutral": [[]] * count,
        "mask": [None] * count,
    }  # fmt: skip
    tables.write_parquet(root / EvalQueries.FILE, pa.table(columns, schema=EvalQueries.schema), EvalQueries.tag())
    return root


def run(
    folder: Path, sources: Path, out: Path, runtime: Runtime | None = None, base: Any = None, **settings: Any
) -> tuple[TuningDocument, Any]:
    out.mkdir()
    options = TuningSettings(tuning_preset="small", **settings)
    inputs = [artefact(path, name) for path, name in ((folder, "faiss_index"), (folder, "embeddings"))]
    facts = tuning(
        *inputs,
        artefact(sources, "eval_queries"),
        base or Base(),
        EmbedSettings(),
        options,
        runtime or Runtime(),
        Output(out),
    )
    return msgspec.json.decode((out / Tuning.FILE).read_bytes(), type=TuningDocument), facts


def asked(folder: Path, count: int, seed: int) -> Any:
    return questions(TrueVectors.open(folder), points(count, seed=seed))


@pytest.mark.parametrize("family", APPROXIMATE)
def test_the_chosen_point_meets_the_target_with_its_lower_bound_and_on_queries_it_has_not_seen(
    folders: dict[str, Path], family: str
) -> None:
    index = VectorIndex.open(folders[family])
    tuned = tune(index, asked(folders[family], 200, 5), asked(folders[family], 200, 6), 0.95)
    assert tuned.met and tuned.chosen.low >= 0.95 and tuned.held_out.recall >= 0.95
    others = asked(folders[family], 400, 7)
    fresh = measure(index, others, tuned.chosen.point, cost_over(index, others))
    assert fresh.recall >= 0.95
    # The cheapest: nothing that was measured is enough for less.
    cheaper = [one for one in tuned.sweep if one.scored < tuned.chosen.scored]
    assert all(one.low < 0.95 for one in cheaper)
    assert tuned.chosen in tuned.sweep


def test_a_coded_family_gets_the_depth_of_re_ranking_that_it_needs(folders: dict[str, Path]) -> None:
    index = VectorIndex.open(folders["ivf_rabitq"])
    tuned = tune(index, asked(folders["ivf_rabitq"], 200, 5), asked(folders["ivf_rabitq"], 200, 6), 0.95)
    assert tuned.met and tuned.chosen.point.k_factor > 1


@pytest.mark.parametrize("family", ["ivf_flat", "ivf_sq8", "ivf_rabitq"])
def test_no_search_finds_more_than_the_lists_that_it_visits_hold(folders: dict[str, Path], family: str) -> None:
    index = VectorIndex.open(folders[family])
    queries = asked(folders[family], 100, 5)
    cost = cost_over(index, queries)
    bound = most(index, queries, cost)
    assert bound is not None
    for nprobe in (1, 2, 5, index.nlist):
        point = OperatingPoint(nprobe=nprobe, k_factor=100.0)
        found, held = measure(index, queries, point, cost).recall, bound(point).recall
        # So deep, codes lose hardly anything; true scores lose nothing.
        assert found == held if family == "ivf_flat" else held - 0.01 <= found <= held
    assert bound(OperatingPoint(nprobe=1)).recall < 0.99 and bound(OperatingPoint(nprobe=index.nlist)).recall == 1


@pytest.mark.parametrize("family", ["ivf_sq8", "ivf_rabitq", "hnsw"])
def test_a_row_is_measured_as_each_of_its_points_is(folders: dict[str, Path], family: str) -> None:
    index = VectorIndex.open(folders[family])
    queries = asked(folders[family], 60, 5)
    cost = cost_over(index, queries)
    row = grid(index.family, index.count, index.nlist)[2]
    assert list(measured_row(index, queries, row, cost, 0.5)) == [measure(index, queries, point, cost) for point in row]


def test_recall_counts_equal_vectors_as_equally_good(tmp_path: Path) -> None:
    # Each vector is there twenty times: by id, an index that finds ten of them would seldom find the right ten.
    folder = build(tmp_path / "v", "ivf_flat", np.repeat(points(200, seed=1), 20, axis=0))
    index = VectorIndex.open(folder)
    everything = OperatingPoint(nprobe=index.nlist)
    queries = asked(folder, 50, 9)
    assert measure(index, queries, everything, cost_over(index, queries)).recall == 1.0


def test_the_truth_is_that_of_all_vectors_whatever_the_blocks(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, vectors = points(20, seed=3), open_arrays(folders["flat"])[1]
    best = -np.sort(-(queries @ vectors.T), axis=1)[:, 9]
    assert np.allclose(questions(TrueVectors.open(folders["flat"]), queries).least, best, atol=1e-6)
    monkeypatch.setattr("pipeline.index.tuning.sweep._BLOCK", 7)
    assert np.allclose(questions(TrueVectors.open(folders["flat"]), queries).least, best, atol=1e-6)


def test_an_interval_holds_the_recall_it_was_drawn_from_19_times_in_20() -> None:
    rng = np.random.default_rng(1)
    for spread, ease in ((1.0, 0.93), (20.0, 0.93), (2.0, 0.99)):
        held = 0
        for _ in range(400):
            # Queries differ in how hard they are: neighbours of one query are missed together.
            right = rng.binomial(10, rng.beta(spread * ease, spread * (1 - ease), 200))
            _, low, high = interval(right, 10)
            held += low <= ease <= high
        assert held >= 0.92 * 400


def test_an_interval_of_a_perfect_sample_does_not_promise_perfection() -> None:
    few, many = interval(np.full(10, 10), 10), interval(np.full(400, 10), 10)
    assert few[0] == many[0] == 1.0 and few[1] < many[1] < 1.0


def test_the_grid_rises_to_the_whole_index_and_re_ranks_only_where_codes_are_inexact() -> None:
    rows = grid(FAMILIES["ivf_sq8"], 10_000, 300)
    probes = [row[0].nprobe for row in rows]
    assert probes == sorted(set(probes)) and probes[0] == 1 and probes[-1] == 300  # type: ignore[type-var]
    assert all([point.k_factor for point in row] == sorted(point.k_factor for point in row) for row in rows)
    assert {point.k_factor for row in grid(FAMILIES["ivf_flat"], 10_000, 300) for point in row} == {1.0}
    assert [row[0].ef_search for row in grid(FAMILIES["hnsw"], 20, 0)] == [16, 20]
    assert grid(FAMILIES["sq8"], 10_000, 0)[0][0] == OperatingPoint() and len(grid(FAMILIES["sq8"], 10_000, 0)) == 1


def test_a_target_out_of_reach_gives_the_point_that_finds_most_and_says_so(folders: dict[str, Path]) -> None:
    index = VectorIndex.open(folders["hnsw"])
    tuned = tune(index, asked(folders["hnsw"], 20, 5), asked(folders["hnsw"], 20, 6), 0.999)
    assert not tuned.met and tuned.chosen.low == max(one.low for one in tuned.sweep)


def test_latencies_are_measured_for_each_point(folders: dict[str, Path]) -> None:
    index = VectorIndex.open(folders["hnsw"])
    taken = latencies(index, points(3, seed=2), 10, [OperatingPoint(ef_search=16), OperatingPoint(ef_search=512)], rounds=1)
    assert len(taken) == 2 and all(0 < latency.median <= latency.p95 and latency.searches == 3 for latency in taken)


def test_latencies_end_when_their_time_is_over_but_miss_no_point(folders: dict[str, Path]) -> None:
    index = VectorIndex.open(folders["hnsw"])
    points_asked = [OperatingPoint(ef_search=effort) for effort in (16, 32, 64)]
    taken = latencies(index, points(500, seed=2), 10, points_asked, seconds=0.0)
    assert [latency.searches for latency in taken] == [1, 1, 1]


@pytest.mark.parametrize("family", APPROXIMATE)
def test_equal_inputs_give_equal_bytes(folders: dict[str, Path], sources: Path, tmp_path: Path, family: str) -> None:
    first, _ = run(folders[family], sources, tmp_path / "a", target_recall=0.9)
    second, _ = run(folders[family], sources, tmp_path / "b", target_recall=0.9)
    assert first == second and first.queries == 384 and first.grid > 0
    assert {path.name for path in (tmp_path / "a").iterdir()} == {Tuning.FILE, Tuning.SWEEP, Tuning.NEAREST}
    for name in (Tuning.FILE, Tuning.SWEEP, Tuning.NEAREST):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_document_is_of_the_index_and_the_sweep_has_every_point(
    folders: dict[str, Path], sources: Path, tmp_path: Path
) -> None:
    document, facts = run(folders["ivf_flat"], sources, tmp_path / "a", target_recall=0.9)
    index = VectorIndex.open(folders["ivf_flat"])
    sweep = pq.read_table(tmp_path / "a" / Tuning.SWEEP).to_pylist()
    assert (document.index, document.family, document.met) == (index.meta.seal, "ivf_flat", True)
    assert document.tuning is not None and document.tuning.low >= 0.9
    assert len(sweep) == document.grid
    [chosen] = [row for row in sweep if f"nprobe={row['nprobe']}" == document.parameters]
    assert (chosen["recall"], chosen["low"], chosen["scored"]) == (
        document.tuning.recall, document.tuning.low, document.scored,
    )  # fmt: skip
    assert facts["recall"] == document.tuning.recall


def test_the_plot_shows_every_point_and_is_the_same_every_time(folders: dict[str, Path], sources: Path, tmp_path: Path) -> None:
    document, _ = run(folders["ivf_sq8"], sources, tmp_path / "a", target_recall=0.9)
    svg = recall_over_cost(tmp_path / "a")
    assert svg is not None and svg == recall_over_cost(tmp_path / "a")
    circles = [one for one in ElementTree.fromstring(svg) if one.tag.endswith("circle")]
    assert len(circles) == document.grid and [one.get("fill") for one in circles].count("#c33") == 1
    run(folders["flat"], sources, tmp_path / "b")
    assert recall_over_cost(tmp_path / "b") is None


def test_an_exact_index_needs_no_measurement(folders: dict[str, Path], sources: Path, tmp_path: Path) -> None:
    document, facts = run(folders["flat"], sources, tmp_path / "a")
    assert (document.exact, document.met, document.queries, document.scored) == (True, True, 0, N)
    assert facts["recall"] == 1.0 and pq.read_table(tmp_path / "a" / Tuning.SWEEP).num_rows == 0


def test_what_is_not_to_be_tuned_keeps_its_own_point_and_claims_no_recall(
    folders: dict[str, Path], sources: Path, tmp_path: Path
) -> None:
    document, _ = run(folders["hnsw"], sources, tmp_path / "a", autotune_on_start=False)
    index = VectorIndex.open(folders["hnsw"])
    assert (document.parameters, document.tuning, document.met) == (index.point.parameters, None, None)


def test_no_query_that_anything_is_measured_by_is_tuned_on(sources: Path) -> None:
    table = pq.read_table(sources / EvalQueries.FILE)
    half = {row["query"] for row in table.to_pylist() if row["split"] == "tune"}
    every = query_texts(sources, 5000)
    assert set(every) == half and len(every) == len(half) == 405
    assert query_texts(sources, 100) == every[:100]


def test_more_vectors_are_tuned_on_more_queries() -> None:
    few, many = (queries_for(TuningSettings(), count) for count in (1000, 1_000_000))
    assert few < many < queries_for(TuningSettings(tuning_preset="large"), 10)


def test_how_long_searches_take_is_told_and_not_stored(folders: dict[str, Path], sources: Path, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    _, facts = run(folders["ivf_flat"], sources, tmp_path / "a", Runtime(observe=seen.update), target_recall=0.9)
    sweep = pq.read_table(tmp_path / "a" / Tuning.SWEEP)
    assert seen["tuning_seconds"] > 0 and 1 < len(seen["latency"]) <= 5
    chosen, *others = seen["latency"]
    assert chosen["chosen"] and chosen["point"] == f"{facts['parameters']},k_factor={facts['k_factor']:g}"
    assert not any(row["chosen"] for row in others)
    assert all(0 < row["median_ms"] <= row["p95_ms"] and row["searches"] > 0 for row in seen["latency"])
    assert not {name for name in (*facts, *sweep.column_names) if "second" in name or "latency" in name or name.endswith("_ms")}
    assert b"_ms" not in (tmp_path / "a" / Tuning.FILE).read_bytes()


def test_an_exact_index_is_timed_at_its_only_point(folders: dict[str, Path], sources: Path, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    run(folders["flat"], sources, tmp_path / "a", Runtime(observe=seen.update))
    assert [(row["point"], row["chosen"]) for row in seen["latency"]] == [("exact", True)]


def test_an_empty_index_has_no_latency(sources: Path, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    folder = build(tmp_path / "v", "flat", np.empty((0, D), np.float32))
    run(folder, sources, tmp_path / "a", Runtime(observe=seen.update))
    assert seen["latency"] == []
