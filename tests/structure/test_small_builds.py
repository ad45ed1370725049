"""Small builds of the stages that parse: whatever came before, they give what a build of everything gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import tables
from pipeline.config import Settings, SourceSettings
from pipeline.schemas import AstNodes, CstNodes, Definitions, Files, Modules, Snapshot, Sources
from pipeline.source.history import History
from pipeline.source.scan import scan
from pipeline.source.stage import STAGE as SOURCE
from pipeline.stage import Artefact
from pipeline.store.layout import Repository, create_store
from pipeline.store.settling import settle
from pipeline.structure import stage as syntax_stage
from pipeline.structure.cst import reading
from pipeline.structure.cst.stage import STAGE as CST
from pipeline.structure.modules import part as modules_part
from pipeline.structure.modules.stage import STAGE as MODULES
from pipeline.structure.stage import STAGE as SYNTAX
from pipeline.workers import Runtime

Tree = Mapping[str, str]
Commits = Mapping[str, tuple[int, int]]

NAMES = (
    "pkg/__init__.py", "pkg/a.py", "pkg/b.py", "pkg/sub/__init__.py", "pkg/sub/c.py", "src/pkg/d.py", "a.py", "scripts/run.py",
    "web/app.js", "web/quay.ts", "web/quay/index.js", "core/lib.rs", "core/sub.rs", "core/sub/mod.rs", "tool.sh", "notes.md",
    "image.png",
)  # fmt: skip
CONTENTS = (
    "",
    "import pkg.a\nfrom . import b, c\nfrom pkg.sub import c as d\nimport a\n\n\ndef f(x):\n    return a.g(x)\n",
    "from .sub.c import *\nfrom pkg import d\nimport b, pkg\n\n\nclass A:\n    def m(self):\n        return pkg\n",
    "import { q } from './quay';\nconst r = require('../web/quay.js');\nexport function shown() { return q(r) }\n",
    "mod sub;\nuse crate::sub::deep;\npub fn run() {}\n",
    "print 'neither', (\n",
    "source tool.sh\n. notes.md\n",
)
trees = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(CONTENTS), min_size=10, max_size=len(NAMES))
edits = st.dictionaries(st.sampled_from(NAMES), st.sampled_from((None, None, *CONTENTS)), min_size=1, max_size=2)
"""What becomes of one or two files; None: they are deleted."""
commits = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([(1, 1), (30, 4)]), max_size=2)
"""What is known of the history of some files."""
histories = st.tuples(trees, st.lists(st.tuples(edits, commits), min_size=2, max_size=5))


class World:
    """A folder and a store, in which each state of the folder is settled after the one before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = create_store(root / "store")
        self.repository: Repository = self.store.repository("r")

    def settle(self, tree: Tree, commits: Commits | None = None, *, shared: bool = True) -> dict[str, Artefact[Any]]:
        """The folder becomes this tree; what the four stages make of it, by asset."""
        folder = self.root / "tree"
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        for name, text in tree.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8", newline="")
        known = dict(sorted((commits or {}).items()))
        history = History(tuple(known), *zip(*known.values(), strict=True)) if known else History()
        externals = {"scan": scan(folder, settings=SourceSettings()), "history": history}
        runtime = Runtime(shared=self.store.shared if shared else None)
        made: dict[str, Artefact[Any]] = {}
        for stage in (SOURCE, SYNTAX, CST, MODULES):
            inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
            needed = {name: externals[name] for name in stage.externals}
            made |= settle(self.repository, stage, inputs, Settings(), externals=needed, runtime=runtime).artefacts
        return made


def digests(made: Mapping[str, Artefact[Any]]) -> dict[str, str]:
    """Of every object: over its facts and the digests of its files."""
    return {asset: artefact.digest for asset, artefact in made.items()}


@pytest.fixture(autouse=True)
def _small_parts() -> Iterator[None]:
    with mock.patch.object(tables, "FILES_PER_PART", 3):
        yield


numbers = itertools.count()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, shared=st.booleans())
def test_after_any_history_the_objects_are_those_of_a_build_of_everything(
    tmp_path: Path, history: tuple[Tree, Sequence[tuple[Mapping[str, str | None], Commits]]], shared: bool
) -> None:
    root = tmp_path / str(next(numbers))
    world = World(root / "small")
    first, steps = history
    tree = dict(first)
    for number, (edit, known) in enumerate([({}, {}), *steps, (first, {})]):
        tree = {name: text for name, text in {**tree, **edit}.items() if text is not None}
        if not any(text for name, text in tree.items() if name != "image.png"):
            continue  # nothing to index
        made = world.settle(tree, known, shared=shared)
        whole = World(root / f"whole{number}").settle(tree, known, shared=False)
        assert digests(made) == digests(whole)


