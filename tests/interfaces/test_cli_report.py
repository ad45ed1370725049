"""`indexctl report`: where the page lies, of which version it is, and what it says where there is nothing to say."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any

import pytest


def test_a_build_leaves_a_report(built: Any) -> None:
    pages = list((built.home / "reports").glob("e-*.html"))
    assert len(pages) == 1
    page = pages[0].read_text()
    assert "find an answer" in page and "How it was made" in page and "berth_fee" in page


def test_the_report_of_the_published_version_is_written_and_its_path_printed(world: Any) -> None:
    done = world("report")
    path = world.home / "reports" / f"{world.version}.html"
    assert (done.code, done.out, done.err) == (0, f"{path}\n", "")
    page = path.read_text()
    assert world.version in page and "published" in page and "There is none: this is the first." in page


def test_json_says_version_and_path(world: Any, tmp_path: Path) -> None:
    out = tmp_path / "folder" / "page.html"
    done = world("report", "--json", "--out", out)
    assert done.json == {"repo": "demo", "version": world.version, "path": str(out)}
    assert out.is_file() and not (world.home / "reports" / f"{world.version}.html").exists()


def test_a_later_version_is_compared_with_its_parent_and_both_are_in_the_history(world: Any) -> None:
    first = world.version
    (world.repo / "harbour/pilots.py").write_text(
        'def call_pilot(ship):\n    """Ask a pilot to come aboard."""\n    return ship\n'
    )
    assert world.build("--allow-regression").code == 0
    page = Path(world("report").out.strip()).read_text()
    assert first in page and "The 2 versions" in page and "this is the first" not in page
    earlier = world("report", "--version", first)
    assert earlier.code == 0 and Path(earlier.out.strip()).name == f"{first}.html"


def test_a_version_without_evaluation_has_no_report(world: Any) -> None:
    assert world.build(env={"CODEINTEL_EVAL_QUERIES": "0"}).code == 0
    done = world("report")
    assert done.code == 3 and "was not evaluated" in done.err and "eval_queries" in done.err
    assert done.out == "" and not (world.home / "reports" / f"{world.version}.html").exists()


def test_an_unknown_version_has_no_report(world: Any) -> None:
    assert world("report", "--version", "v-0000000000000000").code == 3


def test_damage_is_said_and_nothing_is_written(world: Any) -> None:
    path = world.published / "metrics.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    done = world("report")
    assert done.code == 1 and "damaged" in done.err and not (world.home / "reports" / f"{world.version}.html").exists()


def test_open_shows_the_page_and_never_fails(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(shown.append(address)) or True)
    done = world("report", "--open")
    assert (done.code, done.err) == (0, "") and shown == [Path(done.out.strip()).as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    done = world("report", "--open")
    assert done.code == 0 and "no browser" in done.err


def test_the_same_version_gives_the_same_page(world: Any, tmp_path: Path) -> None:
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for page in pages:
        assert world("report", "--out", page).code == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()
