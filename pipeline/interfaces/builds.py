"""Carrying out a planned build: a switch to what is there, a small build in this process, or a run of the graph.

Belongs here: which of the three, and what the store and Dagster are told. Not here: arguments and printing (`commands_build`),
running the graph (`run`).
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.building import Built
    from pipeline.errors import CodeIntelError
    from pipeline.interfaces.output import Steps
    from pipeline.planning import Plan
    from pipeline.store.layout import Repository, Store
    from pipeline.store.settling import Settled

_WORKERS_IMPORT = (
    "pipeline.structure.stage", "pipeline.structure.scip.part_jobs", "pipeline.structure.modules.part", "pipeline.chunks.stage",
    "pipeline.chunks.symbols_stage", "pipeline.embed.stage", "pipeline.index.lexical_stage",
)  # fmt: skip


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


def carry_out(store: Store, decided: Plan, run: Run, *, steps: Steps) -> tuple[Plan, Outcome]:
    """Make what is planned the published version; returns the plan that it came to, and what was done. Raises what prevents a
    build from starting; what ended it is in the outcome."""
    damage = _damage(decided.repository) if decided.published else None
    if decided.published and damage is None:
        _remember_origin(decided)
        return decided, Outcome(reused=[*decided.keys, "current"])
    return _build(store, decided, run, steps=steps, damage=damage)


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
