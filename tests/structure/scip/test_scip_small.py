"""Small builds of symbols: what is linked and copied is what would have been computed, and indexes are kept by policy."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline import planning, tables
from pipeline.catalog.losses import losses
from pipeline.config import Settings
from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.release.checks import CHECKS
from pipeline.release.findings import Subject
from pipeline.schemas import ScipOccurrences, ScipSymbols
from pipeline.settings_files import from_flat
from pipeline.stage import Artefact, Output
from pipeline.stages import CHUNKS, SCIP_INDEX, SCIP_TABLES, SOURCE, SYMBOLS, SYNTAX
from pipeline.store.layout import Store, create_store, write_origin
from pipeline.store.settling import settle
from pipeline.structure.scip import indexers, outcomes, part_names
from pipeline.structure.scip.indexers import LeftOut, Program, Ran
from pipeline.structure.scip.proto import message_class
from pipeline.structure.scip.tables_stage import scip_tables
from pipeline.workers import Runtime

Tree = Mapping[str, str]
Rows = list[dict[str, Any]]
STAGES = (SOURCE, SYNTAX, SCIP_INDEX, SCIP_TABLES, CHUNKS, SYMBOLS)
PREFIX = "ty-scip python . . "
NOUNS = ("anchor", "berth", "cargo", "derrick", "engine", "ferry", "hull", "inlet", "jetty", "keel")
_WORD = re.compile(rb"[A-Za-z_]\w*")


def module(draw: random.Random, name: str) -> str:
    first, second, third = draw.sample(NOUNS, 3)
    return (
        f"def {name}(x):\n    return {first}(x) + find_{second}(x)\n\n\nclass {name.title()}:\n    def {third}(self):\n"
        f"        return {second.title()}()\n\n\ndef find_{draw.choice(NOUNS)}(y):\n    return y\n"
    )


def start(draw: random.Random) -> dict[str, str]:
    return {f"port/{noun}.py": module(draw, noun) for noun in NOUNS} | {
        "web/hull.js": "export function hull(load) {\n  return find_keel(load);\n}\n",
        "port/__init__.py": "",
        "data.json": '{"keel": 1}\n',
    }


def changed(draw: random.Random, tree: Tree, before: list[Tree]) -> dict[str, str]:
    tree = dict(tree)
    names = sorted(name for name in tree if name.endswith(".py"))
    match draw.choice(("body", "name", "add", "delete", "rename", "revert", "many")):
        case "revert":
            return dict(draw.choice(before))
        case "body":
            tree[draw.choice(names)] += f"\nberth({draw.randrange(99)})\n"
        case "name":
            tree[draw.choice(names)] += f"\n\ndef {draw.choice(NOUNS)}_{draw.randrange(2)}():\n    pass\n"
        case "add":
            noun = draw.choice(NOUNS)
            tree[f"new/{noun}_{draw.randrange(9)}.py"] = module(draw, f"{noun}_{draw.randrange(2)}")
        case "delete":
            del tree[draw.choice(names)]
        case "rename":
            name = draw.choice(names)
            tree[f"moved/{Path(name).name}"] = tree.pop(name)
        case _:
            tree |= {name: module(draw, Path(name).stem) for name in draw.sample(names, 6 if len(names) > 6 else 1)}
    return tree


@dataclass
class Indexer:
    """Stands in for `ty-scip`: whatever is called `def` or `class` is defined, other words refer to it. Counts its runs."""

    runs: int = 0
    problem: str = ""

    def run(self, program: Program, sources: Mapping[str, bytes], target: Path, timeout: float) -> Ran:
        self.runs += 1
        if self.problem:
            return Ran(self.problem, ())
        known: dict[bytes, str] = {}
        for uri, content in sources.items():
            known |= {name: self.symbol(uri, name) for name in re.findall(rb"^(?:def|class) (\w+)", content, re.MULTILINE)}
        documents = [self.document(uri, content, known) for uri, content in sources.items() if "left_out" not in uri]
        tool = {"tool_info": {"name": "ty-scip", "version": "1"}}
        external = [{"symbol": f"{PREFIX}builtins/len()."}]
        index = {"metadata": tool, "documents": documents, "external_symbols": external}
        target.write_bytes(message_class("Index")(**index).SerializeToString())
        return Ran("", tuple(LeftOut(uri, "for a reason") for uri in sources if "left_out" in uri))

    @staticmethod
    def symbol(uri: str, name: bytes) -> str:
        kind = "#" if name[:1].isupper() else "()."
        return f"{PREFIX}{uri.removesuffix('.py')}/{name.decode()}{kind}"

    def document(self, uri: str, content: bytes, known: Mapping[bytes, str]) -> dict[str, Any]:
        module = f"{PREFIX}{uri.removesuffix('.py')}/"
        occurrences = [{"symbol": module, "range": [0, 0, 0], "symbol_roles": 1}]
        symbols = [{"symbol": module, "display_name": "module"}]
        for number, line in enumerate(content.split(b"\n")):
            for found in _WORD.finditer(line):
                defines = line.startswith((b"def ", b"class ")) and found.start() == line.index(b" ") + 1
                symbol = self.symbol(uri, found[0]) if defines else known.get(found[0])
                if symbol:
                    span = [number, found.start(), found.end()]
                    occurrences.append({"symbol": symbol, "range": span, "symbol_roles": 1 if defines else 8})
                if defines and symbol:
                    symbols.append({"symbol": symbol, "display_name": found[0].decode()})
        if b"berth" in content:
            # Described by several files, as nothing should be and some things are.
            symbols.append({"symbol": f"{PREFIX}shared/berth#", "display_name": uri})
        return {"relative_path": uri, "position_encoding": 1, "occurrences": occurrences, "symbols": symbols}


@pytest.fixture
def indexer(monkeypatch: pytest.MonkeyPatch) -> Indexer:
    stand_in = Indexer()
    monkeypatch.setattr(indexers, "python_program", lambda settings: Program("ty-scip", "ty-scip", "1"))
    monkeypatch.setattr(indexers, "typescript_program", lambda settings: None)
    monkeypatch.setattr(indexers, "index_python", stand_in.run)
    return stand_in


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of two files a part: the trees here have four and eight parts."""
    monkeypatch.setattr(tables, "FILES_PER_PART", 2)


