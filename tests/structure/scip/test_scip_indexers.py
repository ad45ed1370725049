"""Running indexers: what they take, what they are spared, and what becomes of a run that fails."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.config import ScipSettings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.structure.scip import indexers, programs
from pipeline.structure.scip.indexers import Program, Ran
from pipeline.structure.scip.reader import read_occurrences

GOOD = {"pkg/__init__.py": b"", "pkg/a.py": b"class Shape:\n    def area(self):\n        return 1\n"}


def run(sources: dict[str, bytes], target: Path, timeout: float = 60) -> Ran:
    program = indexers.python_program(ScipSettings())
    assert program is not None
    return indexers.index_python(program, sources, target, timeout)


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
    ran = indexers.index_python(program, GOOD, tmp_path / "i.scip", 0.5)
    assert "longer than 0.5 seconds" in ran.problem
    time.sleep(3)
    assert not (tmp_path / "survived").exists()
    assert not (tmp_path / "i.scip").exists()


def test_a_crash_without_a_suspect_is_a_problem_that_does_not_tell_where_it_ran(tmp_path: Path) -> None:
    program = script(tmp_path / "crash", 'echo "no space left in $PWD/x" >&2; exit 3')
    ran = indexers.index_python(program, GOOD, tmp_path / "i.scip", 5)
    assert ran.problem == "it gave up: no space left in /x"


def test_a_missing_program_is_absent_and_a_configured_one_has_the_version_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert indexers.typescript_program(ScipSettings()) is None
    (tmp_path / "package.json").write_text('{"version": "1.2.3"}')
    (tmp_path / "bin").mkdir()
    program = script(tmp_path / "bin" / "x", "")
    found = indexers.python_program(ScipSettings(scip_python=program.path))
    assert found == Program("scip-python", program.path, "1.2.3")


def test_scip_python_on_path_serves_where_there_is_no_ty_scip_and_what_is_configured_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    script(tmp_path / "scip-python", "")
    found = indexers.python_program(ScipSettings())
    assert found is not None and found.tool == "ty-scip"
    monkeypatch.setattr(programs.sysconfig, "get_path", lambda name: str(tmp_path / "none"))
    found = indexers.python_program(ScipSettings())
    assert found is not None and (found.tool, found.path) == ("scip-python", str(tmp_path / "scip-python"))
    for setting, ask in (("scip_python", indexers.python_program), ("scip_typescript", indexers.typescript_program)):
        with pytest.raises(ConfigError, match=setting):
            ask(ScipSettings(**{setting: str(tmp_path / "missing")}))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("kill -SEGV $$", "signal 11"),
        ("exit 7", "exit status 7"),
        ("exit 0", "exit status 0"),
        ("echo 'RangeError: too deep'; echo '    at f'; echo; echo 'Node.js v20'; exit 1", "RangeError: too deep"),
        ("head -c 20000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo 'Error: lost' >&2; exit 1", "Error: lost"),
        ("exec >&- 2>&-; sleep 60", "longer than"),
        ("yes & sleep 60", "longer than"),
    ],
)
def test_however_an_indexer_fails_the_reason_is_one_line_and_nothing_is_left(body: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    program = script(tmp_path / "indexer", body)
    ran = indexers.index_python(program, GOOD, tmp_path / "out" / "i.scip", 2 if "longer" in problem else 30)
    assert problem in ran.problem and "\n" not in ran.problem and len(ran.problem) < 400
    assert not list((tmp_path / "out").iterdir())


def test_an_indexer_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_LIMITED_MEMORY", 'ulimit -f 64; exec "$@"')
    program = script(tmp_path / "endless", 'for last; do :; done; exec head -c 100000000 /dev/zero > "$last"')
    ran = indexers.index_python(program, GOOD, tmp_path / "i.scip", 30)
    assert ran.problem and not (tmp_path / "i.scip").exists()
    assert "ulimit -f" in programs._LIMITED


@pytest.mark.parametrize("content", [b"", b"garbage", b'{"documents": []}', b"\x0a\x05\x12", bytes(range(256))])
def test_what_is_no_index_is_refused_and_leaves_no_half_of_one(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "i.scip").write_bytes(content)
    with pytest.raises(IndexFormatError):
        indexers.settle(tmp_path / "i.scip")
    assert [path.name for path in tmp_path.iterdir()] == ["i.scip"]


LISTING = 'for last; do :; done; find . -type f | sort > "$last.list"; env > "$last.env"; exit 1'
HOSTILE = {
    "pyrightconfig.json": b'{"venvPath": "/"}', "scip-pyrightconfig.json": b"{}", "pyproject.toml": b"[tool.ty]\n",
    "ty.toml": b"x", ".python-version": b"3.8", "setup.py": b"raise SystemExit\n", "ty.toml.py/x.py": b"x = 1\n",
}  # fmt: skip


@pytest.mark.parametrize(("tool", "own"), [("ty-scip", "./ty.toml"), ("scip-python", "./pyrightconfig.json")])
def test_an_indexer_of_python_sees_no_configuration_but_its_own(
    tool: str, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/evil")
    program = Program(tool, script(tmp_path / "lists", LISTING).path, "0")
    sources = {**GOOD, "setup.py": b"raise SystemExit\n", **{f"{name}": HOSTILE[name] for name in HOSTILE}}
    indexers.index_python(program, sources, tmp_path / "i.scip", 30)
    seen = set((tmp_path / "i.scip.list").read_text().split())
    assert own in seen
    assert seen - {own} <= {f"./{uri}" for uri in sources if uri.endswith(".py")}
    told = (tmp_path / "i.scip.env").read_text()
    assert "/evil" not in told and "PYTHONSAFEPATH=1" in told and f"HOME={Path.home()}\n" not in told


def test_files_where_the_own_configuration_must_stand_are_left_out_with_a_reason(tmp_path: Path) -> None:
    program = script(tmp_path / "writes", 'for last; do :; done; cat ty.toml > "$last"')
    ran = indexers.index_python(program, {**GOOD, "ty.toml/x.py": b"x = 1\n"}, tmp_path / "i.scip", 30)
    assert [(item.uri, "module name" in item.reason or "copied" in item.reason) for item in ran.left_out] == [
        ("ty.toml/x.py", True)
    ]
    ran = indexers.index_typescript(
        Program("scip-typescript", program.path, "0"), {"tsconfig.json/x.ts": b"let x = 1\n", "a.ts": b"let y = 1\n"},
        tmp_path / "t.scip", 30,
    )  # fmt: skip
    assert [(item.uri, item.reason) for item in ran.left_out] == [
        ("tsconfig.json/x.ts", "it could not be copied for the indexer")
    ]


def test_scip_python_takes_what_ty_scip_cannot(tmp_path: Path) -> None:
    program = Program("scip-python", script(tmp_path / "writes", 'for last; do :; done; echo x > "$last"').path, "0")
    sources = {**GOOD, "pkg/0001_initial.py": b"", "my-script.py": b"", "pkg/l.py": b"\xe9", "n.ipynb": b"{}", "BUILD": b""}
    ran = indexers.index_python(program, sources, tmp_path / "i.scip", 30)
    assert {item.uri for item in ran.left_out} == {"pkg/l.py", "n.ipynb", "BUILD"}
