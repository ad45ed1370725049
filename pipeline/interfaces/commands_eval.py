"""`indexctl eval`.

Belongs here: which options go together, and which part of the program they ask. Not here: gathering an evaluation
(`evaluation`), printing it (`evaluation_tables`, `comparison_tables`), measuring (`pipeline.evaluation`).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.interfaces.options import Data, Json, Repo, VersionName

if TYPE_CHECKING:
    from pipeline.interfaces.evaluation import Report


class Oracle(StrEnum):
    """What the index is compared with: exact search over all vectors, and over all tokens, too."""

    flat = "flat"
    xtr = "xtr"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(evaluate)


def evaluate(
    queries: Annotated[
        Path | None,
        typer.Option("--queries", metavar="FILE", help="Your own queries: lines, or JSON lines with paths or ids as answers."),
    ] = None,
    oracle: Annotated[
        Oracle, typer.Option("--oracle", help="Compare with exact search over all vectors, or over all token vectors, too.")
    ] = Oracle.flat,
    k: Annotated[int | None, typer.Option("-k", "--k", metavar="N", help="The first N results count.")] = None,
    grid: Annotated[
        str | None,
        typer.Option("--grid", metavar="G", help='Measure the vector index at these points: "nprobe=1,4,16;k_factor=1,2".'),
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Ask the version's queries now, under the settings of now, and take times.")
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="V1 V2", help="Two versions over the queries that both were asked."),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="All versions: quality, size, speed, and what changed.")] = False,
    version: VersionName = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Show how good the published index is. With --queries, --grid, --now, another k or oracle, measure it now."""
    from pipeline.errors import QueryError

    asks = queries is not None or grid is not None or now or k is not None or oracle is not Oracle.flat
    if (compare or history) and (asks or version is not None or (compare and history)):
        raise QueryError("--compare and --history go with no other option of `eval`.", hint="See `indexctl eval --help`.")
    if compare:
        _compare(data, repo, *compare, json=json)
    elif history:
        _history(data, repo, json=json)
    else:
        _evaluate(data, repo, version, queries, grid, k, tokens=oracle is Oracle.xtr, now=now, json=json)


def _evaluate(
    data: Path | None, repo: str | None, name: str | None, queries: Path | None, grid: str | None, k: int | None,
    *, tokens: bool, now: bool, json: bool,
) -> None:  # fmt: skip
    """Show what the version says of itself; where that is not what was asked for, measure."""
    from pipeline.interfaces.commands_search import open_searcher_of
    from pipeline.interfaces.evaluation import measured, stored, stored_k
    from pipeline.interfaces.output import tell_freshness, while_waiting

    # Opening a searcher reads nothing yet.
    with open_searcher_of(data, repo, name) as (searcher, looking, settings):
        known = stored_k(searcher.version)
        if not now and queries is None and grid is None and not tokens and k in (None, known):
            report = stored(searcher.version, stale=looking.result().stale)
        else:
            wanted = k if k is not None else known or settings.evaluation.eval_k
            with while_waiting("asking the queries"):
                report = measured(searcher, stale=looking.result().stale, k=wanted, file=queries, grid=grid, tokens=tokens)
        _show(report, json=json)
        if not json:
            tell_freshness(searcher.version, looking.result())


def _show(report: Report, *, json: bool) -> None:
    from pipeline.interfaces.evaluation_tables import print_report
    from pipeline.interfaces.output import print_json, print_warning

    if json:
        print_json(report.as_json())
        return
    print_report(report)
    for warning in report.warnings:
        print_warning(warning)


def _compare(data: Path | None, repo: str | None, first: str, second: str, *, json: bool) -> None:
    import msgspec

    from pipeline.evaluation.comparison import compare
    from pipeline.interfaces.comparison_tables import print_comparison
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.interfaces.output import print_json
    from pipeline.schemas import EvalMetrics
    from pipeline.store.revisions import named
    from pipeline.store.versions import open_version

    repository = choose_repository(choose_store(data), repo)
    first, second = named(repository, first), named(repository, second)
    with open_version(repository, first) as before, open_version(repository, second) as after:
        folders = [
            one.ensure(EvalMetrics.asset) if EvalMetrics.asset in one.manifest.artefacts else one.path
            for one in (before, after)
        ]
        found = compare(*folders)
    if json:
        print_json({"repo": repository.name, "before": first, "after": second, **msgspec.to_builtins(found)})
    else:
        print_comparison(first, second, found)
    if found.incomparable:
        raise typer.Exit(1)


def _history(data: Path | None, repo: str | None, *, json: bool) -> None:
    import msgspec

    from pipeline.evaluation.history import history
    from pipeline.interfaces.comparison_tables import print_history
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.interfaces.output import print_json

    repository = choose_repository(choose_store(data), repo)
    entries = history(repository)
    if json:
        print_json({"repo": repository.name, "versions": msgspec.to_builtins(entries)})
    else:
        print_history(repository.name, entries)