@dataclass
class Port:
    """A tree, and a store that follows it up to the symbols."""

    folder: Path
    settings: Settings
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = create_store(self.folder / "store")

    def build(self, tree: Tree, *, afresh: Collection[str] = ()) -> dict[str, Artefact[Any]]:
        root = self.folder / "tree"
        for path in [path for path in root.rglob("*") if path.is_file()]:
            path.unlink()
        for uri, content in tree.items():
            (root / uri).parent.mkdir(parents=True, exist_ok=True)
            (root / uri).write_text(content)
        repository, origin = planning.locate(self.store, root, name="port")
        write_origin(repository, origin)
        decided = planning.plan(self.store, repository, origin, self.settings, building=True, afresh=afresh)
        made: dict[str, Artefact[Any]] = {}
        for stage in STAGES:
            inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
            externals = {"scan": decided.scan} if stage is SOURCE else {}
            made |= settle(repository, stage, inputs, self.settings, externals=externals).artefacts
        assert {asset: made[asset].key for asset in made} == {asset: decided.keys[asset] for asset in made}
        return made


def port(folder: Path, **settings: Any) -> Port:
    return Port(folder, from_flat(settings, origin="test"))


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "object.json"
    }


def assert_as_computed(made: Mapping[str, Artefact[Any]], folder: Path) -> None:
    """The tables are those that the stages give when they know nothing of what they made before."""
    outputs: dict[str, Output[Any]] = {asset: Output(folder / asset) for asset in (*SCIP_TABLES.assets, *SYMBOLS.assets)}
    first = scip_tables(
        *(made[asset] for asset in ("scip_index", "source_snapshot", "ast_nodes", "definitions")),
        Runtime(), *(outputs[asset] for asset in SCIP_TABLES.assets),
    )  # fmt: skip
    second = SYMBOLS.function(
        *(made[asset] for asset in ("chunks", *SCIP_TABLES.assets)), Runtime(), *(outputs[asset] for asset in SYMBOLS.assets)
    )
    for facts, assets in ((first, SCIP_TABLES.assets), (second, SYMBOLS.assets)):
        for asset in assets:
            assert made[asset].facts == facts
            assert contents(made[asset].path) == contents(folder / asset)


