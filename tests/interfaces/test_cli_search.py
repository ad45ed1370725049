"""`indexctl search` and `show`: filters, batches, versions, staleness, and queries that nobody should have to think about."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def uris(done: Any) -> list[str]:
    assert done.code == 0, done.err
    return [hit["uri"] for hit in done.json["results"]]


def test_an_answer_has_the_documented_shape(built: Any) -> None:
    answer = built("search", "berth fee", "--json").json
    assert sorted(answer) == ["behind", "channels", "kind", "query", "repo", "results", "stale", "version"]
    assert answer["kind"] == "phrase" and answer["channels"]["symbol"] == {"state": "silent", "found": 0}
    assert (answer["repo"], answer["version"], answer["stale"], answer["query"]) == ("demo", built.version, False, "berth fee")
    for rank, hit in enumerate(answer["results"], 1):
        assert sorted(hit) == sorted(
            [
                "rank",
                "id",
                "uri",
                "start_line",
                "end_line",
                "lang",
                "kind",
                "name",
                "score",
                "preview",
                "explanation",
                "adjustments",
            ]
        )
        assert hit["rank"] == rank and isinstance(hit["id"], str) and int(hit["id"]) > 0
        assert 1 <= hit["start_line"] <= hit["end_line"]
    best = answer["results"][0]
    assert (best["uri"], best["lang"]) == ("harbour/fees.py", "python")


def test_contributions_times_adjustments_are_the_score_and_scores_fall(built: Any) -> None:
    hits = built("search", "when is the next tide", "--json").json["results"]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    for hit in hits:
        assert set(hit["explanation"]) == {"lexical", "dense"}
        total = sum(channel["contribution"] for channel in hit["explanation"].values())
        assert total * math.prod(hit["adjustments"].values()) == pytest.approx(hit["score"], abs=1e-4)


@pytest.mark.parametrize(
    ("option", "value", "passes"),
    [
        ("--lang", "javascript", lambda hit: hit["lang"] == "javascript"),
        ("--path", "web/", lambda hit: hit["uri"].startswith("web/")),
        ("--path", "*.md", lambda hit: hit["uri"].endswith(".md")),
        ("--path", "harbour/**/*.py", lambda hit: hit["uri"].startswith("harbour/")),
        ("--kind", "function", lambda hit: hit["kind"] == "function"),
        ("--module", "harbour", lambda hit: hit["uri"].startswith("harbour/")),
        ("--module", "harbour.fees", lambda hit: hit["uri"] == "harbour/fees.py"),
        ("--module", "harbour/fees.py", lambda hit: hit["uri"] == "harbour/fees.py"),
        ("--defines", "next_high_water", lambda hit: hit["uri"] == "harbour/tides.py"),
        ("--defines", "Ship.is_seaworthy", lambda hit: hit["uri"] == "harbour/ships.py"),
        ("--defines", "Ship::is_seaworthy()", lambda hit: hit["uri"] == "harbour/ships.py"),
    ],
)
def test_each_filter_keeps_exactly_what_passes_it(built: Any, option: str, value: str, passes: Callable[[Any], bool]) -> None:
    everything = built("search", "ships at the quay", "-k", "1000", "--json").json["results"]
    kept = built("search", "ships at the quay", "-k", "1000", "--json", option, value).json["results"]
    assert {hit["id"] for hit in kept} == {hit["id"] for hit in everything if passes(hit)} != set()


def test_a_filter_given_twice_takes_either_and_different_filters_take_both(built: Any) -> None:
    assert set(uris(built("search", "harbour", "--json", "--lang", "markdown", "--lang", "toml"))) == {
        "README.md",
        "config.toml",
    }
    assert uris(built("search", "harbour", "--json", "--lang", "markdown", "--path", "*.toml")) == []


def test_k_is_how_many_results_there_are_at_most(built: Any) -> None:
    assert len(built("search", "harbour", "-k", "2", "--json").json["results"]) == 2
    chunks = built("status", "--json").json["repos"][0]["chunks"]
    assert 2 < len(built("search", "harbour", "-k", "10000", "--json").json["results"]) <= chunks


@pytest.mark.parametrize("k", ["0", "-1", "10001", "abc", "1.5", "99999999999999999999"])
def test_a_k_that_cannot_be_is_a_usage_error(built: Any, k: str) -> None:
    done = built("search", "harbour", "-k", k)
    assert (done.code, done.out) == (2, "") and done.err


@pytest.mark.parametrize("query", ["", "   ", "\t\n"])
def test_an_empty_query_is_a_usage_error(built: Any, query: str) -> None:
    done = built("search", query)
    assert done.code == 2 and "empty" in done.err


@pytest.mark.parametrize(
    "query",
    [
        "the of and",
        'AND OR NOT "a b" field:x * ~ ^2 +must -not [a TO b] (',
        "泊位费用",
        "⚓ 🎉",
        "\x01\x1b[31m\x7f\u202e\ufeff",
        "...",
        "'; DROP TABLE chunks; --",
        "-k",
        "\\",
        "ship " * 20_000,
        "x" * 100_000,
    ],
    ids=["stop words", "operators", "chinese", "emoji", "controls", "dots", "sql", "option", "backslash", "100 kB", "one word"],
)
def test_no_query_breaks_the_search(built: Any, query: str) -> None:
    done = built("search", "--json", "--", query) if query.startswith("-") else built("search", query, "--json")
    assert done.code == 0, done.err
    assert done.json["query"] == query and len(done.json["results"]) <= 10


def test_a_query_over_a_megabyte_is_refused(built: Any, tmp_path: Path) -> None:
    batch = tmp_path / "batch.jsonl"
    batch.write_text(json.dumps({"query": "x" * (1 << 21)}))
    done = built("search", "--batch", batch)
    assert done.code == 2 and "batch.jsonl, line 1" in done.err


def test_an_unknown_language_is_named_instead_of_finding_nothing(built: Any) -> None:
    done = built("search", "harbour", "--lang", "klingon")
    assert done.code == 2 and "klingon" in done.err and "javascript, markdown" in done.err
    assert uris(built("search", "harbour", "--lang", "rust", "--json")) == []


def test_a_glob_that_matches_nothing_says_so_and_one_that_is_none_is_refused(built: Any) -> None:
    nothing = built("search", "harbour", "--path", "nowhere/")
    assert nothing.code == 0 and "no results" in nothing.out
    assert built("search", "harbour", "--path", "[").code == 2


def test_query_and_batch_exclude_each_other(built: Any, tmp_path: Path) -> None:
    assert built("search").code == 2
    assert built("search", "x", "--batch", tmp_path / "b").code == 2


def test_a_batch_answers_line_by_line_in_order(built: Any, tmp_path: Path) -> None:
    batch = tmp_path / "queries.jsonl"
    batch.write_text('{"query": "tide"}\n\n   \n{"query": "berth fee", "note": 1}\n')
    from_file = built("search", "--batch", batch, "-k", "1")
    assert [answer["query"] for answer in from_file.jsons] == ["tide", "berth fee"]
    assert [answer["results"][0]["uri"] for answer in from_file.jsons] == ["harbour/tides.py", "harbour/fees.py"]
    from_stdin = built("search", "--batch", "-", "-k", "1", stdin=batch.read_bytes())
    assert from_stdin.out == from_file.out
    single = built("search", "tide", "-k", "1", "--json")
    assert single.json == from_file.jsons[0]


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"query": 3}', '{"query": ""}', '"tide"', "\\ud800"])
def test_a_bad_line_of_a_batch_is_named_after_the_good_ones_were_answered(built: Any, line: str) -> None:
    done = built("search", "--batch", "-", stdin=b'{"query": "tide"}\n' + line.encode() + b'\n{"query": "never"}\n')
    assert done.code == 2 and "line 2" in done.err
    assert [answer["query"] for answer in done.jsons] == ["tide"]


def test_a_batch_file_that_cannot_be_read_is_a_usage_error(built: Any, tmp_path: Path) -> None:
    assert built("search", "--batch", tmp_path / "none").code == 2
    assert built("search", "--batch", tmp_path).code == 2


def test_an_index_that_is_behind_says_so_in_json_and_to_people(world: Any) -> None:
    (world.repo / "ignored/secret.py").write_text("SECRET = 2\n")
    assert world("search", "tide", "--json").json["stale"] is False
    (world.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    behind = world("search", "tide", "--json").json
    assert behind["stale"] is True and behind["behind"] == {"files": 1, "commits": 0, "reason": ""}
    human = world("search", "tide")
    assert human.err == f"note: 1 file changed since {world.version}; run `indexctl build`\n" and human.code == 0
    assert world.build().code == 0
    assert world("search", "tide", "--json").json["stale"] is False


def test_an_index_whose_repository_is_gone_still_answers_and_is_stale(world: Any) -> None:
    world.repo.rename(world.repo.with_name("moved"))
    done = world("search", "tide", "--json")
    assert done.code == 0 and done.json["stale"] is True and done.json["results"]
    assert done.json["behind"]["files"] is None and "does not exist" in done.json["behind"]["reason"]


def test_earlier_versions_are_searched_by_name_and_by_revision(world: Any, git: Callable[..., str]) -> None:
    first = world.version
    (world.repo / "harbour/pilots.py").write_text("def call_the_pilot(): pass\n")
    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-qm", "Second")
    second = world.build().json["version"]
    assert "harbour/pilots.py" in uris(world("search", "pilot", "--json"))
    by_name = world("search", "pilot", "--json", "--version", first)
    assert by_name.json["version"] == first and "harbour/pilots.py" not in uris(by_name)
    assert world("search", "pilot", "--json", "--rev", "HEAD~1").json["version"] == first
    assert world("search", "pilot", "--json", "--rev", "main").json["version"] == second
    unknown = world("search", "pilot", "--rev", "nosuch")
    assert unknown.code == 3 and "nosuch" in unknown.err
    git(world.repo, "commit", "-q", "--allow-empty", "-m", "Third")
    unbuilt = world("search", "pilot", "--rev", "HEAD")
    assert unbuilt.code == 3 and f"indexctl build {world.repo} --rev HEAD" in unbuilt.err


@pytest.mark.parametrize("name", ["nosuch", "v-0000000000000000", "../../x"])
def test_an_unknown_version_is_not_found(built: Any, name: str) -> None:
    assert built("search", "tide", "--version", name).code == 3


def test_a_revision_of_a_folder_without_git_is_not_found(tmp_path: Path, indexctl: Any) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/a.py").write_text("def lonely(): pass\n")
    indexctl("build", tmp_path / "plain", "--data", tmp_path / "s", "--ephemeral")
    done = indexctl("search", "lonely", "--rev", "HEAD", "--data", tmp_path / "s")
    assert done.code == 3 and "no git repository" in done.err


def test_show_takes_the_ids_of_results_and_prints_the_bytes_of_the_file(built: Any) -> None:
    for hit in built("search", "harbour", "-k", "100", "--json").json["results"]:
        chunk = built("show", hit["id"], "--json").json
        assert chunk["id"] == hit["id"] and chunk["uri"] == hit["uri"] and chunk["version"] == built.version
        text = (built.repo / chunk["uri"]).read_bytes()[chunk["start_byte"] : chunk["end_byte"]]
        assert chunk["content"].encode() == text
    human = built("show", built("search", "berth_fee", "--json").json["results"][0]["id"])
    assert "harbour/fees.py:" in human.out and "discount for long stays" in human.out


@pytest.mark.parametrize(
    ("identifier", "code"), [("12", 3), ("abc", 2), ("-5", 2), ("99999999999999999999", 2), ("١٢", 2), ("", 2)]
)
def test_show_of_what_is_no_chunk_says_so(built: Any, identifier: str, code: int) -> None:
    done = built("show", identifier)
    assert (done.code, done.out) == (code, "") and done.err


def test_explanations_are_printed_on_request_with_the_id(built: Any) -> None:
    plain, explained = built("search", "tide", "-k", "1"), built("search", "tide", "-k", "1", "--explain")
    identifier = built("search", "tide", "-k", "1", "--json").json["results"][0]["id"]
    assert identifier not in plain.out
    assert f"id {identifier}" in explained.out and "gives" in explained.out
    assert "; flat; GPU: " in explained.out and "GPU" not in plain.out
    assert "query: read as a name" in explained.out and "path: silent" in explained.out
