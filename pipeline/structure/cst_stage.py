"""The stage of concrete syntax: the Python files of `sources` in, `cst_nodes` out, and a list of the files that libcst rejects.

Belongs here: going over the parts, and the table. Not here: what a row says (`cst`).
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.config import CstSettings, Settings
from pipeline.files import write_json
from pipeline.schemas import CstNodes, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.cst import CstRows, RejectedError, read
from pipeline.workers import Runtime, run_jobs

REJECTED = CstNodes.REJECTED
"""Beside the table: `{"version": 1, "rejected": [{"uri": …, "reason": …}, …]}`, sorted by uri; `reason` is one line."""

_COST = 8
"""How much more work a byte is for libcst than for tree-sitter, at the least."""
_STACK_BYTES = 256 << 20
_RECURSION_LIMIT = 20_000
_COLLECT_BYTES = 256 << 10
"""Source after which the garbage of libcst's scopes (cycles that hold whole trees) is collected."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One part: what to read, and the folder of the table to write it to."""

    sources: Path
    part: int
    folder: Path
    on: bool


@dataclass(frozen=True, slots=True)
class _Done:
    """What a job found: rows by kind, and why files were rejected, by uri."""

    files: int
    kinds: dict[str, int]
    rejected: dict[str, str]


def cst_nodes(source: Artefact[Snapshot], settings: CstSettings, runtime: Runtime, out: Output[CstNodes]) -> Facts:
    """Write the concrete syntax of every Python source, cut into the parts of `sources`, and `cst_rejected.json`.

    Facts: `cst`, on or off (then every part is empty); files (Python files that have rows), rejected, nodes, and nodes_by_kind.
    """
    jobs = [
        _Job(path, part, out.path / CstNodes.name, settings.cst) for part, path in enumerate(tables.parts(source.path, Sources))
    ]
    work = sum(_python_bytes(job.sources) for job in jobs) * _COST if settings.cst else 0
    done = list(run_jobs(_write_part, jobs, runtime, work_bytes=work))
    rejected = {uri: reason for part in done for uri, reason in part.rejected.items()}
    listed = [{"uri": uri, "reason": rejected[uri]} for uri in sorted(rejected)]
    write_json(out.path / REJECTED, {"version": 1, "rejected": listed})
    kinds: dict[str, int] = {}
    for part in done:
        for kind, count in part.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
    return {
        "cst": "on" if settings.cst else "off",
        "files": sum(part.files for part in done),
        "rejected": len(rejected),
        "nodes": sum(kinds.values()),
        "nodes_by_kind": dict(sorted(kinds.items())),
    }


def _uses(_settings: Settings) -> Mapping[str, str]:
    # The interpreter decides which names are builtins.
    return {
        "libcst": version("libcst"),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "tree-sitter": version("tree-sitter"),
        "tree-sitter-language-pack": version("tree-sitter-language-pack"),
    }


STAGE = Stage(cst_nodes, code_version="1", uses=_uses)


def _python(part: Path) -> pa.Table:
    table = tables.read_part(part, Sources)
    return table.filter(pc.equal(table["lang"].cast(pa.string()), "python"))


def _python_bytes(part: Path) -> int:
    return int(pc.sum(pc.binary_length(_python(part)["content"])).as_py() or 0)


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


def _write_part(job: _Job) -> _Done:
    """Read the Python files of one part and write its part of the table."""
    files: dict[str, CstRows] = {}
    rejected: dict[str, str] = {}
    if job.on:
        sources = _python(job.sources)

        def work() -> None:
            _read_all(sources, files, rejected)

        _on_a_deep_stack(work)
    table = _table(files)
    tables.write_part(job.folder, CstNodes, job.part, table)
    counts = pc.value_counts(table["kind"].cast(pa.string())).to_pylist()
    return _Done(len(files), {count["values"]: count["counts"] for count in counts}, rejected)


def _read_all(sources: pa.Table, files: dict[str, CstRows], rejected: dict[str, str]) -> None:
    waiting = 0
    with _rare_collection():
        for uri, content in zip(sources["uri"].to_pylist(), sources["content"], strict=True):
            data = content.as_py()
            try:
                files[uri] = read(data)
            except RejectedError as error:
                rejected[uri] = str(error)
            waiting += len(data)
            if waiting >= _COLLECT_BYTES:
                gc.collect()
                waiting = 0


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


def _table(files: Mapping[str, CstRows]) -> pa.Table:
    """The rows of the files of a part, in the schema of `CstNodes`."""
    if not files:
        return CstNodes.schema.empty_table()
    rows = list(files.values())
    lengths = np.array([len(one) for one in rows])
    uri = pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)), pa.array(list(files), pa.string())
    )
    columns = {
        "uri": uri,
        "node_id": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths.tolist()]),
        "parent_id": np.concatenate([one.parent for one in rows]),
        "kind": pa.array([kind for one in rows for kind in one.kind], pa.string()).dictionary_encode(),
        "role": pa.array([role for one in rows for role in one.role], pa.string()).dictionary_encode(),
        "start_byte": np.concatenate([one.start for one in rows]),
        "end_byte": np.concatenate([one.end for one in rows]),
        "text_hash": np.concatenate([one.text_hash for one in rows]),
        "qualified_name": pa.array([name for one in rows for name in one.qualified_name], pa.string()),
    }
    return pa.table([pa.array(columns[name]) for name in CstNodes.schema.names], schema=CstNodes.schema)
