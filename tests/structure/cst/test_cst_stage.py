"""The stage of concrete syntax: parts in, parts out, and what was rejected."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import tables, workers
from pipeline.config import CstSettings, Settings
from pipeline.errors import CodeIntelError
from pipeline.files import new_hash
from pipeline.schemas import CstNodes, Files, Sources
from pipeline.stage import Artefact, Output
from pipeline.structure.cst import reading, stage
from pipeline.structure.cst.nodes import MAX_NODES
from pipeline.structure.cst.stage import REJECTED, STAGE, cst_nodes
from pipeline.workers import Runtime

SOURCES: dict[str, tuple[str, bytes]] = {
    "a.py": ("python", b"import os\n\n\ndef f(x):\n    return os.fspath(x)  # here\n"),
    "b/latin.py": ("python", "# coding: latin-1\nname = 'é'\ng(name)\n".encode("latin-1")),
    "b/names.py": ("python", b"class A:\n    def m(self):\n        if self:\n            return A()\n"),
    "deep.py": ("python", b"x = " + b"a + " * 20_000 + b"a\n"),
    "empty.py": ("python", b""),
    "old.py": ("python", b"print 'x'\n"),
    "page.js": ("javascript", b"f(1);\n"),
    "within.py": ("python", b"x = " + b"a + " * 400 + b"a\n"),
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
        tables.write_part(root / "files", Files, part, listed(table))
    return Artefact(repo="r", asset="source_snapshot", key="k", path=root, schema="", digest="", lineage={})


def listed(sources: pa.Table) -> pa.Table:
    """The rows of `files` for those of `sources`, and one that was skipped."""
    hashes = []
    for content in sources["content"].to_pylist():
        digest = new_hash()
        digest.update(content)
        hashes.append(digest.digest())
    skipped = "vendor/skipped.py"
    return pa.table(
        {
            "uri": [*sources["uri"].to_pylist(), skipped],
            "lang": [*sources["lang"].to_pylist(), "python"],
            "size": [*map(len, sources["content"].to_pylist()), 7],
            "content_hash": pa.array([*hashes, bytes(32)], pa.binary(32)),
            "status": [*["indexed"] * len(hashes), "skipped"],
            "reason": pa.array([*[None] * len(hashes), "vendored"], pa.string()),
        }
    )


def build(source: Artefact[Any], out: Path, worker_count: int = 1, on: bool = True) -> dict[str, Any]:
    return dict(cst_nodes(source, CstSettings(cst=on), Runtime(workers=worker_count), Output(out)))


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_part_is_written_in_the_declared_schema_and_order(tmp_path: Path) -> None:
    facts = build(snapshot(tmp_path / "in", SOURCES, parts=8), tmp_path / "out")
    paths = tables.parts(tmp_path / "out", CstNodes)
    assert len(paths) == 8
    for number, path in enumerate(paths):
        part = tables.read_part(path, CstNodes)
        assert part.schema.remove_metadata().equals(CstNodes.schema)
        rows = [tuple(row.values()) for row in part.select(["uri", "node_id"]).to_pylist()]
        assert rows == sorted(set(rows))
        assert all(tables.part_of(uri, 8) == number for uri, _ in rows)
    assert tables.count_rows(paths) == facts["nodes"] == sum(facts["nodes_by_kind"].values())


def test_rows_say_what_is_where_in_the_file_as_stored(tmp_path: Path) -> None:
    build(snapshot(tmp_path / "in", SOURCES), tmp_path / "out")
    rows = tables.read_table(tmp_path / "out", CstNodes).to_pylist()
    calls = {
        (row["uri"], SOURCES[row["uri"]][1][row["start_byte"] : row["end_byte"]], row["role"], row["qualified_name"])
        for row in rows
        if row["kind"] == "call"
    }
    assert calls == {
        ("a.py", b"os.fspath(x)", "os.fspath", "os.fspath"),
        ("b/latin.py", b"g(name)", "g", None),
        ("b/names.py", b"A()", "A", "A"),
    }


def test_rejected_files_are_listed_with_their_reason_and_cost_nothing_else(tmp_path: Path) -> None:
    facts = build(snapshot(tmp_path / "in", SOURCES), tmp_path / "out")
    listed = json.loads((tmp_path / "out" / REJECTED).read_bytes())
    assert listed == {
        "version": 1,
        "rejected": [
            {"uri": "deep.py", "reason": "it is nested too deep"},
            {"uri": "old.py", "reason": "syntax error at line 1"},
        ],
    }
    uris = set(tables.read_table(tmp_path / "out", CstNodes, ["uri"])["uri"].to_pylist())
    assert uris == set(SOURCES) - {"deep.py", "old.py", "page.js"}
    assert (facts["cst"], facts["files"], facts["rejected"]) == ("on", len(uris), 2)


def test_the_bytes_depend_neither_on_the_run_nor_on_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "POOL_THRESHOLD_BYTES", 0)
    source = snapshot(tmp_path / "in", SOURCES)
    facts = [build(source, tmp_path / f"out{run}", count) for run, count in enumerate((1, 1, 2))]
    first = contents(tmp_path / "out0")
    assert len(first) == 3
    assert contents(tmp_path / "out1") == first
    assert contents(tmp_path / "out2") == first
    assert facts[0] == facts[1] == facts[2]


def test_switched_off_it_writes_empty_parts_says_so_and_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = snapshot(tmp_path / "in", SOURCES, parts=4)
    with monkeypatch.context() as patched:
        patched.setattr(tables, "read_part", lambda *_: pytest.fail("a part was opened"))
        patched.setattr(stage, "write", lambda *_: pytest.fail("a part was made"))
        facts = build(source, tmp_path / "out", on=False)
    assert facts == {"cst": "off", "files": 0, "rejected": 0, "nodes": 0, "nodes_by_kind": {}}
    assert len(tables.parts(tmp_path / "out", CstNodes)) == 4
    for path in tables.parts(tmp_path / "out", CstNodes):
        part = tables.read_part(path, CstNodes)
        assert part.schema.remove_metadata().equals(CstNodes.schema)
        assert part.num_rows == 0
    assert json.loads((tmp_path / "out" / REJECTED).read_bytes()) == {"version": 1, "rejected": []}


def test_a_snapshot_without_python_gives_an_empty_table(tmp_path: Path) -> None:
    facts = build(snapshot(tmp_path / "in", {"page.js": SOURCES["page.js"]}, parts=1), tmp_path / "out")
    assert (facts["cst"], facts["files"], facts["rejected"], facts["nodes"]) == ("on", 0, 0, 0)


def test_the_process_is_left_as_it_was(tmp_path: Path) -> None:
    before = (sys.getrecursionlimit(), gc.isenabled())
    build(snapshot(tmp_path / "in", SOURCES), tmp_path / "out")
    assert (sys.getrecursionlimit(), gc.isenabled()) == before


def test_the_key_covers_libcst_the_interpreter_and_the_setting() -> None:
    assert set(STAGE.uses(Settings())) == {"libcst", "python", "tree-sitter", "tree-sitter-language-pack"}
    assert list(STAGE.sections.values()) == [CstSettings]
    assert STAGE.assets == ("cst_nodes",)


WORD = "é"
BAD_INPUT: dict[str, tuple[bytes, str | None]] = {
    "latin-1 with its cookie": (f"# -*- coding: latin-1 -*-\nf('{WORD}')\n".encode("latin-1"), None),
    "latin-1 without a cookie": (f"f('{WORD}')\n".encode("latin-1"), "it cannot be decoded"),
    "an unknown cookie over UTF-8": (f"# coding: nonsense\nf('{WORD}')\n".encode(), None),
    "an unknown cookie over latin-1": (f"# coding: nonsense\nf('{WORD}')\n".encode("latin-1"), "it cannot be decoded"),
    "a cookie that is wrong": (f"# coding: ascii\nf('{WORD}')\n".encode(), "it cannot be decoded"),
    "a cookie of a codec that is no text": (f"# coding: rot13\nf('{WORD}')\n".encode(), None),
    "a byte order mark": (f"\ufefff('{WORD}')\n".encode(), None),
    "UTF-16": (f"f('{WORD}')\n".encode("utf-16"), "it cannot be decoded"),
    "CRLF": (b"f(\r\n1)\r\n", None),
    "lone carriage returns": (b"a = 1\rf(1)\r", "libcst does not give back its text"),
    "form feeds": (b"a = 1\n\x0c\nf(1)\n", None),
    "a null byte": (b"f(1)\0\n", "syntax error at line 1"),
    "nothing": (b"", None),
    "white space alone": (b" \n\t\n", None),
    "no newline at the end": (b"f(1)", None),
    "brackets 2,000 deep": (b"f(" * 2_000 + b")" * 2_000 + b"\n", "it is nested too deep"),
    "blocks 1,000 deep": (b"".join(b" " * n + b"if a:\n" for n in range(1000)) + b" " * 1000 + b"b\n", "it is nested too deep"),
    "open brackets": (b"f(" * 2_000 + b"\n", "it has syntax errors and is nested too deep"),
    "a syntax error": (b"a = 1\ndef f(:\n", "syntax error at line 2"),
    "Python 2": (b"def f():\n    print 'x'\n", "syntax error at line 2"),
    "50,000 functions": (
        b"".join(b"def f%d():\n  pass\n" % n for n in range(50_000)),
        f"it has more than {MAX_NODES:,} syntax nodes",
    ),
    "a thousand functions": (b"".join(b"def f%d(a):\n    return g(a)\n" % n for n in range(1_000)), None),
    "surrogates": (b"f('\xed\xa0\x80')\n", "it cannot be decoded"),
}


def test_every_bad_file_is_read_or_listed_with_its_reason(tmp_path: Path) -> None:
    """One build of all of them: none may cost another one its rows."""
    names = {f"{number:02}.py": what for number, what in enumerate(BAD_INPUT)}
    source = snapshot(tmp_path / "in", {uri: ("python", BAD_INPUT[what][0]) for uri, what in names.items()})
    facts = build(source, tmp_path / "out")
    listed = json.loads((tmp_path / "out" / REJECTED).read_bytes())["rejected"]
    assert {names[one["uri"]]: one["reason"] for one in listed} == {what: why for what, (_, why) in BAD_INPUT.items() if why}
    table = tables.read_table(tmp_path / "out", CstNodes)
    assert {names[uri] for uri in set(table["uri"].to_pylist())} == {what for what, (_, why) in BAD_INPUT.items() if not why}
    assert facts["files"] + facts["rejected"] == len(BAD_INPUT)
    calls = {
        names[row["uri"]]: BAD_INPUT[names[row["uri"]]][0][row["start_byte"] : row["end_byte"]]
        for row in table.to_pylist()
        if row["kind"] == "call"
    }
    assert calls["latin-1 with its cookie"] == b"f('\xe9')"
    assert calls["a byte order mark"] == calls["an unknown cookie over UTF-8"] == b"f('\xc3\xa9')"
    assert calls["CRLF"] == b"f(\r\n1)"
    assert calls["form feeds"] == calls["no newline at the end"] == b"f(1)"


def test_a_machine_without_memory_is_not_taken_for_a_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(reading, "read", fail)
    with pytest.raises(CodeIntelError, match=r"not enough memory to read the concrete syntax of `a\.py`.*CODEINTEL_WORKERS=1"):
        build(snapshot(tmp_path / "in", SOURCES, parts=1), tmp_path / "out")
