"""From a store to a report: what it is about, what it is compared with, and where it is kept.

A report has times and history, and so is no artefact: it lies beside the versions in `reports`, and can be made again.

Belongs here: finding what a report is about. Not here: what it says (`pipeline.evaluation.report`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import CodeIntelError
from pipeline.evaluation.changes import changes
from pipeline.evaluation.comparison import Comparison, compare_metrics
from pipeline.evaluation.history import history
from pipeline.evaluation.report.subject import Checked, Evaluated
from pipeline.release.checks import CHECKS
from pipeline.release.findings import Roots
from pipeline.release.quality_gate import GATES, before_manifest, judge_alone
from pipeline.schemas import Chunks, Coverage, Embeddings, EvalMetrics, FaissIndex, Snapshot, Tuning
from pipeline.stage import Artefact
from pipeline.store.layout import Repository
from pipeline.store.observed import recall
from pipeline.store.versions import (
    ManifestDocument,
    Version,
    allowed_of,
    current_or_none,
    open_version,
    read_build_facts,
    read_manifest,
)

FOLDER = "reports"
ASSETS = tuple(kind.asset for kind in (Snapshot, Chunks, Embeddings, FaissIndex, Tuning, EvalMetrics, Coverage))
"""What a report is made of."""
_KEY = 16


def report_path(repository: Repository, name: str) -> Path:
    """Where the report of a version, or of an evaluation, lies."""
    return repository.path / FOLDER / f"{name}.html"


def evaluation_name(key: str) -> str:
    """What the report of an evaluation is called by the key of its `eval_metrics`: a build that was refused has one, too."""
    return f"e-{key[:_KEY]}"


def write_report(path: Path, page: str) -> None:
    """Keep it, whole or not at all."""
    files.write_file(path, page.encode())


def of_artefacts(
    repository: Repository,
    artefacts: Mapping[str, Artefact[Any]],
    recorded: Mapping[str, Any],
    *,
    tools: Mapping[str, str],
    commit: str | None,
    dirty: bool,
) -> Evaluated:
    """A version that is being built, from its artefacts by asset, beside the published one.

    Where the published one has the very same evaluation, it is that one, and is compared with its parent.
    """
    key = artefacts[EvalMetrics.asset].key
    if (published := _with_evaluation(repository, key)) is not None:
        with open_version(repository, published) as version:
            return of_version(version)
    roots = {asset: artefact.path for asset, artefact in artefacts.items()}
    candidate = before_manifest(repository, roots, recorded)
    standard = candidate.standard
    compared = None
    if standard.name is not None:
        failed = Comparison(incomparable=standard.problem, changed=candidate.changed)
        measured = roots[EvalMetrics.asset]
        compared = failed if standard.problem else compare_metrics(standard.folder, measured, candidate.changed)
    checks = [Checked(name=gate.name, problems=gate.run(candidate).problems) for gate in GATES]
    return Evaluated(
        repository=repository.name, roots=roots, settings=recorded, tools=tools, commit=commit, dirty=dirty,
        measured=_seen(repository, key),
        history=history(repository), before=standard.name, comparison=compared, checks=[*checks, *_invariants(roots)],
    )  # fmt: skip


def of_version(version: Version) -> Evaluated:
    """A version in the store beside its parent. It has to stay open until it has been read.

    Raises what `Version.ensure` does.
    """
    repository, manifest, folder = version.repository, version.manifest, version.ensure(*ASSETS)
    facts = read_build_facts(folder)
    roots = dict.fromkeys(ASSETS, folder)
    allowed = allowed_of(facts)
    found = {name: list(finding.problems) for name, finding in judge_alone(manifest, folder).items()}
    gates = [Checked(name=gate.name, problems=found.get(gate.name) or list(allowed.get(gate.name, ()))) for gate in GATES]
    before, compared = _beside_parent(repository, manifest, folder)
    return Evaluated(
        repository=repository.name, roots=roots, settings=manifest.settings, tools=manifest.tools, commit=manifest.commit,
        dirty=manifest.dirty, version=manifest.version, published_at=facts.get("published_at"),
        measured=_kept(repository, manifest, facts),
        history=history(repository), before=before, comparison=compared, checks=[*gates, *_invariants(roots)],
    )  # fmt: skip


def _with_evaluation(repository: Repository, key: str) -> str | None:
    """The published version, where its evaluation has this key."""
    name = current_or_none(repository)
    if name is None:
        return None
    try:
        manifest = read_manifest(repository.versions / name)
    except CodeIntelError:
        return None
    artefact = manifest.artefacts.get(EvalMetrics.asset)
    return name if artefact is not None and artefact.key == key else None


def _beside_parent(repository: Repository, manifest: ManifestDocument, folder: Path) -> tuple[str | None, Comparison | None]:
    """The parent's name and how the version compares with it; where it is gone, that."""
    if manifest.parent is None:
        return None, None
    try:
        with open_version(repository, manifest.parent) as parent:
            measured = parent.ensure(EvalMetrics.asset)
            return parent.name, compare_metrics(measured, folder, changes(parent.manifest, manifest))
    except CodeIntelError as error:
        return manifest.parent, Comparison(incomparable=error.message)


def _invariants(roots: Roots) -> list[Checked]:
    """Checks of the evaluation and the tuning that need nothing else."""
    return [
        Checked(name=check.name, problems=check.run(roots).problems, blocking=check.blocking)
        for check in CHECKS
        if check.asset in (EvalMetrics.asset, Coverage.asset, Tuning.asset) and not check.needs
    ]


def _seen(repository: Repository, key: str) -> Mapping[str, Any]:
    """What was seen when the object of `eval_metrics` was built, where that is known."""
    observed = recall(repository, EvalMetrics.asset, key)
    return observed.facts if observed is not None else {}


def _kept(repository: Repository, manifest: ManifestDocument, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same of a version: what its `build.json` kept, else what the store still knows."""
    kept = facts.get("evaluated")
    if isinstance(kept, dict) and "unknown" not in kept:
        return kept
    artefact = manifest.artefacts.get(EvalMetrics.asset)
    return _seen(repository, artefact.key) if artefact is not None else {}
