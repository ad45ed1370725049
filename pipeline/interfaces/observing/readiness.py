"""Whether searches can be answered, repository by repository, and if not, whether to wait or to repair.

Slow is what goes away by itself: a first build, an index that is being opened, a repository that the index is behind. Broken is
what stays so until somebody does something.

Belongs here: that judgement, from what lies in a store and what a server knows besides. Not here: opening anything, or repair.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline import instruments
from pipeline.errors import CodeIntelError
from pipeline.source.freshness import Freshness
from pipeline.store.layout import Repository, Store
from pipeline.store.locks import is_building
from pipeline.store.versions import current_name, open_version


class State(StrEnum):
    """How a repository is. `READY` and `STALE` answer, `BUILDING` does where something is published already."""

    READY = "ready"
    STALE = "stale"
    BUILDING = "building"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """One repository. `answers`: whether searches of it are answered now; `reason` is empty where it is simply ready."""

    repo: str
    state: State
    reason: str = ""
    answers: bool = False


@dataclass(frozen=True, slots=True)
class Readiness:
    """`ready`: at least one repository answers. A broken one among many is told, and is no reason to take all of them away."""

    ready: bool
    reason: str
    repositories: tuple[RepositoryState, ...]

    def as_json(self) -> dict[str, Any]:
        """As `/readyz` answers."""
        return {
            "ready": self.ready,
            "reason": self.reason,
            "repositories": [
                {"repo": one.repo, "state": one.state.value, "reason": one.reason, "answers": one.answers}
                for one in self.repositories
            ],
        }


def readiness(
    store: Store,
    *,
    opening: Mapping[str, float] | None = None,
    failures: Mapping[str, str] | None = None,
    fresh: Mapping[str, Freshness] | None = None,
) -> Readiness:
    """How every repository of a store is. Reads manifests and looks at sizes, and digests nothing.

    What a server knows besides, by repository: for how many seconds it has been opening one that it cannot answer from yet,
    why its last attempt to answer failed, and how fresh an index is. Never raises.
    """
    try:
        known = store.repositories()
    except CodeIntelError as error:
        return Readiness(False, error.message, ())
    states = tuple(
        _state_of(
            one,
            (opening or {}).get(one.name),
            (failures or {}).get(one.name, ""),
            (fresh or {}).get(one.name),
        )
        for one in known
    )
    if not states:
        return Readiness(False, "Nothing is indexed yet.", ())
    if any(one.answers for one in states):
        return Readiness(True, "", states)
    waits = any(one.state is State.BUILDING for one in states)
    reason = "No repository answers yet; a build goes on." if waits else "No repository answers."
    return Readiness(False, reason, states)


def _state_of(repository: Repository, opening: float | None, failure: str, fresh: Freshness | None) -> RepositoryState:
    name, building = repository.name, is_building(repository)
    try:
        published = current_name(repository)
        if published is None:
            if building:
                return RepositoryState(name, State.BUILDING, "Its first build goes on.")
            return RepositoryState(name, State.MISSING, "Nothing is published; run `indexctl build`.")
        wrong = _looks_damaged(repository)
    except CodeIntelError as error:
        return RepositoryState(name, State.BROKEN, str(error))
    except OSError as error:
        return RepositoryState(name, State.BROKEN, f"{repository.path} cannot be read: {error.strerror}.")
    if wrong or failure:
        return RepositoryState(name, State.BROKEN, wrong or failure)
    if opening is not None:
        return RepositoryState(name, State.BUILDING, f"{published} is being opened, for {opening:.0f} s so far.")
    if fresh is not None and fresh.checked:
        instruments.gauge("codeintel_repository_behind", fresh.stale, repository=name)
    if building:
        return RepositoryState(name, State.BUILDING, f"A build goes on; {published} answers meanwhile.", answers=True)
    if fresh is not None and fresh.stale:
        changed = f"{fresh.files:,} files changed" if fresh.files else fresh.reason or "The repository changed"
        return RepositoryState(name, State.STALE, f"{changed.rstrip('.')} since {published}.", answers=True)
    return RepositoryState(name, State.READY, answers=True)


def _looks_damaged(repository: Repository) -> str:
    """What is wrong with the files of the published version by their sizes; nothing where all look right."""
    with open_version(repository) as version:
        for stored in version.manifest.all_files():
            try:
                size = os.lstat(f"{version.path}/{stored.path}").st_size
            except OSError:
                return f"{version.name} lacks {stored.path}; run `indexctl build`, or `indexctl rollback`."
            if size != stored.bytes:
                return f"{stored.path} of {version.name} is cut or changed; run `indexctl build`, or `indexctl rollback`."
    return ""
