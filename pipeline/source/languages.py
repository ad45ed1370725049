"""The language table: names, grammars, and how a file's language is told from its name and its first bytes.

Belongs here: everything that maps a file to a language, and what the project can do with that language. Not here: whether a
file is indexed at all (`selection`), or queries over syntax trees (`structure`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HEAD_BYTES = 4096
"""How much of a file `language_of` looks at."""
SOURCE_ROOTS = ("", "src/", "lib/", "python/")
"""Folders below which modules are looked for without further evidence."""


@dataclass(frozen=True, slots=True)
class Language:
    """A value of the `lang` columns."""

    name: str
    grammar: str | None = None
    """Its name in `tree_sitter_language_pack`; None: no grammar, cut by lines."""
    definitions: bool = False
    """Whether there is a query for its definitions."""


_WITH_DEFINITIONS = (
    "bash c cpp csharp elixir go haskell java javascript kotlin lua php python ruby rust scala swift typescript tsx zig"
)
_WITH_GRAMMAR = "sql html css json yaml toml markdown hcl dockerfile julia r dart"

LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {name: Language(name, name, definitions=True) for name in _WITH_DEFINITIONS.split()}
    | {name: Language(name, name) for name in _WITH_GRAMMAR.split()}
    | {"text": Language("text")}
)
"""By name. The names are also those of the grammars, which are allowed one by one: some in the pack hang on some inputs."""

_EXTENSIONS: Mapping[str, str] = {
    extension: name
    for name, extensions in {
        "bash": "sh bash zsh ksh bats ebuild",
        "c": "c h",
        "cpp": "cc cpp cxx c++ hh hpp hxx h++ ipp inl tpp ino cu cuh cppm ixx",
        "csharp": "cs csx",
        "css": "css",
        "dart": "dart",
        "dockerfile": "dockerfile containerfile",
        "elixir": "ex exs",
        "go": "go",
        "haskell": "hs hsc hs-boot",
        "hcl": "hcl tf tfvars nomad",
        "html": "html htm xhtml",
        "java": "java",
        "javascript": "js mjs cjs jsx es6",
        "json": "json jsonc geojson webmanifest",
        "julia": "jl",
        "kotlin": "kt kts",
        "lua": "lua rockspec",
        "markdown": "md markdown mdown mkd mdx qmd rmd",
        "php": "php phtml php5 php7 php8 phps",
        "python": "py pyi pyw pyx pxd bzl star",
        "r": "r",
        "ruby": "rb rake gemspec ru podspec jbuilder thor",
        "rust": "rs",
        "scala": "scala sc sbt",
        "sql": "sql ddl dml psql",
        "swift": "swift",
        "toml": "toml",
        "tsx": "tsx",
        "typescript": "ts mts cts",
        "yaml": "yaml yml",
        "zig": "zig zon",
    }.items()
    for extension in extensions.split()
}

_FILE_NAMES: Mapping[str, str] = {
    file_name: name
    for name, file_names in {
        "bash": ".bashrc .bash_profile .bash_logout .bash_aliases .profile .zshrc .zshenv .zprofile .envrc PKGBUILD APKBUILD",
        "dockerfile": "Dockerfile Containerfile",
        "json": ".babelrc .eslintrc .jshintrc .swcrc .prettierrc composer.lock Pipfile.lock flake.lock",
        "python": "BUILD WORKSPACE BUCK Tiltfile SConstruct SConscript wscript",
        "ruby": "Rakefile Gemfile Guardfile Capfile Vagrantfile Podfile Brewfile Fastfile Dangerfile Appraisals",
        "toml": "Pipfile Cargo.lock uv.lock poetry.lock pdm.lock",
        "yaml": ".clang-format .clang-tidy .clangd .yamllint",
    }.items()
    for file_name in file_names.split()
}

_INTERPRETERS: Mapping[str, str] = {
    interpreter: name
    for name, interpreters in {
        "bash": "sh bash zsh ksh dash ash bats",
        "elixir": "elixir",
        "haskell": "runhaskell runghc stack",
        "javascript": "node nodejs bun",
        "julia": "julia",
        "kotlin": "kotlin",
        "lua": "lua luajit",
        "php": "php",
        "python": "python pypy",
        "r": "rscript",
        "ruby": "ruby jruby",
        "scala": "scala amm",
        "swift": "swift",
        "typescript": "deno ts-node tsx",
    }.items()
    for interpreter in interpreters.split()
}

# A header may be of either language; these words at the start of a line are of one only.
_CPP_HEADER = re.compile(
    rb"^[ \t]*(?:namespace\b|template\s*<|using\s+\w|(?:public|private|protected)\s*:|(?:enum\s+)?class\s+\w|"
    rb"#\s*include\s*<(?:string|vector|memory|map|utility|iostream|functional|cstd\w+)>)|\bstd::",
    re.MULTILINE,
)
_SHEBANG = re.compile(rb"#![ \t]*(?:\S*/)?([^\s/]+)([^\r\n]*)")


def language_of(uri: str, head: bytes = b"") -> Language:
    """The language of a file by its name, its extension, or its `#!` line; `LANGUAGES["text"]` when nothing else fits.

    `head` are the first bytes of the file (at most `HEAD_BYTES` of them are looked at); they decide only where the name leaves
    it open: no known extension, or a `.h` that is C++.
    """
    file_name = uri.rpartition("/")[2]
    name = _FILE_NAMES.get(file_name) or ("dockerfile" if file_name.startswith(("Dockerfile.", "Containerfile.")) else None)
    if name is None and "." in file_name:
        extension = file_name.rpartition(".")[2]
        name = "cpp" if extension in ("C", "H") else _EXTENSIONS.get(extension.lower())
        if name == "c" and extension == "h" and _CPP_HEADER.search(head, 0, HEAD_BYTES):
            name = "cpp"
    if name is None and head.startswith(b"#!"):
        name = _interpreter(head[:HEAD_BYTES])
    return LANGUAGES[name or "text"]


def _interpreter(head: bytes) -> str | None:
    """The language of a `#!` line: `#!/usr/bin/env -S python3.11 -u`, `#!/bin/sh`."""
    match = _SHEBANG.match(head)
    if match is None:
        return None
    program = match[1]
    if program == b"env":
        words = [word for word in match[2].split() if not word.startswith(b"-") and b"=" not in word]
        program = words[0].rpartition(b"/")[2] if words else b""
    bare = program.decode("ascii", "replace").lower()
    return _INTERPRETERS.get(bare) or _INTERPRETERS.get(bare.rstrip("0123456789."))
