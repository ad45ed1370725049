"""Coverage of a small repository: what the indexes have, what is found, and the reason of what is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables, workers
from pipeline.config import EmbedSettings, EvalSettings, SearchSettings, Settings, SpladeSettings, XtrSettings
from pipeline.evaluation.cover import looking
from pipeline.evaluation.cover import structure as inventory
from pipeline.evaluation.cover.covering import Covered, cover
from pipeline.evaluation.cover.looking import Search
from pipeline.evaluation.coverage_stage import STAGE
from pipeline.evaluation.document import Share
from pipeline.evaluation.staged import Engine
from pipeline.files import tree_files
from pipeline.index.splade import index_files
from pipeline.index.splade.postings import Postings
from pipeline.index.tuning.locked_point import UNLOCKED
from pipeline.schemas import Chunks, FaissIdmap
from pipeline.stage import Artefact
from pipeline.store.layout import Store
from pipeline.store.objects import settled
from pipeline.workers import Runtime
from tests.conftest import World

K = 3
_LONG = "\n".join(f"        total_{number} = self.weigh({number}) + tariff_{number}" for number in range(150))
TWINS = ("north", "south", "east", "west", "inner", "outer")
_TIDE = 'def spring_tide(hours):\n    """Predict the moment of the next high water."""\n    return hours + 12.42\n'
FILES = {
    ".gitignore": "ignored/\n",
    "ignored/secret.py": "def secret():\n    return 1\n",
    "logo.png": "\0\0",
    "harbour/fees.py": (
        'BERTHS = 12\n\n\ndef berth_fee(length, nights):\n    """Work out what a night at the quay costs."""\n'
        "    return length * nights\n\n\n"
        "class Scales:\n    def weigh(self, cargo):\n        return cargo\n\n"
        f"    def everything(self):\n{_LONG}\n        return 0\n"
    ),
    "harbour/tides.py": _TIDE,
    "copies/tides.py": _TIDE,
    **{f"gates/{name}.py": f"class Gate:\n    def open(self):\n        return '{name}' * {len(name)}\n" for name in TWINS},
    "web/crane.js": "// Hoists a container onto the lorry.\nfunction lift(box) {\n  return box.up();\n}\n",
}
DEFINITIONS = 1 + 3 + 2 + 2 * len(TWINS) + 1
FAST = {"CODEINTEL_SCIP": "off", "CODEINTEL_CST": "false"}


def build(folder: Path, indexctl: Any, files: dict[str, str]) -> World:
    world = World(folder / "demo", folder / "store", indexctl)
    for name, text in files.items():
        path = world.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    done = world.build(env=FAST)
    assert done.code == 0, done.err
    return world


@pytest.fixture(scope="module")
def quay(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> World:
    """The repository, indexed. Not to be changed."""
    return build(tmp_path_factory.mktemp("quay"), indexctl, FILES)


def artefacts(world: World) -> dict[str, Artefact[Any]]:
    repository = Store(world.store).repository("demo")
    return {kind.asset: settled(repository, kind) for kind in STAGE.inputs.values()}


def covered(
    made: dict[str, Artefact[Any]],
    *,
    workers: int = 1,
    weights: dict[str, float] | None = None,
    ask: bool = True,
    **settings: Any,
) -> Covered:
    engine = Engine(SearchSettings(**(weights or {})), EmbedSettings(), SpladeSettings(), XtrSettings())  # type: ignore[arg-type]
    search = Search(tuple(made.values()), engine, UNLOCKED, K)
    return cover(search, EvalSettings(eval_k=K, **settings), Runtime(workers=workers), ask=ask)


@pytest.fixture(scope="module")
def whole(quay: World) -> Covered:
    """Its coverage as it is."""
    return covered(artefacts(quay))


def spoilt(made: Artefact[Any], folder: Path, change: Callable[[Path], None]) -> Artefact[Any]:
    """A copy of an artefact that somebody changed."""
    copy = folder / made.asset
    shutil.copytree(made.path, copy)
    change(copy)
    return replace(made, path=copy)


def without_chunks(of: Callable[[dict[str, Any]], bool]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for number, path in enumerate(tables.parts(root, Chunks)):
            part = tables.plain(tables.read_part(path, Chunks))
            tables.write_part(root / "chunks", Chunks, number, part.filter(pa.array([not of(row) for row in part.to_pylist()])))

    return change


def rows(found: Covered) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["uri"], row["symbol"]): row for row in found.definitions.to_pylist()}


def test_in_a_sound_index_every_byte_and_every_definition_is_covered(whole: Covered) -> None:
    document = whole.document
    assert document.definitions == document.chunked == Share(part=DEFINITIONS, whole=DEFINITIONS)
    assert document.indexes == {"lexical": document.definitions, "vectors": document.definitions}
    texts = [text for name, text in FILES.items() if name != "logo.png" and not name.startswith("ignored/")]
    skipped = [FILES["logo.png"]]
    assert document.files == Share(part=len(texts), whole=len(texts) + len(skipped))
    assert document.bytes == Share(part=sum(map(len, texts)), whole=sum(map(len, texts + skipped)))
    assert document.skipped == {"binary": 1, "ignored": 1}


def test_functions_and_classes_count_and_data_does_not(whole: Covered) -> None:
    kinds = {row["symbol"]: row["kind"] for row in whole.definitions.to_pylist()}
    assert kinds["berth_fee"] == "function" and kinds["Scales.weigh"] == "method" and kinds["Scales"] == "class"
    assert "BERTHS" not in kinds


def test_definitions_are_asked_by_what_they_say_or_are_called_and_the_copy_of_an_answer_is_one(whole: Covered) -> None:
    found = rows(whole)
    fee = found["harbour/fees.py", "berth_fee"]
    assert fee["query"] == "Work out what a night at the quay costs." and fee["rank"] == 1 and "lexical" in fee["found_by"]
    # What two say of themselves asks for neither of them.
    tides = [found[folder, "spring_tide"] for folder in ("harbour/tides.py", "copies/tides.py")]
    assert [one["query"] for one in tides] == ["spring_tide"] * 2
    assert [one["rank"] for one in tides] == [1, 1]


def test_a_definition_that_others_of_its_name_crowd_out_is_missed_for_that(whole: Covered) -> None:
    gates = [row for (_, symbol), row in rows(whole).items() if symbol == "Gate.open"]
    assert len(gates) == len(TWINS) and {row["query"] for row in gates} == {"Gate.open"}
    missed = [row for row in gates if row["rank"] is None]
    assert len(missed) == len(TWINS) - K and {row["reason"] for row in missed} == {"namesake"}
    assert all(row["reason"] is None for row in gates if row["rank"] is not None)
    assert whole.document.missed["namesake"] >= len(missed)
    assert sum(whole.document.missed.values()) == whole.document.found.whole - whole.document.found.part


def test_what_lies_in_no_chunk_is_neither_chunked_nor_indexed(quay: World, tmp_path: Path) -> None:
    made = artefacts(quay)
    made["chunks"] = spoilt(made["chunks"], tmp_path, without_chunks(lambda row: row["uri"] == "web/crane.js"))
    spoiled = covered(made, ask=False)
    lift = rows(spoiled)["web/crane.js", "lift"]
    assert (lift["chunked"], lift["chunks"], lift["reason"]) == (False, 0, "not in chunks")
    assert spoiled.document.definitions == Share(part=DEFINITIONS - 1, whole=DEFINITIONS)
    assert spoiled.document.bytes.part == covered(artefacts(quay), ask=False).document.bytes.part - len(FILES["web/crane.js"])


def test_a_gap_in_the_middle_of_a_definition_is_seen(quay: World, tmp_path: Path) -> None:
    made = artefacts(quay)
    parts = tables.read_table(made["chunks"].path, Chunks, ["uri", "start_byte", "end_byte"]).to_pylist()
    start = FILES["harbour/fees.py"].index("    def everything")
    inside = sorted(row["start_byte"] for row in parts if row["uri"] == "harbour/fees.py" and row["start_byte"] > start)
    assert len(inside) >= 2
    gone = inside[0]
    made["chunks"] = spoilt(
        made["chunks"], tmp_path, without_chunks(lambda row: (row["uri"], row["start_byte"]) == ("harbour/fees.py", gone))
    )
    found = {symbol: row for (uri, symbol), row in rows(covered(made, ask=False)).items() if uri == "harbour/fees.py"}
    assert [found[name]["chunked"] for name in ("berth_fee", "Scales.weigh", "Scales.everything", "Scales")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_an_index_that_lacks_a_chunk_is_named_for_each_definition_in_it(quay: World, tmp_path: Path, indexctl: Any) -> None:
    made = artefacts(quay)
    crane = [
        row["id"]
        for row in tables.read_table(made["chunks"].path, Chunks, ["id", "uri"]).to_pylist()
        if row["uri"] == "web/crane.js"
    ]

    def unmap(root: Path) -> None:
        path = root / FaissIdmap.FILE
        idmap = pq.read_table(path)
        kept = idmap.filter(pa.array(~np.isin(idmap["external_id"].to_numpy(), crane)))
        tables.write_parquet(path, kept, FaissIdmap.tag())

    made["faiss_idmap"] = spoilt(made["faiss_idmap"], tmp_path, unmap)
    # A lexical index of the same tree without one file: its documents are those of all other chunks.
    other = build(tmp_path / "other", indexctl, {name: text for name, text in FILES.items() if name != "harbour/fees.py"})
    made["lexical_index"] = artefacts(other)["lexical_index"]
    found = rows(covered(made, ask=False))
    assert found["web/crane.js", "lift"]["missing_in"] == ["vectors"]
    assert found["web/crane.js", "lift"]["reason"] == "not in vectors"
    lacking = {key for key, row in found.items() if row["missing_in"] == ["lexical"] and row["reason"] == "not in lexical"}
    assert lacking == {("harbour/fees.py", name) for name in ("berth_fee", "Scales", "Scales.weigh", "Scales.everything")}
    assert all(row["chunked"] for row in found.values())


def test_without_evaluation_nothing_is_asked_and_the_structure_is_still_told(quay: World) -> None:
    told = covered(artefacts(quay), ask=False)
    assert told.document.found == Share(part=0, whole=0) and told.document.by_channel == {} and told.document.missed == {}
    assert told.document.definitions.whole == DEFINITIONS
    assert not any(told.definitions["asked"].to_pylist())


def test_a_sample_asks_as_many_as_it_should_and_zero_means_all(quay: World) -> None:
    few = covered(artefacts(quay), coverage_queries=5)
    assert few.document.found.whole == sum(few.definitions["asked"].to_pylist()) == 5
    assert len({row["uri"].rpartition("/")[0] for row in few.definitions.to_pylist() if row["asked"]}) >= 4
    assert covered(artefacts(quay), coverage_queries=0).document.found.whole == DEFINITIONS


def test_any_number_of_processes_gives_the_same(quay: World, whole: Covered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_FEWEST", 4)
    monkeypatch.setattr(workers, "POOL_THRESHOLD_BYTES", 0)
    twice = covered(artefacts(quay), workers=2)
    assert twice.document == whole.document
    assert twice.definitions.equals(whole.definitions) and twice.modules.equals(whole.modules)


def test_a_channel_that_is_off_is_not_among_the_channels(quay: World) -> None:
    told = covered(artefacts(quay), weights={"dense_weight": 0.0})
    assert "dense" not in told.document.by_channel and "lexical" in told.document.by_channel
    assert not any("dense" in row["found_by"] for row in told.definitions.to_pylist())


def test_the_tree_has_the_repository_its_folders_and_its_files_with_the_sums_of_what_is_below(whole: Covered) -> None:
    modules = {row["prefix"]: row for row in whole.modules.to_pylist()}
    assert (modules[""]["parent"], modules[""]["depth"]) == (None, 0)
    assert (modules["harbour/"]["parent"], modules["harbour/"]["depth"]) == ("", 1)
    assert (modules["harbour/fees.py"]["parent"], modules["harbour/fees.py"]["depth"]) == ("harbour/", 2)
    assert "ignored/" not in modules and modules["logo.png"]["indexed_files"] == 0
    names = ("bytes", "indexed_bytes", "files", "indexed_files", "definitions", "chunked", "covered", "asked", "found")
    for prefix, row in modules.items():
        inside = [one for one in modules.values() if one["parent"] == prefix]
        if inside:
            assert [row[name] for name in names] == [sum(one[name] for one in inside) for name in names]
    document = whole.document
    top = modules[""]
    assert (top["found"], top["asked"]) == (document.found.part, document.found.whole)
    assert {one["channel"]: one["found"] for one in top["found_by"]} == {
        name: part.part for name, part in document.by_channel.items()
    }
    assert (top["covered"], top["definitions"]) == (document.definitions.part, document.definitions.whole)


def test_a_repository_without_definitions_has_a_coverage_too(tmp_path: Path, indexctl: Any) -> None:
    told = covered(artefacts(build(tmp_path, indexctl, {"notes.md": "Nothing.\n"})))
    assert told.document.definitions == told.document.found == Share(part=0, whole=0)
    assert told.definitions.num_rows == 0 and [row["prefix"] for row in told.modules.to_pylist()] == ["", "notes.md"]


def test_the_stage_writes_the_same_bytes_again(quay: World, tmp_path: Path) -> None:
    written = []
    for turn in ("one", "two"):
        out = tmp_path / turn
        out.mkdir()
        facts = STAGE.call(artefacts(quay), Settings(), {"lock": UNLOCKED}, Runtime(), {"coverage": out})
        assert facts["definitions"] == facts["covered"] == DEFINITIONS
        written.append({path.relative_to(out).as_posix(): path.read_bytes() for path in tree_files(out)})
    assert written[0] == written[1] and sorted(written[0]) == [
        "coverage.json", "coverage/part-000.parquet", "coverage_asked.json", "coverage_modules.parquet",
    ]  # fmt: skip


def test_indexes_that_are_on_are_asked_too(quay: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = artefacts(quay)
    chunks = tables.read_table(made["chunks"].path, Chunks, ["id", "uri"]).to_pylist()
    ids = {
        name: np.array(sorted(row["id"] for row in chunks if row["uri"] != name), np.int64) for name in ("web/crane.js", "none")
    }

    def learned(root: Path) -> None:
        (root / index_files.META).unlink()
        kept = ids["web/crane.js"]
        postings = Postings(
            kept, np.array([7], np.int32), np.array([0, 1], np.int64), np.array([0], np.int32), np.array([9], np.uint16)
        )
        index_files.write(
            root, postings, index_files.EncoderFacts(name="m", digest="d", vocabulary=9), bits=16, document_terms=8
        )

    made["splade_index"] = spoilt(made["splade_index"], tmp_path, learned)
    document = covered(made, ask=False).document
    assert document.indexes["splade"] == Share(part=DEFINITIONS - 1, whole=DEFINITIONS)
    assert sorted(document.indexes) == ["lexical", "splade", "vectors"]

    # Token vectors need a model: only their ids are read.
    monkeypatch.setattr(inventory, "read_meta", lambda _: SimpleNamespace(encoder="m"))
    monkeypatch.setattr(inventory.TokenIndex, "open", lambda _, verified: SimpleNamespace(ids=ids["none"]))
    document = covered(made, ask=False).document
    assert (
        document.indexes["xtr"] == Share(part=DEFINITIONS, whole=DEFINITIONS) and document.definitions.part == DEFINITIONS - 1
    )
