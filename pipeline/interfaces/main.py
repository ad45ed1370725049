"""`indexctl`: the entry point, and what every command shares.

Commands import what they need when they run, so that `search`, `status` and `--help` start fast and never load Dagster.

Belongs here: the list of commands, exit codes, and how errors are shown. Not here: the commands (`commands_*`).
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from typer.core import TyperGroup

from pipeline import __version__
from pipeline.errors import CodeIntelError

app = typer.Typer(
    name="indexctl",
    cls=TyperGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build, search and audit code-retrieval indexes.",
    epilog="Exit codes: 0 done, 1 it ran and the answer is bad, 2 usage, 3 no index or no such thing, 4 busy.",
)

_debug = False


def _version(value: bool) -> None:
    if value:
        typer.echo(f"indexctl {__version__}")
        raise typer.Exit


@app.callback()
def shared(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Options before the command."""
    global _debug
    _debug = debug


def main() -> None:
    """Run a command; turn what is raised into a sentence and an exit code."""
    for module in ("build", "search", "store", "sql", "ui"):
        import_module(f"pipeline.interfaces.commands_{module}").register(app)
    from pipeline.interfaces.output import broken_pipe_is_fine, print_error

    try:
        with broken_pipe_is_fine():
            app()
    except CodeIntelError as error:
        if _debug:
            raise
        print_error(error)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("indexctl: interrupted; what is published is unchanged.\n")
        raise SystemExit(130) from None
    except Exception as error:
        if _debug:
            raise
        sys.stderr.write(f"indexctl: unexpected {type(error).__name__}: {error}. Run with --debug to see where.\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
