"""The first stage: what a scan found, and the bytes of what is indexed, as the tables that all later stages read.

Belongs here: writing `files` and `sources`. Not here: deciding what is in them (`scan`).
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from pipeline.errors import SourceError
from pipeline.schemas import Files, Snapshot, Sources
from pipeline.source.entries import hash_of
from pipeline.source.scan import Scan
from pipeline.source.selection import INDEXED
from pipeline.stage import Facts, Output, Stage
from pipeline.tables import part_count, part_of, write_part
from pipeline.workers import Runtime


def source_snapshot(scan: Scan, runtime: Runtime, out: Output[Snapshot]) -> Facts:
    """Write every row of a scan to `files`, and the bytes of the indexed ones to `sources`.

    Facts: `rows`, `indexed` files, their `bytes`, `languages` {name: indexed files}, `skipped` {reason: files}. Memory is that
    of one part. Raises `SourceError` when a file is no longer what was scanned; a new scan is the way out.
    """
    # By what is indexed: a thousand skipped message catalogues should not cut the tables into slivers.
    parts = part_count(scan.status.count(INDEXED))
    members: list[list[int]] = [[] for _ in range(parts)]
    for row, uri in enumerate(scan.uri):
        members[part_of(uri, parts)].append(row)
    for part, rows in enumerate(members):
        write_part(out.path / Files.name, Files, part, _files(scan, rows))
        write_part(out.path / Sources.name, Sources, part, _sources(scan, rows))
        runtime.progress(part + 1, parts)
    indexed = [row for row, status in enumerate(scan.status) if status == INDEXED]
    return {
        "rows": len(scan.uri),
        "indexed": len(indexed),
        "bytes": sum(scan.size[row] or 0 for row in indexed),
        "languages": dict(sorted(Counter(str(scan.lang[row]) for row in indexed).items())),
        "skipped": dict(sorted(Counter(reason for reason in scan.reason if reason is not None).items())),
    }


def _files(scan: Scan, rows: list[int]) -> pa.Table:
    columns = {"uri": scan.uri, "lang": scan.lang, "size": scan.size, "content_hash": scan.content_hash}
    columns |= {"status": scan.status, "reason": scan.reason}
    return pa.table(
        {field.name: pa.array([columns[field.name][row] for row in rows], _plain(field.type)) for field in Files.schema}
    )


def _sources(scan: Scan, rows: list[int]) -> pa.Table:
    rows = [row for row in rows if scan.status[row] == INDEXED]
    return pa.table(
        {
            "uri": pa.array([scan.uri[row] for row in rows], pa.string()),
            "lang": pa.array([scan.lang[row] for row in rows], pa.string()),
            "content": pa.array([_content(scan, row) for row in rows], pa.binary()),
        }
    )


def _content(scan: Scan, row: int) -> bytes:
    """The bytes of one file, which must be those that were scanned."""
    uri = scan.uri[row]
    try:
        content = scan.read(uri)
    except SourceError:
        content = None
    if content is None or hash_of(content) != scan.content_hash[row]:
        raise SourceError(f"`{uri}` changed while it was being read.", hint="Build again.")
    return content


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


STAGE = Stage(source_snapshot, code_version="1")
