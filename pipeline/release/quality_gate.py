"""The gate: which quality a version must have to be published, unless somebody allows it all the same.

Three findings. `quality_not_regressed` compares with the published version, over the queries that both were asked, and refuses
where the whole, a half or a label fell for certain by more than the tolerance. `recall_bound` and `coverage_bound` hold a
version to what its own settings ask for, whatever was published before. `--allow-regression` publishes and records what these
found; invariants (`checks`) cannot be allowed away.

Belongs here: what is good enough, and the words of a refusal. Not here: comparing (`pipeline.evaluation.comparison`), refusing
(`publication`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config import QualitySettings
from pipeline.errors import CodeIntelError
from pipeline.evaluation.changes import Change, changed_settings, changes
from pipeline.evaluation.comparison import LEAST_SHARED, Comparison, Difference, compare_metrics
from pipeline.evaluation.coverage_reading import at_best
from pipeline.evaluation.document import read_coverage, read_metrics
from pipeline.release.findings import Finding, Roots, finding
from pipeline.schemas import Coverage, EvalMetrics
from pipeline.store.layout import Repository
from pipeline.store.objects import check_file
from pipeline.store.versions import ManifestDocument, current_name, read_manifest

_MOST_QUERIES, _MOST_CHANGES = 3, 6
"""That many are named in a refusal."""
_NOT_TELLING = ("count", "commit", "code")
"""Changes that are named in a refusal only where there are no others: every edit has them."""


@dataclass(frozen=True, slots=True)
class Standard:
    """The version that is published, which a new one is compared with. `problem`: why it cannot be."""

    name: str | None
    folder: Path
    manifest: ManifestDocument | None
    problem: str = ""


def standard_of(repository: Repository) -> Standard:
    """The published version, as far as it can be a standard. Never raises for one that is damaged or gone."""
    name = None
    try:
        name = current_name(repository)
        if name is None:
            return Standard(None, repository.versions, None, "nothing is published yet")
        folder = repository.versions / name
        manifest = read_manifest(folder)
        evaluated = manifest.artefacts.get(EvalMetrics.asset)
        if evaluated is None:
            return Standard(name, folder, manifest, f"the published version {name} was not evaluated")
        for stored in evaluated.files:
            if problem := check_file(folder, stored):
                return Standard(name, folder, manifest, f"the evaluation of the published version {name} is damaged: {problem}")
    except CodeIntelError as error:
        return Standard(name, repository.versions, None, f"the published version cannot be read: {error.message}")
    return Standard(name, folder, manifest)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is judged: evaluations by asset, the bounds, the version that it would take the place of, and what changed."""

    roots: Roots
    settings: QualitySettings
    standard: Standard
    changed: tuple[Change, ...] = ()


def quality_not_regressed(candidate: Candidate) -> Finding:
    """On the queries shared with the published version, nDCG did not fall for certain by more than the tolerance."""
    standard = candidate.standard
    if standard.problem:
        return finding([], compared=f"with nothing: {standard.problem}")
    compared = compare_metrics(standard.folder, candidate.roots[EvalMetrics.asset], candidate.changed)
    facts: dict[str, Any] = {"published": standard.name, "shared": compared.shared}
    if compared.incomparable or compared.overall is None:
        return finding([], compared=f"with nothing: {compared.incomparable}", **facts)
    if compared.shared < LEAST_SHARED:
        few = f"only {compared.shared} queries are shared, and fewer than {LEAST_SHARED} tell nothing"
        return finding([], compared=f"with nothing: {few}", **facts)
    overall = compared.overall.ndcg
    facts |= {
        "compared": f"with {standard.name}", "difference": overall.mean, "low": overall.low, "high": overall.high,
        "worse": len(compared.worse), "better": len(compared.better),
    }  # fmt: skip
    fallen = list(_fallen(compared, candidate.settings.quality_tolerance))
    if not fallen:
        return finding([], **facts)
    problem = f"compared with {standard.name}, {'; '.join(fallen)}. {_worse(compared)}. {_what_changed(compared.changed)}"
    return finding([problem], **facts)


def _fallen(compared: Comparison, tolerance: float) -> Iterator[str]:
    """The whole, and the halves and labels with enough queries, that fell beyond the tolerance.

    The ends for halves and labels lie further out: a dozen groups, each asked at 95 %, would refuse harmless builds.
    """
    groups: dict[str, tuple[Difference, float, float]] = {}
    if compared.overall is not None:
        groups["all queries"] = (compared.overall, compared.overall.ndcg.low, compared.overall.ndcg.high)
    for name, one in {**compared.by_half, **compared.by_label}.items():
        groups[f"`{name}` queries"] = (one, one.wide.low, one.wide.high)
    for name, (one, low, high) in groups.items():
        if high < -tolerance:
            yield (
                f"nDCG@{compared.k} of {one.queries} {name} fell from {one.before:.3f} to {one.after:.3f} "
                f"({one.ndcg.mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}; {tolerance:g} is tolerated)"
            )


def _worse(compared: Comparison) -> str:
    shown = "; ".join(str(one) for one in compared.worse[:_MOST_QUERIES])
    more = len(compared.worse) - _MOST_QUERIES
    return f"{len(compared.worse)} queries got worse: {shown}{f'; and {more} more' if more > 0 else ''}"


