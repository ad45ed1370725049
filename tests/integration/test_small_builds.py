"""A build on top of another gives what a build from nothing gives, over random histories of small changes.

Tables, ids and indexes of exact families are compared byte by byte, in tables of several parts. What depends on history by
design (evaluation, which carries over what a change cannot have moved) is compared by what it promises.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import planning, tables
from pipeline.building import build_here
from pipeline.evaluation.queries import read_queries
from pipeline.release.verification import verify_folder
from pipeline.schemas import Chunks
from pipeline.settings_files import from_flat
from pipeline.stage import Artefact
from pipeline.store.layout import Store, create_store, write_origin
from pipeline.workers import Runtime

SETTINGS = from_flat({"scip": "off", "eval_queries": 24, "coverage_queries": 12}, origin="test")
HISTORICAL = frozenset({"tuning", "eval_queries", "eval_metrics", "coverage", "manifest"})
"""Assets that may build on an earlier result."""
STEPS = 6
NOUNS = ("anchor", "berth", "cargo", "derrick", "engine", "ferry", "gangway", "hull", "inlet", "jetty", "keel", "lock")

Tree = Mapping[str, str]


def _module(draw: random.Random, name: str) -> str:
    """A Python module that defines a few things and uses those of others."""
    first, second, other = draw.sample(NOUNS, 3)
    number = draw.randrange(1000)
    return (
        f'"""What is known of the {name}."""\n\nfrom harbour.{other} import {other.title()}\n\n\n'
        f'class {name.title()}:\n    """A {name} that has a {first}."""\n\n'
        f'    def {first}_of(self, {second}: int) -> int:\n        """The {first} of the {second}, in metres."""\n'
        f"        return {second} + {number}\n\n\n"
        f"def find_{name}({other}: {other.title()}) -> {name.title()}:\n"
        f'    """Find the {name} that the {other} belongs to."""\n    return {name.title()}() if {other} else None\n'
    )


def _start(draw: random.Random) -> dict[str, str]:
    tree = {f"harbour/{noun}.py": _module(draw, noun) for noun in NOUNS[:9]}
    tree |= {f"docs/{noun}.md": f"# The {noun}\n\nHow a {noun} is kept.\n" for noun in NOUNS[:5]}
    return {
        **tree,
        "web/ferry.js": "export function ferry(load) {\n  return load;\n}\n",
        "empty.py": "",
        "data.json": '{"keel": 1}\n',
    }


def _changed(draw: random.Random, tree: Tree, before: list[Tree]) -> dict[str, str]:
    """The tree after one step: a few files added, edited, deleted or renamed; or a tree that was there before."""
    changed = dict(tree)
    kind = draw.choice(("edit", "edit", "add", "delete", "rename", "revert", "many"))
    names = sorted(changed)
    match kind:
        case "revert":
            return dict(draw.choice(before))
        case "add":
            noun = draw.choice(NOUNS)
            changed[f"harbour/new_{noun}_{draw.randrange(9)}.py"] = _module(draw, noun)
        case "delete":
            del changed[draw.choice(names)]
        case "rename":
            name = draw.choice(names)
            changed[f"moved/{Path(name).name}"] = changed.pop(name)
        case "many":
            for noun in NOUNS:
                changed[f"harbour/{noun}.py"] = _module(draw, noun)
        case _:
            name = draw.choice([name for name in names if name.endswith(".py")])
            changed[name] += f"\n\ndef added_{draw.randrange(99)}(keel):\n    return keel\n"
    return changed


@dataclass
class Yard:
    """A tree that changes, and the store that follows it."""

    folder: Path
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "tree").mkdir(parents=True)
        self.store = create_store(self.folder / "store")

    def write(self, tree: Tree) -> None:
        root = self.folder / "tree"
        for path in [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).as_posix() not in tree]:
            path.unlink()
        for uri, content in tree.items():
            path = root / uri
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_text() != content:
                path.unlink(missing_ok=True)
                path.write_text(content)

    def build(self, store: Store | None = None) -> dict[str, Artefact[Any]]:
        """Everything, in `store` (default: its own)."""
        store = store or self.store
        repository, origin = planning.locate(store, self.folder / "tree", name="yard")
        decided = planning.plan(store, repository, origin, SETTINGS, building=True)
        write_origin(repository, origin)
        runtime = Runtime(shared=store.shared)
        built = build_here(store, decided, runtime=runtime, progress=lambda stage, settled: None, allow_regression=True)
        again = planning.plan(store, repository, origin, SETTINGS)
        assert again.published and again.version == built.publication.version, "planning the same tree gives the same version"
        return dict(built.artefacts)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of a few files a part, so that twenty files have several."""
    monkeypatch.setattr(tables, "FILES_PER_PART", 4)


def _differing(left: Mapping[str, Artefact[Any]], right: Mapping[str, Artefact[Any]]) -> Iterator[str]:
    for asset in left.keys() - HISTORICAL:
        ours, theirs = left[asset].digests, right[asset].digests
        yield from (f"{asset}/{path}" for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
        if left[asset].facts != right[asset].facts:
            yield f"{asset}: facts"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_history_of_small_builds_ends_where_one_full_build_ends(tmp_path: Path, small_parts: None, seed: int) -> None:
    draw = random.Random(seed)
    yard = Yard(tmp_path / "yard")
    tree: Tree = _start(draw)
    before = [tree]
    yard.write(tree)
    yard.build()
    for step in range(STEPS):
        tree = _changed(draw, tree, before)
        before.append(tree)
        yard.write(tree)
        small = yard.build()
        full = yard.build(create_store(tmp_path / f"full-{step}"))
        assert sorted(_differing(small, full)) == []
        _valid_queries(small)
    repository = yard.store.existing("yard")
    for version in repository.versions.iterdir():
        assert verify_folder(version).problems == ()


def _valid_queries(made: Mapping[str, Artefact[Any]]) -> None:
    """Every answer of every query is a chunk that there is."""
    ids = set(tables.read_table(made["chunks"].path, Chunks, ["id"])["id"].to_pylist())
    for split in ("tune", "test"):
        for query in read_queries(made["eval_queries"].path, split):
            assert set(query.positives) <= ids


def test_a_part_that_did_not_change_is_the_same_file(tmp_path: Path, small_parts: None) -> None:
    yard = Yard(tmp_path / "yard")
    tree = _start(random.Random(5))
    yard.write(tree)
    first = yard.build()
    yard.write({**tree, "docs/hull.md": "# Another text\n"})
    second = yard.build()
    parts = [sorted((made["chunks"].path / "chunks").iterdir()) for made in (first, second)]
    inodes = np.array([[path.stat().st_ino for path in found] for found in parts])
    assert len(inodes[0]) > 2
    # A new file is in one part; the others are linked.
    assert np.count_nonzero(inodes[0] != inodes[1]) == 1
