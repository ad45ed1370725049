"""`indexctl report`.

Belongs here: what the command decides and prints. Not here: what a report says (`pipeline.evaluation.report`), where it lies
(`pipeline.release.reporting`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.interfaces.options import Data, Json, Repo, VersionName


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    version: VersionName = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser, where there is one.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there and not into the store.")] = None,
    repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Write one page that tells how good a version is, with the history as it is now, and print where it lies."""
    import msgspec
    import pyarrow as pa

    from pipeline.errors import IndexCorruptionError, NotFoundError
    from pipeline.evaluation.report.page import page
    from pipeline.evaluation.report.reading import read
    from pipeline.interfaces.context import choose_repository, choose_store, choose_version
    from pipeline.interfaces.output import print_json
    from pipeline.release.reporting import of_version, report_path, write_report
    from pipeline.store.layout import not_writable
    from pipeline.store.versions import open_version

    repository = choose_repository(choose_store(data), repo)
    with open_version(repository, choose_version(repository, version, None)) as opened:
        name = opened.name
        try:
            shown = read(of_version(opened))
        except (OSError, msgspec.MsgspecError, pa.ArrowException) as error:
            raise IndexCorruptionError(
                f"The evaluation of {name} cannot be read: {error}.", hint="Run `indexctl build` again."
            ) from None
    if not shown.evaluated:
        raise NotFoundError(
            f"The version {name} was not evaluated.",
            hint="Set `eval_queries` above 0 and run `indexctl build`; without definitions there is nothing to ask for.",
        )
    path = out.expanduser().absolute() if out is not None else report_path(repository, name)
    try:
        write_report(path, page(shown))
    except OSError as error:
        raise not_writable(path, error) from error
    if json:
        print_json({"repo": repository.name, "version": name, "path": str(path)})
    else:
        typer.echo(str(path))
    if show:
        _open(path)


def _open(path: Path) -> None:
    """Show it. Where there is no browser, its path has been printed."""
    import webbrowser

    from pipeline.interfaces.output import print_warning

    try:
        shown = webbrowser.open(path.as_uri())
    except (webbrowser.Error, OSError):
        shown = False
    if not shown:
        print_warning("there is no browser here to open it in")
