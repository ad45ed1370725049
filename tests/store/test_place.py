"""Which folder is the store when nobody names one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.store import place


def test_the_environment_comes_first(tmp_path: Path) -> None:
    assert place.default_data(tmp_path, {"CODEINTEL_DATA": "/x", "HOME": "/h"}) == Path("/x")
    assert place.default_data(tmp_path, {"CODEINTEL_DATA": "", "HOME": "/h", "XDG_DATA_HOME": "/d"}) == Path("/d/codeintel")


def test_a_checkout_has_its_own_store_also_from_below(tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "workspace.yaml").write_text("")
    (tmp_path / "pipeline" / "definitions.py").write_text("")
    (tmp_path / "docs").mkdir()
    assert place.default_data(tmp_path / "docs", {"HOME": "/h"}) == tmp_path / "data"


@pytest.mark.parametrize(("platform", "expected"), [("linux", "/h/.local/share"), ("darwin", "/h/Library/Application Support")])
def test_elsewhere_it_is_in_the_users_data_folder(
    platform: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place.sys, "platform", platform)
    assert place.default_data(tmp_path, {"HOME": "/h"}) == Path(expected) / "codeintel"