def _what_changed(changed: tuple[Change, ...]) -> str:
    if not changed:
        return "Settings, embedder, index and tools are the same"
    telling = [one for one in changed if one.what not in _NOT_TELLING] or list(changed)
    more = len(telling) - _MOST_CHANGES
    shown = "; ".join(str(one) for one in telling[:_MOST_CHANGES])
    return f"What changed: {shown}{f'; and {more} more' if more > 0 else ''}"


def recall_bound(candidate: Candidate) -> Finding:
    """The operating point finds the share of the nearest of all vectors that `recall_bound` asks for."""
    nearest, bound = read_metrics(candidate.roots[EvalMetrics.asset]).nearest, candidate.settings.recall_bound
    if nearest is None or not nearest.queries:
        return finding([], bound=bound, measured="nothing: the version was not evaluated")
    recall = nearest.recall
    problems = []
    if recall.high < bound:
        point = " ".join(filter(None, [nearest.parameters, f"k-factor {nearest.k_factor:g}"]))
        problems.append(
            f"at {point}, {nearest.queries} queries find {recall.mean:.3f} of their nearest vectors ({recall.low:.3f}–"
            f"{recall.high:.3f}), and {bound:g} is asked for (`recall_bound`): take a higher operating point "
            f"(`default_nprobe`, `hnsw_efSearch`, `refine_k_factor`, `indexctl tune`) or another `faiss_family`"
        )
    return finding(problems, bound=bound, recall=recall.mean, low=recall.low, high=recall.high)


def coverage_bound(candidate: Candidate) -> Finding:
    """Definitions lie inside of chunks that are in every index, and are found, as much as the settings ask for."""
    covered, settings = read_coverage(candidate.roots[Coverage.asset]), candidate.settings
    inside, found = covered.definitions, covered.found
    problems = []
    if inside.part < settings.coverage_bound * inside.whole:
        problems.append(
            f"{inside.part} of {inside.whole} definitions lie inside of chunks that are in every index, and "
            f"{settings.coverage_bound:g} of them are asked for (`coverage_bound`){_reasons(covered.missed)}"
        )
    if found.whole and at_best(found.part, found.whole) < settings.found_bound:
        problems.append(
            f"{found.part} of {found.whole} definitions asked for are found among the first {covered.k}, and "
            f"{settings.found_bound:g} of them are wanted (`found_bound`){_reasons(covered.missed)}"
        )
    facts = {"definitions": inside.whole, "inside": inside.part, "asked": found.whole, "found": found.part}
    return finding(problems, coverage_bound=settings.coverage_bound, found_bound=settings.found_bound, **facts)


def _reasons(missed: Mapping[str, int]) -> str:
    most = sorted(missed.items(), key=lambda item: (-item[1], item[0]))[:_MOST_QUERIES]
    return f"; missed for: {', '.join(f'{reason} ({count})' for reason, count in most)}" if most else ""


@dataclass(frozen=True, slots=True)
class Gate:
    """A check of the gate, and the asset that it is about."""

    name: str
    asset: str
    description: str
    function: Callable[[Candidate], Finding]

    def run(self, candidate: Candidate) -> Finding:
        """The finding; an artefact that cannot be read is a problem, not an exception."""
        try:
            return self.function(candidate)
        except Exception as error:  # As for invariants: what is underneath has its own ways to fail on bad content.
            return Finding((f"{str(error) or type(error).__name__}",))


GATES: tuple[Gate, ...] = tuple(
    Gate(function.__name__, asset, inspect.getdoc(function) or "", function)
    for function, asset in (
        (quality_not_regressed, EvalMetrics.asset),
        (recall_bound, EvalMetrics.asset),
        (coverage_bound, Coverage.asset),
    )
)
BOUNDS = tuple(gate for gate in GATES if gate.function is not quality_not_regressed)
"""Those that look at no other version."""
_ALONE = Standard(None, Path(), None, "it is looked at alone")


def quality_settings(recorded: Mapping[str, Any]) -> QualitySettings:
    """The bounds among recorded settings; the defaults where a version knows none."""
    known = [one.name for one in msgspec.structs.fields(QualitySettings)]
    return msgspec.convert({name: recorded[name] for name in known if name in recorded}, type=QualitySettings)


def judge(repository: Repository, document: ManifestDocument, folder: Path) -> dict[str, Finding]:
    """What the gate says, by check, of a version in `folder` that would take the place of the published one."""
    standard = standard_of(repository)
    changed = changes(standard.manifest, document) if standard.manifest is not None else ()
    candidate = Candidate(_roots(folder), quality_settings(document.settings), standard, changed)
    return {gate.name: gate.run(candidate) for gate in GATES}


def judge_alone(document: ManifestDocument, folder: Path) -> dict[str, Finding]:
    """Whether a version keeps the bounds of its own settings."""
    candidate = Candidate(_roots(folder), quality_settings(document.settings), _ALONE)
    return {gate.name: gate.run(candidate) for gate in BOUNDS}


def before_manifest(repository: Repository, roots: Roots, recorded: Mapping[str, Any]) -> Candidate:
    """Artefacts that were just made, before there is a manifest. Of what changed, only the settings are known yet."""
    standard = standard_of(repository)
    changed = changed_settings(standard.manifest.settings, recorded) if standard.manifest is not None else ()
    return Candidate(roots, quality_settings(recorded), standard, changed)


def _roots(folder: Path) -> Roots:
    return {gate.asset: folder for gate in GATES}
