"""Whatever file of a store is damaged: that is told, or the answer is what it was; and the next build mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
SHARDS = 8
READ, BUILT = 8800, 1200
"""Mutations that readers meet, and that a build meets: 10,000."""


def mutations(asked: str, folder: Path, first: int, count: int) -> list[dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, str(HERE / "damage.py"), str(folder), asked, str(first), str(count)],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    wrong = [line for line in lines if line["wrong"]]
    assert not wrong, f"{len(wrong)} of {len(lines)} mutations, such as {wrong[:3]}"
    assert len(lines) == count
    return lines


def test_damage_is_told_to_readers_or_the_answer_is_unchanged(tmp_path: Path) -> None:
    met = mutations("read", tmp_path / "trial", 0, 140)
    refused = {name for line in met for name, said in line["told"].items() if said.startswith("Index")}
    assert refused >= {"search", "sql", "symbols"}


def test_the_build_after_damage_comes_to_what_it_comes_to_without(tmp_path: Path) -> None:
    mutations("build", tmp_path / "trial", 0, 14)


@pytest.mark.torture
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize(("asked", "total"), [("read", READ), ("build", BUILT)])
def test_ten_thousand_mutations_are_told_or_change_nothing(asked: str, total: int, shard: int, tmp_path: Path) -> None:
    mutations(asked, tmp_path / "trial", shard * total // SHARDS, total // SHARDS)


@pytest.mark.parametrize(("asset", "file"), [("chunks", "chunks/part-000.parquet"), ("definitions", "object.json")])
def test_a_build_makes_the_damaged_object_anew_and_nothing_else(
    asset: str, file: str, tmp_path: Path, engine: ModuleType, indexctl: Callable[..., Any]
) -> None:
    root, store = engine.write_repository(tmp_path / "repo"), tmp_path / "store"
    name = engine.build(store, root)
    repository = engine.repository_in(store)
    (damaged,) = (repository.objects / asset).iterdir()
    for path in (damaged / file, repository.versions / name / file):
        if path.exists():
            path.unlink()
            path.write_bytes(b"damaged")
    # What asks for the object at all.
    (repository.versions / name / "coverage.json").unlink()

    done = indexctl("build", root, "--data", store, "--json", "--ephemeral", "--quiet", env=engine.ENVIRONMENT)

    assert done.code == 0, done.err
    assert done.json["version"] == name and set(done.json["built"]) == {asset, "current"}
    assert indexctl("verify", "--data", store).code == 0