BEFORE: Tree = {f"m{number}.py": f"import m{number + 1}\n\n\ndef f{number}(x):\n    return x\n" for number in range(11)} | {
    "old.py": "print 'x'\n",
    "broken.py": "def f(:\n",
    "picture.png": "",
}
TABLES = (
    (Snapshot, Files), (Snapshot, Sources), (AstNodes, AstNodes), (Definitions, Definitions), (CstNodes, CstNodes),
    (Modules, Modules),
)  # fmt: skip


def inodes(made: Mapping[str, Artefact[Any]]) -> dict[tuple[str, int], int]:
    """(table, part) -> inode."""
    return {
        (table.name, part): path.stat().st_ino
        for kind, table in TABLES
        for part, path in enumerate(tables.parts(made[kind.asset].path, table))
    }


def moved(world: World, tree: Tree, commits: Commits | None = None) -> set[tuple[str, int]]:
    """The parts that are written, and not linked, when the folder becomes this tree after `BEFORE`."""
    before = inodes(world.settle(BEFORE))
    after = inodes(world.settle(tree, commits))
    assert before.keys() == after.keys()
    return {place for place in after if after[place] != before[place]}


def test_parts_that_a_change_does_not_touch_are_links_to_those_that_there_were(tmp_path: Path) -> None:
    part = tables.part_of("m3.py", 8)
    assert moved(World(tmp_path), {**BEFORE, "m3.py": "x = 1\n"}) == {(table.name, part) for _, table in TABLES}


def test_a_file_that_is_not_indexed_changes_its_list_and_nothing_else(tmp_path: Path) -> None:
    part = tables.part_of("picture.png", 8)
    assert moved(World(tmp_path), {**BEFORE, "picture.png": "other"}) == {("files", part)}


def test_a_new_commit_that_changed_no_content_writes_only_the_parts_whose_counts_it_changes(tmp_path: Path) -> None:
    assert moved(World(tmp_path), BEFORE, {"m1.py": (2, 1), "gone.py": (1, 1)}) == {("modules", tables.part_of("m1.py", 8))}


def test_a_new_file_is_looked_up_again_only_by_those_who_looked_for_it(tmp_path: Path) -> None:
    """`m10.py` imports `m11`, which was no file."""
    own, importer = tables.part_of("m11.py", 8), tables.part_of("m10.py", 8)
    written = moved(World(tmp_path), {**BEFORE, "m11.py": ""})
    assert {part for name, part in written if name == "modules"} == {own, importer}
    assert {part for name, part in written if name != "modules"} == {own}


def test_a_new_package_is_found_by_those_who_import_its_name_from_elsewhere(tmp_path: Path) -> None:
    before = {**BEFORE, "m3.py": "import pkg\n"}
    world = World(tmp_path / "small")
    world.settle(before)
    after = {**before, "deep/pkg/__init__.py": ""}
    made = world.settle(after)
    rows = {row["uri"]: row for row in tables.read_table(made["modules"].path, Modules).to_pylist()}
    assert rows["m3.py"]["imports"] == ["deep/pkg/__init__.py"]
    assert digests(made) == digests(World(tmp_path / "whole").settle(after))


def test_a_file_that_did_not_change_is_neither_read_nor_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bytes]] = []

    def watch(name: str, real: Any) -> Any:
        def watched(content: bytes, *others: Any) -> Any:
            seen.append((name, content))
            return real(content, *others)

        return watched

    world = World(tmp_path)
    world.settle(BEFORE, shared=False)
    monkeypatch.setattr(syntax_stage, "parse", watch("tree-sitter", syntax_stage.parse))
    monkeypatch.setattr(reading, "read", watch("libcst", reading.read))
    world.settle({**BEFORE, "m3.py": "x = 1\n"}, shared=False)
    assert seen == [("tree-sitter", b"x = 1\n"), ("libcst", b"x = 1\n")]


def test_modules_of_untouched_parts_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = modules_part.module_row
    world = World(tmp_path)
    world.settle(BEFORE)
    monkeypatch.setattr(modules_part, "module_row", lambda uri, *others: made.append(uri) or real(uri, *others))
    world.settle({**BEFORE, "m3.py": "x = 1\n"})
    part = tables.part_of("m3.py", 8)
    assert sorted(made) == sorted(uri for uri in BEFORE if tables.part_of(uri, 8) == part and uri.endswith(".py"))


def test_tables_that_are_cut_into_another_number_of_parts_are_made_anew(tmp_path: Path) -> None:
    world = World(tmp_path / "small")
    world.settle(BEFORE)
    more = {**BEFORE, **{f"more{number}.py": "x = 1\n" for number in range(20)}}
    assert digests(world.settle(more)) == digests(World(tmp_path / "whole").settle(more))