def occurrences(made: Mapping[str, Artefact[Any]]) -> Rows:
    return tables.read_table(made["scip_occurrences"].path, ScipOccurrences).to_pylist()


def described(made: Mapping[str, Artefact[Any]]) -> dict[str, dict[str, Any]]:
    return {row["symbol"]: row for row in tables.read_table(made["scip_symbols"].path, ScipSymbols).to_pylist()}


def linked(made: Mapping[str, Artefact[Any]], before: Mapping[str, Artefact[Any]], asset: str) -> tuple[int, int]:
    """How many parts of a table are the very files that they were, and how many parts it has."""
    folders = [artefacts[asset].path / asset for artefacts in (made, before)]
    now, then = ({path.name: path.stat().st_ino for path in folder.iterdir()} for folder in folders)
    return sum(then.get(name) == inode for name, inode in now.items()), len(now)


@pytest.mark.parametrize("mode", ["off", "stale", "nightly"])
@pytest.mark.parametrize("seed", [1, 2])
def test_over_any_history_the_tables_are_those_that_would_be_computed(
    tmp_path: Path, indexer: Indexer, mode: str, seed: int
) -> None:
    draw = random.Random(seed)
    settings = {"scip": "off"} if mode == "off" else {"scip_refresh": mode, "scip_stale_share": 0.4}
    harbour = port(tmp_path / "small", **settings)
    tree: Tree = start(draw)
    before = [tree]
    harbour.build(tree)
    for step in range(7):
        tree = changed(draw, tree, before)
        before.append(tree)
        made = harbour.build(tree)
        assert_as_computed(made, tmp_path / f"computed-{step}")
    fresh = port(tmp_path / "full", **settings).build(tree)
    made = harbour.build(tree, afresh=[] if mode == "off" else ["scip_index"])
    for asset in (*SCIP_INDEX.assets, *SCIP_TABLES.assets, *SYMBOLS.assets):
        assert made[asset].key == fresh[asset].key and contents(made[asset].path) == contents(fresh[asset].path)


def test_an_edit_that_changes_no_name_costs_one_part(tmp_path: Path) -> None:
    tree = start(random.Random(1))
    harbour = port(tmp_path, scip="off")
    before = harbour.build(tree)
    made = harbour.build({**tree, "port/keel.py": tree["port/keel.py"] + "\nfind_hull(1)\n"})
    for asset in ("scip_occurrences", "scip_symbols", "chunk_symbols", "symbol_edges"):
        same, parts = linked(made, before, asset)
        assert parts == 8 and same == 7, asset


def test_a_new_name_costs_the_parts_that_ask_for_it(tmp_path: Path) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return 1\n" for number in range(12)}
    tree["m3.py"] = "def f3():\n    return later()\n"
    harbour = port(tmp_path, scip="off")
    before = harbour.build(tree)
    assert not [row for row in occurrences(before) if row["symbol"].endswith("later().")]
    made = harbour.build({**tree, "m7.py": tree["m7.py"] + "\n\ndef later():\n    return 2\n"})
    found = {(row["uri"], row["is_definition"]) for row in occurrences(made) if row["symbol"].endswith("/later().")}
    assert found == {("m7.py", True), ("m3.py", False)}
    same, parts = linked(made, before, "scip_occurrences")
    assert same == parts - len({tables.part_of(uri, parts) for uri in ("m7.py", "m3.py")})


def test_a_symbol_that_moves_to_another_file_is_described_once(tmp_path: Path, indexer: Indexer) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return berth\n" for number in range(12)}
    harbour = port(tmp_path, scip_stale_share=0.5)
    shared = f"{PREFIX}shared/berth#"
    assert described(harbour.build(tree))[shared]["display_name"] == "m0.py"
    made = harbour.build({**tree, "m0.py": "def f0():\n    return 1\n"})
    assert described(made)[shared]["display_name"] == "m1.py"
    assert_as_computed(made, tmp_path / "computed")
    assert indexer.runs == 1


