"""`indexctl trace on`, `off`, `show` and `clear`.

Belongs here: what the commands decide and print. Not here: what is kept (`search.trace`), where it lies (`store.traces`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.catalog.traces import Readable
    from pipeline.store.layout import Repository

_RECENT = 10
"""Searches that `show` lists."""
_RECENT_SQL = (
    "SELECT ts, query, kind, results, seconds, [one.channel FOR one IN channels IF one.state = 'broken'] "
    "AS broken FROM trace_queries ORDER BY ts DESC, query_id DESC LIMIT ?"
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Keep what searches asked and found, for SQL.")
    group.command("on")(on)
    group.command("off")(off)
    group.command("show")(show)
    group.command("clear")(clear)
    app.add_typer(group, name="trace")


def on(repo: Repo = None, data: Data = None, json: Json = False) -> None:
    """Keep every search from now on, with its query: what each channel found, contributed and answered."""
    _switch(data, repo, on=True, json=json)


def off(repo: Repo = None, data: Data = None, json: Json = False) -> None:
    """Keep no more searches. What was kept stays until `trace clear`."""
    _switch(data, repo, on=False, json=json)


def _switch(data: Path | None, repo: str | None, *, on: bool, json: bool) -> None:
    from pipeline.interfaces.output import print_json, printable
    from pipeline.store import traces

    repository = _repository(data, repo)
    traces.switch(repository.traces, on=on)
    if json:
        print_json({"repo": repository.name, "on": on, "path": str(repository.traces)})
    elif on:
        typer.echo(f"on: searches of {repository.name} are kept, queries included, in {printable(str(repository.traces))}")
    else:
        typer.echo(f"off: searches of {repository.name} are no longer kept; `indexctl trace clear` removes what there is")


def clear(repo: Repo = None, data: Data = None, json: Json = False) -> None:
    """Remove everything that was kept. Tracing stays on or off."""
    from pipeline.interfaces.output import counts, print_json
    from pipeline.store import traces

    repository = _repository(data, repo)
    removed = traces.clear(repository.traces)
    if json:
        print_json({"repo": repository.name, "removed": removed})
    else:
        typer.echo(f"removed {counts(removed, 'set')} of traces of {repository.name}")


def show(repo: Repo = None, data: Data = None, json: Json = False) -> None:
    """Whether tracing is on, how much was kept, and the last searches. `indexctl sql` has the tables."""
    from pipeline.catalog.traces import readable
    from pipeline.interfaces.output import print_json, print_warning
    from pipeline.store import traces

    repository = _repository(data, repo)
    found = readable(repository.traces)
    report = {
        "repo": repository.name, "on": traces.is_on(repository.traces), "path": str(repository.traces),
        "sets": len(found.sets), "bytes": sum(map(traces.size_of, traces.sets(repository.traces))), **_summary(found),
        "problems": list(found.problems),
    }  # fmt: skip
    if json:
        print_json(report)
        return
    _print(report)
    for problem in found.problems:
        print_warning(problem)


def _repository(data: Path | None, repo: str | None) -> Repository:
    from pipeline.interfaces.context import choose_repository, choose_store

    return choose_repository(choose_store(data), repo)


def _summary(found: Readable) -> dict[str, Any]:
    """How many searches there are, from when to when, and the last ones, newest first."""
    from pipeline.catalog.views import create_trace_views, fetch, in_memory

    connection = in_memory()
    try:
        create_trace_views(connection, found)
        [total] = fetch(
            connection, "SELECT count(*) AS searches, min(ts) AS first, max(ts) AS last FROM trace_queries", []
        ).to_pylist()
        recent = fetch(connection, _RECENT_SQL, [_RECENT]).to_pylist()
    finally:
        connection.close()
    return {**total, "recent": recent}


def _print(report: dict[str, Any]) -> None:
    from pipeline.interfaces.output import counts, print_table, printable

    state = "on" if report["on"] else "off"
    kept = f"{counts(report['searches'], 'search', 'searches')} in {counts(report['sets'], 'set')}, {report['bytes']:,} bytes"
    typer.echo(f"{report['repo']}: {state}; {kept}, in {printable(report['path'])}")
    if not report["recent"]:
        return
    columns = ["when (UTC)", "query", "kind", "results", "ms", "broken"]
    print_table(
        columns,
        [
            (
                f"{one['ts']:%Y-%m-%d %H:%M:%S}", printable(_cut(one["query"])), one["kind"], one["results"],
                f"{1e3 * one['seconds']:.1f}", ", ".join(one["broken"]),
            )
            for one in report["recent"]
        ],
        right=["results", "ms"],
    )  # fmt: skip


def _cut(query: str, most: int = 60) -> str:
    return query if len(query) <= most else query[: most - 1] + "…"
