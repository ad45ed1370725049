"""Running indexers: what they take, what they are spared, and what becomes of a run that fails."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.config import ScipSettings
from pipeline.structure import scip_indexers
from pipeline.structure.scip_indexers import Program, Ran
from pipeline.structure.scip_reader import read_occurrences

GOOD = {"pkg/__init__.py": b"", "pkg/a.py": b"class Shape:\n    def area(self):\n        return 1\n"}


def run(sources: dict[str, bytes], target: Path, timeout: float = 60) -> Ran:
    program = scip_indexers.python_program(ScipSettings())
    assert program is not None
    return scip_indexers.index_python(program, sources, target, timeout)


def documents(target: Path) -> set[str]:
    return {path for group in read_occurrences(target, language="python") for path in group.paths}


def script(path: Path, body: str) -> Program:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return Program("ty-scip", str(path), "0")


@pytest.mark.parametrize(
    ("uri", "content", "reason"),
    [
        ("pkg/migrations/0001_initial.py", b"x = 1\n", "module name"),
        ("pkg/is.py", b"x = 1\n", "module name"),
        ("pkg/latin.py", b"# coding: latin-1\nx = '\xe9'\n", "UTF-8"),
        ("pkg/book.ipynb", b"not json", "notebook"),
        ("BUILD", b"x = 1\n", "no .py file"),
        ("pkg/big.py", b"".join(b"def f%d(): pass\n" % n for n in range(50_000)), "functions"),
        ("pkg/a/__init__.py", b"x = 1\n", "`pkg.a` is that of"),
        ("types.py", b"x = 1\n", "stopped"),
        ("pkg/deep.py", b"x = a" + b".b" * 50_000 + b"\n", "crashed"),
    ],
)
def test_a_file_that_stops_the_indexer_costs_itself_alone(uri: str, content: bytes, reason: str, tmp_path: Path) -> None:
    ran = run({**GOOD, uri: content}, tmp_path / "i.scip")
    assert not ran.problem
    assert len(ran.left_out) == 1
    assert reason in ran.left_out[0].reason
    assert documents(tmp_path / "i.scip") == {*GOOD, uri} - {ran.left_out[0].uri}


def test_files_in_folders_that_are_no_packages_are_indexed(tmp_path: Path) -> None:
    sources = {
        **GOOD,
        "services/web-api/src/web/__init__.py": b"",
        "services/web-api/src/web/x.py": b"def f(): pass\n",
        "services/web-api/src/web/y.py": b"from web.x import f\nf()\n",
        "dist/z.py": b"x = 1\n",
    }
    ran = run(sources, tmp_path / "i.scip")
    assert not ran.left_out
    assert documents(tmp_path / "i.scip") == set(sources)


def test_a_file_with_a_syntax_error_is_indexed_with_the_others(tmp_path: Path) -> None:
    sources = {**GOOD, "pkg/broken.py": b"def f(:\n  (((\n", "pkg/nul.py": b"x = 1\0\n"}
    assert run(sources, tmp_path / "i.scip") == Ran("", ())
    assert documents(tmp_path / "i.scip") == set(sources)


def test_an_indexer_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    program = script(tmp_path / "slow", f"(sleep 3; touch {tmp_path}/survived) & sleep 60")
    ran = scip_indexers.index_python(program, GOOD, tmp_path / "i.scip", 0.5)
    assert "longer than 0.5 seconds" in ran.problem
    time.sleep(3)
    assert not (tmp_path / "survived").exists()
    assert not (tmp_path / "i.scip").exists()


def test_a_crash_without_a_suspect_is_a_problem_that_does_not_tell_where_it_ran(tmp_path: Path) -> None:
    program = script(tmp_path / "crash", 'echo "no space left in $PWD/x" >&2; exit 3')
    ran = scip_indexers.index_python(program, GOOD, tmp_path / "i.scip", 5)
    assert ran.problem == "it gave up: no space left in /x"


def test_a_missing_program_is_absent_and_a_configured_one_has_the_version_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert scip_indexers.typescript_program(ScipSettings()) is None
    (tmp_path / "package.json").write_text('{"version": "1.2.3"}')
    (tmp_path / "bin").mkdir()
    program = script(tmp_path / "bin" / "x", "")
    found = scip_indexers.python_program(ScipSettings(scip_python=program.path))
    assert found == Program("scip-python", program.path, "1.2.3")
