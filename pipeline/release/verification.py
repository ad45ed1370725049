"""Verification of a whole version: the manifest against the files, every check, and that the index answers.

Belongs here: which checks make a version good, and in which order. Not here: the checks (`checks`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import files
from pipeline.catalog.views import connect
from pipeline.errors import CodeIntelError
from pipeline.release.checks import CHECKS, VERSION_CHECKS
from pipeline.release.findings import Finding
from pipeline.release.quality_gate import BOUNDS, judge_alone
from pipeline.store.objects import check_file
from pipeline.store.versions import BUILD, MANIFEST, ManifestDocument, read_manifest

VERSION_FINDINGS: Mapping[str, str] = {
    "digests_match": "Every file has the size and digest that the manifest says, and there is no other file.",
    **{check.name: check.description for check in VERSION_CHECKS},
    "catalog_answers": "DuckDB opens the views and counts what the manifest says.",
}
"""Name -> description of what `verify_folder` finds out about a version as a whole."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with which artefact."""

    artefact: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome: `findings` by check, `problems` in the order found, `checked` counts files and checks.

    `warnings` are what checks found that do not block."""

    version: str
    findings: Mapping[str, Finding]
    problems: tuple[Problem, ...]
    checked: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the version may be trusted."""
        return not self.problems


def verify_folder(folder: Path, *, reread: bool = True, recheck: bool = True) -> Verification:
    """Verify a complete version in `folder` (published, or about to be).

    `reread` digests every file even when this process did so before. Without `recheck`, what this process found out about the
    same bytes (by their digests) counts. Never raises for a damaged version.
    """
    try:
        manifest = read_manifest(folder)
    except CodeIntelError as error:
        return Verification(folder.name, {}, (Problem("manifest", error.message),), 1)
    findings: dict[str, Finding] = {}
    seconds: dict[str, float] = {}
    problems: list[Problem] = []
    warnings: list[Problem] = []

    started = time.perf_counter()
    findings["digests_match"], wrong = _digests(folder, manifest, reread=reread)
    seconds["digests_match"] = time.perf_counter() - started
    problems.extend(wrong)
    # Damaged bytes are never parsed: what a check would say about them means nothing.
    if not wrong:
        roots = dict.fromkeys(manifest.artefacts, folder)
        digests = None if recheck else {asset: artefact.digest for asset, artefact in manifest.artefacts.items()}
        for check in (*CHECKS, *VERSION_CHECKS):
            started = time.perf_counter()
            finding = findings[check.name] = check.run(roots, digests)
            seconds[check.name] = time.perf_counter() - started
            found = problems if check.blocking else warnings
            found.extend(Problem(check.asset, f"{check.name}: {problem}") for problem in finding.problems)
        started = time.perf_counter()
        # Whether that is good enough was decided when it was published.
        judged = judge_alone(manifest, folder)
        seconds["quality"] = time.perf_counter() - started
        for bound in BOUNDS:
            findings[bound.name] = judged[bound.name]
            warnings.extend(Problem(bound.asset, f"{bound.name}: {problem}") for problem in judged[bound.name].problems)
        started = time.perf_counter()
        findings["catalog_answers"] = _catalog(folder, manifest)
        seconds["catalog_answers"] = time.perf_counter() - started
        problems.extend(Problem("catalog", problem) for problem in findings["catalog_answers"].problems)
    checked = len(manifest.all_files()) + len(findings)
    return Verification(manifest.version, findings, tuple(problems), checked, seconds, tuple(warnings))


def _digests(folder: Path, manifest: ManifestDocument, *, reread: bool) -> tuple[Finding, list[Problem]]:
    problems = [
        Problem(asset, problem)
        for asset, artefact in manifest.artefacts.items()
        for stored in artefact.files
        if (problem := check_file(folder, stored, reread=reread))
    ]
    listed = {stored.path for stored in manifest.all_files()} | {MANIFEST, BUILD}
    extra = files.tree_names(folder)
    problems.extend(Problem("manifest", f"{path} is not in the manifest") for path in extra if path not in listed)
    return Finding(tuple(problem.problem for problem in problems), {"files": len(listed)}), problems


def _catalog(folder: Path, manifest: ManifestDocument) -> Finding:
    """DuckDB opens the views and counts what the manifest says."""
    problems = []
    try:
        connection = connect(folder, memory_limit="512MB", threads=2)
        try:
            for asset in manifest.artefacts.values():
                for table, expected in asset.rows.items():
                    row = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608 - our own names
                    if row is None or row[0] != expected:
                        problems.append(f"{table} has {row[0] if row else 'no'} rows in DuckDB, {expected} in the manifest")
        finally:
            connection.close()
    except Exception as error:
        problems.append(f"DuckDB cannot open the version: {error}")
    return Finding(tuple(problems))
