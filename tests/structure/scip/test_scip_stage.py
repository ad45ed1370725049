"""Symbols of a snapshot: precise where an index fits it, by syntax elsewhere, and never silently less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.config import ScipSettings, Settings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.schemas import Files, ScipOccurrences, ScipSymbols, Sources
from pipeline.stage import Artefact, Base, Output
from pipeline.structure.scip import documents, indexers
from pipeline.structure.scip.indexers import Program
from pipeline.structure.scip.stage import INDEX_STAGE, scip_index
from pipeline.structure.scip.symbol_grammar import parse
from pipeline.structure.scip.tables_stage import STAGE as TABLES_STAGE
from pipeline.structure.scip.tables_stage import scip_tables
from pipeline.structure.stage import syntax
from pipeline.workers import Runtime
from tests.structure.scip.listed import files_of

PYTHON = {
    "geo/__init__.py": ("python", b'"""Geometry."""\n'),
    "geo/shape.py": (
        "python",
        'é = "ü😀"; größe = 1\r\nclass Shape:\r\n    "A shape."\r\n    def area(self, x: int) -> int:\r\n'
        "        return x * größe\r\n".encode(),
    ),
    "geo/use.py": ("python", 'from geo.shape import Shape\n\nüber = "😀", Shape().area(1)\n'.encode()),
}
GO = {
    "stack.go": ("go", b"package s\n\n// Push adds.\nfunc Push(x int) int { return x }\n\nfunc twice() { Push(1); Push(2) }\n"),
    "other.go": ("go", b"package s\n\ntype Stack struct{}\n\nfunc (s *Stack) Len() int { return 0 }\n"
                 b"func Len() int { return Push(3) }\n"),
    "more.go": ("go", b"package s\n\nfunc more() { Len() }\n"),
}  # fmt: skip
Rows = list[dict[str, Any]]


def artefact(path: Path) -> Artefact[Any]:
    return Artefact(repo="r", asset="a", key="k", path=path, schema="", digest="", lineage={})


def build(
    root: Path, sources: dict[str, tuple[str, bytes]], settings: ScipSettings | None = None, parts: int = 2
) -> tuple[dict[str, Any], Rows, Rows, dict[str, Any]]:
    """Facts, occurrences, symbols, and the entries of `scip.json` by language."""
    for part in range(parts):
        uris = sorted(uri for uri in sources if tables.part_of(uri, parts) == part)
        table = pa.table(
            {
                "uri": pa.array(uris, pa.string()),
                "lang": pa.array([sources[uri][0] for uri in uris], pa.string()).dictionary_encode(),
                "content": pa.array([sources[uri][1] for uri in uris], pa.binary()),
            }
        )
        tables.write_part(root / "src" / "sources", Sources, part, table)
        tables.write_part(root / "src" / "files", Files, part, files_of(table))
    source = artefact(root / "src")
    syntax(source, Runtime(), Output(root / "ast"), Output(root / "def"))
    scip_index(source, Base(), settings or ScipSettings(), Runtime(), Output(root / "index"))
    inputs = (artefact(root / "index"), source, artefact(root / "ast"), artefact(root / "def"))
    facts = scip_tables(*inputs, Runtime(), Output(root / "occurrences"), Output(root / "symbols"))
    occurrences = tables.read_table(root / "occurrences", ScipOccurrences).to_pylist()
    symbols = tables.read_table(root / "symbols", ScipSymbols).to_pylist()
    told = msgspec.json.decode((root / "index" / "scip" / "scip.json").read_bytes())
    return dict(facts), occurrences, symbols, {entry["language"]: entry for entry in told["indexers"]}


def texts(sources: dict[str, tuple[str, bytes]], rows: Rows) -> list[tuple[str, int, str]]:
    return [
        (row["uri"], row["start_line"], sources[row["uri"]][1][row["start_byte"] : row["end_byte"]].decode()) for row in rows
    ]


def test_definitions_and_references_stand_at_their_bytes_and_lines_beside_characters_of_any_width(tmp_path: Path) -> None:
    facts, occurrences, symbols, told = build(tmp_path, PYTHON)
    area = [row for row in occurrences if row["symbol"].endswith("Shape#area().")]
    assert sorted(texts(PYTHON, area)) == [("geo/shape.py", 4, "area"), ("geo/use.py", 3, "area")]
    assert [row["is_definition"] for row in area] == [True, False]
    size = [row for row in occurrences if row["symbol"].endswith("`größe`.")]
    assert sorted(texts(PYTHON, size)) == [("geo/shape.py", 1, "größe"), ("geo/shape.py", 5, "größe")]
    assert {row["provenance"] for row in occurrences} == {"scip"}
    assert {row["indexer"] for row in occurrences} == {f"ty-scip {told['python']['tool_version']}"}
    shape = next(row for row in symbols if row["symbol"].endswith("/Shape#"))
    assert (shape["display_name"], shape["kind"], shape["documentation"]) == ("Shape", "class", "A shape.")
    assert facts["precise_files"] == told["python"]["files_indexed"] == 3
    assert facts["left_out"] == {}


def test_every_part_is_in_the_declared_schema_and_order_and_symbols_are_described_once(tmp_path: Path) -> None:
    facts, occurrences, symbols, _ = build(tmp_path, PYTHON | GO, parts=4)
    for folder, kind in (("occurrences", ScipOccurrences), ("symbols", ScipSymbols)):
        paths = tables.parts(tmp_path / folder, kind)
        assert len(paths) == 4
        for number, path in enumerate(paths):
            part = tables.read_part(path, kind)
            assert part.schema.remove_metadata().equals(kind.schema)
            rows = [tuple(row.values()) for row in part.select(list(kind.order)).to_pylist()]
            assert rows == sorted(rows)
            if kind is ScipOccurrences:
                assert all(tables.part_of(uri, 4) == number for uri in part["uri"].to_pylist())
    described = [row["symbol"] for row in symbols]
    assert len(described) == len(set(described)) == facts["symbols"]
    assert facts["occurrences"] == len(occurrences) == sum(facts["by_provenance"].values())
    assert all(not symbol.startswith("local ") for symbol in described)


def test_go_has_definitions_and_references_by_syntax_and_an_ambiguous_name_stands_for_itself(tmp_path: Path) -> None:
    facts, occurrences, symbols, told = build(tmp_path, GO)
    push = [row for row in occurrences if row["symbol"] == "syntax . . . `stack.go`/Push()."]
    assert sorted(texts(GO, push)) == [("other.go", 6, "Push"), *[("stack.go", line, "Push") for line in (4, 6, 6)]]
    assert [row["is_definition"] for row in push].count(True) == 1
    assert texts(GO, [row for row in occurrences if row["symbol"] == "syntax . . . Len#"]) == [("more.go", 3, "Len")]
    assert {"syntax . . . `other.go`/Len().", "syntax . . . `other.go`/Stack#Len()."} <= {row["symbol"] for row in symbols}
    assert next(row for row in symbols if row["display_name"] == "Push")["documentation"] == "Push adds."
    assert {row["provenance"] for row in occurrences} == {"syntax"}
    assert facts["syntax_files"] == 3
    assert told == {}
    for row in occurrences:
        parse(row["symbol"])


def test_a_file_that_the_indexer_cannot_take_is_recorded_and_refers_by_syntax_to_precise_symbols(tmp_path: Path) -> None:
    migration = ("python", b"from geo.shape import Shape\n")
    facts, occurrences, _, told = build(tmp_path, {**PYTHON, "geo/0001_initial.py": migration})
    assert told["python"]["status"] == "indexed"
    assert [item["uri"] for item in told["python"]["left_out"]] == ["geo/0001_initial.py"]
    assert (facts["precise_files"], facts["syntax_files"]) == (3, 1)
    row = next(row for row in occurrences if row["uri"] == "geo/0001_initial.py" and row["symbol"].endswith("Shape#"))
    assert (row["start_byte"], row["provenance"], row["symbol"][:7]) == (22, "syntax", "ty-scip")


def test_off_runs_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexers, "index_python", pytest.fail)
    facts, occurrences, _, told = build(tmp_path, PYTHON, ScipSettings(scip="off"))
    assert told[""]["status"] == "off"
    assert {row["provenance"] for row in occurrences} == {"syntax"}
    assert facts["precise_files"] == 0
    assert ("geo/shape.py", 4, "area") in texts(PYTHON, occurrences)


@pytest.mark.parametrize("body", [None, "exit 1", "sleep 60", 'for last; do :; done; echo garbage > "$last"'])
def test_without_a_working_indexer_the_loss_is_recorded_and_syntax_serves(
    body: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = None
    if body is not None:
        (tmp_path / "ty-scip").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "ty-scip").chmod(0o755)
        program = Program("ty-scip", str(tmp_path / "ty-scip"), "0")
    monkeypatch.setattr(indexers, "python_program", lambda settings: program)
    _, occurrences, _, told = build(tmp_path, PYTHON, ScipSettings(scip_timeout=1))
    assert told["python"]["status"] == ("absent" if body is None else "failed")
    assert told["python"]["problem"]
    assert {row["provenance"] for row in occurrences} == {"syntax"}


def test_files_of_another_commit_in_a_supplied_index_are_told_apart_and_served_by_syntax(tmp_path: Path) -> None:
    build(tmp_path / "old", PYTHON)
    index = tmp_path / "old" / "index" / "scip" / "python.scip"
    moved = ("python", b"# moved\n" + PYTHON["geo/shape.py"][1])
    now = {"geo/__init__.py": PYTHON["geo/__init__.py"], "geo/shape.py": moved, "geo/new.py": ("python", b"def f(): pass\n")}
    facts, occurrences, _, told = build(tmp_path / "new", now, ScipSettings(scip_files=(f"python={index}",)))
    assert told["python"]["status"] == "supplied"
    assert {row["uri"] for row in occurrences if row["provenance"] == "scip"} == {"geo/__init__.py"}
    assert {row["uri"] for row in occurrences if row["provenance"] == "syntax"} == {"geo/shape.py", "geo/new.py"}
    assert sum(facts["left_out"].values()) == 2
    assert facts["left_out"]["the snapshot has no such file"] == 1


def test_a_supplied_index_is_part_of_the_key_and_must_be_one(tmp_path: Path) -> None:
    index = tmp_path / "x.scip"
    settings = Settings(scip=ScipSettings(scip_files=(f"go={index}",)))
    with pytest.raises(ConfigError):
        INDEX_STAGE.uses(settings)
    index.write_bytes(b"garbage")
    before = dict(INDEX_STAGE.uses(settings))
    index.write_bytes(b"other garbage")
    assert dict(INDEX_STAGE.uses(settings)) != before
    assert "ty-scip" in before["python"]
    with pytest.raises(IndexFormatError):
        build(tmp_path / "b", GO, settings.scip)
    with pytest.raises(ConfigError):
        INDEX_STAGE.uses(Settings(scip=ScipSettings(scip_files=("../x=y",))))


def test_equal_snapshots_give_equal_bytes(tmp_path: Path) -> None:
    def contents(root: Path) -> dict[str, bytes]:
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    sources = PYTHON | GO | {"geo/is.py": ("python", b"x = 1\n")}
    for name in ("one", "two"):
        build(tmp_path / name, sources)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_stages_declare_their_data_flow() -> None:
    assert INDEX_STAGE.assets == ("scip_index",)
    assert TABLES_STAGE.assets == ("scip_occurrences", "scip_symbols")
    assert set(TABLES_STAGE.inputs) == {"index", "source", "ast_nodes", "definitions"}


def test_several_names_in_one_go_declaration_have_symbols_of_their_own(tmp_path: Path) -> None:
    fields = {"r.go": ("go", b"package s\n\ntype Range struct {\n\tstart, end int\n}\n\nvar low, high = 1, 2\n")}
    _, occurrences, _, _ = build(tmp_path, fields)
    defined = {text: row["symbol"] for row in occurrences if row["is_definition"] for _, _, text in texts(fields, [row])}
    assert defined["start"].endswith("Range#start.") and defined["end"].endswith("Range#end.")
    assert all(text in symbol for text, symbol in defined.items())


def test_an_index_whose_documents_are_damaged_costs_them_alone_when_an_indexer_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "good", PYTHON)
    good = (tmp_path / "good" / "index" / "scip" / "python.scip").read_bytes()
    damaged = b"\x0a\x0bgeo/none.py\x12\x05\xff\xff\xff\xff\xff"
    (tmp_path / "index").write_bytes(good + b"\x12" + bytes([len(damaged)]) + damaged)
    (tmp_path / "ty-scip").write_text(f'#!/bin/sh\nfor last; do :; done; cp {tmp_path}/index "$last"\n')
    (tmp_path / "ty-scip").chmod(0o755)
    program = Program("ty-scip", str(tmp_path / "ty-scip"), "0")
    monkeypatch.setattr(indexers, "python_program", lambda settings: program)
    facts, occurrences, _, _ = build(tmp_path / "b", PYTHON)
    lost = {uri for uri in PYTHON if tables.part_of(uri, 2) == tables.part_of("geo/none.py", 2)}
    assert 0 < len(lost) < 3, "the other part is not damaged"
    assert facts["left_out"] == {"what the indexer wrote is damaged": len(lost)}
    assert {row["uri"] for row in occurrences if row["provenance"] == "syntax"} <= lost
    supplied = ScipSettings(scip_files=(f"python={tmp_path}/index",))
    with pytest.raises(IndexFormatError):
        build(tmp_path / "c", PYTHON, supplied)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("scip-typescript npm . . `a.ts`/Shape#`<get>area`().", b"area"),
        ("scip-typescript npm . . `a.ts`/Shape#`<constructor>`().", b""),
        ("scip-typescript npm . . `a.ts`/size0:", b"size"),
        ("scip-typescript npm . . `a.ts`/`größe`.", "größe".encode()),
        ("scip-python python . . `pkg.a`/__init__:", b""),
    ],
)
def test_a_file_is_no_other_state_because_a_symbol_is_named_otherwise_than_it_is_written(symbol: str, name: bytes) -> None:
    assert documents._defined_names(pa.array([symbol])).to_pylist() == [name]
