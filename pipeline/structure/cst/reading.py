"""Reading many Python files with libcst: their rows as one table, and why some of them have none.

Belongs here: what libcst wants of a process (a deep stack, rare collection of garbage), and rows to columns. Not here: what a
row says (`cst`), and which files are read (`parts`).
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.errors import CodeIntelError
from pipeline.schemas import CstNodes
from pipeline.structure.cst.nodes import CstRows, RejectedError, read

_STACK_BYTES = 256 << 20
_RECURSION_LIMIT = 20_000
_COLLECT_BYTES = 256 << 10
"""Source after which the garbage of libcst's scopes (cycles that hold whole trees) is collected."""


def read_files(sources: pa.Table) -> tuple[pa.Table, list[int], list[str]]:
    """The rows of files (`uri`, `content`); how many rows each file has, 0 for a rejected one; and the reasons of those.

    The rows come one file after the other, in the columns of `CstNodes` without `uri`. Raises `CodeIntelError` when there is
    not enough memory.
    """
    files: dict[str, CstRows] = {}
    rejected: dict[str, str] = {}
    uris: list[str] = sources["uri"].to_pylist()
    _on_a_deep_stack(lambda: _read_all(uris, sources["content"], files, rejected))
    lengths = [len(files[uri]) if uri in files else 0 for uri in uris]
    return _table(list(files.values())), lengths, [rejected[uri] for uri in uris if uri in rejected]


def _read_all(uris: Sequence[str], contents: pa.ChunkedArray, files: dict[str, CstRows], rejected: dict[str, str]) -> None:
    waiting = 0
    with _rare_collection():
        for uri, content in zip(uris, contents, strict=True):
            data = content.as_py()
            try:
                files[uri] = read(data)
            except RejectedError as error:
                rejected[uri] = str(error)
            except MemoryError:
                raise CodeIntelError(
                    f"There is not enough memory to read the concrete syntax of `{uri}`.",
                    hint="Set CODEINTEL_WORKERS=1 or CODEINTEL_CST=false and build again.",
                ) from None
            waiting += len(data)
            if waiting >= _COLLECT_BYTES:
                gc.collect()
                waiting = 0


@contextlib.contextmanager
def _rare_collection() -> Iterator[None]:
    """Trees are made of very many objects that live long: to look through them for cycles costs a third of the parse."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _on_a_deep_stack(work: Callable[[], None]) -> None:
    """Run `work` where it may nest deep, and always equally deep, whoever calls: in a thread with a stack of its own."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK_BYTES)
    try:
        sys.setrecursionlimit(_RECURSION_LIMIT)
        thread = threading.Thread(target=run, name="cst")
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
    if failures:
        raise failures[0]


def _table(files: Sequence[CstRows]) -> pa.Table:
    """The rows of files, one after the other, without their uris."""
    if not files:
        return CstNodes.schema.empty_table().drop_columns(["uri"])
    columns: Mapping[str, pa.Array] = {
        "node_id": pa.array(np.concatenate([np.arange(len(one), dtype=np.int32) for one in files])),
        "parent_id": pa.array(np.concatenate([one.parent for one in files])),
        "kind": pa.array([kind for one in files for kind in one.kind], pa.string()).dictionary_encode(),
        "role": pa.array([role for one in files for role in one.role], pa.string()).dictionary_encode(),
        "start_byte": pa.array(np.concatenate([one.start for one in files])),
        "end_byte": pa.array(np.concatenate([one.end for one in files])),
        "text_hash": pa.array(np.concatenate([one.text_hash for one in files])),
        "qualified_name": pa.array([name for one in files for name in one.qualified_name], pa.string()),
    }
    return pa.table(columns)
