"""`indexctl build` and the gate: refusals, `--allow-regression`, and where it shows afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.stages import EVAL_METRICS, KINDS
from pipeline.store.versions import read_build_facts

GOOD = {f"name/{number}": 1 for number in range(60)}
BAD = {qid: None if number % 2 else 1 for number, qid in enumerate(GOOD)}


@pytest.fixture
def rebuilt(world: Any, sabotage: Any, evaluate: Callable[..., Path]) -> Callable[..., Any]:
    """Edit the repository and build it, with the ranks that its queries are to have: `rebuilt(GOOD, *arguments)`."""
    ranks: dict[str, int | None] = {}
    edits = iter(range(9))

    def write(folders: Mapping[str, Path]) -> None:
        evaluate(folders["eval_metrics"], ranks)
        (folders["eval_metrics"] / "coverage.json").unlink()

    sabotage(EVAL_METRICS, write)

    def build(reached: Mapping[str, int | None], *arguments: str) -> Any:
        ranks.clear()
        ranks.update(reached)
        (world.repo / "edit.py").write_text(f"EDIT = {next(edits)}\n")
        return world("build", world.repo, "--ephemeral", *arguments)

    return build


def _refused(world: Any, rebuilt: Callable[..., Any]) -> Any:
    assert rebuilt(GOOD).code == 0
    return rebuilt(BAD)


def test_a_build_whose_quality_fell_ends_with_one_and_says_why(world: Any, rebuilt: Callable[..., Any]) -> None:
    assert rebuilt(GOOD).code == 0
    before, there = world.version, sorted(path.name for path in world.published.parent.iterdir())
    done = rebuilt(BAD)
    assert done.code == 1 and world.version == before
    assert sorted(path.name for path in world.published.parent.iterdir()) == there
    assert "quality_not_regressed" in done.err and "rank 1 -> not found" in done.err and "--allow-regression" in done.err
    assert world("search", "berth fee").code == 0


def test_the_report_of_a_refused_build_has_its_reason(world: Any, rebuilt: Callable[..., Any]) -> None:
    assert rebuilt(GOOD).code == 0
    before = world.version
    report = rebuilt(BAD, "--json").json
    assert (report["published"], report["version"]) == (False, before)
    assert "quality_not_regressed" in report["problems"][0]["problem"]


def test_allowing_it_builds_nothing_again(world: Any, rebuilt: Callable[..., Any]) -> None:
    _refused(world, rebuilt)
    before = world.version
    assert "everything is built" in world("plan", world.repo).out
    again = world.build("--allow-regression").json
    assert again["published"] and again["version"] == world.version != before
    assert again["built"] == ["current"] and set(again["reused"]) == set(KINDS)
    assert "in spite of quality_not_regressed" in again["problems"][0]["problem"]


def test_what_was_allowed_shows_in_versions_and_status(world: Any, rebuilt: Callable[..., Any]) -> None:
    _refused(world, rebuilt)
    assert "in spite of" not in world("versions").out
    assert world.build("--allow-regression").code == 0
    newest = world("versions", "--json").json["versions"][0]
    assert newest["current"] and newest["allowed"] == ["quality_not_regressed"]
    assert "in spite of" in world("versions").out and "quality_not_regressed" in world("versions").out
    assert "quality_not_regressed: compared with" in world("status").out
    assert world("status", "--json").json["repos"][0]["allowed"].keys() == {"quality_not_regressed"}


def test_allowing_what_needs_no_permission_records_nothing(world: Any, rebuilt: Callable[..., Any]) -> None:
    assert rebuilt(GOOD).code == 0
    done = rebuilt(GOOD, "--allow-regression", "--json")
    assert done.json["published"] and done.json["problems"] == []
    assert "allowed" not in read_build_facts(world.published)


def test_a_version_that_is_known_is_switched_to_whatever_its_quality(world: Any, rebuilt: Callable[..., Any]) -> None:
    assert rebuilt(BAD).code == 0
    bad, text = world.version, (world.repo / "edit.py").read_text()
    assert rebuilt(GOOD).code == 0
    (world.repo / "edit.py").write_text(text)
    done = world.build().json
    assert done["version"] == bad == world.version and done["built"] == ["current"]


def test_a_build_that_is_refused_has_a_report_that_says_why(world: Any, rebuilt: Callable[..., Any]) -> None:
    assert rebuilt(GOOD).code == 0
    known = set((world.home / "reports").iterdir())
    assert rebuilt(BAD).code == 1
    (page,) = (path.read_text() for path in set((world.home / "reports").iterdir()) - known)
    assert "a version that is not published" in page and "quality_not_regressed" in page and "got worse" in page
