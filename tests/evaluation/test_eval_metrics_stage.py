"""The stage `eval_metrics`: the same bytes every time, nothing asked where nothing is to be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.config import EmbedSettings, EvalSettings, SearchSettings, Settings, SpladeSettings, XtrSettings
from pipeline.evaluation import metrics_stage, outcomes
from pipeline.evaluation.document import read_metrics
from pipeline.evaluation.metrics_stage import STAGE
from pipeline.evaluation.queries import Query
from pipeline.files import tree_files
from pipeline.index.tuning.locked_point import UNLOCKED, Lock, LockedPoint
from pipeline.schemas import EvalMetrics, Snapshot
from pipeline.stage import Facts
from pipeline.store.layout import Store
from pipeline.store.objects import settled
from pipeline.workers import Runtime
from tests.evaluation.yard import artefacts, build, many, opened, queries_artefact


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Any:
    """The small repository, indexed. Not to be changed."""
    return build(tmp_path_factory.mktemp("yard"), indexctl)


def run(world: Any, folder: Path, asked: list[Query], *, lock: Lock = UNLOCKED, runtime: Runtime | None = None) -> Facts:
    """The stage over what the world settled and these queries, into `folder`/out."""
    folder.mkdir()
    (folder / "out").mkdir()
    inputs = {artefact.asset: artefact for artefact in artefacts(world)}
    inputs["source_snapshot"] = settled(Store(world.store).repository("demo"), Snapshot)
    inputs["eval_queries"] = queries_artefact(world, folder / "queries", asked)
    chosen = Settings(
        evaluation=EvalSettings(eval_k=3), search=SearchSettings(), embed=EmbedSettings(), splade=SpladeSettings(),
        xtr=XtrSettings(),
    )  # fmt: skip
    return STAGE.call(inputs, chosen, {"lock": lock}, runtime or Runtime(), {"eval_metrics": folder / "out"})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tree_files(folder)}


def asked_of(world: Any, count: int = 9) -> list[Query]:
    with opened(world) as one:
        return many(one, count)


def test_two_runs_give_equal_bytes_in_one_process_and_in_several(
    yard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "_LEAST", 64)
    asked = asked_of(yard, 256)
    facts = [run(yard, tmp_path / str(workers), asked, runtime=Runtime(workers=workers)) for workers in (1, 2, 3)]
    assert facts[0] == facts[1] == facts[2] and facts[0]["queries"] == 256
    first = contents(tmp_path / "1" / "out")
    assert set(first) == {EvalMetrics.FILE, EvalMetrics.DETAILS, EvalMetrics.POOL, EvalMetrics.POINTS, EvalMetrics.VECTORS}
    assert first == contents(tmp_path / "2" / "out") == contents(tmp_path / "3" / "out")


def test_the_files_say_what_was_found_and_times_are_told_elsewhere(yard: Any, tmp_path: Path) -> None:
    told: dict[str, Any] = {}
    facts = run(yard, tmp_path / "one", asked_of(yard), runtime=Runtime(observe=told.update))
    document = read_metrics(tmp_path / "one" / "out")
    assert document.fused is not None and (document.state, document.k, document.queries) == ("on", 3, 9)
    assert facts["ndcg"] == document.fused.ndcg.mean > 0.3 and facts["broken"] == [] == sorted(document.broken)
    assert document.twin is not None and document.twin.queries == 3 and document.nearest is not None
    assert told["evaluation_seconds"] > 0 and "whole" in told["search_latency"]["stages"]
    assert pq.read_table(tmp_path / "one" / "out" / EvalMetrics.POOL).schema.names == EvalMetrics.pool.names


def test_queries_of_the_other_split_are_not_asked(yard: Any, tmp_path: Path) -> None:
    asked = asked_of(yard)
    mixed = [replace(query, split="tune") if number % 3 else query for number, query in enumerate(asked)]
    assert run(yard, tmp_path / "one", mixed)["queries"] == 3


def test_nothing_is_opened_where_nothing_is_measured(yard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> object:
        raise AssertionError("It was opened.")

    monkeypatch.setattr(metrics_stage, "staged", never)
    facts = run(yard, tmp_path / "one", [])
    assert (facts["state"], facts["queries"]) == ("off", 0) and read_metrics(tmp_path / "one" / "out").state == "off"
    assert pq.read_table(tmp_path / "one" / "out" / EvalMetrics.DETAILS).num_rows == 0


def test_a_locked_point_is_what_is_measured(tmp_path: Path, indexctl: Any) -> None:
    graph = build(tmp_path / "world", indexctl, CODEINTEL_FAISS_FAMILY="hnsw")
    lock = Lock(LockedPoint(family="hnsw", parameters="efSearch=7", k_factor=1.0))
    run(graph, tmp_path / "one", asked_of(graph), lock=lock)
    nearest = read_metrics(tmp_path / "one" / "out").nearest
    assert nearest is not None and nearest.parameters == "efSearch=7"
    [chosen] = [row for row in pq.read_table(tmp_path / "one" / "out" / EvalMetrics.POINTS).to_pylist() if row["chosen"]]
    assert chosen["ef_search"] == 7


def test_what_an_evaluation_depends_on_is_in_its_key() -> None:
    questions_read = {"eval_queries", "chunks", "definitions", "embeddings", "faiss_index", "tuning", "lexical_index"}
    assert questions_read <= {kind.asset for kind in STAGE.inputs.values()}
    assert {"SearchSettings", "EmbedSettings", "EvalSettings"} <= {what.__name__ for what in STAGE.sections.values()}
    assert {"embedder", "faiss", "numpy", "tantivy"} <= set(STAGE.uses(Settings())) and STAGE.externals == ("lock",)
