"""Building an index that is larger than memory: train once, fill a shard at a time, join the inverted lists on disk.

The joined file is byte by byte what building in one piece writes: FAISS puts the inverted lists last, so the trained index is
written as it is, with the lists of all shards behind it, read through memory maps.

Belongs here: shards of inverted lists, and FAISS's layout of them. Not here: what a list holds (`ann`), training
(`building`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import files
from pipeline.config import IndexSettings
from pipeline.errors import ConfigError, InvariantViolationError
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids, Rows
from pipeline.index.dense.building import build_seconds, fill, trained
from pipeline.index.dense.description import FileFacts
from pipeline.index.dense.families import Family, import_faiss
from pipeline.index.dense.index_files import write_index
from pipeline.workers import Observe

_NO_LISTS = struct.Struct("<4sQQ4sQ")
"""How FAISS writes empty inverted lists: `ilar`, lists, bytes a code, `sprs`, 0 entries."""
_HEAD = struct.Struct("<4sQQ4sQ")
"""How it begins with others: `ilar`, lists, bytes a code, `full` or `sprs`, numbers that follow."""


def build_sharded(
    family: Family,
    ids: Ids,
    vectors: Rows,
    options: IndexSettings,
    path: Path,
    *,
    shard: int,
    scratch: Path,
    observe: Observe | None = None,
) -> tuple[FileFacts, dict[str, Any] | None]:
    """Write the index of vectors float32 [n, d] under ids int64 [n] to `path`, `shard` vectors at a time in memory.

    Shards are written into the directory `scratch` and removed again. Returns what was written and the facts of the training;
    `observe` is told the seconds, as by `build`: joining counts as adding. Raises `ConfigError` for a family whose lists FAISS
    cannot leave in a file.
    """
    if family.maps != "lists":
        raise ConfigError(f"The family `{family.name}` cannot be built in shards.", hint="Use ivf_sq8, ivf_pq or ivf_rabitq.")
    faiss = import_faiss()
    started = time.perf_counter()
    empty, training = trained(family, vectors, options)
    ready = time.perf_counter()
    blank = faiss.serialize_index(empty)
    names = []
    try:
        for number, start in enumerate(range(0, len(ids), shard)):
            part = Ann(faiss.deserialize_index(blank), family)
            fill(part, ids[start : start + shard], vectors[start : start + shard])
            names.append(scratch / f"{files.TEMPORARY_PREFIX}shard-{number}")
            write_index(part.index, names[-1])
        written = _join(empty, [faiss.read_index(str(name), faiss.IO_FLAG_MMAP) for name in names], path)
    finally:
        for name in names:
            name.unlink(missing_ok=True)
    if observe is not None:
        observe(build_seconds(training, ready - started, time.perf_counter() - ready))
    return written, training


def _join(empty: Any, shards: list[Any], path: Path) -> FileFacts:
    """Write `empty` with the lists of all shards, in their order."""
    faiss = import_faiss()
    lists = [faiss.downcast_InvertedLists(_inner(shard).invlists) for shard in shards]
    inner = _inner(empty)
    count, code_size = int(inner.nlist), int(inner.code_size)
    empty.ntotal = inner.ntotal = sum(int(shard.ntotal) for shard in shards)
    written = faiss.serialize_index(empty).tobytes()
    tail = _NO_LISTS.pack(b"ilar", count, code_size, b"sprs", 0)
    if not written.endswith(tail):
        raise InvariantViolationError(
            "This FAISS writes inverted lists in another way.", hint="Install the FAISS of `uv.lock`."
        )
    hasher, size = files.new_hash(), 0
    with path.open("xb") as file:

        def write(block: bytes | memoryview) -> None:
            nonlocal size
            hasher.update(block)
            size += file.write(block)

        write(written[: -len(tail)])
        _write_lists(lists, count, code_size, write)
    return FileFacts(bytes=size, digest=hasher.hexdigest())


def _write_lists(lists: list[Any], count: int, code_size: int, write: Callable[[bytes | memoryview], None]) -> None:
    sizes = np.array([sum(part.list_size(number) for part in lists) for number in range(count)], np.uint64)
    filled = np.flatnonzero(sizes)
    if len(filled) > count // 2:
        write(_HEAD.pack(b"ilar", count, code_size, b"full", count))
        write(sizes.tobytes())
    else:
        pairs = np.stack([filled.astype(np.uint64), sizes[filled]], axis=1)
        write(_HEAD.pack(b"ilar", count, code_size, b"sprs", pairs.size))
        write(pairs.tobytes())
    for number in filled.tolist():
        for codes in _pieces(lists, number, "get_codes", code_size):
            write(codes.data)
        for ids in _pieces(lists, number, "get_ids", 1):
            write(ids.tobytes())


def _pieces(lists: list[Any], number: int, what: str, width: int) -> Iterator[npt.NDArray[Any]]:
    faiss = import_faiss()
    for part in lists:
        if rows := part.list_size(number):
            yield faiss.rev_swig_ptr(getattr(part, what)(number), rows * width)


def _inner(index: Any) -> Any:
    faiss = import_faiss()
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
