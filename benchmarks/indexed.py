"""An index of a tree, built by `indexctl` and kept as long as it is what a build would make, and its searcher.

Belongs here: when a tree is indexed again. Not here: which trees, and what is asked of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import corpus
from measure import environment, run

from pipeline.errors import CodeIntelError
from pipeline.planning import locate, plan
from pipeline.search.engine import Searcher, open_searcher
from pipeline.store import versions
from pipeline.store.layout import Store, create_store, settings_of

_OF_SEARCHES = ("eval_metrics", "coverage")
"""What settings of search alone make stale, and no search reads."""


def searcher_of(tree: Path, name: str, given: Mapping[str, Any]) -> Searcher:
    """A searcher over the index of a tree that is built with `given` settings (by flat name) and searched with those of today.

    The store lies beside the tree. The tree is indexed where that is not done. Settings of search alone make no index stale, so
    trying some costs searches.
    """
    store = tree.parent / "store"
    opened = create_store(store)
    if not _is_indexed(opened, tree, name, given):
        corpus.say(f"Indexing {name} …")
        command = [Path(sys.executable).parent / "indexctl", "build", tree, "--repo", name, "--data", store, "--ephemeral"]
        said = {
            f"CODEINTEL_{key.upper()}": value if isinstance(value, str) else json.dumps(value) for key, value in given.items()
        }
        run([*command, "--json"], env=environment(said))
    repository, origin = locate(opened, tree, name=name)
    return open_searcher(repository, settings_of(opened, origin))


def _is_indexed(store: Store, tree: Path, name: str, given: Mapping[str, Any]) -> bool:
    """Whether the published version holds every artefact that a build would make now; the manifest's key is no matter."""
    repository, origin = locate(store, tree, name=name)
    current = versions.current_or_none(repository)
    if current is None:
        return False
    planned = plan(store, repository, origin, settings_of(store, origin, given)).keys
    try:
        made = versions.read_manifest(repository.versions / current).artefacts
    except CodeIntelError:
        return False
    return all(planned.get(asset) == artefact.key for asset, artefact in made.items() if asset not in _OF_SEARCHES)
