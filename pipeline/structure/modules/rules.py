"""What modules look like in each language: one table of node types and names.

Node types are those of the grammars. Belongs here: facts about languages. Not here: how they are applied (`imports`,
`modules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Inner:
    """Imports that are children of a statement: nodes of `types` whose parent is one of `parents`."""

    types: frozenset[str]
    parents: frozenset[str]
    take: Literal["each", "first", "last", "span"] = "each"
    """Of several under one parent: each; the first or last; or all the text from the first to the last."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Imports that are calls: a node of `types`, the first leaf below a node of `nodes`, whose text is one of `names`."""

    nodes: frozenset[str]
    types: frozenset[str]
    names: frozenset[bytes]
    arguments: frozenset[str]
    """Types of the node that is imported, the first such after the name."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One language. Imports are found by `whole` (statements whose text, without its keywords, names what is imported),
    `inner` and `calls`; Python has its own way (`imports.python_targets`)."""

    branches: frozenset[str]
    """Named nodes that add a way through the code."""
    operators: frozenset[str] = frozenset()
    """Unnamed tokens that do, inside of a node of `binary` (anywhere, where that is empty)."""
    binary: frozenset[str] = frozenset()
    spelled: frozenset[str] = frozenset()
    """Named nodes that are operators when they are spelled `&&` or `||`."""
    whole: frozenset[str] = frozenset()
    inner: tuple[Inner, ...] = ()
    calls: Calls | None = None
    command_line: frozenset[str] = frozenset()
    """Imports that only programs with a command line have; what begins with one and a separator counts too."""
    main: frozenset[str] = frozenset()
    """Names of functions that a program begins with."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _names(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_LOGICAL = _words("&& ||")
_LOGICAL_OR_NULL = _words("&& || ??")
_BINARY = _words("binary_expression")
_C_BRANCHES = "if_statement for_statement while_statement do_statement case_statement conditional_expression"
_ECMASCRIPT = Rules(
    branches=_words(
        "if_statement for_statement for_in_statement while_statement do_statement switch_case catch_clause ternary_expression"
    ),
    operators=_LOGICAL_OR_NULL,
    binary=_BINARY,
    inner=(Inner(_words("string"), _words("import_statement export_statement")),),
    calls=Calls(_words("call_expression"), _words("identifier import"), _names("require import"), _words("string")),
    command_line=_words("commander yargs meow minimist cac oclif @oclif/core"),
)
_TYPESCRIPT = replace(_ECMASCRIPT, inner=(*_ECMASCRIPT.inner, Inner(_words("string"), _words("import_require_clause"))))
_C = Rules(
    branches=_words(_C_BRANCHES),
    operators=_LOGICAL,
    binary=_BINARY,
    inner=(Inner(_words("string_literal system_lib_string"), _words("preproc_include")),),
    command_line=_words("<getopt.h> <argp.h>"),
    main=_words("main"),
)

RULES: Mapping[str, Rules] = {
    "bash": Rules(
        branches=_words("if_statement elif_clause for_statement c_style_for_statement while_statement case_item"),
        operators=_LOGICAL,
        calls=Calls(_words("command"), _words("word"), _names("source ."), _words("word string raw_string concatenation")),
    ),
    "c": _C,
    "cpp": Rules(
        branches=_C.branches | _words("for_range_loop catch_clause"),
        operators=_words("&& || and or"),
        binary=_BINARY,
        inner=(*_C.inner, Inner(_words("module_name"), _words("import_declaration"))),
        command_line=_C.command_line | _words("<boost/program_options.hpp> <CLI/CLI.hpp> <cxxopts.hpp>"),
        main=_words("main"),
    ),
    "csharp": Rules(
        branches=_words(
            "if_statement for_statement foreach_statement while_statement do_statement switch_section switch_expression_arm "
            "catch_clause conditional_expression"
        ),
        operators=_LOGICAL_OR_NULL,
        binary=_BINARY,
        inner=(Inner(_words("identifier qualified_name alias_qualified_name"), _words("using_directive"), "last"),),
        command_line=_words("System.CommandLine CommandLine Spectre.Console.Cli"),
        main=_words("Main"),
    ),
    "dart": Rules(
        branches=_words(
            "if_statement if_element for_statement for_element while_statement do_statement switch_statement_case "
            "switch_expression_case catch_clause conditional_expression"
        ),
        operators=_LOGICAL_OR_NULL,
        inner=(Inner(_words("string_literal"), _words("uri")),),
        command_line=_words("package:args"),
        main=_words("main"),
    ),
    "elixir": Rules(
        branches=_words("stab_clause else_block"),
        operators=_words("&& || and or"),
        binary=_words("binary_operator"),
        calls=Calls(_words("call"), _words("identifier"), _names("alias import require use"), _words("alias dot")),
        command_line=_words("OptionParser Mix.Task"),
    ),
    "go": Rules(
        branches=_words("if_statement for_statement expression_case type_case communication_case"),
        operators=_LOGICAL,
        binary=_BINARY,
        inner=(Inner(_words("interpreted_string_literal raw_string_literal"), _words("import_spec")),),
        command_line=_words(
            "flag github.com/spf13/cobra github.com/spf13/pflag github.com/urfave/cli github.com/alecthomas/kong"
        ),
        main=_words("main"),
    ),
    "haskell": Rules(
        branches=_words("alternative guards conditional"),
        spelled=_words("operator"),
        inner=(Inner(_words("module"), _words("import"), "first"),),
        command_line=_words("Options.Applicative System.Console"),
        main=_words("main"),
    ),
    "java": Rules(
        branches=_words(
            "if_statement for_statement enhanced_for_statement while_statement do_statement switch_label catch_clause "
            "ternary_expression"
        ),
        operators=_LOGICAL,
        binary=_BINARY,
        inner=(Inner(_words("scoped_identifier identifier asterisk"), _words("import_declaration"), "span"),),
        command_line=_words("picocli org.apache.commons.cli com.beust.jcommander"),
        main=_words("main"),
    ),
    "javascript": _ECMASCRIPT,
    "julia": Rules(
        branches=_words(
            "if_statement elseif_clause for_statement while_statement catch_clause ternary_expression for_clause if_clause"
        ),
        spelled=_words("operator"),
        whole=_words("using_statement import_statement"),
        calls=Calls(_words("call_expression"), _words("identifier"), _names("include"), _words("string_literal")),
        command_line=_words("ArgParse Comonicon"),
    ),
    "kotlin": Rules(
        branches=_words(
            "if_expression for_statement while_statement do_while_statement when_entry catch_block conjunction_expression "
            "disjunction_expression elvis_expression"
        ),
        inner=(Inner(_words("identifier wildcard_import"), _words("import_header"), "span"),),
        command_line=_words("com.github.ajalt.clikt kotlinx.cli picocli"),
        main=_words("main"),
    ),
    "lua": Rules(
        branches=_words("if_statement elseif_statement for_statement while_statement repeat_statement"),
        operators=_words("and or"),
        binary=_BINARY,
        calls=Calls(_words("function_call"), _words("identifier"), _names("require dofile"), _words("string")),
        command_line=_words("argparse"),
    ),
    "php": Rules(
        branches=_words(
            "if_statement else_if_clause for_statement foreach_statement while_statement do_statement case_statement "
            "match_conditional_expression catch_clause conditional_expression"
        ),
        operators=_words("&& || and or ??"),
        binary=_BINARY,
        whole=_words("namespace_use_declaration"),
        inner=(
            Inner(
                _words("encapsed_string string"),
                _words(
                    "require_expression require_once_expression include_expression include_once_expression "
                    "parenthesized_expression"
                ),
            ),
        ),
        command_line=_words("Symfony\\Component\\Console"),
    ),
    "python": Rules(
        branches=_words(
            "if_statement elif_clause for_statement while_statement except_clause case_clause conditional_expression "
            "boolean_operator for_in_clause if_clause"
        ),
        command_line=_words("argparse click typer optparse getopt docopt fire cyclopts"),
    ),
    "r": Rules(
        branches=_words("if_statement for_statement while_statement repeat_statement"),
        operators=_LOGICAL,
        calls=Calls(
            _words("call"),
            _words("identifier"),
            _names("library require requireNamespace source"),
            _words("string identifier"),
        ),
        command_line=_words("optparse argparse docopt"),
    ),
    "ruby": Rules(
        branches=_words(
            "if elsif unless while until for when in_clause rescue conditional if_modifier unless_modifier while_modifier "
            "until_modifier rescue_modifier"
        ),
        operators=_words("&& || and or"),
        binary=_words("binary"),
        calls=Calls(_words("call"), _words("identifier"), _names("require require_relative load"), _words("string")),
        command_line=_words("optparse thor gli slop"),
    ),
    "rust": Rules(
        branches=_words("if_expression match_arm for_expression while_expression loop_expression"),
        operators=_LOGICAL,
        binary=_words("binary_expression let_chain"),
        whole=_words("use_declaration extern_crate_declaration mod_item"),
        command_line=_words("clap structopt argh pico_args"),
        main=_words("main"),
    ),
    "scala": Rules(
        branches=_words("if_expression for_expression while_expression do_while_expression case_clause guard"),
        spelled=_words("operator_identifier"),
        whole=_words("import_declaration"),
        command_line=_words("scopt com.monovore.decline mainargs"),
        main=_words("main"),
    ),
    "swift": Rules(
        branches=_words(
            "if_statement guard_statement for_statement while_statement repeat_while_statement switch_entry catch_block "
            "ternary_expression conjunction_expression disjunction_expression nil_coalescing_expression"
        ),
        inner=(Inner(_words("identifier"), _words("import_declaration")),),
        command_line=_words("ArgumentParser"),
    ),
    "tsx": _TYPESCRIPT,
    "typescript": _TYPESCRIPT,
    "zig": Rules(
        branches=_words("IfStatement IfExpr IfTypeExpr ForStatement ForExpr WhileStatement WhileExpr SwitchProng"),
        operators=_words("and or orelse catch"),
        calls=Calls(
            _words("SuffixExpr"), _words("BUILTINIDENTIFIER"), _names("@import @cImport"), _words("STRINGLITERALSINGLE")
        ),
        command_line=_words("clap"),
        main=_words("main"),
    ),
}
"""By language; a language without an entry has no modules."""

FUNCTIONS = frozenset({"function", "method", "constructor", "macro", "test"})
"""Kinds of definitions that each add 1 to the complexity."""

TAGS = ("cli", "config", "docs", "entry_point", "generated", "test")
"""All tags, in the order in which they are listed."""
FOLDERS: Mapping[str, str] = {
    name: tag
    for tag, names in {
        "test": "test tests spec specs __tests__ testdata e2e",
        "docs": "doc docs documentation",
        "config": "config configs settings",
        "cli": "cli cmd bin commands",
        "generated": "generated __generated__",
    }.items()
    for name in names.split()
}
"""Names of folders, in lower case, and the tag of what is in them."""
STEMS: Mapping[str, str] = {
    name: tag
    for tag, names in {
        "test": "test tests conftest",
        "config": "config configuration conf settings setup noxfile gruntfile gulpfile fabfile",
        "cli": "cli __main__",
        "entry_point": "__main__ manage wsgi asgi main",
    }.items()
    for name in names.split()
    if not (tag == "cli" and name == "__main__")
}
"""File names up to the first dot, in lower case."""
TEST_PREFIXES, TEST_ENDINGS = ("test_",), ("_test", "_tests", "_spec", "-test", "-spec")
TEST_PARTS, CONFIG_PARTS, GENERATED_PARTS = (
    frozenset({"test", "spec", "tests", "cy"}),
    frozenset({"config", "conf"}),
    frozenset({"generated", "pb", "g", "designer", "freezed"}),
)
"""What may stand between dots in a file name: `a.test.ts`, `vite.config.js`, `a.pb.go`."""
GENERATED_ENDINGS = ("_pb2", "_pb2_grpc")
CAMEL_TEST_ENDINGS = ("Test", "Tests", "Spec", "IT")
"""As in `FeesTest.java`; the case counts."""
