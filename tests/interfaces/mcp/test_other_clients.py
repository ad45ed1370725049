"""The server with a client that is not of its own family: the inspector of the protocol's TypeScript SDK.

npm install --prefix DIR @modelcontextprotocol/inspector
CODEINTEL_MCP_INSPECTOR=DIR/node_modules/.bin/mcp-inspector .venv/bin/pytest tests/interfaces/mcp/test_other_clients.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from pipeline.interfaces.mcp.tools import TOOLS
from tests.conftest import World
from tests.interfaces.mcp.conftest import CLEAN, COMMAND, Served

INSPECTOR = os.environ.get("CODEINTEL_MCP_INSPECTOR") or shutil.which("mcp-inspector")
pytestmark = pytest.mark.skipif(INSPECTOR is None, reason="mcp-inspector is not on PATH, nor in CODEINTEL_MCP_INSPECTOR")


def inspect(target: list[str], *arguments: str) -> Any:
    """What the inspector gets from a server, as JSON."""
    command = [str(INSPECTOR), "--cli", *target, *arguments]
    done = subprocess.run(command, env=CLEAN, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(target: list[str]) -> None:
    """List the tools, call one well and one badly."""
    assert [tool["name"] for tool in inspect(target, "--method", "tools/list")["tools"]] == list(TOOLS)
    called = ("--method", "tools/call", "--tool-name", "search", "--tool-arg")
    found = inspect(target, *called, "query=high tide", "k=2")
    assert "harbour/tides.py" in found["content"][0]["text"]
    refused = inspect(target, *called, "k=2")
    assert refused["isError"]
    assert "`query`" in refused["content"][0]["text"]


def test_the_inspector_lists_and_calls_tools_over_stdio(built: World) -> None:
    check([*COMMAND, "--data", str(built.store)])


def test_the_inspector_lists_and_calls_tools_over_http(served: Served) -> None:
    check([served.url, "--transport", "http"])
