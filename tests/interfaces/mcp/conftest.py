"""Servers in processes of their own, and clients of the SDK that talk to them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.conftest import World

COMMAND = [sys.executable, "-m", "pipeline.interfaces.main", "mcp"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}


def text_of(result: Any) -> str:
    """The one text of a tool's result."""
    (content,) = result.content
    return str(content.text)


def run_with_client(world: World, use: Callable[[Client], Awaitable[Any]], *arguments: str) -> Any:
    """Let the SDK's client start a server over stdio, and use it."""

    async def main() -> Any:
        command = StdioServerParameters(
            command=COMMAND[0], args=[*COMMAND[1:], "--data", str(world.store), *arguments], env=CLEAN
        )
        async with Client(stdio_client(command)) as client:
            return await use(client)

    return asyncio.run(main())


def until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait for something that has to come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come")


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    """Processes that a process started, and that run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(folder.name))
    return found


@dataclass(frozen=True)
class Served:
    """A server over HTTP."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.split(":")[2].partition("/")[0])


@contextmanager
def serving(store: Path, log: Path, *arguments: str | Path) -> Iterator[Served]:
    """A server over HTTP for the length of a block."""
    command = [*COMMAND, "--http", "--port", "0", "--data", str(store), *map(str, arguments)]
    with log.open("wb") as out, subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=out, env=CLEAN) as process:
        try:
            told = until(lambda: [line for line in log.read_text().splitlines() if line.startswith("MCP on ")], "the server")
            yield Served(process, told[0].split()[2], log)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(built: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server over the demo's index, which is not to be changed."""
    with serving(built.store, tmp_path_factory.mktemp("served") / "log") as server:
        yield server
