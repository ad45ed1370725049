"""A small repository and the engine without Dagster: every stage in order, then publication, in this very process.

Not a test module: `conftest.py` hands it to the tests, and the processes that they start import it.
"""

from __future__ import annotations

from pathlib import Path

import pygit2

from pipeline import planning
from pipeline.building import build_here
from pipeline.errors import CodeIntelError, InvariantViolationError
from pipeline.release.publication import switch
from pipeline.store.layout import Repository, create_store, open_store, write_origin
from pipeline.store.locks import builder
from pipeline.store.versions import open_version
from pipeline.workers import Runtime

NAME = "small"
ENVIRONMENT = {
    "CODEINTEL_SCIP": "off",
    "CODEINTEL_EVAL_QUERIES": "6",
    "CODEINTEL_COVERAGE_QUERIES": "6",
    # So few queries say nothing of quality.
    "CODEINTEL_FOUND_BOUND": "0",
    "CODEINTEL_QUALITY_TOLERANCE": "1",
    "CODEINTEL_RECALL_BOUND": "0",
    "CODEINTEL_WORKERS": "1",
    "OMP_NUM_THREADS": "1",
}
"""What makes a build quick."""

_THINGS = "anchor berth cargo dock engine ferry gale harbour island jetty keel lantern mast notice oar pilot quay".split()


def write_repository(root: Path) -> Path:
    """A git repository of 20 files and one commit: seventeen of Python, and others."""
    (root / "port").mkdir(parents=True)
    for number, thing in enumerate(_THINGS):
        (root / "port" / f"{thing}.py").write_text(module(thing, number))
    (root / "README.md").write_text("# Port\n\nHow ships are kept.\n\n## Fees\n\nWhat a night at the quay costs.\n")
    (root / "app.js").write_text("function renderQuay(ships) {\n  return ships.map((ship) => ship.name).join(', ');\n}\n")
    (root / "port.toml").write_text("[port]\nberths = 12\n")
    commit(root, "First")
    return root


def module(thing: str, number: int) -> str:
    """A module of Python that says something about a thing."""
    return (
        f'"""All about the {thing}."""\n\n\nclass {thing.title()}:\n    """A {thing} of the port."""\n\n'
        f"    def weigh_{thing}(self, load: int) -> int:\n"
        f'        """How heavy the {thing} is with its load."""\n        return load * {number + 2}\n\n\n'
        f"def find_{thing}(name: str) -> {thing.title()}:\n"
        f'    """Look a {thing} up by its name."""\n    return {thing.title()}()\n'
    )


def commit(root: Path, message: str) -> None:
    """Commit everything, at a fixed time, so that two repositories of the same files have the same commits."""
    repository = pygit2.Repository(root) if (root / ".git").exists() else pygit2.init_repository(root, initial_head="main")
    repository.index.add_all()
    repository.index.write()
    who = pygit2.Signature("Ada", "ada@example.org", 1_700_000_000, 0)
    parents = [] if repository.head_is_unborn else [repository.head.target]
    repository.create_commit("HEAD", who, who, message, repository.index.write_tree(), parents)


def edit(root: Path, number: int = 1) -> None:
    """Change one file, add one and remove one."""
    (root / "port" / "berth.py").write_text(module("berth", 40 + number))
    (root / "port" / f"rope{number}.py").write_text(module("rope", number))
    (root / "port" / "quay.py").unlink(missing_ok=True)
    commit(root, f"Change {number}")


def repository_in(store: Path) -> Repository:
    """The repository in a store."""
    return open_store(store).repository(NAME)


def build(store_path: Path, root: Path) -> str:
    """Build and publish as `indexctl build` does, without Dagster; the published version's name."""
    store = create_store(store_path)
    repository, origin = planning.locate(store, root, name=NAME)
    decided = planning.plan(store, repository, origin, building=True)
    if decided.published and not _damaged(repository):
        return decided.version
    with builder(repository):
        write_origin(repository, origin)
        if decided.known and not decided.published:
            try:
                return switch(repository, decided.version, reason="build").version
            except InvariantViolationError:
                pass
        built = build_here(store, decided, runtime=Runtime(workers=1, shared=store.shared), progress=lambda name, settled: None)
        return built.publication.version


def _damaged(repository: Repository) -> bool:
    try:
        with open_version(repository) as version:
            version.ensure(*version.manifest.artefacts)
    except CodeIntelError:
        return True
    return False