def test_between_refreshes_unchanged_files_keep_their_occurrences_and_others_have_them_from_syntax(
    tmp_path: Path, indexer: Indexer
) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return f{(number + 1) % 12}()\n" for number in range(12)}
    harbour = port(tmp_path, scip_stale_share=0.3)
    before = harbour.build(tree)
    after = {**tree, "m3.py": "\n\ndef f3():\n    return f5()\n", "new.py": "def new():\n    return f4()\n"}
    del after["m8.py"]
    made = harbour.build(after)
    assert indexer.runs == 1
    origins = {row["uri"]: row["provenance"] for row in occurrences(made)}
    assert {uri for uri, origin in origins.items() if origin == "syntax"} == {"m3.py", "new.py"}
    kept = [row for row in occurrences(before) if row["uri"] not in ("m3.py", "m8.py")]
    assert [row for row in occurrences(made) if row["uri"] not in ("m3.py", "new.py")] == kept
    [entry] = outcomes.read(made["scip_index"].path)
    assert [(loss.uri, loss.reason) for loss in entry.changed] == [("m3.py", outcomes.CHANGED), ("new.py", outcomes.ADDED)]
    assert (entry.gone, entry.moved, entry.files_given) == (1, 3, 12)
    assert entry.made_from == before["source_snapshot"].digest
    assert made["scip_index"].facts["base"] == before["scip_index"].key
    lost = {row["uri"]: row["reason"] for row in losses(made["scip_index"].path).to_pylist()}
    assert lost == {"m3.py": outcomes.CHANGED, "new.py": outcomes.ADDED}


def test_what_is_still_called_the_same_in_a_changed_file_keeps_its_symbol(tmp_path: Path, indexer: Indexer) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return f{(number + 1) % 12}()\n" for number in range(12)}
    harbour = port(tmp_path)
    harbour.build(tree)
    made = harbour.build({**tree, "m3.py": "# Moved down.\ndef f3():\n    return f5()\n\n\ndef other():\n    return f3\n"})
    rows = [row for row in occurrences(made) if row["symbol"] == f"{PREFIX}m3/f3()."]
    assert {(row["uri"], row["start_line"], row["is_definition"], row["provenance"]) for row in rows} == {
        ("m2.py", 2, False, "scip"), ("m3.py", 2, True, "syntax"), ("m3.py", 7, False, "syntax"),
    }  # fmt: skip
    assert described(made)[f"{PREFIX}m3/f3()."]["provenance"] == "syntax"
    module = next(row for row in occurrences(made) if row["uri"] == "m3.py")
    assert (module["symbol"], module["start_byte"], module["end_byte"]) == (f"{PREFIX}m3/", 0, 0)
    assert "syntax . . . `m3.py`/other()." in described(made), "what is new has a symbol of syntax"
    assert [row["symbol"] for row in occurrences(made) if row["uri"] == "m3.py" and row["start_line"] == 3] == [
        f"{PREFIX}m5/f5()."
    ]


def test_a_file_that_is_what_it_was_again_is_precise_again(tmp_path: Path, indexer: Indexer) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return 1\n" for number in range(12)}
    harbour = port(tmp_path)
    before = harbour.build(tree)
    harbour.build({**tree, "m3.py": "x = 1\n"})
    other = harbour.build({**tree, "m4.py": "x = 1\n"})
    assert {row["uri"] for row in occurrences(other) if row["provenance"] == "syntax"} == {"m4.py"}
    assert harbour.build(tree)["scip_occurrences"].key == before["scip_occurrences"].key
    assert indexer.runs == 1


@pytest.mark.parametrize(("policy", "runs"), [("always", [1, 2, 3]), ("stale", [1, 1, 2]), ("nightly", [1, 1, 1])])
def test_the_policy_says_when_the_indexer_runs_again(tmp_path: Path, indexer: Indexer, policy: str, runs: list[int]) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return 1\n" for number in range(20)}
    harbour = port(tmp_path, scip_refresh=policy)
    counted = []
    for edited in (0, 2, 3):
        tree |= {f"m{number}.py": f"def g{number}():\n    return 1\n" for number in range(edited)}
        made = harbour.build(tree)
        counted.append(indexer.runs)
    assert counted == runs
    assert made["scip_index"].facts["moved"] == (3 if policy == "nightly" else 0)


