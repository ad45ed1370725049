"""Clones of an index on GPUs, where there are any; and the reason why not, where there are none.

What is stored is always the index of the CPU, and it stays open: it answers what a GPU cannot (searches with a selector, very
deep ones) and everything once a device has failed. FAISS without GPU support, a machine without a device, and a family that
FAISS cannot clone are no errors; the reason is kept, and told by `str`.

Belongs here: cloning, and searching clones. Not here: searching on the CPU (`ann`), re-ranking (`searching`).
"""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import Any

from pipeline.config import SearchSettings
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids, Scores, Vectors
from pipeline.index.dense.families import Family, import_faiss
from pipeline.index.dense.operating_point import OperatingPoint

MOST_SELECTED = 2048
"""What FAISS selects at most on a GPU: neighbours of a query, and lists that it visits."""
_TEMPORARY_BYTES = 256 << 20
"""Scratch memory that a clone reserves on its device; FAISS would take 1.5 GB. It allocates more for a call that needs more."""
_TABLE_BYTES = 48 << 10
"""Memory that the threads of a block share. Lookup tables of product quantisers have to fit into it."""

_log = logging.getLogger(__name__)


class Gpu:
    """The device side of an opened index: clones that are searched in place of it, or none and the reason why.

    `devices` and `mode` (replicate, shard) are those of the clones, 0 and "" without any; `reason` is empty with them.
    Threads may search at the same time: FAISS's GPU resources serve one thread, so a clone is taken out of the queue while it
    is searched.
    """

    def __init__(self, reason: str = "", clones: list[Any] | None = None, *, devices: int = 0, mode: str = "") -> None:
        """`clone_to_gpus` makes these."""
        self.reason = reason
        self.devices = devices
        self.mode = mode
        self._lock = threading.Lock()
        self._free: SimpleQueue[Any] | None = None
        if clones:
            self._free = SimpleQueue()
            for clone in clones:
                self._free.put(clone)

    def __str__(self) -> str:
        """`GPU: replicate on 2 devices`, or `GPU: off, there is no device`."""
        if self.reason:
            return f"GPU: off, {self.reason}"
        return f"GPU: {self.mode} on {self.devices} device{'s' if self.devices > 1 else ''}"

    def search(self, queries: Vectors, depth: int, point: OperatingPoint) -> tuple[Ids, Scores] | None:
        """As `Ann.search` without a selector, of rotated queries; None where the CPU has to answer.

        An error of the device ends its use: it becomes the reason, and is logged once.
        """
        free = self._free
        if free is None or depth > MOST_SELECTED or (point.nprobe or 0) > MOST_SELECTED:
            return None
        parameters = import_faiss().SearchParametersIVF(nprobe=point.nprobe) if point.nprobe is not None else None
        clone = free.get()
        try:
            scores, ids = clone.search(queries, depth, params=parameters)
        except (RuntimeError, MemoryError) as error:
            self._give_up(f"a search failed: {_last_line(error)}")
            return None
        finally:
            # Also after an error: others may be waiting for it, and find out for themselves.
            free.put(clone)
        return ids, scores

    def _give_up(self, reason: str) -> None:
        with self._lock:
            if self._free is not None:
                _log.warning("the GPU is not used any more: %s", reason)
            self.reason, self.devices, self.mode, self._free = reason, 0, "", None


class GpuAnn(Ann):
    """An `Ann` whose searches go to its clones where these can answer."""

    def __init__(self, primary: Ann, gpu: Gpu) -> None:
        super().__init__(primary.index, primary.family)
        self._gpu = gpu

    @property
    def true_scores(self) -> bool:
        """See `Ann.true_scores`: a GPU rounds in its own way."""
        return False

    def search(self, queries: Vectors, depth: int, point: OperatingPoint, selector: Any = None) -> tuple[Ids, Scores]:
        """See `Ann.search`. Selectors never go to a GPU: its inverted lists would ignore them without a word."""
        if selector is None and (found := self._gpu.search(self._rotated(queries), depth, point)) is not None:
            return found
        return super().search(queries, depth, point, selector)


def on_gpus(primary: Ann, settings: SearchSettings | None, *, deleted: int = 0) -> tuple[Ann, Gpu]:
    """`primary`, to be searched on GPUs where that is possible, and what came of it. Without settings nobody searches."""
    gpu = clone_to_gpus(primary, settings, deleted=deleted)
    return (primary if gpu.reason else GpuAnn(primary, gpu)), gpu


def clone_to_gpus(primary: Ann, settings: SearchSettings | None, *, deleted: int = 0) -> Gpu:
    """Clones of an index on all devices: a whole one on each, or a part on each. `deleted` counts rows that are hidden."""
    if settings is None:
        return Gpu("it was not opened for searching")
    if reason := why_not(settings, primary.family):
        return Gpu(reason)
    if deleted or not len(primary):
        return Gpu("rows are deleted, which takes a selector" if deleted else "the index is empty")
    devices = int(import_faiss().get_num_gpus())
    try:
        clones = _clones(primary.index, devices, settings.gpu_clone_mode)
    except (RuntimeError, MemoryError) as error:
        # Too little memory on the device, codes that no kernel fits: the CPU answers all the same.
        reason = f"FAISS could not clone the index: {_last_line(error)}"
        _log.warning("no GPU: %s", reason)
        return Gpu(reason)
    return Gpu(clones=clones, devices=devices, mode=settings.gpu_clone_mode)


def why_not(settings: SearchSettings, family: Family) -> str:
    """Why an index of a family is not cloned to GPUs here; empty when it can be."""
    faiss = import_faiss()
    if not settings.use_gpu:
        return "use_gpu is off"
    if not family.gpu:
        return f"FAISS cannot clone the family {family.name}"
    if not all(hasattr(faiss, name) for name in ("StandardGpuResources", "index_cpu_to_gpu", "get_num_gpus")):
        return "this FAISS has no GPU support"
    # With none, FAISS would give back an index that is empty.
    if faiss.get_num_gpus() < 1:
        return "there is no device"
    return ""


def _clones(index: Any, devices: int, mode: str) -> list[Any]:
    """One clone a device, or one over all devices.

    Replicas are kept apart: FAISS's IndexReplicas refuses search parameters, and so every nprobe but the one that is stored.
    IndexShards hands them on.
    """
    faiss = import_faiss()
    # A rotation is applied by `Ann`.
    index = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    resources = []
    for _ in range(devices):
        resources.append(faiss.StandardGpuResources())
        resources[-1].setTempMemory(_TEMPORARY_BYTES)
    options = faiss.GpuMultipleClonerOptions()
    # One implementation, whatever FAISS was compiled with; cuVS takes fewer kinds of lists.
    options.use_cuvs = False
    quantiser = getattr(index, "pq", None)
    # Tables of half precision where others do not fit: candidates may change places, their final scores are exact as always.
    options.useFloat16 = quantiser is not None and 4 * quantiser.M * quantiser.ksub > _TABLE_BYTES
    if mode == "shard" and devices > 1:
        options.shard = True
        return [faiss.index_cpu_to_gpu_multiple_py(resources, index, options)]
    return [faiss.index_cpu_to_gpu(resources[device], device, index, options) for device in range(devices)]


def _last_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[-1] if lines else type(error).__name__
