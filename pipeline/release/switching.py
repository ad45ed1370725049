"""Returning to a version that exists: a flip of CURRENT, and nothing is built.

Importing this module loads neither Arrow nor DuckDB nor FAISS, so that a switch of branches takes as long as a glance.

Belongs here: moving CURRENT among versions. Not here: making them (`publication`), or which checks they pass (`verification`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files
from pipeline.errors import CodeIntelError, InvariantViolationError, NotFoundError, RuntimeLifecycleError
from pipeline.store import versions
from pipeline.store.layout import Repository, not_writable
from pipeline.store.locks import Stamp, builder

if TYPE_CHECKING:
    from pipeline.release.verification import Verification


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


def refusal(version: str, verification: Verification) -> InvariantViolationError:
    """What to raise when a version does not hold."""
    shown = "; ".join(f"{problem.artefact}: {problem.problem}" for problem in verification.problems[:5])
    more = len(verification.problems) - 5
    return InvariantViolationError(
        f"The version {version} is not published: {shown}{f'; and {more} more' if more > 0 else ''}.",
        hint="CURRENT is unchanged. Run `indexctl build` again; if it stays so, the artefact named first is wrong.",
    )


def switch(repository: Repository, name: str, *, reason: str) -> Publication:
    """Make a version that exists current. Raises `NotFoundError`, `InvariantViolationError`.

    A version whose files all look as they did when they were digested is trusted as readers trust it; any other one is read and
    checked from the first byte to the last.
    """
    with builder(repository):
        with versions.open_version(repository, name) as version:
            untouched = version.untouched()
        previous = versions.current_or_none(repository)
        target = repository.versions / name
        if previous == name:
            return Publication(name, previous, False, None, target)
        verification = None if untouched else _verified(repository, name, target)
        try:
            versions.flip(repository, name, reason=reason, at=time.time())
        except OSError as error:
            raise not_writable(repository.path, error) from error
    return Publication(name, previous, True, verification, target)


def _verified(repository: Repository, name: str, target: Path) -> Verification:
    """The whole verification of a version that passes it. Readers need not digest it again."""
    # What it loads, a flip does without.
    from pipeline.release.verification import verify_folder

    verification = verify_folder(target)
    if not verification.ok:
        raise refusal(name, verification)
    statuses = files.tree_statuses(target)
    listed = versions.read_manifest(target).all_files()
    versions.remember_digests(repository, name, {stored.path: Stamp.of(statuses[stored.path]) for stored in listed})
    return verification


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
