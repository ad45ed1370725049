"""Publication: assembling a version, verifying it, and the flip of CURRENT.

A version becomes visible only when every check holds, and when the gate lets its quality pass or somebody allows it; whoever
asks for it, this module checks again.

Belongs here: how a version comes to be. Not here: what the checks are (`verification`), returning to what exists (`switching`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import InvariantViolationError
from pipeline.release.build_facts import evaluation_facts, host_facts, vector_index_facts
from pipeline.release.findings import Finding
from pipeline.release.quality_gate import judge
from pipeline.release.switching import Publication, refusal, rollback, switch
from pipeline.release.verification import Verification, verify_folder
from pipeline.schemas import Manifest
from pipeline.stage import Artefact
from pipeline.store import digests, readings, versions
from pipeline.store.layout import Repository, not_writable
from pipeline.store.locks import Stamp, builder

__all__ = ["Publication", "publish", "rollback", "switch"]


def publish(
    repository: Repository,
    manifest: Artefact[Manifest],
    *,
    reason: str = "build",
    build: Mapping[str, Any] | None = None,
    allow_regression: bool = False,
) -> Publication:
    """Assemble the manifest's version, verify it whole, and make it current.

    `build` is added to the version's `build.json`. Raises `InvariantViolationError` with everything that does not hold; then
    CURRENT stays where it was and nothing of the refused version is left. What the gate finds is refused too, or with
    `allow_regression` recorded, in `build.json` and in the history. A version that is there already was let pass when it came.
    """
    document = versions.read_manifest(manifest.path)
    target = repository.versions / document.version
    allowed: Mapping[str, Sequence[str]] = {}
    digests.recall(repository)
    readings.recall(repository)
    with builder(repository):
        try:
            verification = verify_folder(target, reread=False, recheck=False) if target.exists() else None
            if verification is None or not verification.ok or verification.version != document.version:
                allowed, verification = _assemble(repository, manifest, document, target, build or {}, allow_regression)
                if allowed:
                    reason = f"{reason}, allowed in spite of {', '.join(allowed)}"
            previous = versions.current_or_none(repository)
            flipped = previous != document.version
            if flipped:
                versions.flip(repository, document.version, reason=reason, at=time.time())
        except OSError as error:
            raise not_writable(repository.path, error) from error
    return Publication(document.version, previous, flipped, verification, target, allowed)


def _assemble(
    repository: Repository,
    manifest: Artefact[Manifest],
    document: versions.ManifestDocument,
    target: Path,
    build: Mapping[str, Any],
    allow_regression: bool,
) -> tuple[Mapping[str, Sequence[str]], Verification]:
    """Make the version's folder. Returns what the gate found and was allowed, too."""
    # A damaged one makes room only in the end: until there is a good one, it may still answer in part.
    with files.directory_commit(target, replace=os.path.lexists(target)) as folder:
        _link(repository, document, folder)
        shutil.copyfile(manifest.path / versions.MANIFEST, folder / versions.MANIFEST)
        # What is linked was digested by whoever wrote it; `verify` reads it all again.
        verification = verify_folder(folder, reread=False, recheck=False)
        if not verification.ok:
            raise refusal(document.version, verification)
        if target.exists():
            # A repair: what passed the gate once is not compared with what came after it.
            allowed = versions.allowed_of(versions.read_build_facts(target))
        else:
            allowed = _judged(document.version, judge(repository, document, folder), allow_regression)
        facts = {
            **build,
            **({"allowed": allowed} if allowed else {}),
            "published_at": time.time(),
            "host": host_facts(),
            "vector_index": vector_index_facts(repository, document),
            "evaluated": evaluation_facts(repository, document),
            "verification_seconds": dict(verification.seconds),
        }
        (folder / versions.BUILD).write_bytes(files.canonical_json(facts))
        statuses = files.tree_statuses(folder)
        stamps = {stored.path: Stamp.of(statuses[stored.path]) for stored in document.all_files()}
    # The bytes of these inodes were digested above, and a rename changes none of them.
    versions.remember_digests(repository, document.version, stamps)
    readings.remember(repository)
    return allowed, verification


def _link(repository: Repository, document: versions.ManifestDocument, folder: Path) -> None:
    """Give the files of a version's artefacts a second name in its folder."""
    for path in sorted({os.path.dirname(stored.path) for stored in document.all_files()}):  # noqa: PTH120 - thousands
        (folder / path).mkdir(parents=True, exist_ok=True)
    for asset, artefact in document.artefacts.items():
        origin = repository.objects / asset / artefact.key
        for stored in artefact.files:
            try:
                files.link_or_copy(f"{origin}/{stored.path}", f"{folder}/{stored.path}")
            except FileNotFoundError:
                raise InvariantViolationError(
                    f"The version {document.version} cannot be published: {asset}/{artefact.key} is gone from the store.",
                    hint="Run `indexctl build` again.",
                ) from None


def _judged(version: str, findings: Mapping[str, Finding], allow_regression: bool) -> Mapping[str, Sequence[str]]:
    """What the gate found of a version, by check: to be recorded where it is allowed, else refused."""
    found = {name: finding.problems for name, finding in findings.items() if not finding.passed}
    if found and not allow_regression:
        shown = "; ".join(f"{name}: {' '.join(problems)}" for name, problems in found.items())
        raise InvariantViolationError(
            f"The version {version} is not published: {shown}.",
            hint="CURRENT is unchanged. `indexctl build --allow-regression` publishes it all the same, and records it.",
        )
    return found
