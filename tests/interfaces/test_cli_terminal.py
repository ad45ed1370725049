"""What `indexctl` is as a process: what it imports, and how it behaves in pipes, odd locales and narrow terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.interfaces.output import printable

PROGRAM = (sys.executable, "-c", "from pipeline.interfaces.main import main; main()")
ROOT = Path(__file__).resolve().parents[2]


def environment(**changes: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CODEINTEL_", "LC_", "PYTHON", "COLUMNS"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


def process(world: Any, *arguments: str, **keywords: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*PROGRAM, arguments[0], "--data", str(world.store), *arguments[1:]]
    changes = keywords.pop("env", {})
    return subprocess.run(command, capture_output=True, env=environment(**changes), timeout=60, **keywords)


def test_nothing_that_needs_no_run_imports_dagster(world: Any) -> None:
    first = world.version
    tides = world.repo / "harbour/tides.py"
    text = tides.read_text()
    tides.write_text("def ebb(): pass\n")
    second = world.build().json["version"]
    (world.repo / "pending.py").write_text("x = 1\n")
    identifier = world("search", "tide", "--json").json["results"][0]["id"]
    script = f"""
import sys
from pathlib import Path
from pipeline.interfaces.main import main

def run(*arguments):
    try:
        main([arguments[0], *([] if "--help" in arguments else ["--data", {str(world.store)!r}]), *arguments[1:]])
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
    loaded = sorted(name for name in sys.modules if name.partition(".")[0] in ("dagster", "assets", "resources", "sensors"))
    assert not loaded, (arguments, loaded)

run("--help")
run("build", "--help")
run("plan", {str(world.repo)!r})
run("search", "tide", "--lang", "python")
run("eval")
run("eval", "--history")
run("coverage")
run("report")
run("show", {identifier!r})
run("status")
run("versions")
run("verify")
run("sql", "SELECT 1")
run("rollback")
Path({str(world.repo / "pending.py")!r}).unlink()
run("build", {str(world.repo)!r})
Path({str(tides)!r}).write_text({text!r})
run("build", {str(world.repo)!r})
run("build", {str(world.repo)!r})
run("build", {str(world.repo)!r}, "--json")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert world.version == first != second
    assert "switched" in done.stdout and "up to date" in done.stdout


def test_a_search_without_filters_loads_neither_duckdb_nor_parsers(built: Any) -> None:
    script = (
        "import sys\nfrom pipeline.interfaces.main import main\n"
        f"try: main(['search', 'tide', '--data', {str(built.store)!r}, '--json'])\nexcept SystemExit: pass\n"
        "print(sorted({'duckdb', 'tree_sitter', 'tree_sitter_language_pack', 'dagster'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment(), timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_reader_that_stops_early_ends_the_command_quietly(built: Any) -> None:
    query = "SELECT * FROM ast_nodes, range(20)"
    for arguments in (["sql", query, "--json"], ["sql", query], ["search", "harbour", "-k", "100"], ["verify"]):
        command = [*PROGRAM, arguments[0], "--data", str(built.store), *arguments[1:]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as child:
            assert child.stdout is not None and child.stderr is not None
            child.stdout.readline()
            child.stdout.close()
            complaint = child.stderr.read()
            assert child.wait(60) == 0
        assert b"Traceback" not in complaint and b"BrokenPipe" not in complaint and b"Exception ignored" not in complaint


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "POSIX"},
    ],
    ids=["C", "ascii", "latin-1", "POSIX"],
)
def test_any_locale_prints_and_reads_any_text(world: Any, locale: dict[str, str]) -> None:
    for arguments in (
        ["versions"],
        ["search", "naïve 漢字 –"],
        ["sql", "SELECT '漢字 ✓' AS v"],
        ["verify"],
    ):
        done = process(world, *arguments, env=locale, cwd=world.repo)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
    answer = process(world, "search", "naïve 漢字", "--json", env=locale)
    assert '"query":"naïve 漢字"'.encode() in answer.stdout


