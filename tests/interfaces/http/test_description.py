"""The OpenAPI document against the service, by a tool that reads it: schemathesis, where it is installed.

pip install schemathesis        # in an environment of its own
CODEINTEL_SCHEMATHESIS=…/bin/schemathesis make test
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAM = os.environ.get("CODEINTEL_SCHEMATHESIS") or shutil.which("schemathesis")


@pytest.mark.skipif(PROGRAM is None, reason="schemathesis is not installed (PATH or CODEINTEL_SCHEMATHESIS)")
def test_schemathesis_finds_nothing(served: Any, tmp_path: Path) -> None:
    without_page = [] if served.get("/").status == 200 else ["--exclude-path", "/"]
    done = subprocess.run(
        [
            str(PROGRAM), "--config-file", str(Path(__file__).with_name("schemathesis.toml")), "run", "--no-color",
            "--max-examples", "15", "--seed", "7", *without_page, f"http://127.0.0.1:{served.port}/openapi.json",
        ],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:]
    assert served.process.poll() is None
    assert "Traceback" not in served.log.read_text()
