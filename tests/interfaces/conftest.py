"""The command in a terminal, for the tests that look at what people see there."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shown:
    """What a command wrote to its terminal, colours and all, and to standard error, which was a pipe."""

    code: int
    raw: bytes
    err: bytes

    @property
    def lines(self) -> list[str]:
        """Without colours."""
        return re.sub(rb"\x1b\[[0-9;]*m", b"", self.raw).decode().splitlines()


@pytest.fixture(scope="session")
def terminal() -> Callable[..., Shown]:
    """Run the command in a process of its own with a terminal: `terminal(80, "eval", "--data", store, env={…})`."""

    def run(columns: int, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Shown:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
        given = {**clean, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "TERM": "xterm-256color", **(env or {})}
        master, slave = pty.openpty()
        command = [sys.executable, "-c", "from pipeline.interfaces.main import main; main()", *map(str, arguments)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE, env=given) as child:
            os.close(slave)
            shown = b""
            while True:
                try:
                    block = os.read(master, 65536)
                except OSError:  # What Linux says when the other end is closed.
                    break
                if not block:
                    break
                shown += block
            os.close(master)
            assert child.stderr is not None
            err = child.stderr.read()
            return Shown(child.wait(60), shown, err)

    return run
