"""`indexctl plan` and `indexctl build`.

Belongs here: what these commands decide and print. Not here: planning (`pipeline.planning`), building (`builds`).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.builds import Outcome, Run, carry_out
from pipeline.interfaces.options import BuildRevision, Data, Json, Repo

if TYPE_CHECKING:
    from pipeline.interfaces.output import Steps
    from pipeline.planning import Plan
    from pipeline.store.layout import Repository, Store

Target = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="The repository: a git work tree, a bare repository, any folder, or the name of a registered one."
    ),
]
NoScip = Annotated[bool, typer.Option("--no-scip", help="Run no SCIP indexer: symbols come from syntax alone.")]
Scip = Annotated[
    list[str] | None,
    typer.Option("--scip", metavar="[LANG=]FILE", help="A SCIP index built elsewhere (protobuf or JSON); repeatable."),
]
Ephemeral = Annotated[bool, typer.Option("--ephemeral", help="Do not record the run in the store's Dagster instance.")]
AllowRegression = Annotated[
    bool, typer.Option("--allow-regression", help="Publish also what the gate on quality refuses, and record what it found.")
]
Graph = Annotated[
    bool, typer.Option("--graph", help="Run the Dagster graph and record the run, also where a small build would do without.")
]
Full = Annotated[bool, typer.Option("--full", help="Build on nothing that was built before: train, split and evaluate anew.")]
RefreshScip = Annotated[bool, typer.Option("--refresh-scip", help="Run the indexers of symbols again.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("plan")(plan)
    app.command("build")(build)


def plan(
    path: Target = Path(), rev: BuildRevision = None, repo: Repo = None, data: Data = None, json: Json = False,
    files: Annotated[bool, typer.Option("--files", help="List every skipped file with its reason.")] = False,
) -> None:  # fmt: skip
    """Show what a build would index or skip and why, and what is stale. Writes nothing."""
    import tempfile

    from pipeline import planning
    from pipeline.errors import NotFoundError
    from pipeline.interfaces.targets import target_of
    from pipeline.store.layout import Store, open_store
    from pipeline.store.place import data_folder

    path, rev, repo = target_of(data_folder(data), path, rev, repo, fetch=False)
    try:
        store = open_store(data_folder(data))
        decided = _plan(store, path, rev, repo)
    except NotFoundError as error:
        if data_folder(data).joinpath("store.json").exists():
            raise error
        with tempfile.TemporaryDirectory() as empty:
            store = Store(Path(empty))
            decided = planning.plan(store, *planning.locate(store, path, rev=rev, name=repo), skip=data_folder(data))
    _show_plan(decided, json=json, every_file=files)


def _plan(store: Store, path: Path, rev: str | None, repo: str | None) -> Plan:
    from pipeline import planning

    return planning.plan(store, *planning.locate(store, path, rev=rev, name=repo))


def _show_plan(decided: Plan, *, json: bool, every_file: bool) -> None:
    from pipeline.interfaces.output import counts, describe_counts, print_json, print_table, printable

    scan = decided.scan
    languages = Counter(str(lang) for lang, status in zip(scan.lang, scan.status, strict=True) if status == "indexed")
    reasons = Counter(reason for reason in scan.reason if reason is not None)
    skipped = [
        (uri, reason) for uri, status, reason in zip(scan.uri, scan.status, scan.reason, strict=True) if status != "indexed"
    ]
    if json:
        print_json({
            "repo": decided.repository.name, "path": decided.origin.path, "commit": scan.commit, "dirty": scan.dirty,
            "version": decided.version, "published": decided.current, "up_to_date": decided.published,
            "known": decided.known, "stale": list(decided.missing), "indexed": languages, "skipped": reasons,
            "files": [{"uri": uri, "reason": reason} for uri, reason in skipped],
        })  # fmt: skip
        return
    state = f"commit {scan.commit[:12]}{' and uncommitted changes' if scan.dirty else ''}" if scan.commit else "no commit"
    typer.echo(f"{decided.repository.name}: {printable(decided.origin.path)} ({state})")
    typer.echo(f"would index {counts(sum(languages.values()), 'file')}: {describe_counts(languages)}")
    typer.echo(f"would skip  {counts(len(skipped), 'entry', 'entries')}: {describe_counts(reasons) or 'nothing'}")
    if decided.published:
        typer.echo(f"up to date: {decided.version} is published")
    elif decided.known:
        typer.echo(f"would switch to {decided.version}, which exists")
    elif decided.missing:
        typer.echo(f"would build {', '.join(decided.missing)} and publish {decided.version}")
    else:
        typer.echo(f"would publish {decided.version}: everything is built")
    if every_file:
        print_table(["file", "reason"], [(printable(uri), reason) for uri, reason in skipped])


def build(
    path: Target = Path(), rev: BuildRevision = None, repo: Repo = None, no_scip: NoScip = False, scip: Scip = None,
    refresh_scip: RefreshScip = False, allow_regression: AllowRegression = False, full: Full = False, graph: Graph = False,
    ephemeral: Ephemeral = False, data: Data = None, json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:  # fmt: skip
    """Index a repository, verify the result and publish it."""
    from pipeline import planning
    from pipeline.interfaces.scip_options import symbols_from
    from pipeline.interfaces.targets import target_of
    from pipeline.store.place import data_folder

    started = time.perf_counter()
    path, rev, repo = target_of(data_folder(data), path, rev, repo, fetch=True)
    # First, so that a slip of the pen leaves no empty store behind.
    planning.folder_at(path)
    with symbols_from(no_scip, scip or [], refresh=refresh_scip) as afresh:
        run = Run(ephemeral, allow_regression=allow_regression, full=full, graph=graph, afresh=afresh)
        build_and_report(path, rev, repo, data, run=run, json=json, quiet=quiet, started=started)


def build_and_report(
    path: Path,
    rev: str | None,
    repo: str | None,
    data: Path | None,
    *,
    run: Run,
    json: bool,
    quiet: bool,
    started: float,
) -> None:
    """Build what a path names, publish it, and print what came of it. Raises what ended it."""
    from pipeline import planning
    from pipeline.interfaces.output import Steps, print_json
    from pipeline.store.layout import create_store
    from pipeline.store.place import data_folder
    from pipeline.store.versions import current_or_none

    store = create_store(data_folder(data))
    steps = Steps(quiet=quiet or json)
    repository, origin = planning.locate(store, path, rev=rev, name=repo)
    decided = planning.plan(store, repository, origin, building=True, full=run.full, afresh=run.afresh)
    _tell_start(store, decided)
    decided, outcome = carry_out(store, decided, run, steps=steps)
    problems = [outcome.error.message] if outcome.error else [*_allowed(repository, outcome, steps), *_follow(decided, steps)]
    report = {
        "repo": repository.name, "version": current_or_none(repository), "commit": decided.scan.commit,
        "published": outcome.error is None, "built": outcome.built, "reused": outcome.reused,
        "seconds": round(time.perf_counter() - started, 3),
        "problems": [{"problem": problem} for problem in problems],
    }  # fmt: skip
    if outcome.error is None and {*outcome.built} - {"current"}:
        _tell_losses(repository, steps)
    if json:
        print_json(report)
    elif outcome.error is None:
        _say_what_was_done(report, repository)
    if outcome.error is not None:
        raise outcome.error


def _tell_start(store: Store, decided: Plan) -> None:
    """The audit line, where logs are asked for: by CODEINTEL_LOG or CODEINTEL_LOG_LEVEL."""
    if not any(name.startswith("CODEINTEL_LOG") for name in os.environ):
        return
    from pipeline.interfaces.observing import logs

    logs.start_logging()
    scan = decided.scan
    logs.tell_factory(
        "builds", store.root, decided.settings, repository=decided.repository.name, version=decided.version,
        commit=scan.commit, dirty=scan.dirty, origin=decided.origin.shown, stale=list(decided.missing),
    )  # fmt: skip


def _allowed(repository: Repository, outcome: Outcome, steps: Steps) -> list[str]:
    """What the gate found of the version that is now published, and somebody allowed."""
    from pipeline.store.versions import allowed_of, current_or_none, read_build_facts

    name = current_or_none(repository)
    if name is None or not outcome.built:
        return []
    allowed = allowed_of(read_build_facts(repository.versions / name))
    notes = [f"{name} is published in spite of {check}: {' '.join(problems)}" for check, problems in allowed.items()]
    for note in notes:
        steps.note(note)
    return notes


def _follow(decided: Plan, steps: Steps) -> list[str]:
    """What follows a publication, also one that is a mere flip; returns what went wrong, which undoes nothing."""
    if not decided.settings.catalog.materialize_idmap:
        return []
    from pipeline.catalog.database import follow_publication

    problem = follow_publication(decided.repository, decided.settings)
    if problem is None:
        return []
    steps.note(problem)
    return [problem]


def _tell_losses(repository: Repository, steps: Steps) -> None:
    """What the build could not take. It is published all the same."""
    from pipeline.interfaces.losses import build_notes
    from pipeline.store.versions import open_version

    with open_version(repository) as version:
        for note in build_notes(version):
            steps.note(note)


def _say_what_was_done(report: dict[str, Any], repository: Repository) -> None:
    from pipeline.interfaces.output import counts
    from pipeline.store.versions import read_manifest

    name, version, seconds = report["repo"], report["version"], report["seconds"]
    if not report["built"]:
        typer.echo(f"{name} is up to date: {version} ({seconds:.2f} s)")
        return
    if report["built"] == ["current"]:
        typer.echo(f"switched {name} to {version}, which was built before ({seconds:.2f} s)")
        return
    counted = read_manifest(repository.versions / version).counts
    nouns = {"indexed_files": "file", "definitions": "definition", "chunks": "chunk"}
    amounts = ", ".join(counts(counted[key], noun) for key, noun in nouns.items())
    typer.echo(f"published {name} {version}: {amounts} in {seconds:.1f} s")
