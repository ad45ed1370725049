"""`indexctl repos add`, `remove` and `list`.

Belongs here: what the commands decide and print. Not here: registering (`pipeline.registration`), building.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json

if TYPE_CHECKING:
    from pipeline.store.layout import Repository

Where = Annotated[str, typer.Argument(metavar="PATH|URL", help="A folder, or a git remote as `git clone` takes it.")]
Name = Annotated[str | None, typer.Option("--repo", metavar="NAME", help="What to call it (else as its folder or URL does).")]
Revision = Annotated[str | None, typer.Option("--rev", metavar="REV", help="A branch, tag or commit in place of HEAD.")]
Known = Annotated[str, typer.Argument(metavar="NAME", help="A registered repository.")]
KeepData = Annotated[
    bool, typer.Option("--keep-data", help="Only stop watching: the index stays, and answers; it is no longer rebuilt.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Delete the index, all its versions, and what was fetched.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Which repositories sensor and schedule keep up to date.")
    group.command("add")(add)
    group.command("remove")(remove)
    group.command("list")(show)
    app.add_typer(group, name="repos")


def add(where: Where, repo: Name = None, rev: Revision = None, data: Data = None, json: Json = False) -> None:
    """Register a repository; `indexctl build NAME`, the commit sensor or the night builds it.

    A remote is fetched into the store. Credentials come from CODEINTEL_GIT_TOKEN_<HOST>, from git's credential helpers, from
    CODEINTEL_GIT_SSH_KEY or from an ssh agent, and are never stored.
    """
    from pipeline import registration
    from pipeline.interfaces.output import print_json, printable
    from pipeline.store.layout import create_store, read_origin
    from pipeline.store.place import data_folder

    repository = registration.register(create_store(data_folder(data)), where, name=repo, rev=rev)
    if json:
        print_json(registration.described(repository))
        return
    origin = read_origin(repository)
    typer.echo(printable(f"registered {repository.name}: {origin.shown}{f' at {origin.rev}' if origin.rev else ''}"))
    typer.echo(f"`indexctl build {repository.name}` builds it now")


def remove(name: Known, keep_data: KeepData = False, yes: Yes = False, data: Data = None, json: Json = False) -> None:
    """Let go of a repository: with --keep-data stop watching it, with --yes delete its index."""
    from pipeline import registration
    from pipeline.errors import QueryError
    from pipeline.interfaces.context import choose_store
    from pipeline.interfaces.output import print_json

    repository = choose_store(data).existing(name)
    if keep_data == yes:
        raise QueryError(
            f"Removing `{name}` either deletes its index or keeps it.",
            hint="Say --yes to delete it, or --keep-data to keep it.",
        )
    if keep_data:
        registration.release(repository)
    else:
        registration.delete(repository)
    if json:
        print_json({"repo": name, "deleted": not keep_data})
    elif keep_data:
        typer.echo(f"{name} is no longer watched; its index stays, and `indexctl repos add` watches it again")
    else:
        typer.echo(f"removed {name} and its index")


def show(data: Data = None, json: Json = False) -> None:
    """List registered repositories, where they are read from, and what is published."""
    from pipeline import registration
    from pipeline.interfaces.context import choose_store
    from pipeline.interfaces.output import print_json, print_table, print_warning, printable

    store = choose_store(data)
    problems = registration.synchronise(store)
    rows = [_row(repository) for repository in store.repositories()]
    if json:
        print_json({"repos": rows, "problems": problems})
        return
    for problem in problems:
        print_warning(problem)
    if not rows:
        typer.echo(f"no repository is registered in {store.root}; `indexctl repos add PATH|URL` registers one")
        return
    columns = ["repository", "from", "revision", "watched", "published", "commit", "when"]
    print_table(columns, [[printable(str(cell)) for cell in _cells(row)] for row in rows])


def _row(repository: Repository) -> dict[str, Any]:
    from pipeline import registration
    from pipeline.errors import CodeIntelError
    from pipeline.store.versions import current_or_none, read_build_facts, read_manifest

    row: dict[str, Any] = {"repo": repository.name, "version": None, "commit": None, "published_at": None}
    try:
        row |= registration.described(repository)
        row["version"] = version = current_or_none(repository)
        if version is not None:
            folder: Path = repository.versions / version
            row["commit"] = read_manifest(folder).commit
            row["published_at"] = read_build_facts(folder).get("published_at")
    except CodeIntelError as error:
        row["problem"] = str(error)
    return row


def _cells(row: dict[str, Any]) -> list[str]:
    from pipeline.interfaces.output import moment_of

    return [
        row["repo"],
        row.get("url") or row.get("path") or row.get("problem", ""),
        row.get("rev") or "HEAD" if row.get("url") else row.get("rev") or "as it is",
        ("yes" if row.get("watched", True) else "no") + (" (by file)" if row.get("declared") else ""),
        row["version"] or "not built",
        (row["commit"] or "")[:12],
        moment_of(row["published_at"]) if row["published_at"] else "",
    ]