def test_lines_are_not_broken_in_a_pipe(world: Any) -> None:
    lines = process(world, "versions", env={"COLUMNS": "20"}).stdout.decode().splitlines()
    assert [line for line in lines if world.version in line and re.search(r"\d\d:\d\d:\d\d", line)]
    wide = process(world, "sql", "SELECT repeat('x', 79) AS a, repeat('y', 79) AS b").stdout.decode().splitlines()
    assert any("x" * 79 in line and "y" * 79 in line for line in wide)


@pytest.mark.parametrize(("columns", "plain"), [(30, False), (200, False), (80, True)])
def test_terminals_of_any_width_are_written_to_and_no_color_is_respected(
    built: Any, terminal: Any, columns: int, plain: bool
) -> None:
    done = terminal(columns, "search", "berth fee", "--data", built.store, env={"NO_COLOR": "1"} if plain else {})
    assert (done.code, done.err) == (0, b"")
    assert "harbour/fees.py" in "\n".join(done.lines)
    assert all(len(line) <= columns for line in done.lines)
    assert (re.search(rb"\x1b\[[0-9;]*3[0-9]m", done.raw) is None) is plain


def test_a_hostile_file_name_neither_drives_the_terminal_nor_forges_a_line(tmp_path: Path, indexctl: Any) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    name = "a\n 1  forged.py:1-1\x1b]0;owned\x07\x1b[2J.py"
    (folder / name).write_text("def trap(): pass\n")
    (folder / "skipped\x1b[31m\n.png").write_bytes(b"\x89PNG")
    store = tmp_path / "s"
    assert indexctl("build", folder, "--data", store, "--ephemeral").code == 0
    identifier = indexctl("search", "trap", "--data", store, "--json").json["results"][0]["id"]
    (folder / "later.py").write_text("x = 1\n")
    for arguments in (
        ["search", "trap"], ["show", identifier], ["plan", folder, "--files"], ["status"], ["sql", "SELECT uri FROM files"],
    ):  # fmt: skip
        done = indexctl(arguments[0], "--data", store, *arguments[1:])
        assert done.code == 0, done.err
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.out + done.err), arguments
        assert not any(line.startswith(" 1  forged") for line in done.out.splitlines())
    assert indexctl("search", "trap", "--data", store, "--json").json["results"][0]["uri"] == name


def test_printable_keeps_letters_of_all_scripts_and_drops_what_controls() -> None:
    assert printable("naïve 漢字\u3000⚓ a\u00a0b") == "naïve 漢字\u3000⚓ a\u00a0b"
    assert printable("a\x1b[31m\u202e\u2028\r\n\tb\ufeff") == "a�[31m�����b�"


def test_errors_are_one_sentence_and_debug_shows_the_traceback(world: Any, tmp_path: Path) -> None:
    quiet = process(world, "build", str(tmp_path / "none"))
    assert quiet.returncode == 3 and quiet.stderr.count(b"\n") == 1 and b"Traceback" not in quiet.stderr
    command = [*PROGRAM, "--debug", "build", str(tmp_path / "none"), "--data", str(world.store)]
    loud = subprocess.run(command, capture_output=True, env=environment(), timeout=60)
    assert loud.returncode != 0 and b"Traceback" in loud.stderr


def test_an_interrupted_command_says_that_nothing_published_changed(world: Any) -> None:
    command = [*PROGRAM, "search", "--batch", "-", "--data", str(world.store)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as child:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        child.stdin.write(b'{"query": "tide"}\n')
        child.stdin.flush()
        assert child.stdout.readline()
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        complaint = child.stderr.read()
        assert child.wait(60) == 130
    assert b"interrupted" in complaint and b"Traceback" not in complaint


@pytest.mark.parametrize("steps", [1, 6])
def test_an_interrupted_build_ends_without_a_traceback(demo: Path, tmp_path: Path, steps: int) -> None:
    command = [*PROGRAM, "build", str(demo), "--data", str(tmp_path / "s"), "--ephemeral"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()) as child:
        assert child.stderr is not None
        for _ in range(steps):
            assert child.stderr.readline()
        child.send_signal(signal.SIGINT)
        complaint = child.stderr.read()
        assert child.wait(60) in (0, 130)  # 0: it was done before the signal came.
    assert b"Traceback" not in complaint
    assert child.returncode == 0 or b"what is published is unchanged" in complaint
