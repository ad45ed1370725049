from __future__ import annotations

import pytest
import tree_sitter_language_pack

from pipeline.source.languages import LANGUAGES, language_of


@pytest.mark.parametrize("name", [language.name for language in LANGUAGES.values() if language.grammar])
def test_every_grammar_is_in_the_pack(name: str) -> None:
    assert tree_sitter_language_pack.get_language(LANGUAGES[name].grammar)


@pytest.mark.parametrize(
    ("uri", "head", "name"),
    [
        ("a/b.py", b"", "python"),
        ("A.PY", b"", "python"),
        ("infra/main.tf", b"", "hcl"),
        ("x.hcl", b"", "hcl"),
        ("Dockerfile", b"", "dockerfile"),
        ("docker/Dockerfile.dev", b"", "dockerfile"),
        ("app.tsx", b"", "tsx"),
        ("app.mts", b"", "typescript"),
        ("Makefile", b"", "text"),
        ("README", b"", "text"),
        ("a.unknown", b"#!/bin/sh\n", "bash"),
        ("run", b"#!/usr/bin/env -S LANG=C python3.11 -u\n", "python"),
        ("run", b"#! /usr/bin/env node\n", "javascript"),
        ("run", b"#!/bin/dash -e", "bash"),
        ("run", b"#!", "text"),
        ("run", b"#!/usr/bin/env", "text"),
        ("run", b"#!\xff\xfe\x00", "text"),
        ("x.h", b"int f(void);\n", "c"),
        ("x.h", b"#pragma once\nnamespace a {\n", "cpp"),
        ("x.H", b"", "cpp"),
        ("x.c", b"namespace a {\n", "c"),
        ("", b"", "text"),
        ("folder.py/", b"", "text"),
    ],
)
def test_language_is_told_by_name_then_extension_then_interpreter(uri: str, head: bytes, name: str) -> None:
    assert language_of(uri, head).name == name


def test_the_languages_with_definitions_are_those_of_the_benchmark() -> None:
    assert sum(language.definitions for language in LANGUAGES.values()) == 20
    assert LANGUAGES["text"].grammar is None
