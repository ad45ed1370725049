"""Publication: assembling a version, verifying it, and the flip of CURRENT. Rollback is a flip too.

A version becomes visible only when every check holds, and when the gate lets its quality pass or somebody allows it; whoever
asks for it, this module checks again.

Belongs here: everything that changes CURRENT. Not here: what the checks are (`verification`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import CodeIntelError, InvariantViolationError, NotFoundError, RuntimeLifecycleError
from pipeline.release.build_facts import evaluation_facts, host_facts, vector_index_facts
from pipeline.release.findings import Finding
from pipeline.release.quality_gate import judge
from pipeline.release.verification import Verification, verify_folder
from pipeline.schemas import Manifest
from pipeline.stage import Artefact
from pipeline.store import versions
from pipeline.store.layout import Repository, not_writable
from pipeline.store.locks import Stamp, builder


@dataclass(frozen=True, slots=True)
class Publication:
    """What came of it. `flipped` is False when the version was current already; `verification` is None when nothing new
    had to be verified."""

    version: str
    previous: str | None
    flipped: bool
    verification: Verification | None
    path: Path
    allowed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the gate found and somebody allowed: check -> problems."""


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
    with builder(repository):
        try:
            verification = verify_folder(target, reread=False) if target.exists() else None
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
    with files.directory_commit(target) as folder:
        for asset, artefact in document.artefacts.items():
            origin = repository.objects / asset / artefact.key
            for stored in artefact.files:
                (folder / stored.path).parent.mkdir(parents=True, exist_ok=True)
                try:
                    files.link_or_copy(origin / stored.path, folder / stored.path)
                except FileNotFoundError:
                    raise InvariantViolationError(
                        f"The version {document.version} cannot be published: {asset}/{artefact.key} is gone from the store.",
                        hint="Run `indexctl build` again.",
                    ) from None
        shutil.copyfile(manifest.path / versions.MANIFEST, folder / versions.MANIFEST)
        # What is linked was digested by whoever wrote it; `verify` reads it all again.
        verification = verify_folder(folder, reread=False, recheck=False)
        if not verification.ok:
            raise _refusal(document.version, verification)
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
        if target.exists():
            # A damaged one makes room only now: until there is a good one, it may still answer in part.
            target.rename(files.temporary_sibling(target))
        stamps = {stored.path: Stamp.of((folder / stored.path).lstat()) for stored in document.all_files()}
    # The bytes of these inodes were digested above, and a rename changes none of them.
    versions.remember_digests(repository, document.version, stamps)
    return allowed, verification


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


def _refusal(version: str, verification: Verification) -> InvariantViolationError:
    shown = "; ".join(f"{problem.artefact}: {problem.problem}" for problem in verification.problems[:5])
    more = len(verification.problems) - 5
    return InvariantViolationError(
        f"The version {version} is not published: {shown}{f'; and {more} more' if more > 0 else ''}.",
        hint="CURRENT is unchanged. Run `indexctl build` again; if it stays so, the artefact named first is wrong.",
    )


def switch(repository: Repository, name: str, *, reason: str) -> Publication:
    """Make a version that exists current, verifying it first. Raises `NotFoundError`, `InvariantViolationError`."""
    with builder(repository):
        versions.open_version(repository, name).close()
        previous = versions.current_or_none(repository)
        target = repository.versions / name
        if previous == name:
            return Publication(name, previous, False, None, target)
        verification = verify_folder(target)
        if not verification.ok:
            raise _refusal(name, verification)
        try:
            versions.flip(repository, name, reason=reason, at=time.time())
        except OSError as error:
            raise not_writable(repository.path, error) from error
    return Publication(name, previous, True, verification, target)


def rollback(repository: Repository, name: str | None = None) -> Publication:
    """Return to the version that was current before this one, or to a named one."""
    return switch(repository, name or _before(repository), reason="rollback")


def _before(repository: Repository) -> str:
    current = versions.current_or_none(repository)
    kept = set(versions.version_names(repository)) - {current}
    # Follow the flips back from the last one that made the present version current; rollbacks of rollbacks go further back.
    undone = 0
    for flip in reversed(versions.history(repository)):
        if flip.reason == "rollback":
            undone += 1
        elif undone:
            undone -= 1
        elif flip.previous in kept:
            return str(flip.previous)
    if current is not None:
        try:
            parent = versions.read_manifest(repository.versions / current).parent
        except CodeIntelError:
            parent = None
        if parent in kept:
            return str(parent)
    if not kept:
        raise NotFoundError(f"`{repository.name}` has no other version to return to.", hint="See `indexctl versions`.")
    raise RuntimeLifecycleError(
        f"The history of `{repository.name}` names no version before this one that is still there.",
        hint=f"Name one: {', '.join(sorted(kept)[:5])}.",
    )
