"""Help: that every command has a page, that its examples are commands, and that what is made of the pages is up to date."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.config import Settings
from pipeline.errors import CodeIntelError
from pipeline.interfaces.described import described, leaves, outputs
from pipeline.interfaces.main import make_app
from pipeline.interfaces.manual import ENVIRONMENT, EXIT_CODES, PAGES, PANELS

ROOT = Path(__file__).parents[2]
TREE = described()
COMMANDS = dict(leaves(TREE))


def subclasses(kind: type) -> Iterator[type]:
    """A class and all that derive from it."""
    yield kind
    for one in kind.__subclasses__():
        yield from subclasses(one)


def parsed(arguments: list[str]) -> str:
    """The command that arguments reach, after Typer has read them as it would for a run, without the run."""
    command: Any = typer.main.get_command(make_app())
    names: list[str] = []
    while hasattr(command, "commands"):
        command = command.commands[arguments[0]]
        names.append(arguments.pop(0))
    command.make_context(names[-1], arguments)
    return " ".join(names)


def commands_in(example: str) -> Iterator[list[str]]:
    """The calls of `indexctl` in a line of shell."""
    inner = re.sub(r'eval "\$\((.*)\)"', r"\1", example)
    for part in inner.split("&&"):
        words = shlex.split(part.split(" > ")[0])
        assert words[0] == "indexctl"
        yield words[1:]


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    groups = {name for name, command in TREE["commands"].items() if "commands" in command}
    assert {*COMMANDS} | groups == {*PAGES}
    assert {page.panel for page in PAGES.values()} == {*PANELS}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_option_and_argument_has_a_sentence(name: str) -> None:
    command = COMMANDS[name]
    assert command["help"].endswith(".")
    assert [one for one in (*command["options"], *command["arguments"]) if not one["help"].endswith((".", ")"))] == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_examples_are_commands_that_are_read_without_a_complaint(name: str) -> None:
    assert PAGES[name].examples
    for example in PAGES[name].examples:
        assert name in [parsed(arguments) for arguments in commands_in(example)]


def test_an_example_with_a_mistake_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(shlex.split("search x --languages python"))


def test_exit_codes_are_those_that_errors_have() -> None:
    codes = {getattr(kind, "exit_code") for kind in subclasses(CodeIntelError)}  # noqa: B009
    assert codes <= {*EXIT_CODES}


def test_variables_that_pages_name_are_read_somewhere() -> None:
    own = {name for name in ENVIRONMENT if name.startswith("CODEINTEL_") and "…" not in name}
    source = "\n".join(path.read_text() for path in (ROOT / "pipeline").rglob("*.py") if path.name != "manual.py")
    assert [name for name in own if name.split("<")[0] not in source] == []
    assert "chunk_budget" in Settings().flat()


def test_what_is_made_of_the_commands_is_up_to_date() -> None:
    stale = [path.name for path, text in outputs(ROOT).items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `python docs/commands.py`"


def test_help_shows_panels_examples_codes_and_variables() -> None:
    from typer.testing import CliRunner

    shown = CliRunner().invoke(make_app(), ["--help"], env={"COLUMNS": "120"}).stdout
    assert [panel for panel in PANELS if f"─ {panel} ─" not in shown] == []
    shown = CliRunner().invoke(make_app(), ["build", "--help"], env={"COLUMNS": "120"}).stdout
    assert "indexctl build ~/src/service --scip python=index.scip" in shown
    assert "1 a check refused the version" in shown
    assert "CODEINTEL_WORKERS: Processes" in shown


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_the_manual_page_reads_in_man() -> None:
    environment = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""}
    done = subprocess.run(
        ["man", "--warnings", "-l", ROOT / "packaging" / "indexctl.1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert [name for name in COMMANDS if f"indexctl {name} [OPTIONS]" not in done.stdout] == []
