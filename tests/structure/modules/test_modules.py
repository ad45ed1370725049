"""Module facts: what a file imports and exports, what it is for and of what kind, and how hot it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import tables, workers
from pipeline.config import ModuleSettings
from pipeline.errors import IndexCorruptionError
from pipeline.schemas import Modules, Sources
from pipeline.source.history import History
from pipeline.source.languages import LANGUAGES, language_of
from pipeline.source.listing import PartRows, write_listing
from pipeline.stage import Artefact, Output
from pipeline.structure.modules.facts import first_sentence, hotspot_score
from pipeline.structure.modules.imports import expand
from pipeline.structure.modules.rules import RULES, TAGS
from pipeline.structure.modules.stage import STAGE, modules
from pipeline.structure.stage import syntax
from pipeline.structure.syntax import words
from pipeline.workers import Runtime

Tree = Mapping[str, str | bytes]
NO_HISTORY = History()
SAMPLES = Path(__file__).parents[1] / "samples"


def artefact(path: Path) -> Artefact[Any]:
    return Artefact(repo="r", asset="a", key="k", path=path, schema="", digest="", lineage={})


def build(
    root: Path, tree: Tree, history: History = NO_HISTORY, *, parts: int = 1, worker_count: int = 1, out: str = "modules"
) -> dict[str, Any]:
    """Write the tables that the stage reads, and run it; returns its facts."""
    sources = {uri: text.encode() if isinstance(text, str) else text for uri, text in tree.items()}
    for part in range(parts):
        uris = sorted(uri for uri in sources if tables.part_of(uri, parts) == part)
        langs = [language_of(uri, sources[uri]).name for uri in uris]
        columns = {
            "uri": pa.array(uris, pa.string()),
            "lang": pa.array(langs, pa.string()).dictionary_encode(),
            "content": pa.array([sources[uri] for uri in uris], pa.binary()),
        }
        tables.write_part(root / "in" / Sources.name, Sources, part, pa.table(columns))
    write_listing(root / "in", [PartRows("", "")] * parts, sorted(sources))
    source, ast, defined = (artefact(root / name) for name in ("in", "ast", "definitions"))
    syntax(source, Runtime(), Output(ast.path), Output(defined.path))
    (root / out).mkdir()
    return dict(modules(source, ast, defined, history, ModuleSettings(), Runtime(workers=worker_count), Output(root / out)))


def rows(root: Path, tree: Tree, history: History = NO_HISTORY) -> dict[str, dict[str, Any]]:
    build(root, tree, history)
    return {row["uri"]: row for row in tables.read_table(root / "modules", Modules).to_pylist()}


def column(root: Path, tree: Tree, name: str) -> dict[str, Any]:
    return {uri: row[name] for uri, row in rows(root, tree).items()}


def test_every_column_of_a_small_tree(tmp_path: Path) -> None:
    tree = {
        "shop/__init__.py": "",
        "shop/fees.py": '"""Money. And more."""\nimport os\nfrom .ships import Ship\n\n\n'
        "def fee(n):\n    if n > 7 and n < 9:\n        return 1\n    return 2\n\n\ndef _hidden(): ...\n",
        "shop/ships.py": "class Ship:\n    def sail(self): ...\n",
        "web/app.js": "// Shows the quay.\nimport { a } from './quay';\nexport function render() { return a ? 1 : 2 }\n",
        "web/quay.ts": "export const a = 1, b = 2;\n",
        "README.md": "# No module\n",
    }
    history = History(("gone.py", "shop/fees.py"), (9, 10), (1, 2))
    nothing = {"imports": [], "exports": [], "doc": "", "tags": [], "churn": 0, "authors": 0, "hotspot_score": 0.0}
    python = {**nothing, "lang": "python"}
    assert list(rows(tmp_path, tree, history).values()) == [
        {**python, "uri": "shop/__init__.py", "lines": 0, "defs": 0, "complexity": 0},
        {
            **python, "uri": "shop/fees.py", "lines": 12, "defs": 2, "imports": ["os", "shop/ships.py"], "exports": ["fee"],
            "doc": "Money.", "churn": 10, "authors": 2, "complexity": 4, "hotspot_score": 0.019231,
        },
        {**python, "uri": "shop/ships.py", "lines": 2, "defs": 2, "exports": ["Ship"], "complexity": 1},
        {
            **nothing, "uri": "web/app.js", "lang": "javascript", "lines": 3, "defs": 1, "imports": ["web/quay.ts"],
            "exports": ["render"], "doc": "Shows the quay.", "complexity": 2,
        },
        {**nothing, "uri": "web/quay.ts", "lang": "typescript", "lines": 1, "defs": 2, "exports": ["a", "b"], "complexity": 0},
    ]  # fmt: skip


def test_python_imports_are_files_where_the_repository_has_them(tmp_path: Path) -> None:
    tree = {
        "pkg/__init__.py": "from . import a\nfrom .sub import thing\n",
        "pkg/a.py": "import pkg.b\nfrom pkg.sub import deep, name\nfrom . import VERSION\nimport json, xml.dom as dom\n",
        "pkg/b.py": "from .a import *\nfrom . import a as me, nothing\n",
        "pkg/sub/__init__.py": "from ..b import x\nfrom .. import b\n",
        "pkg/sub/deep.py": "from ...beyond import x\nfrom .missing import y\nfrom __future__ import annotations\n",
        "src/tool/__init__.py": "import tool.core\n",
        "src/tool/core.py": "from tool import (\n    core,\n    other as o,\n)\n",
        "vendor/x/lib/__init__.py": "",
        "vendor/x/lib/m.py": "import lib.m, lib\n",
        "scripts/run.py": "import sibling\n",
        "scripts/sibling.py": "import run\n",
        "other/run2.py": "import sibling\n",
        "stubs.pyi": "import pkg\n",
    }
    assert column(tmp_path, tree, "imports") == {
        "pkg/__init__.py": ["pkg/a.py", "pkg/sub/__init__.py"],
        "pkg/a.py": ["json", "pkg/__init__.py", "pkg/b.py", "pkg/sub/__init__.py", "pkg/sub/deep.py", "xml.dom"],
        "pkg/b.py": ["pkg/__init__.py", "pkg/a.py"],
        "pkg/sub/__init__.py": ["pkg/b.py"],
        "pkg/sub/deep.py": ["...beyond", ".missing"],
        "src/tool/__init__.py": ["src/tool/core.py"],
        "src/tool/core.py": ["src/tool/__init__.py"],
        "vendor/x/lib/__init__.py": [],
        "vendor/x/lib/m.py": ["vendor/x/lib/__init__.py"],
        "scripts/run.py": ["scripts/sibling.py"],
        "scripts/sibling.py": ["scripts/run.py"],
        "other/run2.py": ["sibling"],
        "stubs.pyi": ["pkg/__init__.py"],
    }


def test_ecmascript_specifiers_are_files_by_extension_index_and_es_module_spelling(tmp_path: Path) -> None:
    tree = {
        "a/main.ts": "import x from './x';\nimport './side.js';\nimport type {T} from '../lib';\nexport * from './gone';\n"
        "import fs = require('fs');\nconst y = require('./y.js');\nimport('./x');\nf('./z');\nrequire(name);\n",
        "a/x.tsx": "import React from 'react';\nimport q from '../../out';\n",
        "a/side.ts": "export { main } from '.';\n",
        "a/index.js": "",
        "a/y.js": "const text = \"import z from './x'\";\n",
        "lib/index.d.ts": "export type T = 1;\n",
    }
    assert column(tmp_path, tree, "imports") == {
        "a/main.ts": ["./gone", "a/side.ts", "a/x.tsx", "a/y.js", "fs", "lib/index.d.ts"],
        "a/x.tsx": ["../../out", "react"],
        "a/side.ts": ["a/index.js"],
        "a/index.js": [],
        "a/y.js": [],
        "lib/index.d.ts": [],
    }


def test_paths_of_rust_are_files_of_their_crate(tmp_path: Path) -> None:
    files = {
        "core/src/lib.rs": "pub mod net;\npub struct Root;\n",
        "core/src/net/mod.rs": "mod tcp;\nuse self::tcp::Stream;\n",
        "core/src/net/tcp.rs": "use crate::{net::udp, Root};\nuse super::super::util::clamp;\nuse serde::Serialize;\n",
        "core/src/net/udp.rs": "use super::tcp;\nuse crate::net::tcp::Stream as S;\nuse super::Missing;\n",
        "core/src/util.rs": "use super::super::super::super::out;\n",
        "loose/a.rs": "use crate::b;\n",
    }
    found = column(tmp_path, files, "imports")
    assert found["core/src/net/mod.rs"] == ["core/src/net/tcp.rs"]
    assert found["core/src/net/tcp.rs"] == ["core/src/lib.rs", "core/src/net/udp.rs", "core/src/util.rs", "serde::Serialize"]
    assert found["core/src/net/udp.rs"] == ["core/src/net/mod.rs", "core/src/net/tcp.rs"]
    assert found["loose/a.rs"] == ["crate::b"]


def test_imports_of_other_languages_are_as_written_or_files_beside_them(tmp_path: Path) -> None:
    tree = {
        "a.c": '#include "ring.h"\n#include "none.h"\n#include <stdio.h>\n',
        "include/ring.h": "int x;\n",
        "m.go": 'package m\nimport (\n  x "a/b"\n  "fmt"\n)\n',
        "A.java": "import a.b.C;\nimport static a.b.*;\nclass A {}\n",
        "a.kt": "import a.b.C as D\nimport a.*\n",
        "a.scala": "import a.b.{C, D => E}\nimport q.r\n",
        "a.cs": "using System;\nusing X = A.B.C;\n",
        "src/main.rs": "use std::{io, fs::{self, File as F}};\nmod foo;\nmod bar { }\nextern crate z;\npub(crate) use a::b;\n",
        "src/foo.rs": "mod deep;\n",
        "src/foo/deep/mod.rs": "",
        "a.php": "<?php\nuse A\\{B, C as D};\nuse function X\\y;\nrequire_once 'b.php';\n",
        "b.php": "<?php\n",
        "a.rb": "require 'json'\nrequire_relative 'lib/x'\nother.require 'no'\n",
        "lib/x.rb": "require 'y'\n",
        "lib/y.rb": "",
        "a.lua": "local x = require('p.q')\nrequire 'c'\n",
        "p/q.lua": "",
        "a.sh": 'source ./b.sh\n. "$D/c.sh"\necho source x\n',
        "b.sh": "",
        "a.ex": "defmodule A do\n  alias B.{C, D}\n  use E, x: 1\nend\n",
        "a.hs": "module A where\nimport qualified Data.Map as M\n",
        "a.swift": "import Foundation\n",
        "a.zig": 'const std = @import("std");\nconst b = @import("b.zig");\n',
        "b.zig": "",
        "a.dart": "import 'dart:io';\nexport 'b.dart';\n",
        "b.dart": "",
        "a.jl": 'using A, B\nimport C: d\ninclude("b.jl")\n',
        "b.jl": "",
        "a.r": 'library(dplyr)\nsource("b.r")\n',
        "b.r": "",
    }
    found = column(tmp_path, tree, "imports")
    assert {uri: imports for uri, imports in found.items() if imports} == {
        "a.c": ["<stdio.h>", "include/ring.h", "none.h"],
        "m.go": ["a/b", "fmt"],
        "A.java": ["a.b.*", "a.b.C"],
        "a.kt": ["a.*", "a.b.C"],
        "a.scala": ["a.b.C", "a.b.D", "q.r"],
        "a.cs": ["A.B.C", "System"],
        "src/main.rs": ["a::b", "src/foo.rs", "std::fs", "std::fs::File", "std::io", "z"],
        "src/foo.rs": ["src/foo/deep/mod.rs"],
        "a.php": ["A\\B", "A\\C", "X\\y", "b.php"],
        "a.rb": ["json", "lib/x.rb"],
        "lib/x.rb": ["lib/y.rb"],
        "a.lua": ["c", "p/q.lua"],
        "a.sh": ["$D/c.sh", "b.sh"],
        "a.ex": ["B.C", "B.D", "E"],
        "a.hs": ["Data.Map"],
        "a.swift": ["Foundation"],
        "a.zig": ["b.zig", "std"],
        "a.dart": ["b.dart", "dart:io"],
        "a.jl": ["A", "B", "C", "b.jl"],
        "a.r": ["b.r", "dplyr"],
    }


@pytest.mark.parametrize(
    ("uri", "text", "expected"),
    [
        ("a.py", "__all__ = ['b', '_c']\n__all__ += ('d',)\ndef e(): ...\n", ["_c", "b", "d"]),
        ("a.py", "__all__: list[str] = []\ndef e(): ...\n", []),
        ("a.py", "__all__ = other.__all__ + ['b']\ndef e(): ...\ndef _f(): ...\nG = 1\n", ["G", "e"]),
        ("a.py", "__all__ = [f'{x}']\ndef e(): ...\n", ["e"]),
        ("a.py", "def f():\n    __all__ = ['no']\nclass A:\n    x = 1\n", ["A", "f"]),
        ("a.ts", "export interface I {}\nexport type T = 1;\ninterface J {}\nexport default class {}\n", ["I", "T", "default"]),
        (
            "a.js",
            "function f() {}\nexport {f as g, h};\nexport * from 'x';\nexport * as n from 'y';\n",
            ["*", "g", "h", "n"],
        ),
        ("a.js", "module.exports = { a, b: 1, c() {} };\nexports.d = 2;\nother.e = 3;\n", ["a", "b", "c", "d"]),
        ("a.go", "package a\nfunc Big() {}\nfunc small() {}\ntype T struct{}\nfunc (t T) Method() {}\n", ["Big", "T"]),
        ("a.rs", "pub fn f() {}\nfn g() {}\npub(crate) struct S;\npub enum E {}\nimpl S { pub fn m() {} }\n", ["E", "f"]),
        ("a.rb", "class A\n  def b; end\nend\ndef c; end\n", ["A", "c"]),
    ],
)
def test_exports_are_what_the_language_offers_to_others(tmp_path: Path, uri: str, text: str, expected: list[str]) -> None:
    assert column(tmp_path, {uri: text}, "exports") == {uri: expected}


@pytest.mark.parametrize(
    ("uri", "text", "expected"),
    [
        ("a.py", '# comment\n"""\n=====\nTitle\n=====\n\nBody.\n"""\n', "Title"),
        ("a.py", 'r"""One line\nand\tanother. Then more."""\n', "One line and another."),
        ("a.py", 'x = 1\n"""No docstring."""\n', ""),
        ("a.py", 'f"""No {docstring}."""\n', ""),
        ("a.py", "#!/bin/python\n# -*- coding: utf-8 -*-\n# Copyright X\n# All rights.\n\n# Does it.\n", "Does it."),
        ("a.py", b"# -*- coding: latin-1 -*-\n'''Caf\xe9.'''\n", "Café."),
        ("a.go", "// Copyright X\n\n//go:build linux\n\n// Package a is small. Really.\npackage a\n", "Package a is small."),
        ("a.rs", "//! Stacks\n//! and queues.\nfn f() {}\n", "Stacks and queues."),
        ("A.java", "/* Copyright */\npackage a;\n/** A basket. */\nclass A {}\n", "A basket."),
        ("a.js", "'use strict';\n/**\n * Queues.\n * @module q\n */\n", "Queues."),
        ("a.py", '"""' + "word " * 100 + '"""\n', ("word " * 60).rstrip()),
    ],
)  # fmt: skip
def test_the_doc_is_the_first_sentence_about_the_file(tmp_path: Path, uri: str, text: str | bytes, expected: str) -> None:
    assert column(tmp_path, {uri: text}, "doc") == {uri: expected}


@pytest.mark.parametrize(
    ("uri", "text", "expected"),
    [
        ("tests/a.py", "", ["test"]),
        ("test_a.py", "", ["test"]),
        ("a/b_test.go", "package b\n", ["test"]),
        ("a.spec.ts", "", ["test"]),
        ("FeesTest.java", "", ["test"]),
        ("contest.py", "", []),
        ("docs/conf.py", "", ["config", "docs"]),
        ("vite.config.js", "", ["config"]),
        ("pkg/__main__.py", "", ["cli", "entry_point"]),
        ("a.py", "import argparse\n", ["cli"]),
        ("a.py", "from click.core import Group\n", ["cli"]),
        ("a.py", "import clicks\n", []),
        ("a.py", 'if __name__ == "__main__":\n    run()\n', ["entry_point"]),
        ("a.py", 's = \'if __name__ == "__main__":\'\ndef f():\n    if __name__ == "__main__": pass\n', []),
        ("a.py", "#!/usr/bin/env python\n", ["entry_point"]),
        ("cmd/x.go", 'package main\nimport "github.com/spf13/cobra"\nfunc main() {}\n', ["cli", "entry_point"]),
        ("a.py", "# Generated by Django 5.2 on 2025-01-01\n", ["generated"]),
        ("a_pb2.py", "", ["generated"]),
        ("a.py", "x = 'generated by hand'\n", []),
    ],
)
def test_tags_say_what_kind_of_file_it_is(tmp_path: Path, uri: str, text: str, expected: list[str]) -> None:
    assert column(tmp_path, {uri: text}, "tags") == {uri: expected}
    assert set(expected) <= set(TAGS)


@pytest.mark.parametrize(
    ("uri", "text", "expected"),
    [
        (
            "a.py",
            "def f(x):\n    for y in x:\n        while a or b and c: pass\n    return [z for z in x if z]\n",
            7,
        ),
        ("a.py", "try: pass\nexcept A: pass\nx = 1 if y else 2\nmatch x:\n    case 1: pass\n    case _: pass\n", 4),
        ("a.js", "const f = () => a && b ?? c;\nswitch (x) { case 1: case 2: default: }\n", 5),
        ("a.cpp", "void f(T&& t) { if (a && b) {} for (auto x : y) {} }\n", 4),
        ("a.rb", "def f\n  x if y\n  a && b\n  if c then d elsif e then g end\nend\n", 5),
        ("a.scala", "object A { def f = if (a && b) 1 else 2 }\n", 3),
        ("a.py", "# if a or b: while\ns = 'if x and y'\n", 0),
    ],
)
def test_complexity_is_functions_and_branches(tmp_path: Path, uri: str, text: str, expected: int) -> None:
    assert column(tmp_path, {uri: text}, "complexity") == {uri: expected}


def test_a_hotspot_is_both_changed_and_complicated() -> None:
    assert hotspot_score(0, 500) == hotspot_score(500, 0) == 0
    assert hotspot_score(10, 100) == 0.25
    assert hotspot_score(20, 100) > hotspot_score(10, 100) < hotspot_score(10, 200) < 1


def test_files_that_cannot_be_parsed_or_decoded_have_rows_like_any_other(tmp_path: Path) -> None:
    tree = {
        "broken.py": "import os\ndef f(:\n  (((\nfrom . import (a\n",
        "latin.py": b"# coding: latin-1\nimport os\nn = '\xe9\xff'\n",
        "garbage.py": bytes(range(256)) * 8,
        "deep.rs": "use a::" + "{b::" * 400 + "c" + "}" * 400 + ";\n",
        "hostile.sh": b"<" * 200_000,
        "nul.c": b'int x;\0\0#include "x',
    }
    found = rows(tmp_path, tree)
    assert set(found) == set(tree)
    assert "os" in found["broken.py"]["imports"]
    assert found["latin.py"]["imports"] == ["os"]
    assert (found["hostile.sh"]["imports"], found["hostile.sh"]["lines"], found["hostile.sh"]["complexity"]) == ([], 1, 0)


def test_the_lines_are_the_rows_sorted_by_uri_and_the_facts_count_them(tmp_path: Path) -> None:
    tree = {f"p/m{number}.py": f"import p.m{number + 1}\nimport os\n" for number in range(20)}
    facts = build(tmp_path, tree, History(("p/m3.py",), (2,), (1,)), parts=4)
    lines = [json.loads(line) for line in (tmp_path / "modules" / Modules.JSONL).read_text().splitlines()]
    assert [line["uri"] for line in lines] == sorted(tree)
    assert lines == tables.read_table(tmp_path / "modules", Modules).sort_by("uri").to_pylist()
    assert [list(line) for line in lines] == [Modules.schema.names] * 20
    assert facts == {
        "modules": 20, "imports": 40, "resolved": 19, "changed": 1, "languages": {"python": 20}, "tags": {}, "churn_days": 365,
        "history": facts["history"],
    }  # fmt: skip


def test_the_bytes_depend_neither_on_the_run_nor_on_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "POOL_THRESHOLD_BYTES", 0)
    tree = {f"s/{path.suffix[1:]}/{path.name}": path.read_bytes() for path in SAMPLES.glob("sample.*")}
    tree |= {f"a{number}.py": f"from a{number + 1} import *\n".encode() for number in range(9)}
    facts = [build(tmp_path, tree, parts=2, worker_count=count, out=f"{run}") for run, count in enumerate((1, 1, 2))]
    written = [
        {path.relative_to(tmp_path / f"{run}").as_posix(): path.read_bytes() for path in (tmp_path / f"{run}").rglob("*.*")}
        for run in range(3)
    ]
    assert len(written[0]) == 3
    assert written[0] == written[1] == written[2]
    assert facts[0] == facts[1] == facts[2]


def test_a_tree_without_code_gives_an_empty_table_and_no_lines(tmp_path: Path) -> None:
    assert build(tmp_path, {"a.md": "# A\n", "b.json": "{}"})["modules"] == 0
    assert tables.read_table(tmp_path / "modules", Modules).num_rows == 0
    assert (tmp_path / "modules" / Modules.JSONL).read_bytes() == b""


def test_inputs_of_different_snapshots_are_refused(tmp_path: Path) -> None:
    build(tmp_path, {"a.py": ""}, parts=2)
    tables.part_path(tmp_path / "ast" / "ast_nodes", 1).unlink()
    inputs = (artefact(tmp_path / name) for name in ("in", "ast", "definitions"))
    with pytest.raises(IndexCorruptionError, match="different numbers of parts"):
        modules(*inputs, NO_HISTORY, ModuleSettings(), Runtime(), Output(tmp_path / "out"))


def test_every_language_with_definitions_has_rules_made_of_its_grammars_types() -> None:
    assert {language.name for language in LANGUAGES.values() if language.definitions} <= set(RULES)
    for lang, rules in RULES.items():
        types = set(words(lang).types)
        inner = [names for rule in rules.inner for names in (rule.types, rule.parents)]
        called = [rules.calls.nodes, rules.calls.types, rules.calls.arguments] if rules.calls else []
        for names in (rules.branches, rules.operators, rules.binary, rules.spelled, rules.whole, *inner, *called):
            assert names <= types, (lang, names - types)


def test_the_history_and_its_settings_are_part_of_the_key() -> None:
    assert STAGE.assets == ("modules",)
    assert STAGE.externals == ("history",)
    assert list(STAGE.sections) == ["settings"]


def test_groups_are_expanded_and_their_other_names_dropped() -> None:
    assert expand("a::{b, c::{self, d as e}}, f") == ["a::b", "a::c", "a::c::d", "f"]
    assert expand("{" * 5000 + ",") != []


def test_a_sentence_ends_at_its_mark_or_with_its_paragraph() -> None:
    assert first_sentence("Uses v1.2 of it! And more.") == "Uses v1.2 of it!"
    assert first_sentence("One\n\nTwo.") == "One"
    assert first_sentence("") == first_sentence("\n---\n") == ""
