"""Three small versions made by the real stages, settled and not yet published, to be published and spoilt in copies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from pipeline import files, tables
from pipeline.config import ChunkSettings, Settings
from pipeline.index.tuning.locked_point import UNLOCKED
from pipeline.schemas import Table
from pipeline.source.history import read_history
from pipeline.source.scan import scan
from pipeline.stage import Artefact
from pipeline.stages import MANIFEST, STAGES, identity_of, plan_choices
from pipeline.store.layout import Origin, Repository, Store, create_store, write_origin
from pipeline.store.objects import OBJECT_FILE, list_files
from pipeline.store.settling import settle
from pipeline.workers import Runtime

TREE = {
    "app/shapes.py": "class Square:\n    def area(self, side):\n        return side * side\n\n\n" * 4
    + 'def perimeter(side):\n    """Four sides."""\n    return 4 * side\n',
    "app/naïve.py": "# -*- coding: latin-1 -*-\nname = 'café'\n\n\ndef greet(who):\n    return name + who\n",
    "web/run.js": "function run(task) {\n  return task.start();\n}\n\nexport { run };\n",
    "README.md": "# Shapes\n\nHow squares are measured.\n\n## Running\n\nCall `run`.\n",
    "empty.py": "",
}
SETTINGS = Settings(chunks=ChunkSettings(chunk_budget=64))
STATES = ("one", "two", "three")


@dataclass(frozen=True)
class World:
    """A store with one repository, and for each state of its tree the settled artefacts."""

    repository: Repository
    states: dict[str, dict[str, Artefact[Any]]]

    def manifest(self, state: str = "one") -> Artefact[Any]:
        """The manifest of a state, made by its stage from the objects as they are now."""
        made = self.states[state]
        keys = {asset: artefact.key for asset, artefact in made.items()}
        identity = identity_of(SETTINGS, self.repository, None, False, keys)
        inputs = {kind.asset: made[kind.asset] for kind in MANIFEST.inputs.values()}
        shutil.rmtree(self.repository.objects / "manifest", ignore_errors=True)
        return settle(self.repository, MANIFEST, inputs, SETTINGS, externals={"identity": identity}).artefacts["manifest"]

    def root(self, asset: str) -> Path:
        """The object of an asset in state `one`."""
        return self.states["one"][asset].path

    def roots(self) -> dict[str, Path]:
        """All objects of state `one`, as checks want them."""
        return {asset: artefact.path for asset, artefact in self.states["one"].items()}

    def rewrite(self, kind: type[Table], change: Callable[[pa.Table], pa.Table]) -> None:
        """Change the one part of a table."""
        root = self.root(kind.asset)
        path = tables.part_path(root / kind.name, 0)
        table = tables.plain(tables.read_part(path, kind))
        schema = tables.read_part(path, kind).schema.remove_metadata()
        tables.write_part(root / kind.name, kind, 0, change(table), schema)

    def reseal(self, state: str = "one") -> None:
        """Write every record of a state anew, as if the stages had made what lies there now."""
        for artefact in self.states[state].values():
            path = artefact.path / OBJECT_FILE
            record = msgspec.json.decode(path.read_bytes())
            record.pop("digest")
            record["files"] = msgspec.to_builtins(list_files(artefact.path, without=(OBJECT_FILE,)))
            record["digest"] = files.digest_bytes(msgspec.json.encode(record, order="sorted"))
            path.write_bytes(files.canonical_json(record))


def _write(root: Path, state: str) -> None:
    for uri, content in TREE.items():
        path = root / uri
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("latin-1" if "latin-1" in content else "utf-8"))
    (root / "state.txt").write_text(f"This is state {state}.\n")


def _settle(store: Store, repository: Repository, tree: Path) -> dict[str, Artefact[Any]]:
    scanned = scan(tree, settings=SETTINGS.source)
    history = read_history(tree, commit=None, days=SETTINGS.modules.churn_days)
    externals = {"scan": scanned, "history": history, "lock": UNLOCKED}
    made: dict[str, Artefact[Any]] = {}
    for stage in STAGES:
        if stage is not MANIFEST:
            inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
            runtime = Runtime(shared=store.shared)
            made |= settle(repository, stage, inputs, SETTINGS, externals=externals, runtime=runtime, full=True).artefacts
    planned = plan_choices(SETTINGS, scanned, history, repository)
    assert {asset: artefact.key for asset, artefact in made.items()} == {asset: one.key for asset, one in planned.items()}
    return made


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Nothing may write here."""
    folder = tmp_path_factory.mktemp("release")
    store = create_store(folder / "data")
    repository = store.repository("team/shapes")
    write_origin(repository, Origin("team/shapes", str(folder / "tree")))
    states = {}
    for state in STATES:
        _write(folder / "tree", state)
        states[state] = _settle(store, repository, folder / "tree")
    return World(repository, states)


@pytest.fixture
def world(built: World, tmp_path: Path) -> Iterator[World]:
    """A copy of the built store."""
    shutil.copytree(built.repository.path.parent, tmp_path / "data")
    repository = replace(built.repository, path=tmp_path / "data" / built.repository.path.name)
    yield World(
        repository,
        {
            state: {asset: replace(one, path=repository.objects / asset / one.key) for asset, one in made.items()}
            for state, made in built.states.items()
        },
    )
