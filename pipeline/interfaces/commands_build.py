"""`indexctl plan` and `indexctl build`.

Belongs here: what these commands decide and print. Not here: planning (`pipeline.planning`), running (`run`).
"""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import BuildRevision, Data, Json, Repo

if TYPE_CHECKING:
    from pipeline.building import Built
    from pipeline.errors import CodeIntelError
    from pipeline.interfaces.output import Steps
    from pipeline.planning import Plan
    from pipeline.store.layout import Repository, Store
    from pipeline.store.settling import Settled

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


@dataclass(frozen=True, slots=True)
class Run:
    """How the graph is run."""

    ephemeral: bool
    allow_regression: bool
    full: bool
    graph: bool = False
    afresh: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a build did: assets that it built and reused, and the error that ended it."""

    built: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    error: CodeIntelError | None = None


_WORKERS_IMPORT = (
    "pipeline.structure.stage", "pipeline.structure.scip.part_jobs", "pipeline.structure.modules.part", "pipeline.chunks.stage",
    "pipeline.chunks.symbols_stage", "pipeline.embed.stage", "pipeline.index.lexical_stage",
)  # fmt: skip


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
    damage = _damage(repository) if decided.published else None
    if decided.published and damage is None:
        _remember_origin(decided)
        outcome = Outcome(reused=[*decided.keys, "current"])
    else:
        decided, outcome = _build(store, decided, run, steps=steps, damage=damage)
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


def _damage(repository: Repository) -> str | None:
    """What is wrong with the published version, as far as sizes and times of its files show it; digests only what changed."""
    from pipeline.errors import CodeIntelError
    from pipeline.store.versions import open_version

    try:
        with open_version(repository) as version:
            version.ensure(*version.manifest.artefacts)
    except CodeIntelError as error:
        return error.message
    return None


def _remember_origin(decided: Plan) -> None:
    """Register the repository; one that moved, or another revision, is where the nightly build looks next."""
    from pipeline.errors import CodeIntelError
    from pipeline.store.layout import not_writable, read_origin, write_origin

    try:
        if read_origin(decided.repository) == decided.origin:
            return
    except CodeIntelError:
        pass
    try:
        write_origin(decided.repository, decided.origin)
    except OSError as error:
        raise not_writable(decided.repository.path, error) from error


def _build(store: Store, decided: Plan, run: Run, *, steps: Steps, damage: str | None) -> tuple[Plan, Outcome]:
    """Switch to the planned version where it exists, else build. `damage` is what is wrong with the published one."""
    from pipeline import planning
    from pipeline.store.locks import builder
    from pipeline.store.versions import current_or_none

    repository: Repository = decided.repository
    with builder(repository):
        if current_or_none(repository) != decided.current:
            decided = planning.plan(
                store, repository, decided.origin, decided.settings, building=True, full=run.full, afresh=run.afresh
            )
        _remember_origin(decided)
        if damage is not None:
            steps.note(f"{damage} Building it again.")
        elif decided.known and _switched(decided, steps):
            return decided, Outcome(built=["current"], reused=list(decided.keys))
        from pipeline.embed.stage import prepare
        from pipeline.workers import crew, start_crew, worker_count

        with crew(worker_count()):
            if decided.current is not None and not (run.full or run.graph):
                return decided, _build_here(store, decided, run, steps)
            # They start while this process imports Dagster.
            ready = functools.partial(prepare, decided.settings.embed)
            start_crew(_WORKERS_IMPORT, ready, work_bytes=_work(decided) if decided.missing else 0)
            return decided, _run_graph(store, decided, run, steps)


def _work(decided: Plan) -> int:
    """Bytes that are indexed."""
    scan = decided.scan
    return sum(size or 0 for size, status in zip(scan.size, scan.status, strict=True) if status == "indexed")


def _build_here(store: Store, decided: Plan, run: Run, steps: Steps) -> Outcome:
    """Build on what is published, in this process."""
    from pipeline.building import build_here
    from pipeline.errors import CodeIntelError
    from pipeline.interfaces.run import note_of
    from pipeline.workers import Runtime, worker_count

    outcome = Outcome()

    def progress(stage: str, settled: Settled | None) -> None:
        if settled is None:
            steps.started(stage)
            return
        for asset, artefact in settled.artefacts.items():
            (outcome.reused if artefact.reused else outcome.built).append(asset)
            steps.done(asset, note=note_of(artefact, settled.seconds))

    try:
        runtime = Runtime(workers=worker_count(), shared=store.shared)
        built = build_here(store, decided, runtime=runtime, progress=progress, allow_regression=run.allow_regression)
    except CodeIntelError as error:
        steps.failed("build")
        return Outcome(outcome.built, outcome.reused, error)
    steps.done("current", note=built.publication.version)
    outcome.built.append("current")
    if not run.ephemeral:
        _leave_for_dagster(store, decided, built)
    return outcome


def _leave_for_dagster(store: Store, decided: Plan, built: Built) -> None:
    """Have the build reported to the Dagster instance of the store by a process that outlives this one."""
    from pipeline.interfaces.run import start_reporting
    from pipeline.store import unreported

    done = built.publication
    checked = {} if done.verification is None else done.verification.findings
    report = unreported.Unreported(
        format=unreported.FORMAT, version=done.version, previous=done.previous, flipped=done.flipped,
        keys={asset: artefact.key for asset, artefact in built.artefacts.items()},
        reused=[asset for asset, artefact in built.artefacts.items() if artefact.reused],
        started=time.time() - built.took, ended=time.time(),
        seconds={asset: built.seconds_of(asset) for asset in built.artefacts},
        findings={name: unreported.Checked(list(found.problems), dict(found.facts)) for name, found in checked.items()},
        allowed={name: list(problems) for name, problems in done.allowed.items()},
    )  # fmt: skip
    unreported.write(decided.repository, report)
    start_reporting(store)


def _run_graph(store: Store, decided: Plan, run: Run, steps: Steps) -> Outcome:
    """Materialise the graph, which records the run."""
    from pipeline import planning
    from pipeline.errors import InvariantViolationError
    from pipeline.interfaces.run import run_build
    from pipeline.store.versions import current_or_none

    names = {"started": steps.started, "failed": steps.failed}
    planning.hand_over(decided.repository, decided.scan)
    result = run_build(
        store,
        decided.repository.name,
        ephemeral=run.ephemeral,
        allow_regression=run.allow_regression,
        progress=lambda what, name, note: steps.done(name, note=note) if what == "done" else names[what](name),
    )
    error = result.error
    if error is None and current_or_none(decided.repository) is None:
        error = InvariantViolationError("The run ended without publishing a version.", hint="See the run in `indexctl ui`.")
    return Outcome(result.built, result.reused, error)


def _switched(decided: Plan, steps: Steps) -> bool:
    """Make the planned version, which exists, current. False when it is damaged; building again puts it aside."""
    from pipeline.errors import IndexCorruptionError, IndexFormatError, InvariantViolationError
    from pipeline.release.switching import switch

    try:
        switch(decided.repository, decided.version, reason="build")
    except (InvariantViolationError, IndexCorruptionError, IndexFormatError):
        steps.note(f"{decided.version} exists but is damaged: building it again")
        return False
    return True


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
