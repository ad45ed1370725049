"""Verification of a whole version: the manifest against the files, every check, and that the index answers.

Belongs here: which checks make a version good, and in which order. Not here: the checks (`checks`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.catalog.views import connect, count_files
from pipeline.errors import CodeIntelError
from pipeline.release.checks import CHECKS, VERSION_CHECKS
from pipeline.release.findings import Finding, Subject
from pipeline.release.quality_gate import BOUNDS, judge_alone
from pipeline.store import readings
from pipeline.store.objects import check_files
from pipeline.store.versions import BUILD, MANIFEST, ManifestDocument, read_manifest

if TYPE_CHECKING:
    import duckdb

_COUNTED = "rows in DuckDB"

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

    `reread` digests every file even when that was done before. Without `recheck`, what is known of the same bytes by their
    digests counts (`store.readings`). Never raises for a damaged version.
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
        subject = subject_of(folder, manifest, recheck=recheck)
        for check in (*CHECKS, *VERSION_CHECKS):
            started = time.perf_counter()
            finding = findings[check.name] = check.run(subject)
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
        findings["catalog_answers"] = _catalog(subject, folder, manifest)
        seconds["catalog_answers"] = time.perf_counter() - started
        problems.extend(Problem("catalog", problem) for problem in findings["catalog_answers"].problems)
    checked = len(manifest.all_files()) + len(findings)
    return Verification(manifest.version, findings, tuple(problems), checked, seconds, tuple(warnings))


def subject_of(folder: Path, manifest: ManifestDocument, *, recheck: bool) -> Subject:
    """A version as its checks see it; with `recheck` nothing is known of it beforehand."""
    digests = {
        asset: {stored.path: stored.digest for stored in artefact.files} for asset, artefact in manifest.artefacts.items()
    }
    return Subject(dict.fromkeys(manifest.artefacts, folder), None if recheck else digests)


def _digests(folder: Path, manifest: ManifestDocument, *, reread: bool) -> tuple[Finding, list[Problem]]:
    owner = {stored.path: asset for asset, artefact in manifest.artefacts.items() for stored in artefact.files}
    listed = manifest.all_files()
    wrong, extra = check_files(folder, listed, beside=(MANIFEST, BUILD), reread=reread)
    problems = [Problem(owner[stored.path], problem) for stored, problem in wrong]
    problems.extend(Problem("manifest", f"{path} is not in the manifest") for path in extra)
    return Finding(tuple(problem.problem for problem in problems), {"files": len(listed)}), problems


def _catalog(subject: Subject, folder: Path, manifest: ManifestDocument) -> Finding:
    """DuckDB opens the views and counts what the manifest says; files that it counted before are not counted again."""
    problems = []
    root = folder.resolve()
    try:
        connection = connect(folder, memory_limit="512MB", threads=2)
        try:
            for asset, artefact in manifest.artefacts.items():
                for table, expected in artefact.rows.items():
                    found = _counted(connection, subject, root, (asset, table), [stored.path for stored in artefact.files])
                    if found != expected:
                        problems.append(f"{table} has {found} rows in DuckDB, {expected} in the manifest")
        finally:
            connection.close()
    except Exception as error:
        problems.append(f"DuckDB cannot open the version: {error}")
    return Finding(tuple(problems), {"tables": sum(len(artefact.rows) for artefact in manifest.artefacts.values())})


def _counted(
    connection: duckdb.DuckDBPyConnection, subject: Subject, root: Path, what: tuple[str, str], paths: Sequence[str]
) -> int | None:
    """How many rows DuckDB counts in the view of an asset's table: in its files where some are known, else in the view."""
    asset, table = what
    parts = [path for path in paths if path.startswith(f"{table}/") and path.endswith(".parquet")]
    keys = [readings.key_of(_COUNTED, digests) for path in parts if (digests := subject.digests_of((asset, path)))]
    known = [readings.known(key) for key in keys]
    if parts and any(count is not None for count in known):
        fresh = [place for place, count in enumerate(known) if count is None]
        for place, count in zip(fresh, count_files(connection, [root / parts[place] for place in fresh]), strict=True):
            known[place] = count
            readings.note(keys[place], count)
        return int(sum(known))
    row = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608 - our own names
    if row is not None and keys:
        # What the view counts is what its files hold, if they hold it one by one.
        counts = count_files(connection, [root / path for path in parts])
        if sum(counts) == row[0]:
            for key, count in zip(keys, counts, strict=True):
                readings.note(key, count)
    return int(row[0]) if row is not None else None
