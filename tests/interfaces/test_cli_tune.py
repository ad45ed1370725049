"""`indexctl tune`, the operating point of searches, and what `status` says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

GRAPH = {"CODEINTEL_FAISS_FAMILY": "hnsw", "CODEINTEL_TARGET_RECALL": "0.6"}


@pytest.fixture
def graph(world: Any) -> Any:
    """A version whose index is a graph, which is not exact."""
    done = world.build(env=GRAPH)
    assert done.code == 0, done.err
    return world


def test_an_exact_index_has_nothing_to_tune(built: Any) -> None:
    report = built("tune", "--dry-run", "--json").json
    assert (report["exact"], report["met"], report["sweep"]) == (True, True, [])
    assert "there is nothing to tune" in built("tune", "--dry-run").out


def test_a_dry_run_shows_every_point_with_recall_cost_and_time_and_changes_nothing(graph: Any) -> None:
    before = {path.name for path in graph.home.iterdir()}
    report = graph("tune", "--target-recall", "0.6", "--dry-run", "--json", env=GRAPH).json
    [chosen] = [row for row in report["sweep"] if row["chosen"]]
    assert {key: chosen[key] for key in report["point"]} == report["point"] and report["met"] and report["set"] == {}
    assert chosen["low"] >= 0.6 and chosen["low"] <= chosen["recall"] <= chosen["high"] and chosen["scored"] > 0
    assert 0 < chosen["milliseconds"] <= chosen["p95_milliseconds"]
    assert {path.name for path in graph.home.iterdir()} == before
    assert "meets 0.6" in graph("tune", "--dry-run", env=GRAPH).out


def test_a_target_that_is_set_holds_for_the_next_build(world: Any) -> None:
    assert world("tune", "--target-recall", "0.7", "--preset", "large", "--json").json["set"] == {
        "target_recall": 0.7, "tuning_preset": "large",
    }  # fmt: skip
    assert "tuning" in world.build().json["built"]
    assert world("status", "--json").json["repos"][0]["operating_point"]["target"] == 0.7
    assert world("tune", "--target-recall", "0.8", "--json").code == 0
    assert (world.home / "codeintel.toml").read_text() == 'target_recall = 0.8\ntuning_preset = "large"\n'


def test_a_target_that_makes_no_sense_is_refused(world: Any) -> None:
    done = world("tune", "--target-recall", "7")
    assert done.code != 0 and "`target_recall` = 7" in done.err and not (world.home / "codeintel.toml").exists()


def test_a_locked_point_outlives_rebuilds_until_the_family_changes(graph: Any) -> None:
    report = graph("tune", "--lock", "--json", env=GRAPH).json
    assert report["locked"]
    graph.build(env=GRAPH)
    (graph.repo / "harbour/new.py").write_text("def fresh(): pass\n")
    graph.build(env=GRAPH)
    point = graph("status", "--json", env=GRAPH).json["repos"][0]["operating_point"]
    assert point["locked"] and {name: point[name] for name in report["point"]} == report["point"]
    assert "locked" in graph("status", env=GRAPH).out

    assert graph.build(env={"CODEINTEL_FAISS_FAMILY": "flat"}).code == 0
    other = graph("status", "--json").json["repos"][0]["operating_point"]
    assert (other["family"], other["locked"]) == ("flat", False)

    assert graph("tune", "--unlock", "--json", env=GRAPH).json["unlocked"] is True
    graph.build(env=GRAPH)
    assert graph("status", "--json", env=GRAPH).json["repos"][0]["operating_point"]["locked"] is False
    assert graph("tune", "--unlock").out == "no point is locked\n"


def test_status_shows_the_point_with_its_measured_recall(graph: Any) -> None:
    [row] = graph("status", "--json", env=GRAPH).json["repos"]
    assert row["operating_point"]["parameters"].startswith("efSearch=") and 0.6 <= row["recall"] <= 1
    assert f"recall@10 {row['recall']:.3f}" in graph("status", env=GRAPH).out


def test_a_search_may_take_another_point_and_only_one_that_the_index_knows(graph: Any) -> None:
    asked = ("search", "berth fee", "--json")
    usual = graph(*asked, env=GRAPH).json["results"]
    other = graph(*asked, "--params", "efSearch=200", "--k-factor", "2", env=GRAPH).json["results"]
    assert [hit["id"] for hit in usual] == [hit["id"] for hit in other]
    for wrong in (("--params", "nprobe=4"), ("--params", "efSearch=no"), ("--k-factor", "0.5")):
        done = graph(*asked, *wrong, env=GRAPH)
        assert done.code == 2 and done.err.startswith("indexctl: ")


def test_what_is_too_far_is_cut(built: Any) -> None:
    near = built("search", "berth fee", "--json", env={"CODEINTEL_SEMANTIC_MIN_SCORE": "0.99"}).json["results"]
    assert all(hit["explanation"]["dense"]["rank"] is None for hit in near)


@pytest.mark.parametrize("options", [("--lock", "--unlock"), ("--lock", "--dry-run"), ("--unlock", "--dry-run")])
def test_contradicting_options_are_refused(built: Any, options: tuple[str, str]) -> None:
    assert built("tune", *options).code == 2


def test_a_damaged_lock_is_named_with_the_way_out(world: Any) -> None:
    (Path(world.home) / "operating_point.json").write_text("rubbish")
    done = world.build()
    assert done.code != 0 and "tune --unlock" in done.err
    assert world("tune", "--unlock").code == 0 and world.build().code == 0
