"""From a store to a report: what it is about, what it is compared with, and where it is kept.

A report has times and history, and so is no artefact: it lies beside the versions in `reports`, and can be made again.

Belongs here: finding what a report is about. Not here: what it says (`pipeline.evaluation.report`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.config import Settings
from pipeline.errors import CodeIntelError
from pipeline.evaluation.changes import changed_settings, changes
from pipeline.evaluation.comparison import Comparison, compare_metrics
from pipeline.evaluation.history import history
from pipeline.evaluation.report.subject import Checked, Evaluated
from pipeline.release.checks import CHECKS
from pipeline.release.findings import Roots, Subject
from pipeline.release.manifest import tool_versions
from pipeline.release.quality_gate import GATES, Candidate, Standard, before_manifest, quality_settings
from pipeline.schemas import Chunks, Coverage, Embeddings, EvalMetrics, FaissIndex, Snapshot, Tuning
from pipeline.stage import Artefact
from pipeline.store.layout import Repository
from pipeline.store.observed import recall
from pipeline.store.versions import (
    ManifestDocument,
    Version,
    allowed_of,
    open_version,
    read_build_facts,
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


@dataclass(frozen=True, slots=True)
class Building:
    """A version that is being built, before there is a manifest."""

    artefacts: Mapping[str, Artefact[Any]]
    """By asset, those of `ASSETS`."""
    recorded: Mapping[str, Any]
    tools: Mapping[str, str]
    commit: str | None
    dirty: bool

    @property
    def key(self) -> str:
        """Of the evaluation."""
        return self.artefacts[EvalMetrics.asset].key

    @property
    def roots(self) -> Roots:
        """Asset -> folder of the object."""
        return {asset: artefact.path for asset, artefact in self.artefacts.items()}

    def is_of(self, manifest: ManifestDocument) -> bool:
        """Whether a version is made of the very same."""
        known = {asset: artefact.key for asset, artefact in manifest.artefacts.items()}
        same = all(known.get(asset) == artefact.key for asset, artefact in self.artefacts.items())
        identity = (manifest.commit, manifest.dirty) == (self.commit, self.dirty)
        return same and identity and not changed_settings(manifest.settings, self.recorded)


def building_of(made: Mapping[str, Artefact[Any]], settings: Settings, commit: str | None, *, dirty: bool) -> Building:
    """What is being built of these artefacts (by asset, others may be among them)."""
    artefacts = {asset: made[asset] for asset in ASSETS}
    return Building(artefacts, settings.recorded(), tool_versions(), commit, dirty)


def of_building(repository: Repository, building: Building) -> Evaluated:
    """A version that is being built beside the published one; where it is the published one, beside its parent."""
    roots = building.roots
    candidate = before_manifest(repository, roots, building.recorded)
    standard = candidate.standard
    if standard.manifest is not None and building.is_of(standard.manifest):
        return _published(repository, standard.manifest, roots)
    compared = None
    if standard.problem and standard.name is not None:
        compared = Comparison(incomparable=standard.problem, changed=candidate.changed)
    elif standard.name is not None:
        compared = compare_metrics(standard.folder, roots[EvalMetrics.asset], candidate.changed)
    checks = [Checked(name=gate.name, problems=gate.run(candidate).problems) for gate in GATES]
    return Evaluated(
        repository=repository.name, roots=roots, settings=building.recorded, tools=building.tools, commit=building.commit,
        dirty=building.dirty, measured=_seen(repository, building.key), history=history(repository), before=standard.name,
        comparison=compared, checks=[*checks, *_invariants(roots)],
    )  # fmt: skip


def of_version(version: Version) -> Evaluated:
    """A version in the store beside its parent. It has to stay open until it has been read.

    Raises what `Version.ensure` does.
    """
    return _published(version.repository, version.manifest, dict.fromkeys(ASSETS, version.ensure(*ASSETS)))


def _published(repository: Repository, manifest: ManifestDocument, roots: Roots) -> Evaluated:
    """A version that is in the store, read from wherever its artefacts lie."""
    facts = read_build_facts(repository.versions / manifest.version)
    allowed = allowed_of(facts)
    alone = Candidate(roots, quality_settings(manifest.settings), Standard(None, repository.versions, None, "it is published"))
    found = {gate.name: list(gate.run(alone).problems) or list(allowed.get(gate.name, ())) for gate in GATES}
    before, compared = _beside_parent(repository, manifest, roots[EvalMetrics.asset])
    return Evaluated(
        repository=repository.name, roots=roots, settings=manifest.settings, tools=manifest.tools, commit=manifest.commit,
        dirty=manifest.dirty, version=manifest.version, published_at=facts.get("published_at"),
        measured=_kept(repository, manifest, facts), history=history(repository), before=before, comparison=compared,
        checks=[*(Checked(name=name, problems=problems) for name, problems in found.items()), *_invariants(roots)],
    )  # fmt: skip


def _beside_parent(repository: Repository, manifest: ManifestDocument, measured: Path) -> tuple[str | None, Comparison | None]:
    """The parent's name and how the version compares with it; where it is gone, that."""
    if manifest.parent is None:
        return None, None
    try:
        with open_version(repository, manifest.parent) as parent:
            folder = parent.ensure(EvalMetrics.asset)
            return parent.name, compare_metrics(folder, measured, changes(parent.manifest, manifest))
    except CodeIntelError as error:
        return manifest.parent, Comparison(incomparable=error.message)


def _invariants(roots: Roots) -> list[Checked]:
    """Checks of the evaluation and the tuning that need nothing else."""
    return [
        Checked(name=check.name, problems=check.run(Subject(roots)).problems, blocking=check.blocking)
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
