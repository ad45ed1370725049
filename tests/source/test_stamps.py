"""Stamps of many files: what several processes see is what one sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.source import stamps
from pipeline.source.stamps import stamps_of

NAMES = [
    "",
    "a.py",
    "deep/",
    "deep/b.py",
    "link",
    "gone.py",
    "deep/gone/",
    "a\nline.py",
    "nul\0.py",
    "caf\u00e9",
    os.fsdecode(b"\xff"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("a.py", "deep/b.py", "a\nline.py", "caf\u00e9", os.fsdecode(b"\xff")):
        (tmp_path / name).write_text(name, "utf-8", "surrogateescape")
    (tmp_path / "link").symlink_to("gone.py")
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Processes that were started since."""
    begun: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            begun.append(self)

    monkeypatch.setattr(stamps.subprocess, "Popen", Popen)
    return begun


def expected(root: Path, names: list[str]) -> list[list[int]]:
    rows = []
    for name in names:
        try:
            facts = os.lstat(f"{root}/{name}")
            rows.append([facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns])
        except (OSError, ValueError):
            rows.append([0, 0, 0, 0])
    return rows


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_stamps_are_those_of_lstat_however_many_processes_look(
    workers: int, root: Path, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "WORTH_A_PROCESS", 2)
    monkeypatch.setenv("CODEINTEL_WORKERS", str(workers))
    names = [name for name in NAMES if "\0" not in name] * 3
    found = stamps_of(str(root), names)
    assert found.tolist() == expected(root, names) and found.shape == (len(names), 4)
    assert [process.returncode for process in started] == [0] * (workers - 1)


def test_few_files_and_none_are_looked_at_here(root: Path, started: list[subprocess.Popen[bytes]]) -> None:
    assert stamps_of(str(root), []).shape == (0, 4)
    assert stamps_of(str(root), NAMES).tolist() == expected(root, NAMES)
    assert started == []


@pytest.mark.parametrize("program", ["/none", "", "/bin/false", "/bin/true", "/bin/echo"])
def test_what_no_other_process_answers_is_looked_at_here(program: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "WORTH_A_PROCESS", 2)
    monkeypatch.setenv("CODEINTEL_WORKERS", "2")
    monkeypatch.setattr(sys, "executable", program)
    # More than a pipe takes.
    names = [*NAMES, *(f"gone/{number:0200}" for number in range(2_000))]
    assert stamps_of(str(root), names).tolist() == expected(root, names)


def test_a_name_that_cannot_be_told_apart_is_looked_at_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "WORTH_A_PROCESS", 2)
    monkeypatch.setenv("CODEINTEL_WORKERS", "2")
    assert stamps_of(str(root), NAMES).tolist() == expected(root, NAMES)


def test_nothing_in_the_tree_is_imported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("array", "os", "sitecustomize", "usercustomize", "collections/__init__", "encodings/__init__"):
        path = root / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("import pathlib\npathlib.Path('imported').touch()\nraise SystemExit(3)\n")
    monkeypatch.setattr(stamps, "WORTH_A_PROCESS", 2)
    monkeypatch.setenv("CODEINTEL_WORKERS", "2")
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.chdir(root)
    assert stamps_of(str(root), NAMES).tolist() == expected(root, NAMES)
    assert not (root / "imported").exists()
