"""A build that is killed leaves what is published as it was, and the next build succeeds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "from pipeline.interfaces.main import main; main()"


def kill_a_build(repo: Path, store: Path, *, steps: int, delay: float) -> None:
    """Start a build, wait until so many steps have been reported and a little longer, and kill it with its children."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
    command = [sys.executable, "-u", "-c", SCRIPT, "build", str(repo), "--data", str(store), "--ephemeral"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**environment, "PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stderr is not None
        for _ in range(steps):
            assert child.stderr.readline()
        time.sleep(delay)
        child.kill()
        child.stderr.read()


@pytest.mark.parametrize(("steps", "delay"), [(0, 0.9), (1, 0.0), (3, 0.0), (5, 0.02), (8, 0.0), (9, 0.03)])
def test_a_killed_build_changes_nothing_published_and_the_next_one_succeeds(world: Any, steps: int, delay: float) -> None:
    version = world.version
    (world.repo / "harbour/tides.py").write_text("def slack_water(): pass\n")
    kill_a_build(world.repo, world.store, steps=steps, delay=delay)
    # Killed in its last moments a build may have been done already; what is published is whole either way.
    assert steps >= 8 or world.version == version
    assert world("verify").code == 0 and world("search", "tide").code == 0
    done = world.build()
    assert done.code == 0 and done.json["published"], done.err
    assert world("verify").code == 0 and world.version == done.json["version"] != version
    if done.json["built"]:
        assert not list(world.home.glob("**/.tmp-*"))


def test_a_first_build_that_is_killed_leaves_no_index_and_the_next_one_succeeds(
    demo: Path, tmp_path: Path, indexctl: Any
) -> None:
    store = tmp_path / "store"
    kill_a_build(demo, store, steps=2, delay=0.0)
    nothing = indexctl("search", "tide", "--data", store)
    assert nothing.code == 3 and "indexctl build" in nothing.err
    assert "no published index" in indexctl("status", "--data", store).out
    done = indexctl("build", demo, "--data", store, "--json", "--ephemeral")
    assert done.code == 0 and "source_snapshot" in done.json["reused"]
    assert indexctl("verify", "--data", store).code == 0
