"""The systemd units: systemd reads them, what they start exists, and what is hardened stays so."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.interfaces.main import make_app

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "packaging" / "systemd").glob("*.service"))
BIN = Path(sys.executable).parent
WORST_EXPOSURE = 2.0
"""What `systemd-analyze security` may say of a unit, from 0 (all is locked) to 10."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def lines_of(unit: Path) -> dict[str, list[str]]:
    """The values of every key."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def here(tmp_path: Path) -> list[Path]:
    """The units with the programs of this environment in place of those of an installation."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/codeintel/bin", str(BIN)))
    return sorted(tmp_path.glob("*.service"))


@needs_systemd
def test_systemd_finds_nothing_wrong_with_them(here: list[Path]) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *here], capture_output=True, text=True, timeout=60)
    # Other units of this machine are loaded, too; what is said of them is no business of ours.
    said = [line for line in done.stderr.splitlines() if "codeintel" in line]
    assert (done.returncode, said) == (0, [])


@needs_systemd
def test_systemd_notices_a_key_that_there_is_not(here: list[Path]) -> None:
    here[0].write_text(here[0].read_text().replace("ProtectSystem=", "ProtectSytem="))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", here[0]], capture_output=True, text=True, timeout=60)
    assert "ProtectSytem" in done.stderr


@needs_systemd
def test_their_exposure_stays_low(here: list[Path]) -> None:
    for unit in here:
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
        assert level is not None, shown
        assert float(level[1]) <= WORST_EXPOSURE, unit.name


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_what_they_start_is_installed_and_takes_these_options(unit: Path) -> None:
    lines = lines_of(unit)
    for command in (*lines.get("ExecStartPre", []), *lines["ExecStart"]):
        program, *arguments = shlex.split(command)
        assert program.startswith("/opt/codeintel/bin/")
        assert (BIN / Path(program).name).exists()
        if Path(program).name == "indexctl":
            root: Any = typer.main.get_command(make_app())
            root.commands[arguments[0]].make_context(arguments[0], arguments[1:])
    assert lines["Type"] == ["exec"]  # Nothing here tells systemd when it is ready.


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_they_listen_on_loopback_and_share_one_store(unit: Path) -> None:
    lines, text = lines_of(unit), unit.read_text()
    assert "CODEINTEL_DATA=%S/codeintel" in lines["Environment"]
    assert lines["StateDirectory"] == ["codeintel"]
    assert "0.0.0.0" not in text
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.read_string(text)
    assert parser.sections() == ["Unit", "Service", "Install"]
