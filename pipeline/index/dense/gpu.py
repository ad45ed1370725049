"""A copy of an index on a GPU, where there is one; and the reason why not, where there is none.

What is stored is always the index of the CPU. FAISS without GPU support, a machine without a device and a family that FAISS
cannot clone are no errors: the search stays on the CPU and says so.

Belongs here: cloning. Not here: searching (`ann`).
"""

from __future__ import annotations

import logging
from typing import Any

from pipeline.config import SearchSettings
from pipeline.index.dense.families import Family, import_faiss

_log = logging.getLogger(__name__)


def clone_to_gpu(index: Any, settings: SearchSettings, family: Family) -> tuple[Any, str]:
    """(the index to search, why it is not on a GPU). The reason is empty when it is; otherwise the index is `index` itself."""
    if reason := why_not(settings, family):
        return index, reason
    faiss = import_faiss()
    options = faiss.GpuMultipleClonerOptions()
    options.shard = settings.gpu_clone_mode == "shard"
    try:
        return faiss.index_cpu_to_all_gpus(index, co=options), ""
    except (RuntimeError, MemoryError) as error:
        # Out of memory on the device, a kernel that does not fit it: the CPU answers all the same.
        reason = f"FAISS could not clone the index: {str(error).splitlines()[-1] if str(error) else type(error).__name__}"
        _log.warning("no GPU: %s", reason)
        return index, reason


def why_not(settings: SearchSettings, family: Family) -> str:
    """Why an index of a family is not cloned to a GPU here; empty when it can be."""
    faiss = import_faiss()
    if not settings.use_gpu:
        return "use_gpu is off"
    if not family.gpu:
        return f"FAISS cannot clone the family {family.name}"
    if not hasattr(faiss, "StandardGpuResources") or not hasattr(faiss, "index_cpu_to_all_gpus"):
        return "this FAISS has no GPU support"
    # With none, FAISS would give back an index that is empty.
    if faiss.get_num_gpus() < 1:
        return "there is no device"
    return ""
