"""The stage: parts in, parts out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import tables, workers
from pipeline.config import Settings
from pipeline.schemas import AstNodes, Definitions, Sources
from pipeline.stage import Artefact, Output
from pipeline.structure.stage import STAGE, syntax
from pipeline.workers import Runtime

SAMPLES = Path(__file__).parent / "samples"
SOURCES = {path.name: (path.suffix[1:], path.read_bytes()) for path in SAMPLES.glob("sample.*")} | {
    "empty.py": ("python", b""),
    "broken.py": ("python", b"def f(:\n  ((("),
    "hostile.sh": ("bash", b"<" * 200_000),
    "nul.c": ("c", b"int x;\0\0"),
    "notes.txt": ("text", b"no grammar"),
}


def snapshot(root: Path, sources: dict[str, tuple[str, bytes]], parts: int = 2) -> Artefact[Any]:
    for part in range(parts):
        uris = sorted(uri for uri in sources if tables.part_of(uri, parts) == part)
        table = pa.table(
            {
                "uri": pa.array(uris, pa.string()),
                "lang": pa.array([sources[uri][0] for uri in uris], pa.string()).dictionary_encode(),
                "content": pa.array([sources[uri][1] for uri in uris], pa.binary()),
            }
        )
        tables.write_part(root / "sources", Sources, part, table)
    return Artefact(repo="r", asset="source_snapshot", key="k", path=root, schema="", digest="", lineage={})


def build(source: Artefact[Any], out: Path, worker_count: int = 1) -> dict[str, Any]:
    return dict(syntax(source, Runtime(workers=worker_count), Output(out / "ast"), Output(out / "definitions")))


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.parquet")}


def test_both_tables_have_every_part_in_the_declared_schema(tmp_path: Path) -> None:
    facts = build(snapshot(tmp_path / "in", SOURCES, parts=4), tmp_path / "out")
    for folder, kind in (("ast", AstNodes), ("definitions", Definitions)):
        paths = tables.parts(tmp_path / "out" / folder, kind)
        assert len(paths) == 4
        for number, path in enumerate(paths):
            part = tables.read_part(path, kind)
            assert part.schema.remove_metadata().equals(kind.schema)
            assert all(tables.part_of(uri, 4) == number for uri in part["uri"].to_pylist())
            rows = part.select(list(kind.order)).to_pylist()
            assert [tuple(row.values()) for row in rows] == sorted(tuple(row.values()) for row in rows)
    assert tables.count_rows(tables.parts(tmp_path / "out" / "ast", AstNodes)) == facts["nodes"]
    assert tables.count_rows(tables.parts(tmp_path / "out" / "definitions", Definitions)) == facts["definitions"]


def test_facts_count_files_errors_and_kinds(tmp_path: Path) -> None:
    facts = build(snapshot(tmp_path / "in", SOURCES), tmp_path / "out")
    assert facts["files_parsed"] == len(SOURCES) - 2
    assert facts["files_given_up"] == 1
    assert facts["files_with_errors"] >= 1
    assert sum(facts["definitions_by_kind"].values()) == facts["definitions"]


def test_files_without_grammar_or_given_up_have_no_rows_and_the_rest_have(tmp_path: Path) -> None:
    build(snapshot(tmp_path / "in", SOURCES), tmp_path / "out")
    uris = set(tables.read_table(tmp_path / "out" / "ast", AstNodes, ["uri"])["uri"].to_pylist())
    assert uris == set(SOURCES) - {"notes.txt", "hostile.sh"}


def test_parents_and_nodes_of_definitions_are_rows_of_ast_nodes(tmp_path: Path) -> None:
    build(snapshot(tmp_path / "in", SOURCES), tmp_path / "out")
    nodes = tables.read_table(tmp_path / "out" / "ast", AstNodes).to_pylist()
    spans = {(node["uri"], node["node_id"]): (node["start_byte"], node["end_byte"]) for node in nodes}
    found = tables.read_table(tmp_path / "out" / "definitions", Definitions).to_pylist()
    ids = {(row["uri"], row["node_id"]) for row in found}
    for definition in found:
        start, end = spans[definition["uri"], definition["node_id"]]
        assert definition["start_byte"] <= start <= definition["name_start_byte"] < end <= definition["end_byte"]
        assert definition["parent"] is None or (definition["uri"], definition["parent"]) in ids


def test_types_and_fields_are_the_names_of_the_grammar(tmp_path: Path) -> None:
    source = snapshot(tmp_path / "in", {"a.py": ("python", b"x = 1\n"), "b.go": ("go", b"package b\n")}, parts=1)
    build(source, tmp_path / "out")
    rows = tables.read_table(tmp_path / "out" / "ast", AstNodes).to_pylist()
    shown = [(row["uri"], row["node_id"], row["parent_id"], row["type"], row["field"], row["named"]) for row in rows]
    assert shown[:5] == [
        ("a.py", 0, -1, "module", None, True),
        ("a.py", 1, 0, "assignment", None, True),
        ("a.py", 2, 1, "identifier", "left", True),
        ("a.py", 3, 1, "=", None, False),
        ("a.py", 4, 1, "integer", "right", True),
    ]
    assert shown[5][:4] == ("b.go", 0, -1, "source_file")


def test_the_bytes_depend_neither_on_the_run_nor_on_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "POOL_THRESHOLD_BYTES", 0)
    source = snapshot(tmp_path / "in", SOURCES)
    facts = [build(source, tmp_path / f"out{run}", worker_count) for run, worker_count in enumerate((1, 1, 2))]
    first = contents(tmp_path / "out0")
    assert len(first) == 4
    assert contents(tmp_path / "out1") == first
    assert contents(tmp_path / "out2") == first
    assert facts[0] == facts[1] == facts[2]


def test_a_snapshot_without_sources_gives_empty_tables(tmp_path: Path) -> None:
    facts = build(snapshot(tmp_path / "in", {}, parts=1), tmp_path / "out")
    assert (facts["files_parsed"], facts["nodes"], facts["definitions"]) == (0, 0, 0)
    assert tables.read_table(tmp_path / "out" / "ast", AstNodes).num_rows == 0


def test_the_key_covers_parser_grammars_and_queries() -> None:
    uses = STAGE.uses(Settings())
    assert set(uses) == {"tree-sitter", "tree-sitter-language-pack", "queries"}
    assert STAGE.assets == ("ast_nodes", "definitions")
