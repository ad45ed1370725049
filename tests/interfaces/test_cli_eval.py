"""`indexctl eval`: what a version's evaluation says, what one says that runs now, two versions, and all of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation import queries_stage
from pipeline.evaluation.places import Chunked
from pipeline.evaluation.queries import TEST, Query, write_queries

ROOT = Path(__file__).resolve().parents[2]
GRAPH = {"CODEINTEL_FAISS_FAMILY": "hnsw"}
_ASKED = (
    ("n1", "berth_fee", "name", "harbour/fees.py", None),
    ("n2", "next_high_water", "name", "harbour/tides.py", None),
    ("n3", "renderQuay", "name", "web/app.js", None),
    ("i1", "when does the water rise", "intent", "harbour/tides.py", None),
    (
        "i2",
        "Predict the moment of the next high tide.",
        "intent",
        "harbour/tides.py",
        "Predict the moment of the next high tide.",
    ),
    ("i3", "zymurgy", "intent", "config.toml", None),
)


def made_queries(folder: Path) -> list[Query]:
    """Queries of the demo repository, one of them masked and one hopeless."""
    chunked = Chunked(folder)
    found = []
    for qid, text, label, uri, mask in _ASKED:
        positives = chunked.under(uri)
        lang = chunked.place_of(positives[0])[1]
        found.append(
            Query(
                qid=qid, query=text, label=label, split="test", uri=uri, symbol="", lang=lang, positives=positives,
                answers=(0,) * len(positives), mask=mask,
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def evaluated(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The demo repository with queries of its own, built with a flat index and then with a graph. Not to be changed."""
    queries = made_queries(built.published)
    world = type(built)(built.repo, tmp_path_factory.mktemp("evaluated") / "store", built._run)

    def instead_of_made(folder: Path, made: list[Query]) -> None:
        write_queries(folder, queries if any(query.split == TEST for query in made) else made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries_stage, "write_queries", instead_of_made)
        for env in ({}, GRAPH):
            done = world.build("--allow-regression", env=env)
            assert done.code == 0, done.err
        yield world


@pytest.fixture
def versions(evaluated: Any) -> tuple[str, str]:
    """The flat version and the graph."""
    first, second = (row["version"] for row in evaluated("eval", "--history", "--json").json["versions"])
    return first, second


@pytest.fixture
def changeable(evaluated: Any, tmp_path: Path) -> Any:
    """A copy that a test may change."""
    copy = type(evaluated)(evaluated.repo, tmp_path / "store", evaluated._run)
    shutil.copytree(evaluated.store, copy.store, symlinks=True)
    return copy


def asked(world: Any, *arguments: str | Path, **keywords: Any) -> Any:
    """What `eval` prints as JSON under the settings that the graph was built with."""
    done = world("eval", "--json", *arguments, env=GRAPH, **keywords)
    assert done.code == 0, done.err
    return done.json


def test_without_options_the_versions_own_evaluation_is_shown(evaluated: Any) -> None:
    report = asked(evaluated)
    assert report["metrics"] == json.loads((evaluated.published / "metrics.json").read_text())
    assert (report["measured"], report["latency"], report["file"]) == ("at build", [], None)
    assert {row["qid"] for row in report["queries"]} == {one[0] for one in _ASKED}
    shown = evaluated("eval", env=GRAPH)
    assert shown.code == 0 and shown.err == ""
    for words in ("6 queries, asked at its build", "nDCG@10", "by label", "intent", "masked", "channel", "lexical", "zymurgy"):
        assert words in shown.out, words


def test_an_evaluation_that_runs_now_comes_to_the_same_and_takes_times(evaluated: Any) -> None:
    stored, now = asked(evaluated), asked(evaluated, "--now")
    for part in ("fused", "by_label", "by_half", "channels", "nearest", "k"):
        assert stored["metrics"][part] == now["metrics"][part], part
    assert stored["queries"] == now["queries"]
    stages = {row["stage"]: row for row in now["latency"]}
    assert {"parsing", "lexical", "dense", "ranking", "hydration", "whole"} <= set(stages)
    assert all(0 < row["median_ms"] <= row["p95_ms"] and row["searches"] for row in stages.values())
    assert "p95" in evaluated("eval", "--now", env=GRAPH).out


def test_another_k_is_measured_and_the_stored_one_is_not(evaluated: Any) -> None:
    report = asked(evaluated, "--k", "1")
    assert (report["measured"], report["metrics"]["k"]) == ("now", 1)
    assert report["metrics"]["fused"]["hit"]["mean"] <= asked(evaluated)["metrics"]["fused"]["hit"]["mean"]
    assert asked(evaluated, "-k", "10")["measured"] == "at build"


def test_a_version_is_named_and_settings_of_now_are_measured(evaluated: Any, versions: tuple[str, str]) -> None:
    assert asked(evaluated, "--version", versions[0])["version"] == versions[0]
    done = evaluated("eval", "--now", "--json", env={**GRAPH, "CODEINTEL_LEXICAL_WEIGHT": "0"})
    assert "lexical" not in done.json["metrics"]["channels"]


