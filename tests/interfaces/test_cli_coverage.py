"""`indexctl coverage`: what it prints, in terminals of two widths, and what it says to those who ask wrongly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.store.objects import sealed_digest
from pipeline.store.versions import ManifestDocument

CODE = ("harbour/ships.py", "harbour/fees.py", "harbour/tides.py", "web/app.js")


def test_the_answer_has_the_documented_shape(built: Any) -> None:
    answer = built("coverage", "--json").json
    assert sorted(answer) == ["by", "k", "module", "repo", "row_count", "rows", "skipped", "total", "version"]
    assert (answer["by"], answer["k"], answer["module"], answer["version"]) == ("module", 10, "", built.version)
    total = answer["total"]
    assert total["definitions"] == total["covered"] == total["chunked"] == total["asked"] == 6
    assert answer["row_count"] == len(answer["rows"]) and all(sorted(row) == sorted(total) for row in answer["rows"])
    assert sum(row["found"] for row in answer["rows"]) == total["found"]
    assert "lexical" in total["found_by"]


def test_people_see_what_there_is_and_the_modules(built: Any) -> None:
    done = built("coverage")
    assert done.code == 0 and done.err == ""
    assert done.out.startswith(f"the whole repository, {built.version}\n")
    assert "6 of 6 (100 %) lie in every index" in done.out and "within the first 10" in done.out
    assert all(f"\n{name} " in done.out for name in CODE)


def test_rows_are_the_modules_of_a_depth_and_of_a_prefix(built: Any) -> None:
    def prefixes(*arguments: str) -> set[str]:
        return {row["prefix"] for row in built("coverage", "--json", "--worst", "0", *arguments).json["rows"]}

    assert {"harbour/", "web/", "README.md"} <= prefixes("--depth", "1")
    assert prefixes("--module", "harbour", "--depth", "1") == {
        f"harbour/{name}.py" for name in ("__init__", "ships", "fees", "tides")
    }
    assert prefixes("--module", "harbour/fees.py") == {"harbour/fees.py"}
    assert built("coverage", "--module", "harbour/", "--json").json["total"]["definitions"] == 5


@pytest.mark.parametrize("by", ["language", "kind", "channel", "reason"])
def test_groups_are_told_to_people_and_to_machines(built: Any, by: str) -> None:
    answer = built("coverage", "--by", by, "--json").json
    done = built("coverage", "--by", by)
    assert done.code == 0 and answer["by"] == by
    for row in answer["rows"]:
        assert re.search(rf"(?m)^{re.escape(row[by])} ", done.out)
    if by == "language":
        assert {row["language"]: row["definitions"] for row in answer["rows"]} == {"python": 5, "javascript": 1}
    if by == "channel":
        assert {row["channel"] for row in answer["rows"]} >= {"lexical", "symbol"}


def test_the_worst_come_first_and_what_is_left_out_is_told(built: Any) -> None:
    whole = built("coverage", "--json", "--worst", "0").json["rows"]
    done = built("coverage", "--worst", "1")
    assert done.err.startswith(f"and {len(whole) - 1} more")
    assert built("coverage", "--json", "--worst", "1").json["rows"] == whole[:1]


def many_gates(world: Any) -> Any:
    """The world built again with more definitions of one name than there are places."""
    for number in range(14):
        (world.repo / f"gate{number}.py").write_text(f"class Gate:\n    def swing(self):\n        return {number}\n")
    assert world.build().code == 0
    return world


def test_definitions_that_are_missed_are_listed_with_the_reason_and_the_query(world: Any) -> None:
    assert "none is missed" in world("coverage", "--missed", "--module", "web").out
    rows = many_gates(world)("coverage", "--missed", "--worst", "0", "--json").json["rows"]
    swings = [row for row in rows if row["symbol"] == "Gate.swing"]
    assert len(swings) == 4 and {(row["reason"], row["query"]) for row in swings} == {("namesake", "Gate.swing")}
    told = world("coverage", "--missed", "--worst", "0").out
    assert f"{swings[0]['uri']}:2-3  method Gate.swing\n    namesake" in told and "    asked: Gate.swing\n" in told
    reasons = {row["reason"]: row for row in world("coverage", "--by", "reason", "--json").json["rows"]}
    assert reasons["namesake"]["asked"] == sum(row["reason"] == "namesake" for row in rows)


def test_without_evaluation_the_structure_is_told_and_nothing_was_asked(world: Any) -> None:
    (world.repo / "codeintel.toml").write_text("eval_queries = 0\n")
    assert world.build().code == 0
    done = world("coverage")
    assert done.code == 0 and "none was asked for" in done.out and "lie in every index" in done.out and "found " not in done.err
    assert world("coverage", "--by", "channel").out.endswith("no definition was asked for\n")


def test_what_cannot_be_answered_is_told_in_a_sentence(built: Any, tmp_path: Path, indexctl: Any) -> None:
    nothing = indexctl("coverage", "--data", tmp_path / "none")
    assert nothing.code == 3 and "indexctl build" in nothing.err
    unknown = built("coverage", "--version", "v-0000000000000000")
    assert unknown.code == 3 and "v-0000000000000000" in unknown.err
    nowhere = built("coverage", "--module", "lib/fees.py")
    assert nowhere.code == 3 and "`lib/fees.py`" in nowhere.err and "Near it: harbour/fees.py." in nowhere.err
    assert built("coverage", "--module", "no\x1bwhere").code == 3
    for wrong in (
        ("--by", "phase"),
        ("--depth", "0"),
        ("--worst", "-1"),
        ("--by", "kind", "--depth", "2"),
        ("--missed", "--depth", "2"),
    ):
        done = built("coverage", *wrong)
        assert done.code == 2 and "Traceback" not in done.err


def test_a_version_without_coverage_says_so(world: Any) -> None:
    path = world.published / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes(), type=ManifestDocument)
    older = msgspec.structs.replace(
        manifest, artefacts={asset: made for asset, made in manifest.artefacts.items() if asset != "coverage"}
    )
    path.chmod(0o644)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(older, digest=sealed_digest(older))))
    done = world("coverage")
    assert done.code == 3 and "was built without coverage" in done.err and "indexctl build" in done.err


def test_damaged_coverage_is_refused(world: Any) -> None:
    path = world.published / "coverage_modules.parquet"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-20] + b"x" * 20)
    done = world("coverage")
    assert done.code == 1 and "coverage_modules.parquet" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("arguments", [(), ("--by", "reason"), ("--by", "channel"), ("--missed",)])
def test_lines_fit_the_terminal(built: Any, terminal: Any, columns: int, arguments: tuple[str, ...]) -> None:
    done = terminal(columns, "coverage", "--data", built.store, *arguments)
    assert done.code == 0
    assert len(done.lines) > 3 and all(len(line) <= columns for line in done.lines)
