"""The same tree, built twice: in another place, with another hash seed, by another number of workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_two_builds_of_one_tree_have_the_same_keys_bytes_and_version(built: Any, tmp_path: Path) -> None:
    shutil.copytree(built.repo, tmp_path / "deep/down/demo", symlinks=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
    environment |= {"PYTHONHASHSEED": "12345", "CODEINTEL_WORKERS": "1", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
    script = "from pipeline.interfaces.main import main; main()"
    arguments = ["build", str(tmp_path / "deep/down/demo"), "--data", str(tmp_path / "store"), "--json", "--ephemeral"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["version"] == built.version
    home = tmp_path / "store/demo"
    assert (home / "CURRENT").read_bytes() == (built.home / "CURRENT").read_bytes()
    one, other = contents(built.home / "objects"), contents(home / "objects")
    assert len(one) > 20
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_what_is_published_is_what_is_in_the_objects(built: Any) -> None:
    published, objects = contents(built.published), contents(built.home / "objects")
    stored = {name.split("/", 2)[2]: content for name, content in objects.items() if not name.endswith("object.json")}
    assert {name for name in published if name != "build.json"} == set(stored)
    assert all(published[name] == content for name, content in stored.items())
