"""Many processes search while versions come, change places and go: nobody meets an error, a wrong answer or half a version."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.errors import StoreBusyError
from pipeline.release.collection import collect
from pipeline.release.publication import rollback, switch
from pipeline.search.engine import open_searcher
from pipeline.store.layout import Repository
from pipeline.store.locks import builder
from pipeline.store.versions import current_name, version_names

HERE = Path(__file__).parent
KEPT = 3
"""Versions beside the published one."""


@pytest.fixture
def reading(engine: ModuleType) -> ModuleType:
    specification = importlib.util.spec_from_file_location("reader", HERE / "reader.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        specification.loader.exec_module(module)
    return module


@contextlib.contextmanager
def readers(count: int, store: Path, folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that search, each past its first searches. They are told to stop at the end of the block."""
    stop = folder / "stop"
    (folder / "scratch").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "TMPDIR": str(folder / "scratch")}
    command = [sys.executable, str(HERE / "reader.py"), str(store), str(stop)]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield started
    finally:
        stop.touch()


def told_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return dict(json.loads(out))


def flip_while_others_read(flips: int, count: int, every: int, folder: Path, engine: ModuleType, reading: ModuleType) -> None:
    root, store = engine.write_repository(folder / "repo"), folder / "store"
    right: dict[str, str] = {}

    def built(number: int) -> Repository:
        if number:
            engine.edit(root, number)
        name = engine.build(store, root)
        with open_searcher(engine.repository_in(store), Settings(), name) as searcher:
            right[name] = json.dumps(reading.said(searcher))
        return engine.repository_in(store)

    for number in range(KEPT + 1):
        repository = built(number)
    done = 0
    with readers(count, store, folder) as started:
        while done < flips:
            if done % every == every - 1:
                repository = built(KEPT + done)
                collect(repository, keep=KEPT)
            elif done % 10 == 9:
                rollback(repository)
            else:
                names = version_names(repository)
                others = [name for name in names if name != current_name(repository)]
                switch(repository, others[done % len(others)], reason="test")
            done += 1
    told = [told_by(process) for process in started]
    assert [one["errors"] for one in told] == [[]] * count
    wrong = [
        (name, answer) for one in told for name, answers in one["seen"].items() for answer in answers if answer != right[name]
    ]
    assert not wrong
    assert all(len(set(counts)) == 1 for one in told for counts in one["counted"].values())
    assert len({name for one in told for name in one["seen"]}) > 1
    for one in told:
        before, after = one["handles"]
        assert after <= before
    # What readers held is let go: nothing keeps an old version, and nothing of theirs is left.
    collect(repository, keep=0)
    assert version_names(repository) == [current_name(repository)]
    assert os.listdir(folder / "scratch") == []
    with builder(repository):
        assert not list(store.rglob(".tmp-*"))


def test_flips_rollbacks_and_collections_disturb_no_reader(tmp_path: Path, engine: ModuleType, reading: ModuleType) -> None:
    flip_while_others_read(30, 2, 12, tmp_path, engine, reading)


@pytest.mark.torture
def test_a_thousand_flips_disturb_none_of_eight_readers(tmp_path: Path, engine: ModuleType, reading: ModuleType) -> None:
    flip_while_others_read(1000, 8, 40, tmp_path, engine, reading)


def test_of_two_builders_one_is_told_who_the_other_is(tmp_path: Path, engine: ModuleType) -> None:
    root, store = engine.write_repository(tmp_path / "repo"), tmp_path / "store"
    engine.build(store, root)
    engine.edit(root, 1)
    script = (
        "import sys, engine; from pathlib import Path; from pipeline.store.locks import builder\n"
        f"with builder(engine.repository_in(Path({str(store)!r}))): print('held', flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}"}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StoreBusyError, match=f"process {other.pid} on ") as refused:
            engine.build(store, root)
        assert refused.value.exit_code == 4
        other.kill()
    # It was killed, and left its lock to nobody.
    assert engine.build(store, root) == current_name(engine.repository_in(store))
