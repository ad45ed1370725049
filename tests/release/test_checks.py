"""Every check passes on what the stages make, and fails on content that is wrong though its digests are right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import files, tables
from pipeline.embed.arrays import open_arrays, write_arrays
from pipeline.errors import InvariantViolationError
from pipeline.index.lexical_stage import lexical_index
from pipeline.index.splade import index_files
from pipeline.index.splade.postings import Postings, SparseDocuments, build
from pipeline.index.xtr.building import build as build_tokens
from pipeline.index.xtr.description import Maker
from pipeline.index.xtr.encodings import Encodings, Gathered
from pipeline.release.checks import CHECKS, VERSION_CHECKS, Check
from pipeline.release.findings import Finding, Subject
from pipeline.release.publication import publish
from pipeline.schemas import (
    AstNodes,
    Chunks,
    ChunkSymbols,
    CstNodes,
    Definitions,
    Embeddings,
    FaissIdmap,
    FaissIndex,
    LexicalIndex,
    Modules,
    ScipOccurrences,
    Sources,
    SpladeIndex,
    SymbolEdges,
    Tuning,
    XtrIndex,
)
from pipeline.stage import Artefact, Output
from pipeline.store.versions import current_name, version_names
from pipeline.workers import Runtime

World = Any
BY_NAME = {check.name: check for check in (*CHECKS, *VERSION_CHECKS)}


def _set(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))


def _without(table: pa.Table, row: int) -> pa.Table:
    return pa.concat_tables([table.slice(0, row), table.slice(row + 1)])


def _arrays(world: World, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    root = world.root("embeddings")
    ids, vectors = open_arrays(root)
    write_arrays(root, *change(ids.copy(), vectors[:].copy()))


def _first_row(vectors: np.ndarray, value: float) -> np.ndarray:
    vectors[0] = value
    return vectors


def _shuffled(values: np.ndarray) -> np.ndarray:
    """Each row elsewhere. (Two rows might be of equal chunks.)"""
    return np.roll(values, 1, axis=0)


def _json(path: Path, **changes: object) -> None:
    path.write_bytes(files.canonical_json(msgspec.json.decode(path.read_bytes()) | changes))


def _idmap(world: World, change: Callable[[pa.Table], pa.Table]) -> None:
    path = world.root("faiss_idmap") / FaissIdmap.FILE
    table = change(tables.plain(pq.read_table(path)))
    tables.write_parquet(path, table.cast(FaissIdmap.schema), FaissIdmap.tag())


def _shuffled_idmap(table: pa.Table) -> pa.Table:
    ids = table["external_id"].to_numpy().copy()
    return table.set_column(1, table.schema.field(1), pa.array(_shuffled(ids)))


def _shuffled_everywhere(world: World) -> None:
    """In both forms, so that only the index knows better."""
    _arrays(world, lambda ids, vectors: (ids, _shuffled(vectors)))
    ids, vectors = open_arrays(world.root("embeddings"))

    def other(table: pa.Table) -> pa.Table:
        rows = vectors[np.searchsorted(ids, table["id"].to_numpy())]
        kind = table.schema.field("embedding").type
        return table.set_column(1, table.schema.field(1), pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=kind))

    world.rewrite(Embeddings, other)


def _lexical_of(world: World, change: Callable[[pa.Table], pa.Table]) -> None:
    """Index other chunks than there are."""
    scratch = world.repository.path / "scratch"
    chunks = world.states["one"]["chunks"]
    part = tables.part_path(chunks.path / Chunks.name, 0)
    other = change(tables.plain(tables.read_part(part, Chunks)))
    tables.write_part(scratch / "in" / Chunks.name, Chunks, 0, other)
    stood_in: Artefact[Any] = Artefact("r", "chunks", "k", scratch / "in", Chunks.tag(), "", {})
    (scratch / "out").mkdir()
    lexical_index(stood_in, world.states["one"]["definitions"], Runtime(), Output(scratch / "out"))
    root = world.root("lexical_index")
    shutil.rmtree(root / LexicalIndex.DIRECTORY)
    shutil.copytree(scratch / "out", root, dirs_exist_ok=True)
    shutil.rmtree(scratch)


def _other_embedder(world: World) -> None:
    _json(world.root("embeddings") / Embeddings.EMBEDDER, digest="another")


def _impacts(world: World, change: Callable[[Postings], Postings]) -> None:
    """An impact index of one term that all chunks have, with what the test changes in it."""
    root = world.root("splade_index")
    table = tables.read_table(world.root("chunks"), Chunks, ["id"])
    count = table.num_rows
    every = SparseDocuments(
        table["id"].to_numpy(), np.arange(count + 1), np.full(count, 3, np.int32), np.full(count, 9, np.uint16)
    )
    made = build(every, bits=8)
    _impact_files(root, made)
    assert BY_NAME["splade_matches_chunks"].run(Subject(world.roots())).passed
    _impact_files(root, change(made))


def _impact_files(root: Path, postings: Postings) -> None:
    shutil.rmtree(root / SpladeIndex.DIRECTORY, ignore_errors=True)
    who = index_files.EncoderFacts(name="splade/one", digest="d", vocabulary=4)
    index_files.write(root, postings, who, bits=8, document_terms=1)


def _impacts_though_off(world: World) -> None:
    _impacts(world, lambda found: found)
    index_files.write_off(world.root("splade_index"))


def _over_two_chunks(table: pa.Table) -> pa.Table:
    """The first definition in `app/shapes.py` reaches over the whole file."""
    rows = [row for row in table.to_pylist() if row["uri"] == "app/shapes.py"]
    first = next(row for row in table.to_pylist() if row in rows and row["is_definition"] and row["end_byte"] > 0)
    return _set(table, "end_byte", table.to_pylist().index(first), max(row["end_byte"] for row in rows))


def _other_role(table: pa.Table) -> pa.Table:
    row = table["role"].to_pylist().index("definition")
    return _set(table, "role", row, "reference")


def _syntax_alone(table: pa.Table) -> pa.Table:
    place = table.column_names.index("provenance")
    return table.set_column(place, table.schema.field(place), pa.array(["syntax"] * table.num_rows))


def _tokens_of_another_chunk(world: World) -> None:
    """A token index, sound in itself, of a chunk that there is not."""
    root = world.root("xtr_index")
    (root / XtrIndex.META).unlink()
    tokens = Encodings(np.array([0, 2]), np.ones((2, 4), np.int8), np.array([[0, 1], [1, 2]], np.int32))
    gathered = Gathered.of([tokens], np.zeros(1, np.int64), np.zeros(1, np.int64))
    maker = Maker(name="xtr/test", digest="d", dimension=4)
    build_tokens(root, np.array([5], np.int64), gathered, np.zeros(2, np.uint8), maker, 4)


DISAGREEING = {"sample": 32, "least": 0.4}


def _measured(world: World, change: Callable[[Any], Any]) -> None:
    path = world.root("eval_metrics") / "metrics.json"
    document = msgspec.json.decode(path.read_bytes())
    change(document)
    path.write_bytes(files.canonical_json(document))


SPOILS: list[tuple[str, str, Callable[[World], object]]] = [
    ("sources_match_files", "other bytes", lambda w: w.rewrite(Sources, lambda t: _set(t, "content", 0, b"other"))),
    ("sources_match_files", "a source missing", lambda w: w.rewrite(Sources, lambda t: _without(t, 1))),
    ("nodes_inside_files", "beyond the end", lambda w: w.rewrite(AstNodes, lambda t: _set(t, "end_byte", 3, 10_000))),
    ("nodes_inside_files", "before the start", lambda w: w.rewrite(AstNodes, lambda t: _set(t, "start_byte", 3, -1))),
    ("nodes_inside_files", "backwards", lambda w: w.rewrite(AstNodes, lambda t: _set(t, "end_byte", 0, -5))),
    ("nodes_inside_files", "its own parent", lambda w: w.rewrite(AstNodes, lambda t: _set(t, "parent_id", 2, 2))),
    ("nodes_inside_files", "unknown file", lambda w: w.rewrite(AstNodes, lambda t: _set(t, "uri", 0, "nowhere.py"))),
    ("definitions_inside_files", "beyond the end", lambda w: w.rewrite(Definitions, lambda t: _set(t, "end_byte", 0, 9999))),
    ("definitions_inside_files", "name", lambda w: w.rewrite(Definitions, lambda t: _set(t, "name_start_byte", 0, 9999))),
    ("definitions_inside_files", "lines", lambda w: w.rewrite(Definitions, lambda t: _set(t, "start_line", 0, 0))),
    ("chunk_ids_unique", "twice", lambda w: w.rewrite(Chunks, lambda t: _set(t, "id", 0, t["id"][1].as_py()))),
    ("chunk_ids_unique", "negative", lambda w: w.rewrite(Chunks, lambda t: _set(t, "id", 0, -7))),
    ("chunks_gapless", "first chunk dropped", lambda w: w.rewrite(Chunks, lambda t: _without(t, 0))),
    ("chunks_gapless", "chunk dropped", lambda w: w.rewrite(Chunks, lambda t: _without(t, 3))),
    ("chunks_gapless", "last chunk dropped", lambda w: w.rewrite(Chunks, lambda t: _without(t, t.num_rows - 1))),
    ("chunks_gapless", "overlap", lambda w: w.rewrite(Chunks, lambda t: _set(t, "start_byte", 3, 1))),
    ("chunks_gapless", "other text", lambda w: w.rewrite(Chunks, lambda t: _set(t, "content", 0, "other"))),
    ("vectors_finite_unit", "zeroed", lambda w: _arrays(w, lambda ids, v: (ids, _first_row(v, 0)))),
    ("vectors_finite_unit", "NaN", lambda w: _arrays(w, lambda ids, v: (ids, _first_row(v, np.nan)))),
    ("vectors_finite_unit", "ids unsorted", lambda w: _arrays(w, lambda ids, v: (_shuffled(ids), v))),
    ("vectors_finite_unit", "one too few", lambda w: _arrays(w, lambda ids, v: (ids, v[1:]))),
    ("vectors_match_chunks", "other id", lambda w: _arrays(w, lambda ids, v: (np.r_[ids[:-1], ids[-1] + 1], v))),
    ("vectors_match_chunks", "values differ", lambda w: _arrays(w, lambda ids, v: (ids, _shuffled(v)))),
    ("vectors_match_chunks", "table", lambda w: w.rewrite(Embeddings, lambda t: _set(t, "id", 0, 77))),
    ("vectors_match_chunks", "row missing", lambda w: w.rewrite(Embeddings, lambda t: _without(t, 0))),
    ("faiss_matches_embeddings", "count", lambda w: _json(w.root("faiss_index") / FaissIndex.META, count=1)),
    ("faiss_matches_embeddings", "dimension", lambda w: _json(w.root("faiss_index") / FaissIndex.META, dimension=1)),
    ("faiss_matches_embeddings", "embedder", _other_embedder),
    ("idmap_bijection", "shuffled", lambda w: _idmap(w, _shuffled_idmap)),
    ("idmap_bijection", "row missing", lambda w: _idmap(w, lambda t: _without(t, 2))),
    ("idmap_bijection", "row twice", lambda w: _idmap(w, lambda t: _set(t, "faiss_row", 0, 1))),
    ("idmap_bijection", "another source", lambda w: _idmap(w, lambda t: _set(t, "source", 0, "delta"))),
    ("idmap_bijection", "id twice", lambda w: _idmap(w, lambda t: _set(t, "external_id", 0, t["external_id"][1].as_py()))),
    ("tuning_of_this_index", "another index", lambda w: _json(w.root("tuning") / Tuning.FILE, index="another")),
    (
        "tuning_of_this_index",
        "a parameter it does not take",
        lambda w: _json(w.root("tuning") / Tuning.FILE, parameters="nprobe=4"),
    ),
    ("tuning_of_this_index", "another sweep", lambda w: _json(w.root("tuning") / Tuning.FILE, grid=3)),
    ("documents_match_chunks", "document missing", lambda w: _lexical_of(w, lambda t: _without(t, 2))),
    ("documents_match_chunks", "other document", lambda w: _lexical_of(w, lambda t: _set(t, "id", 2, 12345))),
    ("documents_match_chunks", "other file", lambda w: _lexical_of(w, lambda t: _set(t, "uri", 2, "web/run.js"))),
    ("tokens_match_chunks", "another chunk", _tokens_of_another_chunk),
    ("splade_matches_chunks", "a document missing", lambda w: _impacts(w, lambda found: replace(found, ids=found.ids[:-1]))),
    ("splade_matches_chunks", "another document", lambda w: _impacts(w, lambda found: replace(found, ids=found.ids + 1))),
    ("splade_matches_chunks", "disorder", lambda w: _impacts(w, lambda found: replace(found, rows=found.rows[::-1].copy()))),
    ("splade_matches_chunks", "postings though off", lambda w: _impacts_though_off(w)),
    (
        "occurrences_inside_files",
        "beyond the end",
        lambda w: w.rewrite(ScipOccurrences, lambda t: _set(t, "end_byte", 3, 9999)),
    ),
    (
        "occurrences_inside_files",
        "before the start",
        lambda w: w.rewrite(ScipOccurrences, lambda t: _set(t, "start_byte", 3, -1)),
    ),
    (
        "occurrences_inside_files",
        "unknown file",
        lambda w: w.rewrite(ScipOccurrences, lambda t: _set(t, "uri", 0, "nowhere.py")),
    ),
    ("cst_inside_files", "beyond the end", lambda w: w.rewrite(CstNodes, lambda t: _set(t, "end_byte", 3, 9999))),
    ("cst_inside_files", "its own parent", lambda w: w.rewrite(CstNodes, lambda t: _set(t, "parent_id", 2, 2))),
    ("modules_are_indexed_files", "unknown file", lambda w: w.rewrite(Modules, lambda t: _set(t, "uri", 0, "nowhere.py"))),
    ("modules_are_indexed_files", "twice", lambda w: w.rewrite(Modules, lambda t: pa.concat_tables([t.slice(0, 1), t]))),
    ("defining_identifiers_in_one_chunk", "over two", lambda w: w.rewrite(ScipOccurrences, _over_two_chunks)),
    ("defining_identifiers_in_one_chunk", "in none", lambda w: w.rewrite(Chunks, lambda t: _without(t, 2))),
    ("symbol_counts_agree", "one too many", lambda w: w.rewrite(ChunkSymbols, lambda t: _set(t, "count", 0, 7))),
    ("symbol_counts_agree", "other role", lambda w: w.rewrite(ChunkSymbols, _other_role)),
    ("symbol_counts_agree", "row missing", lambda w: w.rewrite(ChunkSymbols, lambda t: _without(t, 0))),
    ("symbol_counts_agree", "unknown chunk", lambda w: w.rewrite(ChunkSymbols, lambda t: _set(t, "chunk_id", 0, 7))),
    (
        "edges_start_in_chunked_files",
        "unknown file",
        lambda w: w.rewrite(SymbolEdges, lambda t: _set(t, "uri", 0, "nowhere.py")),
    ),
    ("edges_start_in_chunked_files", "counts nothing", lambda w: w.rewrite(SymbolEdges, lambda t: _set(t, "count", 0, 0))),
    ("ids_agree", "foreign id", lambda w: _idmap(w, lambda t: _set(t, "external_id", 0, 99))),
    ("ids_agree", "vector of another chunk", lambda w: _arrays(w, lambda ids, v: (np.r_[ids[:-1], ids[-1] + 1], v))),
    ("self_search", "vectors shuffled", _shuffled_everywhere),
    ("channels_answer", "a broken channel", lambda w: _measured(w, lambda it: it["broken"].update(dense="no weights"))),
    ("vectors_of_embedder", "another embedder's", lambda w: _measured(w, lambda it: it.update(agreement=DISAGREEING))),
]


def test_every_check_has_a_case_that_fails_it() -> None:
    assert {name for name, _, _ in SPOILS} == {name for name, check in BY_NAME.items() if check.blocking}


@pytest.mark.parametrize("name", BY_NAME)
def test_the_check_passes_on_what_the_stages_make(name: str, built: World) -> None:
    finding = BY_NAME[name].run(Subject(built.roots()))
    assert finding.passed, finding.problems
    assert finding.facts and BY_NAME[name].description.endswith(".")


@pytest.mark.parametrize(
    ("name", "spoil"), [(name, spoil) for name, _, spoil in SPOILS], ids=[f"{a}-{b}" for a, b, _ in SPOILS]
)
def test_wrong_content_fails_its_check_and_is_not_published(name: str, spoil: Callable[[World], object], world: World) -> None:
    published = publish(world.repository, world.manifest("two")).version
    spoil(world)

    finding = BY_NAME[name].run(Subject(world.roots()))
    assert not finding.passed and all(finding.problems)

    world.reseal()
    with pytest.raises(InvariantViolationError, match=f"{BY_NAME[name].asset}: {name}|; and ") as caught:
        publish(world.repository, world.manifest("one"))
    assert "CURRENT is unchanged" in caught.value.hint
    assert current_name(world.repository) == published
    assert [path.name for path in world.repository.versions.iterdir()] == [published] == version_names(world.repository)


def test_files_without_precise_symbols_are_named_in_a_warning_and_published(world: World) -> None:
    check = BY_NAME["files_have_precise_symbols"]
    assert check.run(Subject(world.roots())).facts["precise_files"] == 2
    world.rewrite(ScipOccurrences, _syntax_alone)

    finding = check.run(Subject(world.roots()))
    assert not finding.passed and "app/shapes.py" in finding.problems[0] and not check.blocking
    assert finding.facts == {"precise_files": 0, "share_of_precise_files": 0.0}

    world.reseal()
    done = publish(world.repository, world.manifest("one"))
    assert done.flipped and done.verification is not None and done.verification.ok
    assert done.verification.findings[check.name].problems == finding.problems


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 50], ids=["missing", "empty", "garbage"])
def test_checks_report_unreadable_artefacts_instead_of_raising(content: bytes | None, world: World) -> None:
    for root in world.roots().values():
        for path in files.tree_files(root):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
    for check in BY_NAME.values():
        finding = check.run(Subject(world.roots()))
        assert not finding.passed, check.name
        assert all(problem.strip() and not problem.endswith(": ") for problem in finding.problems)


def test_the_same_bytes_are_checked_once_and_others_again() -> None:
    looked: list[Path] = []
    answers = iter([Finding(("the disk failed",)), Finding(facts={"n": 1}), Finding(), Finding()])

    def look(subject: Subject) -> Finding:
        looked.append(subject["chunks"])
        return next(answers)

    check = Check("looks", "chunks", "Looks.", look, ("embeddings",))
    digests = {"chunks": {"part": "a"}, "embeddings": {"part": "b"}, "unrelated": {"part": "c"}}

    def run(name: str, digests: Any) -> Finding:
        return check.run(Subject({"chunks": Path(name)}, digests))

    # A failure is looked at again: the next time it may be gone.
    assert [run(name, digests).passed for name in "123"] == [False, True, True]
    assert run("4", {**digests, "unrelated": {"part": "other"}}).facts == {"n": 1}
    run("5", {**digests, "embeddings": {"part": "other"}})
    run("6", None)
    assert [path.name for path in looked] == ["1", "2", "5", "6"]


def test_a_long_list_of_problems_is_cut(world: World) -> None:
    def shifted(table: pa.Table) -> pa.Table:
        place = table.column_names.index("start_byte")
        return table.set_column(place, table.schema.field(place), pa.array([1] * table.num_rows, pa.int32()))

    world.rewrite(Chunks, shifted)
    world.rewrite(Chunks, lambda table: pa.concat_tables([table] * 20))
    assert 5 < len(BY_NAME["chunks_gapless"].run(Subject(world.roots())).problems) <= 20


def _last_definition(table: pa.Table) -> int:
    ends = table["end_byte"].to_numpy() * table["is_definition"].to_numpy()
    return int(np.argmax(ends))


def test_a_name_in_a_line_that_no_chunk_can_hold_keeps_nothing_from_being_published(world: World) -> None:
    check = BY_NAME["defining_identifiers_in_one_chunk"]
    assert check.run(Subject(world.roots())).facts["cut"] == 0
    chunks = tables.plain(tables.read_part(tables.part_path(world.root("chunks") / Chunks.name, 0), Chunks))
    name = tables.plain(
        tables.read_part(tables.part_path(world.root("scip_occurrences") / ScipOccurrences.name, 0), ScipOccurrences)
    )
    found = name.slice(_last_definition(name), 1).to_pylist()[0]
    inside = [
        row["uri"] == found["uri"] and row["start_byte"] <= found["start_byte"] < row["end_byte"] for row in chunks.to_pylist()
    ]
    (row,) = np.flatnonzero(inside)
    whole = chunks.slice(row, 1)
    middle, line = found["start_byte"] + 1, found["start_line"]
    halves = [_set(_set(whole, "end_byte", 0, middle), "end_line", 0, line)]
    halves.append(_set(_set(whole, "start_byte", 0, middle), "start_line", 0, line))
    world.rewrite(Chunks, lambda table: pa.concat_tables([table.slice(0, row), *halves, table.slice(row + 1)]))
    finding = check.run(Subject(world.roots()))
    assert finding.passed and finding.facts["cut"] == 1
