"""`indexctl trace`, and what `search --explain` prints and keeps."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest


def trace(world: Any, command: str, *arguments: str | Path) -> Any:
    return world._run("trace", command, "--data", world.store, *arguments)


def sql(world: Any, query: str) -> list[dict[str, Any]]:
    done = world("sql", query, "--json")
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = done.jsons
    return rows


def test_searches_are_kept_from_on_to_off_and_shown_newest_first(world: Any) -> None:
    world("search", "before")
    assert trace(world, "show", "--json").json["on"] is False
    on = trace(world, "on", "--json").json
    assert on == {"repo": "demo", "on": True, "path": str(world.home / "trace")}
    for query in ("berth fee", "next high tide"):
        assert world("search", query).code == 0
    assert trace(world, "off").out.startswith("off:")
    world("search", "after")
    shown = trace(world, "show", "--json").json
    assert [one["query"] for one in shown["recent"]] == ["next high tide", "berth fee"]
    assert (shown["on"], shown["searches"], shown["sets"], shown["problems"]) == (False, 2, 2, [])
    assert shown["bytes"] > 0 and shown["first"] < shown["last"]
    human = trace(world, "show").out
    assert "demo: off; 2 searches in 2 sets" in human and human.index("next high tide") < human.index("berth fee")


def test_what_was_kept_is_seen_by_sql_and_joins_to_chunks(world: Any) -> None:
    assert sql(world, "SELECT * FROM hybrid_topk") == []
    trace(world, "on")
    hits = world("search", "berth fee", "-k", "3", "--json").json["results"]
    found = sql(world, "SELECT t.doc_id, c.uri FROM hybrid_topk AS t JOIN chunk_rows AS c ON c.id = t.doc_id ORDER BY t.rank")
    assert found == [{"doc_id": hit["id"], "uri": hit["uri"]} for hit in hits]
    assert sql(world, "SELECT query, k, version FROM trace_queries") == [
        {"query": "berth fee", "k": 3, "version": world.version}
    ]


def test_tracing_changes_no_answer(world: Any) -> None:
    before = world("search", "berth fee", "--json")
    trace(world, "on")
    after = world("search", "berth fee", "--json")
    assert (after.out, after.err) == (before.out, before.err)


def test_a_batch_is_one_set_and_all_of_it_is_kept_up_to_a_bad_line(world: Any) -> None:
    trace(world, "on")
    done = world("search", "--batch", "-", stdin=b'{"query": "tide"}\n{"query": "ship"}\nnonsense\n')
    assert done.code == 2
    shown = trace(world, "show", "--json").json
    assert (shown["sets"], [one["query"] for one in shown["recent"]]) == (1, ["ship", "tide"])


def test_clear_removes_what_was_kept_and_tracing_stays_on(world: Any) -> None:
    trace(world, "on")
    world("search", "tide")
    assert stat.S_IMODE((world.home / "trace").stat().st_mode) == 0o700
    assert trace(world, "clear", "--json").json == {"repo": "demo", "removed": 1}
    shown = trace(world, "show", "--json").json
    assert (shown["on"], shown["searches"], shown["first"], shown["recent"]) == (True, 0, None, [])
    assert trace(world, "clear").out == "removed 0 sets of traces of demo\n"


def test_bounds_are_settings_of_the_store_and_not_of_a_repository(world: Any) -> None:
    trace(world, "on")
    (world.store / "codeintel.toml").write_text("trace_files = 2\ntrace_pool = 1\n")
    for query in ("tide", "ship", "quay"):
        assert world("search", query).code == 0
    assert [row["query"] for row in sql(world, "SELECT query FROM trace_queries ORDER BY ts")] == ["ship", "quay"]
    assert sql(world, "SELECT max(n) AS n FROM (SELECT count(*) AS n FROM trace_pool GROUP BY query_id, channel)") == [{"n": 1}]
    (world.repo / "codeintel.toml").write_text("trace_bytes = 1000000000\n")
    refused = world("search", "tide")
    assert refused.code == 2 and "`trace_bytes` cannot be set by a repository" in refused.err


def test_a_damaged_set_is_told_and_the_others_are_read(world: Any) -> None:
    trace(world, "on")
    world("search", "tide")
    [damaged] = (world.home / "trace").glob("*/trace_pool.parquet")
    damaged.write_bytes(damaged.read_bytes()[:50])
    world("search", "ship")
    by_sql, shown = world("sql", "SELECT query FROM trace_queries", "--json"), trace(world, "show", "--json")
    assert by_sql.jsons == [{"query": "ship"}] and [one["query"] for one in shown.json["recent"]] == ["ship"]
    for said in (by_sql.err, *shown.json["problems"]):
        assert str(damaged) in said and "cut off" in said
    assert str(damaged) in trace(world, "show").err
    assert trace(world, "clear").code == 0 and trace(world, "show").err == ""


def test_where_traces_cannot_be_written_a_search_answers_and_warns(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trace(world, "on")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    expected = world("search", "tide", "--json").out
    monkeypatch.setattr("pipeline.files.temporary_sibling", refuse)
    done = world("search", "tide", "--json")
    assert done.code == 0 and done.out == expected
    assert done.err.count("\n") == 1 and "cannot be traced" in done.err and "No space left" in done.err


@pytest.mark.parametrize("command", ["on", "off", "show", "clear"])
def test_a_repository_that_is_not_there_is_not_found(built: Any, tmp_path: Path, command: str) -> None:
    assert trace(built, command, "--repo", "nosuch").code == 3
    done = built._run("trace", command, "--data", tmp_path / "none")
    assert done.code == 3 and "no index" in done.err and not (tmp_path / "none").exists()


def test_queries_cannot_drive_the_terminal(world: Any) -> None:
    trace(world, "on")
    world("search", "\x1b[2J\nforged [red]line[/red] " + "x" * 100)
    shown = trace(world, "show").out
    assert "\x1b" not in shown and "…" in shown and "[red]line[/red]" in shown and len(shown.splitlines()) == 4


def test_a_prompt_sees_searches_that_come_while_it_is_open(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trace(world, "on")
    typed = 0

    def type_a_line(_: str = "") -> str:
        nonlocal typed
        typed += 1
        if typed == 3:
            raise EOFError
        if typed == 2:
            world("search", "tide")
        return "SELECT count(*) AS n FROM trace_queries;"

    monkeypatch.setattr("builtins.input", type_a_line)
    assert world("sql", "--json").jsons == [{"n": 0}, {"n": 1}]


def test_json_says_what_matched_only_when_it_is_asked_to_explain(world: Any) -> None:
    plain = world("search", "berth fee", "--json").json["results"]
    assert all("matched" not in hit for hit in plain)
    trace(world, "on")
    explained = world("search", "berth fee", "--json", "--explain").json["results"]
    assert [{name: value for name, value in hit.items() if name != "matched"} for hit in explained] == plain
    best = explained[0]["matched"]
    assert sorted(best) == ["ast_kinds", "cst_hits", "named", "symbols", "terms"]
    assert best["terms"] == {"body": ["berth", "fee"], "names": ["berth", "fee"], "path": ["fee"]}
    assert best["named"] == best["symbols"] == ["berth_fee"] and best["ast_kinds"]["function_definition"] == 1
    kept = sql(world, "SELECT DISTINCT chunk_id, explain_symbols FROM trace_pool WHERE explain_symbols IS NOT NULL")
    assert {row["chunk_id"] for row in kept} <= {hit["id"] for hit in explained} and kept
    batch = world("search", "--batch", "-", "--explain", stdin=json.dumps({"query": "berth fee"}).encode())
    assert batch.json["results"] == explained


def test_people_are_shown_what_matched(built: Any) -> None:
    shown = built("search", "berth fee", "-k", "1", "--explain").out
    assert "words    body: berth, fee · names: berth, fee · path: fee" in shown
    assert "defines  berth_fee (named)" in shown and "syntax   " in shown and "concrete function berth_fee" in shown
    assert "words    " not in built("search", "berth fee", "-k", "1").out
