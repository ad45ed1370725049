"""What stands in `build.json` beside the version: facts of the machine and of the build, which change nothing in the artefacts.

Belongs here: collecting them. Not here: writing them (`publication`), what was seen while objects were built
(`pipeline.store.observed`).
"""

from __future__ import annotations

import os
import platform
from typing import Any

from pipeline.config import SearchSettings
from pipeline.index.dense import gpu
from pipeline.index.dense.families import FAMILIES, import_faiss
from pipeline.schemas import EvalMetrics, FaissIndex, Tuning
from pipeline.store.layout import Repository
from pipeline.store.observed import recall
from pipeline.store.versions import ManifestDocument

_UNKNOWN = "of the build of this object nothing was kept"


def host_facts() -> dict[str, Any]:
    """The machine that published."""
    return {"python": platform.python_version(), "platform": platform.platform(), "processors": os.cpu_count()}


def vector_index_facts(repository: Repository, document: ManifestDocument) -> dict[str, Any]:
    """The FAISS that is at work here, its GPU state, and how the index of this version was built and tuned."""
    faiss = import_faiss()
    return {
        "faiss": faiss.__version__,
        "compile_options": faiss.get_compile_options().strip(),
        "simd": faiss.SIMDConfig.get_level_name(),
        "threads": faiss.omp_get_max_threads(),
        "gpu": _gpu(document),
        "built": _observed(repository, FaissIndex.asset, document),
        "tuned": _observed(repository, Tuning.asset, document),
    }


def evaluation_facts(repository: Repository, document: ManifestDocument) -> dict[str, Any]:
    """How the evaluation of this version went: how long searches took, among others."""
    return _observed(repository, EvalMetrics.asset, document)


def _gpu(document: ManifestDocument) -> dict[str, Any]:
    """How many devices there are, and why searches would not use them; `why_off` is null where they would."""
    faiss = import_faiss()
    search = SearchSettings(use_gpu=bool(document.settings.get("use_gpu", True)))
    family = FAMILIES.get(str(document.faiss.get("family")))
    return {
        "devices": faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0,
        "why_off": (gpu.why_not(search, family) or None) if family is not None else "there is no index",
    }


def _observed(repository: Repository, asset: str, document: ManifestDocument) -> dict[str, Any]:
    """What was seen when the asset's object was built; or that this is not known, never a guess."""
    artefact = document.artefacts.get(asset)
    observed = recall(repository, asset, artefact.key) if artefact is not None else None
    if observed is None:
        return {"unknown": _UNKNOWN}
    return {"at": observed.at, "seconds": observed.seconds, **observed.facts}
