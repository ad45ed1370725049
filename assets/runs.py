"""What a run is known by in the Dagster UI: its tags, and the code location that it is of.

Belongs here: names of tags, and what they say. Not here: who starts runs (`sensors`), builds without Dagster (`reported`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from pipeline.errors import CodeIntelError
from pipeline.source.remotes import local_standing
from pipeline.store.layout import Origin, Repository

TRIGGER_TAG = "codeintel/trigger"
COMMIT_TAG = "codeintel/commit"
BRANCH_TAG = "codeintel/branch"
VERSION_TAG = "codeintel/version"
REPORTED_TAG = "codeintel/reported"
"""What was built by a command and is only told to Dagster: it has no process."""
_LOCATION = "pipeline.definitions"


def standing_tags(repository: Repository, origin: Origin, commit: str | None) -> Mapping[str, str]:
    """Commit and, where it is known which branch stands there, that."""
    if commit is None:
        return {}
    tags = {COMMIT_TAG: commit}
    place = repository.mirror if origin.remote else Path(origin.path)
    with suppress(CodeIntelError, OSError):
        found = local_standing(place, origin.rev)
        if found.commit == commit and found.branch:
            tags[BRANCH_TAG] = found.branch
    return tags


def origin_of(job: str) -> Any:
    """By this a run of a command is one of the job in the UI: without it, neither timeline nor jobs show it."""
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=_LOCATION)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, _LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job)
