"""A build that is killed while an indexer works leaves neither the indexer nor its folder behind; nor does a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.structure.scip.scratch import PREFIX

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "from pipeline.interfaces.main import main; main()"
PATIENCE = 30.0


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def killed_when(sign: Callable[[], bool], world: Any, **environment: str) -> None:
    """Start a build in a process of its own, and kill that process alone as soon as there is a sign."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
    command = [sys.executable, "-c", SCRIPT, "build", str(world.repo), "--data", str(world.store), "--ephemeral", "--quiet"]
    with subprocess.Popen(command, env={**clean, "PYTHONPATH": str(ROOT), **environment}) as child:
        wait_for(sign)
        child.kill()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def left_behind(temporary: Path) -> list[Path]:
    return list(temporary.glob(f"{PREFIX}*"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see whether a process runs")
def test_a_build_killed_while_an_indexer_works_takes_the_indexer_along_and_the_next_one_cleans_up(
    world: Any, tmp_path: Path, temporary: Path
) -> None:
    version = world.version
    (world.repo / "harbour/tides.py").write_text("def slack_water(): pass\n")
    noted = tmp_path / "pid"
    slow = tmp_path / "scip-python"
    slow.write_text(f"#!/bin/sh\necho $$ > {noted}.new; mv {noted}.new {noted}; sleep 600\n")
    slow.chmod(0o755)
    killed_when(noted.exists, world, CODEINTEL_SCIP_PYTHON=str(slow))
    pid = int(noted.read_text())
    wait_for(lambda: not is_running(pid))
    assert len(left_behind(temporary)) == 1
    assert world.version == version and world("verify").code == 0
    done = world.build()
    assert done.code == 0 and "scip_index" in done.json["built"], done.err
    assert left_behind(temporary) == [] and not list(world.home.glob("**/.tmp-*"))
    assert world.version == done.json["version"] != version and world("verify").code == 0
    [symbol] = world("symbols", "slack_water", "--json").json["symbols"]
    assert symbol["provenance"] == "scip"


def test_a_build_killed_while_concrete_syntax_is_read_loses_nothing(world: Any) -> None:
    version = world.version
    (world.repo / "harbour/tides.py").write_text("".join(f"def tide_{number}(): return {number}\n" for number in range(2000)))
    killed_when(lambda: any((world.home / "objects/cst_nodes").glob(".tmp-*")), world)
    assert world.version == version and world("verify").code == 0
    done = world.build()
    assert done.code == 0 and done.json["published"], done.err
    assert not list(world.home.glob("**/.tmp-*")) and world("verify").code == 0
    assert world("sql", "SELECT count(*) AS n FROM cst_nodes WHERE uri = 'harbour/tides.py'", "--json").jsons[0]["n"] > 2000


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds hardly anything."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs to mount a small disk: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_where_the_indexer_has_no_room_the_build_says_where_and_publishes_nothing_less_precise(
    world: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.version
    (world.repo / "harbour/tides.py").write_text("TABLE = '" + "high and low, " * 10_000 + "'\n")
    with monkeypatch.context() as full:
        full.setattr(tempfile, "tempdir", str(tiny))
        done = world.build()
    assert done.code == 1 and str(tiny) in done.err and "TMPDIR" in done.err and done.err.count("\n") == 1, done
    assert list(tiny.iterdir()) == [] and world.version == version and world("verify").code == 0
    done = world.build()
    assert done.code == 0 and "scip_index" in done.json["built"]
    assert world("status", "--json").json["repos"][0]["symbols"]["precise_files"] == 4
