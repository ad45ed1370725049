"""Folders of indexers: one for each run, and none left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.errors import CodeIntelError
from pipeline.structure.scip.scratch import PREFIX, scratch

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys
from pipeline.structure.scip.scratch import scratch
with scratch() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_after_the_run_however_it_ends(temporary: Path) -> None:
    with scratch() as folder:
        (folder / "x").write_text("x")
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []
    with pytest.raises(ZeroDivisionError), scratch():
        raise ZeroDivisionError
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_another_uses_stays(temporary: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        other = Path(holder.stdout.readline().strip())
        with scratch() as mine:
            assert other.is_dir() and mine != other
        assert other.is_dir()
        holder.kill()
    with scratch() as mine:
        assert list(temporary.iterdir()) == [mine]


def test_what_is_no_folder_of_ours_stays(temporary: Path) -> None:
    (temporary / "elsewhere").mkdir()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "elsewhere")
    (temporary / f"{PREFIX}file").write_text("x")
    (temporary / "other").mkdir()
    with scratch():
        pass
    assert {path.name for path in temporary.iterdir()} == {"elsewhere", f"{PREFIX}link", f"{PREFIX}file", "other"}


def test_no_room_for_a_folder_says_where(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "none"))
    with pytest.raises(CodeIntelError, match="TMPDIR") as caught, scratch():
        pass
    assert str(temporary / "none") in str(caught.value)
