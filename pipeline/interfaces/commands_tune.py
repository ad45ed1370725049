"""`indexctl tune`.

Belongs here: what the command decides and prints. Not here: measuring (`pipeline.index.tuning`), locks (`pipeline.release`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.index.dense.arrays import Vectors
    from pipeline.index.dense.vectors import VectorIndex
    from pipeline.index.tuning.sweep import Tuned
    from pipeline.search.engine import Searcher
    from pipeline.store.layout import Repository

_TIMED_QUERIES = 32


class Preset(StrEnum):
    """How many queries are asked."""

    auto = "auto"
    small = "small"
    medium = "medium"
    large = "large"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune")(tune)


def tune(
    target_recall: Annotated[
        float | None, typer.Option("--target-recall", metavar="R", help="The recall@10 that must hold, for example 0.95.")
    ] = None,
    preset: Annotated[Preset | None, typer.Option("--preset", help="How many queries it is measured on.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure and print; change nothing.")] = False,
    lock: Annotated[bool, typer.Option("--lock", help="Keep the found point until the family changes.")] = False,
    unlock: Annotated[bool, typer.Option("--unlock", help="Let the next build tune again. Measures nothing.")] = False,
    repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Measure at which point the published vector index is searched best, and set or lock that for the next build."""
    from pipeline.errors import QueryError
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.search.engine import open_searcher
    from pipeline.store.layout import read_origin, settings_of, write_settings
    from pipeline.store.locks import builder

    if ((lock or dry_run) and unlock) or (lock and dry_run):
        raise QueryError("Give one of --lock, --unlock and --dry-run.", hint="See `indexctl tune --help`.")
    store = choose_store(data)
    repository = choose_repository(store, repo)
    if unlock:
        _unlock(repository, json=json)
        return
    given: dict[str, str | float] = {}
    if target_recall is not None:
        given["target_recall"] = target_recall
    if preset is not None:
        given["tuning_preset"] = preset.value
    settings = settings_of(store, read_origin(repository), given)
    with open_searcher(repository, settings) as searcher:
        report = _measured(searcher, settings)
    if not dry_run:
        with builder(repository):
            if given:
                write_settings(repository, given)
            if lock:
                report["locked"] = _lock(repository, report)
    report["set"] = given if not dry_run else {}
    _print(report, json=json)


def _unlock(repository: Repository, *, json: bool) -> None:
    from pipeline.index.tuning.locked_point import remove_lock
    from pipeline.interfaces.output import print_json
    from pipeline.store.locks import builder

    with builder(repository):
        removed = remove_lock(repository)
    if json:
        print_json({"repo": repository.name, "unlocked": removed})
    else:
        typer.echo("unlocked: `indexctl build` publishes the tuned point" if removed else "no point is locked")


def _measured(searcher: Searcher, settings: Settings) -> dict[str, Any]:
    """The sweep over the published index, with times, which are of this machine and this moment."""
    from pipeline.index.dense.arrays import TrueVectors
    from pipeline.index.tuning.queries import query_texts
    from pipeline.index.tuning.stage import FEWEST, queries_for, tune_on

    version, index = searcher.version, searcher.opened.vectors
    folder = version.ensure("faiss_index", "embeddings", "eval_queries")
    report = {
        "repo": version.repository.name, "version": version.name, "family": index.family.name, "exact": index.family.exact,
        "target": settings.tuning.target_recall, "locked": False,
    }  # fmt: skip
    texts = [] if index.family.exact else query_texts(folder, queries_for(settings.tuning, index.count))
    if len(texts) < FEWEST or not index.count:
        return {**report, "met": True if index.family.exact else None, "point": None, "sweep": []}
    queries = searcher.opened.embedder.encode_queries(texts)
    tuned = tune_on(index, TrueVectors.open(folder), queries, settings.tuning.target_recall)
    return {**report, "queries": len(queries), **_as_rows(index, tuned, queries)}


def _as_rows(index: VectorIndex, tuned: Tuned, queries: Vectors) -> dict[str, Any]:
    from pipeline.index.tuning.sweep import K, latencies

    taken = latencies(index, queries[:_TIMED_QUERIES], K, [one.point for one in tuned.sweep])
    rows = [
        {
            "parameters": one.point.parameters, "k_factor": one.point.k_factor, "recall": round(one.recall, 6),
            "low": round(one.low, 6), "high": round(one.high, 6), "scored": one.scored, "bound": one.bound,
            "milliseconds": round(1000 * latency.median, 4), "p95_milliseconds": round(1000 * latency.p95, 4),
            "chosen": one.point == tuned.chosen.point,
        }
        for one, latency in zip(tuned.sweep, taken, strict=True)
    ]  # fmt: skip
    point = {"parameters": tuned.chosen.point.parameters, "k_factor": tuned.chosen.point.k_factor}
    return {"met": tuned.met, "point": point, "held_out": round(tuned.held_out.recall, 6), "sweep": rows}


def _lock(repository: Repository, report: dict[str, Any]) -> bool:
    from pipeline.index.tuning.locked_point import LockedPoint, write_lock

    if report["point"] is None:
        return False
    write_lock(repository, LockedPoint(family=report["family"], **report["point"]))
    return True


def _print(report: dict[str, Any], *, json: bool) -> None:
    from pipeline.interfaces.output import print_json, print_table

    if json:
        print_json(report)
        return
    if report["point"] is None:
        typer.echo(f"{report['family']} is exact: there is nothing to tune" if report["exact"] else "there is nothing to ask")
    else:
        columns = ["", "parameters", "k-factor", "recall@10", "95 % interval", "scored", "ms", "p95"]
        print_table(
            columns,
            [
                (
                    "→" if row["chosen"] else "", row["parameters"], f"{row['k_factor']:g}",
                    f"{'≤ ' if row['bound'] else ''}{row['recall']:.4f}",
                    f"{row['low']:.4f}–{row['high']:.4f}", f"{row['scored']:,}", f"{row['milliseconds']:.3f}",
                    f"{row['p95_milliseconds']:.3f}",
                )
                for row in report["sweep"]
            ],
            right=columns[2:],
        )  # fmt: skip
        verdict = f"meets {report['target']:g}" if report["met"] else f"does not meet {report['target']:g}"
        typer.echo(f"{report['queries']} queries, one half held out: recall {report['held_out']:.4f} there; {verdict}")
    if report["locked"]:
        typer.echo("locked: `indexctl build` publishes this point")
    elif report["set"]:
        typer.echo("set: `indexctl build` tunes with it")
