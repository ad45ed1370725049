"""`indexctl`: the entry point, and what every command shares.

Commands import what they need when they run, so that `search`, `status` and `--help` start fast and never load Dagster.

Belongs here: the list of commands, exit codes, and how errors are shown. Not here: the commands (`commands_*`).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from pipeline import __version__
from pipeline.errors import CodeIntelError
from pipeline.interfaces.manual import PAGES, epilog_of, program_epilog

COMMAND_MODULES = (
    "build", "watch", "search", "related", "symbols", "store", "versions", "tune", "eval", "coverage", "report", "sql", "idmap",
    "trace", "doctor", "repos", "serve", "mcp", "ui", "completion",
)  # fmt: skip


def _version(value: bool) -> None:
    if value:
        typer.echo(f"indexctl {__version__}")
        raise typer.Exit


def _shared(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Build, search and audit code-retrieval indexes."""


class _Commands(TyperGroup):
    """Ends quietly when nobody reads on (`indexctl … | head`), and says what an interruption left."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered goes nowhere; without this the interpreter would complain when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            sys.stderr.write("indexctl: interrupted; what is published is unchanged.\n")
            raise typer.Exit(130) from None


def make_app() -> typer.Typer:
    """The command with all subcommands."""
    app = typer.Typer(
        name="indexctl",
        cls=_Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=program_epilog(),
        # `indexctl completion` has scripts that ask without loading the commands.
        add_completion=False,
    )
    app.callback()(_shared)
    for module in COMMAND_MODULES:
        import_module(f"pipeline.interfaces.commands_{module}").register(app)
    _lay_out(app)
    return app


def _lay_out(app: typer.Typer, before: str = "") -> None:
    """Put commands into panels, and their examples behind their options."""
    for command in app.registered_commands:
        page = PAGES[f"{before}{command.name}"]
        command.epilog = epilog_of(page)
        if not before:
            command.rich_help_panel = page.panel
    for group in app.registered_groups:
        assert group.name is not None and group.typer_instance is not None  # all of ours have both
        group.rich_help_panel = PAGES[group.name].panel
        _lay_out(group.typer_instance, f"{group.name} ")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; turn what is raised into a sentence and an exit code (by `SystemExit`)."""
    from pipeline.interfaces.output import print_error, survive_any_encoding

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments[:2]
    survive_any_encoding()
    try:
        make_app()(arguments, prog_name="indexctl")
    except CodeIntelError as error:
        if debug:
            raise
        print_error(error)
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        if debug:
            raise
        sys.stderr.write(f"indexctl: unexpected {type(error).__name__}: {error}. Run with --debug to see where.\n")
        raise SystemExit(1) from None


def program() -> None:
    """The process `indexctl`: `main`, told that it is short.

    What a build and Dagster's import allocate lives to the end. Looking through it for garbage again and again, and taking it
    apart piece by piece at the end, is a tenth of a build; so collections are rare, and the process leaves as soon as its
    exit handlers have run.
    """
    gc.set_threshold(500_000, 50, 100)
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
