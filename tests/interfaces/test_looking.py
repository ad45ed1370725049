"""Asking how fresh an index is by a process of its own, as it is done in large repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.interfaces import looking
from pipeline.source.freshness import NOT_CHECKED


@pytest.fixture
def large(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The demo repository, taken for a large one, with all the time in the world."""
    monkeypatch.setattr(looking, "AT_ONCE", -1.0)
    monkeypatch.setattr(looking, "GRACE", 120.0)
    return world


def test_the_other_process_tells_what_this_one_would(large: Any) -> None:
    assert large("search", "tide", "--json").json["behind"] == {"files": 0, "commits": 0, "reason": ""}
    (large.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    (large.repo / "harbour/fees.py").unlink()
    behind = large("search", "tide", "--json").json
    assert behind["stale"] is True and behind["behind"] == {"files": 2, "commits": 0, "reason": ""}
    assert "2 files changed" in large("symbols", "berth_fee").err


def test_an_answer_does_not_wait_for_it_and_says_that_nobody_looked(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "GRACE", 0.0)
    (large.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    answer = large("search", "tide", "--json").json
    assert answer["results"] and answer["stale"] is False
    assert answer["behind"] == {"files": None, "commits": None, "reason": NOT_CHECKED}
    human = large("search", "tide")
    assert human.code == 0 and "not checked" in human.err and "indexctl build" not in human.err


def test_status_waits_as_long_as_it_takes(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "GRACE", 0.0)
    (large.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    assert large("status", "--json").json["repos"][0]["behind"]["files"] == 1


def test_nothing_that_lies_in_the_working_directory_is_executed(large: Any, tmp_path: Path) -> None:
    for name in ("msgspec", "pipeline", "pygit2"):
        (large.repo / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    assert large("search", "tide", "--json", cwd=large.repo).json["behind"]["files"] == 3
    assert not (tmp_path / "executed").exists()
