"""The list of stages, in topological order, and what follows from it: every key of a build, known before anything runs.

Belongs here: which stages there are. Not here: what they do (their rooms), how Dagster sees them (`assets`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from pipeline.chunks.stage import STAGE as CHUNKS
from pipeline.chunks.symbols_stage import STAGE as SYMBOLS
from pipeline.config import Settings
from pipeline.embed.stage import STAGE as EMBEDDINGS
from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.evaluation.coverage_stage import STAGE as COVERAGE
from pipeline.evaluation.metrics_stage import STAGE as EVAL_METRICS
from pipeline.evaluation.queries_stage import STAGE as EVAL_QUERIES
from pipeline.index.dense.stage import IDMAP_STAGE as FAISS_IDMAP
from pipeline.index.dense.stage import INDEX_STAGE as FAISS_INDEX
from pipeline.index.lexical_stage import STAGE as LEXICAL
from pipeline.index.splade.stage import STAGE as SPLADE
from pipeline.index.tuning.locked_point import Lock, read_lock
from pipeline.index.tuning.stage import STAGE as TUNING
from pipeline.index.xtr.stage import STAGE as XTR
from pipeline.release.manifest import STAGE as MANIFEST
from pipeline.release.manifest import Identity, version_name
from pipeline.schemas import Kind
from pipeline.source.scan import Scan
from pipeline.source.stage import STAGE as SOURCE
from pipeline.stage import External, Stage
from pipeline.store import bases, versions
from pipeline.store.bases import Choice
from pipeline.store.layout import Repository
from pipeline.structure.cst.stage import STAGE as CST
from pipeline.structure.modules.stage import STAGE as MODULES
from pipeline.structure.scip.stage import INDEX_STAGE as SCIP_INDEX
from pipeline.structure.scip.tables_stage import STAGE as SCIP_TABLES
from pipeline.structure.stage import STAGE as SYNTAX

__all__ = [
    "CHUNKS",
    "COVERAGE",
    "CST",
    "EMBEDDINGS",
    "EVAL_METRICS",
    "EVAL_QUERIES",
    "FAISS_IDMAP",
    "FAISS_INDEX",
    "KINDS",
    "LEXICAL",
    "MANIFEST",
    "MODULES",
    "SCIP_INDEX",
    "SCIP_TABLES",
    "SOURCE",
    "SPLADE",
    "STAGES",
    "SYMBOLS",
    "SYNTAX",
    "TUNING",
    "XTR",
    "identity_of",
    "plan_choices",
    "plan_version",
]

STAGES: tuple[Stage, ...] = (
    SOURCE,
    SYNTAX,
    SCIP_INDEX,
    SCIP_TABLES,
    CST,
    MODULES,
    CHUNKS,
    SYMBOLS,
    EMBEDDINGS,
    FAISS_INDEX,
    FAISS_IDMAP,
    EVAL_QUERIES,
    TUNING,
    LEXICAL,
    SPLADE,
    XTR,
    EVAL_METRICS,
    COVERAGE,
    MANIFEST,
)
"""Every stage after the stages that it reads from."""

KINDS: Mapping[str, type[Kind]] = {kind.asset: kind for stage in STAGES for kind in stage.outputs.values()}
"""Asset -> what it is."""


def plan_choices(
    settings: Settings,
    scan: Scan,
    history: External,
    repository: Repository,
    *,
    full: bool = False,
    afresh: Collection[str] = (),
) -> dict[str, Choice]:
    """Asset -> key and base for everything up to the manifest, which depends on what was published too and is left to
    `plan_version`. With `full`, nothing has a base; nor has what is in `afresh` (assets)."""
    externals: dict[str, External] = {"scan": scan, "history": history, "lock": Lock(read_lock(repository))}
    choices: dict[str, Choice] = {}
    keys: dict[str, str] = {}
    methods: dict[str, str] = {}
    for stage in STAGES:
        if stage is MANIFEST:
            continue
        for asset, kind in ((kind.asset, kind) for kind in stage.outputs.values()):
            methods[asset] = stage.method(kind, settings, methods)
            choices[asset] = bases.choose(
                repository, stage, kind, settings, keys, externals, methods[asset], full=full or asset in afresh
            )
        keys |= {kind.asset: choices[kind.asset].key for kind in stage.outputs.values()}
    return choices


def plan_version(
    settings: Settings,
    scan: Scan,
    history: External,
    repository: Repository,
    *,
    full: bool = False,
    afresh: Collection[str] = (),
) -> tuple[str, dict[str, Choice]]:
    """The version that a build would publish, and the keys of all its assets."""
    choices = plan_choices(settings, scan, history, repository, full=full, afresh=afresh)
    keys = {asset: choice.key for asset, choice in choices.items()}
    identity = identity_of(settings, repository, scan.commit, scan.dirty, keys)
    name = version_name(keys, identity)
    for kind in MANIFEST.outputs.values():
        key = MANIFEST.key(kind, settings, keys, {"identity": identity})
        choices[kind.asset] = Choice(key, key)
    return name, choices


def identity_of(
    settings: Settings, repository: Repository, commit: str | None, dirty: bool, keys: Mapping[str, str]
) -> Identity:
    """What a version of these artefacts is of. Its parent is the published version; once it exists, its parent stays."""
    orphan = Identity(repository.name, commit, dirty, None, settings.recorded(), read_lock(repository))
    name = version_name(keys, orphan)
    try:
        if (repository.versions / name).is_dir():
            parent = versions.read_manifest(repository.versions / name).parent
        else:
            published = versions.current_name(repository)
            # A version that went missing while it was published is built again, and is not its own parent.
            parent = None if published == name else published
    except (IndexCorruptionError, IndexFormatError):
        parent = None
    return replace(orphan, parent=parent)
