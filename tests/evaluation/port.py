"""A generated repository in which a small change is small, built stage by stage, for the tests of what is carried on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import planning
from pipeline.artefacts import Base
from pipeline.files import make_directory
from pipeline.index.tuning.locked_point import UNLOCKED
from pipeline.settings_files import from_flat
from pipeline.stage import Artefact, Stage
from pipeline.stages import MANIFEST, STAGES
from pipeline.store.layout import Origin, Store, create_store, write_origin
from pipeline.store.settling import settle
from pipeline.workers import Runtime

SETTINGS = from_flat(
    {"scip": "off", "cst": False, "chunk_budget": 200, "eval_queries": 60, "coverage_queries": 60}, origin="test"
)
NOUNS = (
    "anchor", "berth", "cargo", "dock", "engine", "ferry", "gangway", "harbour", "invoice", "jetty", "keel", "ledger", "mast",
    "navigator", "oar", "passenger", "quay", "rudder", "sail", "tide", "uniform", "voyage", "winch", "yacht",
)  # fmt: skip
DOES = (
    "Find how heavy the {} is with the freight that lies on top of it.",
    "Work out what the {} costs for one day with discounts taken off.",
    "Mend the {} with spare parts from the store and tell its owner.",
    "Give the {} a new coat of paint where the old one came off.",
    "Write down what became of the {} during the last stormy month.",
    "Hand the {} over to somebody else for a while against money.",
    "Cover the {} against storms and theft and fire for a year.",
)


def module(noun: str, seed: int) -> str:
    """Three documented functions and a class."""
    draw = random.Random(seed)
    lines = [f'"""All that the port knows of its {noun} and who may change that."""\n\n']
    for place, said in enumerate(draw.sample(DOES, 3)):
        verb = said.split()[0].lower()
        lines.append(
            f'def {verb}_{noun}_{place}(items, rate):\n    """{said.format(noun)}"""\n'
            f"    total = rate * {draw.randrange(2, 999)}\n    return [item for item in items if item != total]\n\n"
        )
    lines.append(f"class {noun.title()}Register:\n    def newest_{noun}(self, since):\n        return self.rows[since:]\n")
    return "\n".join(lines)


@dataclass(frozen=True)
class Port:
    """A tree and its store."""

    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def write(self, uri: str, text: str) -> None:
        make_directory((self.tree / uri).parent)
        (self.tree / uri).unlink(missing_ok=True)
        (self.tree / uri).write_text(text)

    def build(self, *, full: bool = False) -> dict[str, Artefact[Any]]:
        """Every stage up to the manifest, as a build settles them."""
        store = create_store(self.folder / "store")
        write_origin(store.repository("port"), Origin("port", str(self.tree)))
        repository, origin = planning.locate(store, self.tree, name="port")
        decided = planning.plan(store, repository, origin, SETTINGS, building=True, full=full)
        externals: dict[str, Any] = {"scan": decided.scan, "history": decided.history, "lock": UNLOCKED}
        made: dict[str, Artefact[Any]] = {}
        for stage in STAGES:
            if stage is not MANIFEST:
                inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
                named = {name: externals[name] for name in stage.externals}
                settled = settle(repository, stage, inputs, SETTINGS, externals=named, runtime=Runtime(shared=store.shared))
                made |= settled.artefacts
        assert {asset: decided.keys[asset] for asset in made} == {asset: one.key for asset, one in made.items()}
        return made

    def copy(self, folder: Path) -> Port:
        """The same, which a test may change."""
        shutil.copytree(self.folder, folder)
        return Port(folder)

    @property
    def objects(self) -> Path:
        return Store(self.folder / "store").repository("port").objects


def port(folder: Path) -> Port:
    """The tree, not built."""
    made = Port(folder)
    for seed, noun in enumerate(NOUNS):
        made.write(f"{('hall', 'yard', 'shed')[seed % 3]}/{noun}.py", module(noun, seed))
    made.write("README.md", "# The port\n\nWho keeps what, and what it costs.\n")
    return made


def anew(stage: Stage, made: Mapping[str, Artefact[Any]], out: Path) -> Path:
    """What a stage makes of the same inputs without a base."""
    [asset] = stage.assets
    out.mkdir()
    inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
    stage.call(inputs, SETTINGS, dict.fromkeys(stage.externals, UNLOCKED), Runtime(), {asset: out}, Base())
    return out
