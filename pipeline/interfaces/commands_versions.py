"""`indexctl versions`, `pin` and `unpin`.

Belongs here: what versions there are, and which are to stay. Not here: moving CURRENT among them (`commands_store`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo, Revision


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("versions")(versions)
    app.command("pin")(pin)
    app.command("unpin")(unpin)


def versions(repo: Repo = None, data: Data = None, json: Json = False) -> None:
    """List the versions in the store, the latest published first."""
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.interfaces.output import print_json
    from pipeline.interfaces.statuses import versions_of

    repository = choose_repository(choose_store(data), repo)
    rows = versions_of(repository)
    if json:
        print_json({"repo": repository.name, "versions": rows})
        return
    _print_versions(rows)


def _print_versions(rows: Sequence[dict[str, Any]]) -> None:
    from pipeline.interfaces.output import moment_of, print_table, printable

    now = time.time()
    more: dict[str, Callable[[dict[str, Any]], str]] = {
        "pinned": lambda row: printable(row["note"] or "yes") if row["pinned"] else "",
        "in spite of": lambda row: ", ".join(row["allowed"]),
    }
    shown = {title: said for title, said in more.items() if any(said(row) for row in rows)}
    print_table(
        ["", "version", "commit", "chunks", "published", "age", *shown],
        [
            ["*" if row["current"] else "", row["version"],
             ((row.get("commit") or "–")[:10] + ("+" if row.get("dirty") else "")) if "problem" not in row else "damaged",
             f"{row.get('chunks', 0):,}", moment_of(row["published_at"]), _age(row["published_at"], now),
             *(said(row) for said in shown.values())]
            for row in rows
        ],
        right=["chunks", "age"],
    )  # fmt: skip


def _age(moment: float | None, now: float) -> str:
    """`40 s`, `12 min`, `3 h`, `20 d`."""
    if not moment:
        return ""
    seconds = max(0, int(now - moment))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def pin(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Or the beginning of its name; else the published one.")
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why it is kept.")] = "",
    rev: Revision = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Keep a version: `gc` leaves it alone until it is unpinned."""
    from pipeline.errors import NotFoundError
    from pipeline.interfaces.context import choose_repository, choose_store, choose_version
    from pipeline.interfaces.output import as_text, print_json
    from pipeline.store import pins
    from pipeline.store.versions import current_name

    repository = choose_repository(choose_store(data), repo)
    name = choose_version(repository, version, rev) or current_name(repository)
    if name is None:
        raise NotFoundError(f"`{repository.name}` has no published index.", hint="Build one with `indexctl build PATH`.")
    changed = pins.pin(repository, name, as_text(note))
    if json:
        print_json({"repo": repository.name, "version": name, "pinned": True, "note": as_text(note), "changed": changed})
    else:
        typer.echo(f"{repository.name}: {name} is pinned{'' if changed else ' already'}")


def unpin(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Or the beginning of its name.")],
    repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Let `gc` have a pinned version again."""
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.interfaces.output import print_json
    from pipeline.store import pins
    from pipeline.store.revisions import named

    repository = choose_repository(choose_store(data), repo)
    name = named(repository, version)
    pins.unpin(repository, name)
    if json:
        print_json({"repo": repository.name, "version": name, "pinned": False})
    else:
        typer.echo(f"{repository.name}: {name} is no longer pinned")
