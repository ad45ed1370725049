"""An index of a tree, built by `indexctl` and kept as long as it is what a build would make, and its searcher.

Belongs here: when a tree is indexed again. Not here: which trees, and what is asked of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import corpus
from measure import environment, run

from pipeline.errors import CodeIntelError
from pipeline.planning import locate, plan
from pipeline.search.engine import Searcher, open_searcher
from pipeline.store import versions
from pipeline.store.layout import Store, create_store, settings_of

_WITHOUT_INDEXERS = {"scip": "off"}


def searcher_of(tree: Path, store: Path, name: str, *, scip: bool = False) -> Searcher:
    """A searcher over the index of a tree, under the settings of today; indexes the tree first where that is not done.

    Settings of search alone make no index stale, so they can be tried at the cost of the searches.
    """
    opened = create_store(store)
    if not _is_indexed(opened, tree, name, scip):
        corpus.say(f"Indexing {name} …")
        command = [Path(sys.executable).parent / "indexctl", "build", tree, "--repo", name, "--data", store, "--ephemeral", "--json"]
        run(command if scip else [*command, "--no-scip"], env=environment())
    repository, origin = locate(opened, tree, name=name)
    return open_searcher(repository, settings_of(opened, origin))


def _is_indexed(store: Store, tree: Path, name: str, scip: bool) -> bool:
    """Whether the published version holds every artefact that a build would make now, the manifest aside."""
    repository, origin = locate(store, tree, name=name)
    current = versions.current_or_none(repository)
    if current is None:
        return False
    planned = plan(store, repository, origin, settings_of(store, origin, None if scip else _WITHOUT_INDEXERS)).keys
    try:
        made = versions.read_manifest(repository.versions / current).artefacts
    except CodeIntelError:
        return False
    return all(planned[asset] == artefact.key for asset, artefact in made.items())
