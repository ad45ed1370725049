"""The indexers of npm, run for real: skipped where they are not installed (`npm install @sourcegraph/scip-python …`)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format

from pipeline.config import ScipSettings
from pipeline.structure.scip import indexers, proto
from pipeline.structure.scip.documents import Precise, add
from pipeline.structure.scip.indexers import Program
from pipeline.structure.scip.reader import read_occurrences

pytestmark = pytest.mark.node

TYPESCRIPT = {
    "src/shape.ts": 'const größe = "😀"; export class Shape { get wide() { return größe; } '
                    'area(x: number) { return x; } }\r\n'.encode(),
    "src/use.tsx": b'import { Shape } from "./shape.js";\nimport { core } from "@x/core";\n'
                   b"export const view = <p>{new Shape().area(core())}</p>;\n",
    "src/marked.ts": '\ufeffexport const alpha = "\u2028"; export const beta = alpha;\n'.encode(),
    "src/deep.js": b"var a = " + b"[" * 20_000 + b"]" * 20_000 + b";\n",
    "src/latin.js": b"var x = '\xe9';\n",
    "lib/core/package.json": b'{"name": "@x/core", "version": "9.9.9"}',
    "lib/core/src/index.ts": b"export function core(): number { return 1 }\nexport default { size: 1, depth: 2 };\n",
    "tsconfig.json": b'{"extends": "not-installed/tsconfig.json", "files": ["/etc/passwd"]}',
}  # fmt: skip
PYTHON = {
    "pkg/__init__.py": b"",
    "pkg/shape.py": 'größe = "😀"; wert = 1\r\nclass Shape:\r\n    "A shape."\r\n    def area(self, x):\r\n'
                    "        return x\r\n".encode(),
    "pkg/0001_initial.py": b"from pkg.shape import Shape\nShape().area(1)\n",
    "my-dir/is.py": '\ufefffrom pkg.shape import wert\nprint(wert)\n'.encode(),
    ".hidden/x.py": b"value = 1\n",
    "json.py": b"raise SystemExit('this was imported')\n",
    "sitecustomize.py": b"raise SystemExit('this was imported')\n",
    "pkg/latin.py": b"x = '\xe9'\n",
}  # fmt: skip


def installed(tool: str) -> Program:
    found = shutil.which(os.environ.get("CODEINTEL_" + tool.upper().replace("-", "_")) or tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    settings = ScipSettings(scip_python=found, scip_typescript=found)
    ask = indexers.python_program if tool == "scip-python" else indexers.typescript_program
    program = ask(settings)
    assert program is not None
    return program


def taken(index: Path, tool: str, sources: dict[str, bytes]) -> tuple[Precise, list[dict[str, Any]], list[dict[str, Any]]]:
    precise = Precise()
    for group in read_occurrences(index, language="x"):
        add(precise, group, tool, tool, sources.get)
    occurrences = [row for table in precise.occurrences for row in table.to_pylist()]
    return precise, occurrences, [row for table in precise.symbols for row in table.to_pylist()]


def places(sources: dict[str, bytes], rows: list[dict[str, Any]], end: str) -> list[tuple[str, int, str, bool]]:
    return sorted(
        (r["uri"], r["start_line"], sources[r["uri"]][r["start_byte"] : r["end_byte"]].decode(), r["is_definition"])
        for r in rows
        if r["symbol"].endswith(end)
    )


def test_typescript_is_indexed_at_the_right_bytes_without_installed_packages_or_the_repositorys_settings(
    tmp_path: Path,
) -> None:
    program = installed("scip-typescript")
    ran = indexers.index_typescript(program, TYPESCRIPT, tmp_path / "i.scip", 120)
    assert not ran.problem
    assert {item.uri for item in ran.left_out} == {"src/deep.js", "src/latin.js"}
    indexers.settle(tmp_path / "i.scip")
    precise, occurrences, symbols = taken(tmp_path / "i.scip", "scip-typescript", TYPESCRIPT)
    assert not precise.left_out
    assert set(precise.taken) == {uri for uri in TYPESCRIPT if not uri.endswith("json")} - {"src/deep.js", "src/latin.js"}
    assert places(TYPESCRIPT, occurrences, "Shape#area().") == [
        ("src/shape.ts", 1, "area", True), ("src/use.tsx", 3, "area", False)
    ]  # fmt: skip
    assert [place[1:] for place in places(TYPESCRIPT, occurrences, "`größe`.")] == [(1, "größe", False), (1, "größe", True)]
    assert ("src/use.tsx", 3, "core", False) in places(TYPESCRIPT, occurrences, "/core().")
    assert [place[2] for place in places(TYPESCRIPT, occurrences, "/beta.")] == ["beta"]
    assert b"9.9.9" not in (tmp_path / "i.scip").read_bytes()
    kinds = {row["display_name"]: row["kind"] for row in symbols}
    assert (kinds["Shape"], kinds["area"], kinds["core"], kinds["wide"]) == ("class", "method", "function", "getter")


def test_scip_python_takes_all_files_starts_no_interpreter_and_gives_the_same_bytes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = installed("scip-python")
    for name in ("python3", "python", "pip", "pip3", "git"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for index in ("a.scip", "b.scip"):
        ran = indexers.index_python(program, PYTHON, tmp_path / index, 120)
        assert not ran.problem
        assert {item.uri for item in ran.left_out} == {"pkg/latin.py"}
        indexers.settle(tmp_path / index)
    assert (tmp_path / "a.scip").read_bytes() == (tmp_path / "b.scip").read_bytes()
    assert not (tmp_path / "started").exists()
    precise, occurrences, symbols = taken(tmp_path / "a.scip", "scip-python", PYTHON)
    assert not precise.left_out
    assert set(precise.taken) == set(PYTHON) - {"pkg/latin.py"}
    assert [place[:3] for place in places(PYTHON, occurrences, "/wert.")] == [
        ("my-dir/is.py", 1, "wert"), ("my-dir/is.py", 2, "wert"), ("pkg/shape.py", 1, "wert")
    ]  # fmt: skip
    assert ("pkg/0001_initial.py", 2, "area", False) in places(PYTHON, occurrences, "Shape#area().")
    shape = next(row for row in symbols if row["symbol"].endswith("/Shape#"))
    assert (shape["display_name"], shape["kind"], shape["documentation"].strip()) == ("Shape", "class", "A shape.")


def test_both_json_dialects_of_an_index_say_what_its_protobuf_says(tmp_path: Path) -> None:
    program = installed("scip-typescript")
    assert not indexers.index_typescript(program, TYPESCRIPT, tmp_path / "i.scip", 120).problem
    message = proto.message_class("Index").FromString((tmp_path / "i.scip").read_bytes())
    (tmp_path / "camel.json").write_text(json_format.MessageToJson(message))
    snake = json_format.MessageToDict(message, preserving_proto_field_name=True, use_integers_for_enums=True)
    (tmp_path / "snake.json").write_bytes(msgspec.json.encode(snake))
    told = [taken(tmp_path / name, "scip-typescript", TYPESCRIPT) for name in ("i.scip", "camel.json", "snake.json")]
    assert told[0][1] and told[0][1:] == told[1][1:] == told[2][1:]
