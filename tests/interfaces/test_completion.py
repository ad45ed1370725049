"""Completion: what the shells that are installed here really make of a TAB, and what is loaded for it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.interfaces import completing
from pipeline.interfaces.commands_completion import Shell

PROGRAM = Path(sys.executable).parent / "indexctl"


def script_of(shell: str) -> str:
    """The script that `indexctl completion` prints."""
    from typer.testing import CliRunner

    from pipeline.interfaces.main import make_app

    result = CliRunner().invoke(make_app(), ["completion", shell])
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The names of a store: two repositories, three versions."""
    root = tmp_path / "a store"
    for folder, path, versions in (("django", "/src/django", ("v-00aa", "v-00bb")), ("team%2Fshop", "/src/shop", ("v-77cc",))):
        for order, version in enumerate(versions):
            (root / folder / "versions" / version).mkdir(parents=True)
            os.utime(root / folder / "versions" / version, (1000 + order, 1000 + order))
        (root / folder / "repository.json").write_text(json.dumps({"name": folder, "path": path}))
    (root / "_shared").mkdir()
    return root


def values(words: list[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Candidates without their descriptions."""
    what, found = completing.complete(words, environment or {})
    assert what == "values"
    return [one.partition("\t")[0] for one in found]


def test_commands_groups_and_options_are_completed() -> None:
    assert values(["bui"]) == ["build"]
    assert values(["repos", ""]) == ["add", "remove", "list"]
    assert values(["search", "--la"]) == ["--lang"]
    assert values(["symbols", "--no"]) == ["--no-refs"]
    assert "--debug" in values(["--"])


def test_values_of_options_are_completed(store: Path) -> None:
    environment = {"CODEINTEL_DATA": str(store)}
    assert values(["search", "--lang", "py"]) == ["python"]
    assert values(["search", "x", "--kind", "meth"]) == ["method"]
    assert values(["eval", "--oracle", ""]) == ["flat", "xtr"]
    assert values(["search", "--repo", ""], environment) == ["django", "team/shop"]
    assert values(["search", "--repo=te"], environment) == ["--repo=team/shop"]
    assert values(["repos", "remove", "dj"], environment) == ["django"]
    assert values(["completion", "f"]) == ["fish"]


def test_versions_are_those_of_the_repository_that_is_named_the_newest_first(store: Path) -> None:
    assert values(["verify", "--data", str(store), "--repo", "django", "--version", ""]) == ["v-00bb", "v-00aa"]
    assert values(["rollback", "--data", str(store), "--repo=team/shop", ""]) == ["v-77cc"]
    assert sorted(values(["rollback", ""], {"CODEINTEL_DATA": str(store)})) == ["v-00aa", "v-00bb", "v-77cc"]


def test_files_and_folders_are_left_to_the_shell() -> None:
    assert completing.complete(["search", "--batch", "q"], {}) == ("files", [])
    assert completing.complete(["status", "--data", ""], {}) == ("folders", [])
    assert completing.complete(["build", "./"], {}) == ("folders", [])


def test_what_cannot_be_known_is_left_open() -> None:
    assert values(["search", "--params", ""]) == []
    assert values(["search", "words", ""]) == []
    assert values(["nonsense", "--repo", ""]) == []


def test_a_store_that_is_not_there_completes_nothing_and_says_nothing(tmp_path: Path) -> None:
    done = run_program(["search", "--repo", ""], tmp_path / "none")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_damaged_record_of_a_repository_keeps_no_other_from_being_completed(store: Path) -> None:
    (store / "django" / "repository.json").write_text("{")
    assert "v-77cc" in values(["rollback", ""], {"CODEINTEL_DATA": str(store)})


def run_program(words: list[str], data: Path) -> subprocess.CompletedProcess[str]:
    """The installed program, asked as zsh asks it."""
    environment = {**os.environ, "_INDEXCTL_COMPLETE": "zsh", "CODEINTEL_DATA": str(data)}
    return subprocess.run([PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [["bui"], ["search", "--repo", ""], ["verify", "--version", ""]])
def test_a_tab_loads_neither_the_commands_nor_a_library(store: Path, words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['indexctl', *{words!r}]\n"
        "from pipeline.interfaces.entry import program; program()\n"
        "heavy = {'typer', 'rich', 'numpy', 'msgspec', 'duckdb', 'dagster', 'faiss', 'pyarrow'} & {*sys.modules}\n"
        "own = [name for name in sys.modules if name.startswith('pipeline.') and name.count('.') > 1]\n"
        "print('loaded', sorted(heavy), len(own))\n"
    )
    environment = {**os.environ, "_INDEXCTL_COMPLETE": "fish", "CODEINTEL_DATA": str(store)}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    loaded = re.search(r"loaded (\[.*\]) (\d+)", shown)
    assert loaded is not None
    assert loaded[1] == "[]"
    assert int(loaded[2]) <= 4


needs = {
    shell.value: pytest.mark.skipif(shutil.which(shell.value) is None, reason=f"{shell.value} is not installed")
    for shell in Shell
}


@pytest.fixture
def environment(store: Path, tmp_path: Path) -> dict[str, str]:
    """A home of its own, the program on PATH, and the store."""
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    return {"HOME": str(tmp_path), "PATH": path, "CODEINTEL_DATA": str(store), "TERM": "dumb", "LANG": "C.UTF-8"}


@needs["bash"]
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["indexctl", "bui"], ["build"]),
        (["indexctl", "search", "--repo", "te"], ["team/shop"]),
        (["indexctl", "search", "--repo", "=", "te"], ["team/shop"]),
        (["indexctl", "search", "--repo", "="], ["django", "team/shop"]),
        (["indexctl", "verify", "--repo", "django", "--version", ""], ["v-00bb", "v-00aa"]),
        (["indexctl", "search", "--lang", "pyt"], ["python"]),
    ],
)
def test_bash_offers_it(environment: dict[str, str], words: list[str], expected: list[str]) -> None:
    code = f'COMP_WORDS=("$@"); COMP_CWORD={len(words) - 1}; _indexctl indexctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    command = ["bash", "--norc", "-c", f"{script_of('bash')}\n{code}", "bash", *words]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert (shown.stdout.split(), shown.stderr) == (expected, "")


@needs["fish"]
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("indexctl bui", ["build"]),
        ("indexctl search --repo te", ["team/shop"]),
        ("indexctl search --repo=te", ["--repo=team/shop"]),
        ("indexctl verify --repo django --version ", ["v-00bb", "v-00aa"]),
        ("indexctl search --lang pyt", ["python"]),
    ],
)
def test_fish_offers_it(environment: dict[str, str], line: str, expected: list[str]) -> None:
    command = ["fish", "--no-config", "-c", f"{script_of('fish')}\ncomplete -C '{line}'"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert sorted(one.partition("\t")[0] for one in shown.stdout.splitlines()) == sorted(expected)


@needs["zsh"]
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("indexctl bui", "indexctl build "),
        ("indexctl search --repo te", "indexctl search --repo team/shop "),
        ("indexctl search --repo=te", "indexctl search --repo=team/shop "),
        ("indexctl search --lang pyt", "indexctl search --lang python "),
    ],
)
def test_zsh_completes_what_is_typed(environment: dict[str, str], tmp_path: Path, typed: str, completed: str) -> None:
    (tmp_path / "_indexctl").write_text(script_of("zsh"))
    setup = f"fpath=('{tmp_path}' $fpath); autoload -Uz compinit; compinit -u -D; PS1='READY> '; bindkey '^X' kill-whole-line"
    assert completed in typed_at(["zsh", "-f", "-i"], environment, setup, typed)


@needs["bash"]
def test_bash_completes_what_is_typed(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script_of("bash"))
    setup = f"source '{tmp_path}/script'; PS1='READY> '"
    shown = typed_at(["bash", "--norc", "-i"], environment, setup, "indexctl search --repo te")
    assert "indexctl search --repo team/shop " in shown


def typed_at(shell: list[str], environment: dict[str, str], setup: str, typed: str) -> str:
    """What a terminal shows after `typed` and a TAB."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(shell[0], shell, environment)
    try:
        os.write(terminal, f"{setup}\n".encode())
        shown_until(terminal, "\nREADY> ", "\rREADY> ")
        os.write(terminal, f"{typed}\t".encode())
        return shown_until(terminal, quiet=3.0)
    finally:
        os.close(terminal)
        os.kill(process, 9)
        os.waitpid(process, 0)


def shown_until(terminal: int, *wanted: str, quiet: float = 60.0) -> str:
    """What comes until one of `wanted` does, or nothing more."""
    shown, end = "", time.monotonic() + 60
    while time.monotonic() < end and select.select([terminal], [], [], quiet)[0]:
        shown += os.read(terminal, 65536).decode(errors="replace")
        # Line editors redraw: escapes and backspaces are no text.
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]", "", shown)
        if any(one in shown for one in wanted):
            break
    return shown
