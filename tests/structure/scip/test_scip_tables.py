"""Occurrences and symbols over all parts: each file by what knows it best, each symbol once, the same bytes from any worker."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables, workers
from pipeline.config import ScipSettings
from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.schemas import Definitions, ScipOccurrences, ScipSymbols, Sources
from pipeline.schemas import Files as FilesTable
from pipeline.source.text import line_of, line_starts
from pipeline.stage import Artefact, Base, Output
from pipeline.structure.scip import documents, from_syntax, part_jobs
from pipeline.structure.scip.positions import byte_offsets, offsets_in
from pipeline.structure.scip.proto import message_class
from pipeline.structure.scip.reader import read_contents, read_documents, read_occurrences
from pipeline.structure.scip.stage import scip_index
from pipeline.structure.scip.symbol_grammar import parse
from pipeline.structure.scip.tables_stage import scip_tables
from pipeline.structure.scip.texts import Texts
from pipeline.structure.stage import syntax
from pipeline.workers import Runtime
from tests.structure.scip.listed import files_of

Files = dict[str, tuple[str, bytes]]
Rows = list[dict[str, Any]]
P = "tool python . . "
PARTS = 4


def python(**files: str) -> Files:
    return {f"{name}.py": ("python", text.encode()) for name, text in files.items()}


def artefact(path: Path) -> Artefact[Any]:
    return Artefact(repo="r", asset="a", key="k", path=path, schema="", digest="", lineage={})


def prepare(root: Path, files: Files, settings: ScipSettings, parts: int = PARTS) -> tuple[Artefact[Any], ...]:
    """Everything that the stage reads."""
    for part in range(parts):
        uris = sorted(uri for uri in files if tables.part_of(uri, parts) == part)
        columns = {
            "uri": pa.array(uris, pa.string()),
            "lang": pa.array([files[uri][0] for uri in uris], pa.string()).dictionary_encode(),
            "content": pa.array([files[uri][1] for uri in uris], pa.binary()),
        }
        tables.write_part(root / "src" / "sources", Sources, part, pa.table(columns))
        tables.write_part(root / "src" / "files", FilesTable, part, files_of(pa.table(columns)))
    source = artefact(root / "src")
    syntax(source, Runtime(), Output(root / "ast"), Output(root / "def"))
    scip_index(source, Base(), settings, Runtime(), Output(root / "index"))
    return artefact(root / "index"), source, artefact(root / "ast"), artefact(root / "def")


def build(root: Path, files: Files, index: Any = None, runtime: Runtime | None = None) -> tuple[dict[str, Any], Rows, Rows]:
    """Facts, occurrences and symbols; `index` is a supplied one, else there is none."""
    root.mkdir(parents=True, exist_ok=True)
    settings = ScipSettings(scip="off")
    if index is not None:
        given = root / "given.scip"
        given.write_bytes(index if isinstance(index, bytes) else message_class("Index")(**index).SerializeToString())
        settings = ScipSettings(scip_files=(f"python={given}",))
    inputs = prepare(root, files, settings)
    facts = scip_tables(*inputs, runtime or Runtime(), Output(root / "occurrences"), Output(root / "symbols"))
    occurrences = tables.read_table(root / "occurrences", ScipOccurrences).to_pylist()
    return dict(facts), occurrences, tables.read_table(root / "symbols", ScipSymbols).to_pylist()


def defined(symbol: str, line: int, start: int, end: int, role: int = 1) -> dict[str, Any]:
    return {"symbol": symbol, "range": [line, start, end], "symbol_roles": role}


def document(path: str, occurrences: Rows, symbols: Rows | None = None) -> dict[str, Any]:
    return {"relative_path": path, "position_encoding": 1, "occurrences": occurrences, "symbols": symbols or []}


def supplied(*documents: dict[str, Any], external: Rows | None = None) -> dict[str, Any]:
    tool = {"tool_info": {"name": "tool", "version": "1"}}
    return {"metadata": tool, "documents": list(documents), "external_symbols": external or []}


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


MANY = {
    f"pkg/m{number}.py": ("python", f"import pkg\n\ndef f{number % 7}(x):\n    return f{(number + 1) % 7}(x), C{number}\n\n"
                                    f"class C{number}:\n    a = b = {number}\n    é = 'ü'\n".encode())
    for number in range(24)
}  # fmt: skip


def test_the_bytes_depend_neither_on_the_run_nor_on_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "POOL_THRESHOLD_BYTES", 0)
    index = supplied(
        *(
            document(uri, [defined(f"{P}`{uri}`/f{2 * number % 7}().", 2, 4, 6)], [{"symbol": P + "x#"}])
            for number, uri in enumerate(list(MANY)[::2])
        )
    )
    found = []
    for run, count in enumerate((1, 1, 2)):
        progress: list[tuple[int, int]] = []
        runtime = Runtime(workers=count, progress=lambda done, total, into=progress: into.append((done, total)))
        facts, *_ = build(tmp_path / str(run), MANY, index, runtime)
        assert facts["precise_files"] == facts["syntax_files"] == 12
        assert progress == [(done, 2 * PARTS) for done in range(1, 2 * PARTS + 1)]
        found.append((facts, contents(tmp_path / str(run) / "occurrences"), contents(tmp_path / str(run) / "symbols")))
    assert found[0] == found[1] == found[2]
    assert len(found[0][1]) == 2 * PARTS + 1, "the parts, their names, and the list of what was left out"
    assert len(found[0][2]) == PARTS, "nothing but the parts"


def test_two_definitions_of_one_statement_keep_their_own_symbols(tmp_path: Path) -> None:
    _, occurrences, symbols = build(tmp_path, python(a="LEFT, RIGHT = 1, 2\n", b="print(LEFT, RIGHT)\n"))
    names = {"syntax . . . `a.py`/LEFT.", "syntax . . . `a.py`/RIGHT."}
    assert {row["symbol"] for row in occurrences if row["is_definition"]} == names == {row["symbol"] for row in symbols}
    found = sorted((row["uri"], row["start_byte"], row["symbol"][-6:]) for row in occurrences)
    assert found == [("a.py", 0, "/LEFT."), ("a.py", 6, "RIGHT."), ("b.py", 6, "/LEFT."), ("b.py", 12, "RIGHT.")]


def test_overloads_are_numbered_in_each_file_and_other_names_are_not(tmp_path: Path) -> None:
    text = "def f(): pass\ndef f(): pass\nx = 1\nx = 2\ndef f(): pass\n"
    _, occurrences, symbols = build(tmp_path, python(a=text, b=text))
    ends = [row["symbol"].rpartition("/")[2] for row in occurrences if row["uri"] == "b.py" and row["is_definition"]]
    assert ends == ["f().", "f(+1).", "x.", "x.", "f(+2)."]
    assert len(symbols) == len({row["symbol"] for row in symbols}) == 8


@pytest.mark.parametrize(
    ("uri", "name", "kind", "symbol"),
    [
        ("a.py", "A.b.c", "method", "`a.py`/A#b#c()."),
        ("a", "A", "class", "a/A#"),
        ("d/a.py", "A.operator ==", "function", "`d/a.py`/A#`operator ==`()."),
        ("`.py", "größe", "constant", "```.py`/`größe`."),
        ("a", ".A..b", "variable", "a/A#b."),
        ("a", "ns", "namespace", "a/ns/"),
        ("a", "m", "macro", "a/m!"),
        ("a", "x\n", "variable", "a/`x\n`."),
    ],
)
def test_symbols_are_written_in_the_grammar_of_symbols(uri: str, name: str, kind: str, symbol: str) -> None:
    column = [pa.array([value, value], pa.string()) for value in (uri, name, kind)]
    found = from_syntax.symbols_of(column[0].dictionary_encode(), column[1], column[2].dictionary_encode()).to_pylist()
    assert found[0] == "syntax . . . " + symbol
    assert found[1] == (found[0][:-3] + "(+1)." if symbol.endswith("().") else found[0])
    parse(found[0])


def test_a_symbol_that_several_files_describe_has_one_row_where_the_first_of_them_is(tmp_path: Path) -> None:
    uris = [f"m{number}.py" for number in range(8)]
    files = python(**{uri[:-3]: "def f(): pass\n" for uri in uris})
    shared = [{"symbol": P + "x#", "display_name": uri} for uri in uris]
    index = supplied(
        *(document(uri, [defined(P + "x#", 0, 4, 5, 0)], [one]) for uri, one in reversed(list(zip(uris, shared, strict=True)))),
        external=[{"symbol": P + "x#", "display_name": "outside"}, {"symbol": P + "e#", "display_name": "external"}],
    )
    assert len({tables.part_of(uri, PARTS) for uri in uris}) > 1
    facts, _, symbols = build(tmp_path, files, index)
    assert {row["symbol"]: row["display_name"] for row in symbols} == {P + "x#": "m0.py", P + "e#": "external"}
    assert facts["symbols"] == 2
    paths = tables.parts(tmp_path / "symbols", ScipSymbols)
    own = tables.read_part(paths[tables.part_of("m0.py", PARTS)], ScipSymbols)["symbol"].to_pylist()
    assert P + "x#" in own and P + "e#" in tables.read_part(paths[0], ScipSymbols)["symbol"].to_pylist()


def test_what_syntax_names_is_described_by_syntax_alone(tmp_path: Path) -> None:
    stolen = {"symbol": "syntax . . . `b.py`/f().", "display_name": "stolen"}
    index = supplied(document("a.py", [defined(P + "a/x.", 0, 0, 1)], [stolen]))
    _, _, symbols = build(tmp_path, python(a="x = 1\n", b="def f(): pass\n"), index)
    assert {row["symbol"]: row["provenance"] for row in symbols} == {stolen["symbol"]: "syntax"}


def test_each_document_that_is_not_taken_is_recorded_and_its_file_served_by_syntax(tmp_path: Path) -> None:
    files = python(ok="def f(): pass\n", old="def g(): pass\n", out="def h(): pass\n", bare="def i(): pass\n")
    index = supplied(
        document("ok.py", [defined(P + "ok/f().", 0, 4, 5)]),
        document("./ok.py", [defined(P + "ok/again().", 0, 4, 5)]),
        document("old.py", [defined(P + "old/other().", 0, 4, 5)]),
        document("out.py", [defined(P + "out/h().", 3, 4, 5)]),
        document("gone.py", [defined(P + "gone/k().", 0, 4, 5)]),
    )
    facts, occurrences, _ = build(tmp_path, files, index)
    reasons = (documents.TWICE, documents.OTHER, documents.OUTSIDE, documents.UNKNOWN)
    assert facts["left_out"] == dict.fromkeys(sorted(reasons), 1)
    by_symbol = {row["symbol"]: (row["uri"], row["provenance"]) for row in occurrences}
    assert by_symbol == {
        P + "ok/f().": ("ok.py", "scip"),
        "syntax . . . `old.py`/g().": ("old.py", "syntax"),
        "syntax . . . `out.py`/h().": ("out.py", "syntax"),
        "syntax . . . `bare.py`/i().": ("bare.py", "syntax"),
    }


def test_definitions_that_span_more_than_names_do_are_compared_too(tmp_path: Path) -> None:
    text = "def f():\n    '" + "x" * 2000 + "'\n"
    whole = {"symbol": P + "a/f().", "range": [0, 0, 1, 2006], "symbol_roles": 1}
    facts, *_ = build(tmp_path / "fits", python(a=text), supplied(document("a.py", [whole])))
    assert facts["left_out"] == {}
    facts, *_ = build(tmp_path / "old", python(a=text), supplied(document("a.py", [whole | {"symbol": P + "a/other()."}])))
    assert facts["left_out"] == {documents.OTHER: 1}


def test_a_file_with_too_many_references_keeps_the_first_and_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_syntax, "MAX_REFERENCES", 3)
    files = python(a="def f(): pass\n", b="\n".join(["f()"] * 5), c="\n".join(["f()"] * 3))
    facts, occurrences, _ = build(tmp_path, files)
    lines = {uri: [row["start_line"] for row in occurrences if row["uri"] == uri] for uri in files}
    assert lines == {"a.py": [1], "b.py": [1, 2, 3], "c.py": [1, 2, 3]}
    assert facts["left_out"] == {part_jobs.CAPPED: 1}


def test_an_index_in_json_gives_the_tables_that_it_gives_in_protobuf(tmp_path: Path) -> None:
    index = supplied(
        document("a.py", [defined(P + "a/f().", 0, 4, 5)], [{"symbol": P + "a/f().", "display_name": "f"}]),
        external=[{"symbol": P + "e#", "display_name": "E"}],
    )
    files = python(a="def f(): pass\n", b="f()\n")
    one = build(tmp_path / "protobuf", files, index)
    assert build(tmp_path / "json", files, json.dumps(index).encode()) == one
    assert one[0]["by_provenance"] == {"scip": 1, "syntax": 1}


def test_documents_are_read_by_where_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "index.scip"
    documents = [document(f"m{number}.py", [defined(f"{P}m/{number}.", number, 0, 1)]) for number in range(4)]
    path.write_bytes(message_class("Index")(**supplied(*documents, external=[{"symbol": P + "e#"}])).SerializeToString())
    found = read_contents(path, language="python")
    assert (found.paths, len(found.external)) == ([f"m{number}.py" for number in range(4)], 1)
    (whole,) = read_occurrences(path, language="python")
    (some,) = read_documents(path, np.concatenate((found.starts[[1, 3]], found.external)), language="python")
    assert some.paths == ["m1.py", "m3.py"]
    rows = [row for row in whole.occurrences.to_pylist() if row["document"] in (1, 3)]
    assert [row["symbol"] for row in some.occurrences.to_pylist()] == [row["symbol"] for row in rows]
    assert some.symbols["symbol"].to_pylist() == [P + "e#"]


def test_a_damaged_document_names_the_byte_of_the_index(tmp_path: Path) -> None:
    path = tmp_path / "index.scip"
    head = message_class("Index")(**supplied(document("a.py", []))).SerializeToString()
    path.write_bytes(head + b"\x12\x03\x0a\x09x")
    with pytest.raises(IndexFormatError, match=f"byte {len(head)}"):
        read_contents(path, language="python")


def test_tables_that_are_cut_differently_are_refused(tmp_path: Path) -> None:
    index, source, ast_nodes, _ = prepare(tmp_path, python(a="x = 1\n"), ScipSettings(scip="off"))
    tables.write_part(tmp_path / "other" / "definitions", Definitions, 0, Definitions.schema.empty_table())
    outputs: tuple[Output[Any], ...] = (Output(tmp_path / "o"), Output(tmp_path / "s"))
    with pytest.raises(IndexCorruptionError, match="different numbers of parts"):
        scip_tables(index, source, ast_nodes, artefact(tmp_path / "other"), Runtime(), *outputs)


@pytest.mark.parametrize("seed", range(5))
def test_files_in_one_buffer_are_as_each_alone(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [b"a", b"bc", b"\n", b"\r", b"\r\n", b"\0", "é".encode(), "😀".encode(), b"\xff", b"\x80"]
    files = [b"".join(chance.choices(pieces, k=chance.randrange(12))) for _ in range(40)]
    texts = Texts.of(files)
    units = np.array([chance.randrange(1, 4) for _ in files])
    asked = [(number, chance.randrange(-1, 8), chance.randrange(-1, 10)) for number in range(len(files)) for _ in range(30)]
    file, lines, columns = (np.array(column) for column in zip(*asked, strict=True))
    found = offsets_in(texts, file, lines, columns, units)
    for number, content in enumerate(files):
        mine = file == number
        assert found[mine].tolist() == byte_offsets(content, lines[mine], columns[mine], int(units[number])).tolist()
        offsets = np.arange(len(content) + 1)
        expected = line_of(line_starts(content), offsets)
        assert texts.lines(np.full(len(offsets), number), offsets).tolist() == expected.tolist()
    ends = np.array([chance.randrange(len(files[number]) + 1) for number in file.tolist()])
    starts = np.array([chance.randrange(end + 1) for end in ends.tolist()])
    spans = texts.spans(file, starts, ends).to_pylist()
    assert spans == [files[number][low:high] for number, low, high in zip(file.tolist(), starts, ends, strict=True)]