def test_what_follows_a_refresh_is_built_on_it(tmp_path: Path, indexer: Indexer) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return 1\n" for number in range(12)}
    harbour = port(tmp_path)
    harbour.build(tree)
    tree["m1.py"] = "def other():\n    return 1\n"
    assert harbour.build(tree)["scip_index"].facts["moved"] == 1
    refreshed = harbour.build(tree, afresh=["scip_index"])
    assert (indexer.runs, refreshed["scip_index"].facts["moved"], refreshed["scip_index"].facts["base"]) == (2, 0, None)
    assert harbour.build(tree)["scip_index"].key == refreshed["scip_index"].key, "planned again, it is the refreshed one"
    tree["m2.py"] = "def another():\n    return 1\n"
    made = harbour.build(tree)
    assert (indexer.runs, made["scip_index"].facts["base"]) == (2, refreshed["scip_index"].key)
    assert {row["uri"] for row in occurrences(made) if row["provenance"] == "syntax"} == {"m2.py"}


def test_a_failed_indexer_is_not_run_again_at_every_edit_but_by_hand(tmp_path: Path, indexer: Indexer) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return 1\n" for number in range(12)}
    indexer.problem = "it gave up"
    harbour = port(tmp_path)
    harbour.build(tree)
    tree["m1.py"] = "def other():\n    return 1\n"
    [entry] = outcomes.read(harbour.build(tree)["scip_index"].path)
    assert (entry.status, entry.problem, len(entry.lost), indexer.runs) == ("failed", "it gave up", 12, 1)
    indexer.problem = ""
    [entry] = outcomes.read(harbour.build(tree, afresh=["scip_index"])["scip_index"].path)
    assert (entry.status, entry.lost, indexer.runs) == ("indexed", (), 2)


def test_what_the_indexer_left_out_is_told_while_it_is_as_it_was(tmp_path: Path, indexer: Indexer) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return 1\n" for number in range(20)}
    tree |= {"left_out_a.py": "x = 1\n", "left_out_b.py": "x = 1\n"}
    harbour = port(tmp_path)
    harbour.build(tree)
    [entry] = outcomes.read(harbour.build({**tree, "left_out_b.py": "y = 1\n"})["scip_index"].path)
    assert {loss.uri: loss.reason for loss in entry.lost} == {
        "left_out_a.py": "for a reason", "left_out_b.py": outcomes.CHANGED,
    }  # fmt: skip


def test_stale_files_within_the_bound_are_no_warning_and_beyond_it_the_warning_says_why(
    tmp_path: Path, indexer: Indexer
) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return 1\n" for number in range(20)}
    check = next(check for check in CHECKS if check.name == "files_have_precise_symbols")
    harbour = port(tmp_path, scip_refresh="nightly")
    harbour.build(tree)
    for edited, warned in ((2, False), (5, True)):
        tree |= {f"m{number}.py": f"def g{number}():\n    return 1\n" for number in range(edited)}
        made = harbour.build(tree)
        found = check.run(Subject({asset: artefact.path for asset, artefact in made.items()}))
        assert bool(found.problems) == warned
    assert "5 changed since it was indexed" in found.problems[0]


def test_settings_that_run_no_indexer_leave_no_history_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {f"m{number}.py": f"def f{number}():\n    return 1\n" for number in range(4)}
    monkeypatch.setattr(indexers, "python_program", lambda settings: None)
    harbour = port(tmp_path / "small")
    harbour.build(tree)
    tree["m1.py"] = "x = 1\n"
    made = harbour.build(tree)
    assert made["scip_index"].key == port(tmp_path / "full").build(tree)["scip_index"].key


def test_the_names_of_a_part_are_read_as_they_were_written_and_damage_is_told(tmp_path: Path) -> None:
    made = port(tmp_path, scip="off").build(start(random.Random(1)))
    root = made["scip_occurrences"].path
    found = part_names.read(root, 0)
    part_names.write(tmp_path / "again", 0, found)
    path = part_names.path_in(tmp_path / "again", 0)
    assert path.read_bytes() == part_names.path_in(root, 0).read_bytes()
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-20], b"x" * len(whole)):
        path.write_bytes(damaged)
        with pytest.raises(IndexCorruptionError):
            part_names.read(tmp_path / "again", 0)
    path.write_bytes(whole.replace(part_names.TAG, b"scip_names/9"))
    with pytest.raises(IndexFormatError, match="scip_names/9"):
        part_names.read(tmp_path / "again", 0)
    path.unlink()
    with pytest.raises(IndexCorruptionError):
        part_names.read(tmp_path / "again", 0)
