"""The evaluator: what it asks is what searches answer, and what it says of it adds up."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import SearchSettings, Settings
from pipeline.embed import registry
from pipeline.embed.arrays import open_arrays, write_arrays
from pipeline.errors import IndexCorruptionError, RuntimeLifecycleError
from pipeline.evaluation import outcomes
from pipeline.evaluation.asking import judge, reply
from pipeline.evaluation.evaluator import Evaluation, evaluate
from pipeline.evaluation.figures import modules_of
from pipeline.evaluation.metrics import score
from pipeline.evaluation.points import points_around
from pipeline.evaluation.queries import Query
from pipeline.evaluation.staged import Staged
from pipeline.evaluation.twin import twin_of
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.schemas import EvalMetrics
from pipeline.search.engine import open_searcher
from pipeline.search.opened import Opened
from pipeline.store.layout import Store
from pipeline.workers import Runtime
from tests.evaluation.yard import HULL, build, builtins, chunks_of, many, opened, query, questions
from tests.index.xtr.conftest import WordEncoder as TokenEncoder
from tests.index.xtr.conftest import use

CHANNELS = {"lexical", "dense", "symbol", "path"}


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Any:
    """The small repository, indexed. Not to be changed."""
    return build(tmp_path_factory.mktemp("yard"), indexctl)


def evaluated(one: Opened, asked: list[Query], k: int = 3, **given: Any) -> Evaluation:
    with twin_of(one, asked) as twin:
        return evaluate(one, twin, asked, k, **{"rounds": 0, **given})


def test_a_query_is_answered_as_searches_answer_it(yard: Any) -> None:
    with opened(yard) as one, open_searcher(Store(yard.store).repository("demo"), Settings()) as searcher:
        for text in ("put_rope", HULL, "stores/tar/shelf.py", "berth fee"):
            ranked = reply(one, text, 5).ranked
            assert ranked.best(5).tolist() == [hit.id for hit in searcher.search(text, 5)]


def test_figures_are_the_means_of_what_single_queries_score(yard: Any) -> None:
    with opened(yard) as one, twin_of(one, questions(one)) as twin:
        asked = questions(one)
        made = evaluate(one, twin, asked, 3, rounds=0)
        assert twin is not None
        places = [one if query.mask is None else twin.opened for query in asked]
        scores = [
            score(reply(place, query.query, 3).ranking.tolist(), query, 3) for place, query in zip(places, asked, strict=True)
        ]
        whole = made.document.fused
        assert whole is not None and whole.queries == len(asked) == made.document.queries
        assert whole.ndcg.mean == pytest.approx(np.mean([each.ndcg for each in scores]), abs=1e-6)
        assert whole.hit.mean == pytest.approx(np.mean([each.hit for each in scores]), abs=1e-6)
        fused = [row for row in made.details.to_pylist() if row["channel"] == "fused"]
        assert [row["rank"] for row in fused] == [each.rank for each in scores]
        assert [row["masked"] for row in fused] == [query.mask is not None for query in asked]


def test_every_query_counts_in_one_half_one_label_one_language_and_one_module(yard: Any) -> None:
    with opened(yard) as one:
        document = evaluated(one, questions(one)).document
    assert {name: figures.queries for name, figures in document.by_half.items()} == {"plain": 6, "masked": 3}
    for groups in (document.by_label, document.by_language, document.by_module):
        assert sum(figures.queries for figures in groups.values()) == 9
    assert set(document.by_language) == {"python", "javascript"} and set(document.by_label) == {"name", "docs"}


def test_without_a_channel_the_engine_is_the_one_whose_settings_turn_it_off(yard: Any) -> None:
    with opened(yard) as one:
        asked = [query for query in questions(one) if query.mask is None]
        judged = [judge(one, query, 3) for query in asked]
        for channel in CHANNELS:
            with opened(yard, **{f"{channel}_weight": 0.0}) as other:
                alone = [score(reply(other, query.query, 3).ranking.tolist(), query, 3) for query in asked]
            assert [outcome.without[channel] for outcome in judged] == alone


def test_a_channel_is_told_with_its_states_and_what_is_lost_without_it(yard: Any) -> None:
    with opened(yard) as one:
        document = evaluated(one, questions(one)).document
    assert set(document.channels) == CHANNELS
    for figures in document.channels.values():
        assert sum(figures.states.values()) == 9
        assert document.fused is not None
        assert figures.lost.mean == pytest.approx(document.fused.ndcg.mean - figures.without.ndcg.mean, abs=2e-6)
    assert document.channels["symbol"].states["silent"] >= 3 and document.channels["symbol"].alone.hit.mean > 0
    with opened(yard, path_weight=0.0) as one:
        assert "path" not in evaluated(one, questions(one)).document.channels


def test_neutral_chunks_count_neither_way(yard: Any) -> None:
    with opened(yard) as one:
        [first, second, *_] = reply(one, "put_rope", 1).ranking.tolist()
        asked = query(one, "put_rope", "yard/fees.py", positives=(second,), answers=(0,))
        assert judge(one, asked, 1).channels["fused"].scores.hit == 0
        assert judge(one, replace(asked, neutral=(first,)), 1).channels["fused"].scores.hit == 1


def test_tables_have_every_query_and_channel_and_the_best_k_of_each(yard: Any) -> None:
    with opened(yard) as one:
        asked = questions(one)
        made = evaluated(one, asked)
    assert made.details.schema == EvalMetrics.details and made.pool.schema == EvalMetrics.pool
    rows = made.details.to_pylist()
    assert len(rows) == len(asked) * 5 and {row["channel"] for row in rows} == CHANNELS | {"fused"}
    pool = made.pool.to_pylist()
    assert len({row["run_id"] for row in pool}) == 1 and {row["method"] for row in pool} == {"scores"}
    fused = [row for row in pool if row["channel"] == "fused" and row["query_id"] == asked[0].qid]
    assert [row["rank"] for row in fused] == [1, 2, 3] and fused[0]["chunk_id"] in asked[0].positives
    scores = [row["score"] for row in fused]
    assert scores == sorted(scores, reverse=True) and all(row["ts"] is None for row in pool)


def test_another_setting_is_another_run_and_the_same_one_is_not(yard: Any) -> None:
    def run_of(**search: Any) -> str:
        with opened(yard, **search) as one:
            return str(evaluated(one, questions(one)[:2]).pool["run_id"][0])

    assert run_of() == run_of() != run_of(lexical_weight=0.3)


def test_any_number_of_processes_gives_the_same(yard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "_LEAST", 64)
    with opened(yard) as one:
        asked = many(one, 256)
        alone, together = (evaluated(one, asked, runtime=Runtime(workers=workers)) for workers in (1, 2))
    assert builtins(alone.document) == builtins(together.document)
    assert alone.details.equals(together.details) and alone.pool.equals(together.pool) and alone.points.equals(together.points)


def test_an_embedder_that_is_gone_breaks_its_channel_and_nothing_else(yard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(settings: object) -> object:
        raise RuntimeLifecycleError("The server is gone.")

    with opened(yard) as one:
        monkeypatch.setattr(registry, "load", gone)
        document = evaluated(one, questions(one)).document
    assert document.broken == {"dense": "The server is gone."}
    assert document.agreement is None and document.nearest is None
    assert document.channels["dense"].states == {"broken": 9} and document.channels["lexical"].alone.hit.mean > 0


def test_an_embedder_that_raises_what_it_likes_breaks_its_channel_alone(yard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty:
        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError("device lost")

    with opened(yard) as one:
        monkeypatch.setattr(registry, "load", lambda settings: Faulty())
        document = evaluated(one, [query for query in questions(one) if query.mask is not None]).document
    assert document.broken == {"dense": "ZeroDivisionError: device lost"} and document.agreement is None


def test_a_reason_names_no_folder_that_has_another_name_the_next_time(yard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(yard) as one:

        def damaged(settings: object) -> object:
            raise RuntimeLifecycleError(f"{one.version.ensure() / 'weights.npy'} cannot be read.")

        monkeypatch.setattr(registry, "load", damaged)
        assert evaluated(one, questions(one)[:2]).document.broken == {"dense": "weights.npy cannot be read."}


def copied(one: Opened, folder: Path) -> Path:
    """The artefacts of a version as files that a test may damage."""
    shutil.copytree(one.version.ensure(), folder)
    return folder


def reopened(one: Opened, folder: Path) -> Opened:
    return Opened(Staged(folder, one.version.manifest), one.settings, one.embed_settings)


def test_vectors_under_other_ids_are_no_longer_those_of_the_embedder(yard: Any, tmp_path: Path) -> None:
    with opened(yard) as one:
        good = evaluated(one, questions(one)[:2]).document.agreement
        assert good is not None and good.least >= 0.9999 and good.sample == min(32, len(one.lexical))
        folder = copied(one, tmp_path / "copy")
        ids, vectors = open_arrays(folder)
        write_arrays(folder, ids.copy(), np.roll(vectors[:], 1, axis=0))
        bad = evaluated(reopened(one, folder), questions(one)[:2]).document.agreement
    assert bad is not None and bad.least < 0.9


def test_an_index_that_answers_with_wrong_ids_does_not_find_the_nearest(yard: Any, tmp_path: Path) -> None:
    with opened(yard) as one:
        good = evaluated(one, questions(one)[:6]).document.nearest
        assert good is not None and good.exact and good.recall.mean == 1.0 and good.queries == 6
        folder = copied(one, tmp_path / "copy")
        ids, vectors = open_arrays(folder)
        # The true vectors move, and the index stays: so the index is wrong.
        write_arrays(folder, ids.copy(), vectors[np.random.default_rng(7).permutation(len(ids))])
        bad = evaluated(reopened(one, folder), questions(one)[:6]).document.nearest
    assert bad is not None and bad.recall.mean < 0.9


def test_damage_is_an_error_and_no_broken_channel(yard: Any, tmp_path: Path) -> None:
    with opened(yard) as one:
        asked = questions(one)[:2]
        folder = copied(one, tmp_path / "copy")
        (folder / "faiss.index").write_bytes(b"nothing")
        with pytest.raises(IndexCorruptionError):
            evaluate(reopened(one, folder), None, asked, 3, rounds=0)


def test_an_exact_index_has_one_point_and_others_those_around_their_own(yard: Any, tmp_path: Path, indexctl: Any) -> None:
    with opened(yard) as one:
        assert points_around(one) == ()
        [row] = evaluated(one, questions(one), points=[OperatingPoint()]).points.to_pylist()
        assert row["chosen"] and row["ann_recall"] == 1.0 and row["queries"] == 9
    graph = build(tmp_path, indexctl, CODEINTEL_FAISS_FAMILY="hnsw")
    with opened(graph, hnsw_efSearch=8) as one:
        made = evaluated(one, questions(one), points=points_around(one))
        rows = made.points.to_pylist()
        assert [row["ef_search"] for row in rows] == [2, 4, 8, 16] and [row["chosen"] for row in rows] == [
            False,
            False,
            True,
            False,
        ]
        assert made.document.nearest is not None and made.document.nearest.parameters == "efSearch=8"
        assert made.document.fused is not None
        assert rows[2]["ndcg"] == made.document.fused.ndcg.mean and rows[2]["ann_recall"] == made.document.nearest.recall.mean
        elsewhere = [judge(one, query, 3, [OperatingPoint(ef_search=2)]) for query in questions(one) if query.mask is None]
        directly = [reply(one, query.query, 3, OperatingPoint(ef_search=2)) for query in questions(one) if query.mask is None]
        for outcome, given, query in zip(elsewhere, directly, questions(one), strict=False):
            assert outcome.at == (score(given.ranking.tolist(), query, 3),)


def test_tokens_are_compared_with_exact_search_over_all_of_them(
    tmp_path: Path, indexctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(TokenEncoder(), monkeypatch)
    world = build(tmp_path, indexctl, CODEINTEL_XTR="on")
    with opened(world) as one:
        assert evaluated(one, questions(one)).document.tokens is None
        tokens = evaluated(one, questions(one), oracle_tokens=True).document.tokens
        assert tokens is not None and tokens.queries == 6
        # Every token of so small an index is visited, so the channel finds what exact search finds.
        assert tokens.channel_recall.mean == 1.0 and tokens.engine_recall.mean == 1.0
        assert tokens.rescored_hit.mean >= tokens.hit.mean > 0 and tokens.mrr.mean <= tokens.hit.mean
    with opened(world, xtr_weight=0.0) as one:
        off = evaluated(one, questions(one), oracle_tokens=True).document.tokens
        assert off is not None and off.channel_recall.mean == 0.0 and off.hit == tokens.hit


def test_times_are_taken_of_every_stage_and_again(yard: Any) -> None:
    with opened(yard) as one:
        seconds = evaluated(one, questions(one), rounds=2).seconds
    assert {"parsing", "lexical", "dense", "ranking", "hydration", "whole"} <= set(seconds["stages"])
    whole = seconds["stages"]["whole"]
    assert whole["searches"] == 2 * seconds["queries"] == 18 and 0 < whole["median_ms"] <= whole["p95_ms"]


def test_nothing_is_measured_where_nothing_is_asked(yard: Any) -> None:
    with opened(yard) as one:
        made = evaluate(one, None, [], 10)
        assert not one.holds("lexical") and not one.holds("vectors")
    assert (made.document.state, made.document.fused, made.details.num_rows) == ("off", None, 0)


def test_folders_are_told_apart_as_deep_as_they_have_queries() -> None:
    uris = ["a/b/x.py"] * 12 + ["a/c/y.py"] * 3 + ["a/z.py"] * 2 + ["d/e/f/g.py"] * 10 + ["top.py", "h/i.py"]
    assert modules_of(uris) == ["a/b/"] * 12 + ["a/"] * 5 + ["d/e/f/"] * 10 + ["", ""]
    shuffled = uris[::-1]
    assert modules_of(shuffled) == modules_of(uris)[::-1]


def test_all_chunks_of_an_answer_are_one_answer(yard: Any) -> None:
    with opened(yard) as one:
        ids = chunks_of(one, "yard/ships.py") + chunks_of(one, "attic/ships.py")
        both = query(one, "class Ship", "yard/ships.py", positives=ids, answers=(0,) * len(ids))
        assert judge(one, both, 5).channels["fused"].scores.recall == 1.0


def test_the_settings_of_a_version_are_those_that_are_measured(yard: Any) -> None:
    with opened(yard, Settings(search=SearchSettings(fusion="ranks"))) as one:
        assert set(evaluated(one, questions(one)[:2]).pool["method"].to_pylist()) == {"ranks"}