def test_plain_queries_are_asked_and_only_what_needs_no_answer_is_told(evaluated: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("# mine\nberth fee\nnext tide\n")
    report = asked(evaluated, "--queries", tmp_path / "mine.txt")
    assert (report["asked"], report["unjudged"], report["queries"]) == (2, 2, [])
    assert report["metrics"]["fused"] is None and report["metrics"]["nearest"]["queries"] == 2 and report["latency"]
    assert [row["uri"] for row in report["first"]] == ["harbour/fees.py", "harbour/tides.py"]
    shown = evaluated("eval", "--queries", tmp_path / "mine.txt", env=GRAPH).out
    assert "harbour/fees.py:" in shown and "nearest@10" in shown and "hit@10" not in shown


def test_own_queries_with_answers_are_judged_and_what_is_unknown_is_told(evaluated: Any, tmp_path: Path) -> None:
    lines = [
        {"qid": "a", "query": "berth_fee", "paths": ["harbour/fees.py:4-6"]},
        {"qid": "b", "query": "old", "paths": ["harbour/gone.py"]},
        {"qid": "c", "query": "next tide"},
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = asked(evaluated, "--queries", tmp_path / "mine.jsonl")
    assert {row["qid"]: row["hit"] for row in report["queries"]} == {"a": 1, "b": 0}
    assert report["metrics"]["fused"]["hit"]["mean"] == 0.5 and report["metrics"]["nearest"]["queries"] == 3
    assert [row["qid"] for row in report["first"]] == ["c"]
    done = evaluated("eval", "--queries", tmp_path / "mine.jsonl", env=GRAPH)
    assert "1 path matches nothing in the version: `harbour/gone.py`" in done.err
    assert "3 queries of" in done.out and "(1 of them without answers)" in " ".join(done.out.split())


def test_the_versions_own_file_of_queries_comes_to_the_versions_own_figures(evaluated: Any, tmp_path: Path) -> None:
    shutil.copy(evaluated.published / "queries.jsonl", tmp_path / "again.jsonl")
    again = asked(evaluated, "--queries", tmp_path / "again.jsonl")
    stored = asked(evaluated)
    assert again["queries"] == stored["queries"] and again["warnings"] == []
    assert again["metrics"]["by_half"] == stored["metrics"]["by_half"] and "masked" in again["metrics"]["by_half"]


def test_a_wrong_file_of_queries_is_refused_with_its_line(evaluated: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"query": "fine"}\n{"query"\n')
    for path, said in ((tmp_path / "mine.jsonl", "line 2 is broken JSON"), (tmp_path / "none.txt", "cannot be read")):
        done = evaluated("eval", "--queries", path)
        assert done.code == 2 and said in done.err and str(path) in done.err and done.out == ""


def test_a_grid_is_measured_point_by_point(evaluated: Any) -> None:
    report = asked(evaluated, "--grid", "efSearch=16,200;k_factor=1,2")
    others = [row for row in report["points"] if not row["chosen"]]
    assert {(row["parameters"], row["k_factor"]) for row in others} <= {
        (f"efSearch={effort}", factor) for effort in (16, 200) for factor in (1, 2)
    }
    assert len(others) >= 3 and all(0 <= row["low"] <= row["ann_recall"] <= row["high"] <= 1 for row in report["points"])
    assert "efSearch=200" in evaluated("eval", "--grid", "efSearch=16,200", env=GRAPH).out


def test_a_grid_over_an_exact_index_says_that_it_changes_nothing(evaluated: Any, versions: tuple[str, str]) -> None:
    done = evaluated("eval", "--version", versions[0], "--grid", "k_factor=1,2")
    assert done.code == 0 and "which is exact: every point finds the same" in done.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--grid", "nprobe=1"), 2, "takes only `efSearch`"),
        (("--grid", "efSearch"), 2, "is no part of a grid"),
        (("--grid", ""), 2, "The grid is empty"),
        (("--k", "0"), 2, "k = 0 is out of range"),
        (("--oracle", "xtr"), 2, "has no token vectors"),
        (("--oracle", "exact"), 2, "exact"),
        (("--version", "v-0000000000000000"), 3, "has no version v-0000000000000000"),
        (("--version", "yesterday"), 3, "is not the name of a version"),
        (("--compare", "v-0000000000000000", "v-1111111111111111"), 3, "has no version v-0000000000000000"),
        (("--compare", "v-0000000000000000"), 2, "--compare"),
        (("--compare", "v-0000000000000000", "v-1111111111111111", "--now"), 2, "go with no other option"),
        (("--history", "--k", "5"), 2, "go with no other option"),
        (("--history", "--version", "v-0000000000000000"), 2, "go with no other option"),
    ],
)
def test_what_cannot_be_asked_is_refused(evaluated: Any, options: tuple[str, ...], code: int, said: str) -> None:
    done = evaluated("eval", *options, env=GRAPH)
    assert done.code == code and said in done.err and done.out == ""


def test_without_an_index_there_is_nothing_to_evaluate(indexctl: Any, tmp_path: Path) -> None:
    for options in ((), ("--history",), ("--now",)):
        assert indexctl("eval", "--data", tmp_path / "none", *options).code == 3


def test_a_version_without_evaluation_says_the_way_out_and_takes_own_queries(world: Any, tmp_path: Path) -> None:
    assert world.build(env={"CODEINTEL_EVAL_QUERIES": "0"}).code == 0
    done = world("eval")
    assert done.code == 3 and "was not evaluated" in done.err and "--queries FILE" in done.err
    (tmp_path / "mine.txt").write_text("berth fee\n")
    assert asked(world, "--queries", tmp_path / "mine.txt")["asked"] == 1


def test_a_damaged_evaluation_is_named(changeable: Any) -> None:
    path = changeable.published / "metrics.json"
    path.unlink()
    path.write_text("{}")
    done = changeable("eval", env=GRAPH)
    assert done.code == 1 and "metrics.json" in done.err and "indexctl build" in done.err


def test_an_evaluation_of_an_index_that_is_behind_says_so(world: Any, tmp_path: Path) -> None:
    (world.repo / "harbour/new.py").write_text("def fresh(): pass\n")
    (tmp_path / "mine.txt").write_text("berth fee\n")
    assert asked(world, "--queries", tmp_path / "mine.txt")["stale"] is True
    assert "1 file changed since" in world("eval", "--queries", tmp_path / "mine.txt").err


def test_two_versions_are_compared_over_what_both_were_asked(evaluated: Any, versions: tuple[str, str]) -> None:
    found = evaluated("eval", "--compare", *versions, "--json").json
    assert (found["before"], found["after"], found["shared"]) == (*versions, 6)
    assert found["overall"]["ndcg"]["low"] <= found["overall"]["ndcg"]["mean"] <= found["overall"]["ndcg"]["high"]
    assert any(change["what"] == "index" for change in found["changed"])
    shown = evaluated("eval", "--compare", *versions).out
    assert f"{versions[0]} → {versions[1]}" in shown and "6 queries were asked to both" in shown
    assert "setting faiss_family: auto -> hnsw" in shown


def test_a_version_is_like_itself(evaluated: Any, versions: tuple[str, str]) -> None:
    done = evaluated("eval", "--compare", versions[1], versions[1])
    assert done.code == 0 and "the versions are made alike" in done.out and ".000 (.000 to .000)" in done.out


def test_versions_that_cannot_be_compared_say_why_and_what_differs(world: Any) -> None:
    first = world.version
    assert world.build(env={"CODEINTEL_EVAL_QUERIES": "0", **GRAPH}).code == 0
    done = world("eval", "--compare", first, world.version)
    assert done.code == 1 and "not comparable:" in done.out and "was not evaluated" in done.out
    assert "setting faiss_family: auto -> hnsw" in done.out


def test_the_history_has_every_version_with_what_changed(evaluated: Any, versions: tuple[str, str]) -> None:
    rows = evaluated("eval", "--history", "--json").json["versions"]
    assert [(row["version"], row["current"]) for row in rows] == [(versions[0], False), (versions[1], True)]
    assert all(row["quality"]["ndcg"]["mean"] > 0 and row["bytes"] > 0 and row["commit"] for row in rows)
    lines = evaluated("eval", "--history").out.splitlines()
    first, second = (next(place for place, line in enumerate(lines) if name in line) for name in versions)
    # The last published comes first, and below it what changed.
    assert lines[second].startswith("*") and second < first
    assert any("faiss_family" in line for line in lines[second:first])


def test_a_damaged_version_is_told_in_the_history(changeable: Any, versions: tuple[str, str]) -> None:
    path = changeable.home / "versions" / versions[0] / "manifest.json"
    path.unlink()
    path.write_text("rubbish")
    done = changeable("eval", "--history")
    assert done.code == 0 and "damaged: " in done.out and versions[0] in done.out


def test_a_hostile_query_does_not_drive_the_terminal(evaluated: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps({"query": "a\x1b[2J\nb", "paths": ["gone\x1b]0;x\x07.py"]}) + "\n")
    done = evaluated("eval", "--queries", tmp_path / "mine.jsonl", env=GRAPH)
    assert done.code == 0 and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.out + done.err)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("options", [(), ("--now",), ("--history",)])
def test_lines_fit_the_terminal(evaluated: Any, terminal: Any, columns: int, options: tuple[str, ...]) -> None:
    done = terminal(columns, "eval", "--data", evaluated.store, *options, env={**GRAPH, "NO_COLOR": "1"})
    assert done.code == 0, done.err
    assert len(done.lines) > 2 and all(len(line) <= columns for line in done.lines)


def test_help_loads_nothing_that_measures() -> None:
    script = (
        "import sys\nfrom pipeline.interfaces.main import main\n"
        "try:\n    main(['eval', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'pyarrow', 'faiss', 'numpy', 'duckdb', 'tantivy'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
