"""The first stage: what a scan found, and the bytes of what is indexed, as the tables that all later stages read.

Belongs here: writing `files` and `sources`. Not here: deciding what is in them (`scan`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from pipeline import delta
from pipeline.artefacts import Earlier
from pipeline.errors import SourceError
from pipeline.files import digest_bytes
from pipeline.schemas import Files, Snapshot, Sources
from pipeline.source.entries import hash_of
from pipeline.source.listing import PartRows, read_listing, write_listing
from pipeline.source.scan import Scan
from pipeline.source.selection import INDEXED
from pipeline.stage import Facts, Output, Stage
from pipeline.tables import part_count, part_path, write_part
from pipeline.workers import Runtime

_LANG = pa.string()
_DIGITS = 32
"""Hex digits of the digests of rows."""


def source_snapshot(scan: Scan, runtime: Runtime, out: Output[Snapshot]) -> Facts:
    """Write every row of a scan to `files`, the bytes of the indexed ones to `sources`, and both in short to `snapshot.json`.

    Facts: `rows`, `indexed` files, their `bytes`, `languages` {name: indexed files}, `skipped` {reason: files}. Memory is that
    of one part. Raises `SourceError` when a file is no longer what was scanned; a new scan is the way out.
    """
    # By what is indexed: a thousand skipped message catalogues should not cut the tables into slivers.
    parts = part_count(scan.reason.count(None))
    members = _members(scan, parts)
    rows = [_digests(scan, part) for part in members]
    root, before = _before(runtime.earlier, parts)
    for part, (now, old) in enumerate(zip(rows, before, strict=True)):
        if old is not None and now.files == old.files:
            delta.link_part(root, out.path, Files, part)
        else:
            write_part(out.path / Files.name, Files, part, _files(scan, members[part]))
        if old is not None and now.sources == old.sources:
            delta.link_part(root, out.path, Sources, part)
        else:
            table = _sources(scan, members[part], _kept(root, out.path, part) if old is not None else None)
            write_part(out.path / Sources.name, Sources, part, table)
        runtime.progress(part + 1, parts)
    write_listing(out.path, rows, [uri for uri, reason in zip(scan.uri, scan.reason, strict=True) if reason is None])
    return _facts(scan)


def _facts(scan: Scan) -> Facts:
    indexed = [reason is None for reason in scan.reason]
    return {
        "rows": len(scan.uri),
        "indexed": sum(indexed),
        "bytes": sum(size or 0 for size in compress(scan.size, indexed)),
        "languages": dict(sorted(Counter(map(str, compress(scan.lang, indexed))).items())),
        "skipped": dict(sorted(Counter(reason for reason in scan.reason if reason is not None).items())),
    }


def _members(scan: Scan, parts: int) -> list[list[int]]:
    """The rows of each part, in the order of the scan."""
    of = np.frombuffer(scan.places, np.uint8).astype(np.int64) % parts
    edges = np.searchsorted(np.sort(of), np.arange(1, parts))
    return [rows.tolist() for rows in np.split(np.argsort(of, kind="stable"), edges)]


def _digests(scan: Scan, rows: list[int]) -> PartRows:
    """What the rows of a part are, in short."""
    told = [[column[row] for row in rows] for column in (scan.uri, scan.lang, scan.content_hash, scan.reason, scan.size)]
    indexed = [reason is None for reason in told[3]]
    sources = [list(compress(column, indexed)) for column in told[:3]]
    return PartRows(*(digest_bytes(msgspec.msgpack.encode(columns))[:_DIGITS] for columns in (told, sources)))


def _before(earlier: Earlier | None, parts: int) -> tuple[Path, Sequence[PartRows | None]]:
    """The folder of the earlier snapshot, and what the rows of its parts are; of none where it is cut otherwise."""
    if earlier is None:
        return Path(), [None] * parts
    root = earlier.outputs[Snapshot.asset].path
    told = read_listing(root).parts
    return root, told if len(told) == parts else [None] * parts


def _kept(before: Path, after: Path, part: int) -> pa.Table:
    """The rows of `sources` of the files of a part that have the same bytes as before."""
    same = delta.changes(part_path(after / Files.name, part), part_path(before / Files.name, part)).same
    return delta.carried(part_path(before / Sources.name, part), Sources, same)


def _files(scan: Scan, rows: list[int]) -> pa.Table:
    columns = {"uri": scan.uri, "lang": scan.lang, "size": scan.size, "content_hash": scan.content_hash}
    columns |= {"status": scan.status, "reason": scan.reason}
    return pa.table(
        {field.name: pa.array([columns[field.name][row] for row in rows], _plain(field.type)) for field in Files.schema}
    )


def _sources(scan: Scan, rows: list[int], kept: pa.Table | None) -> pa.Table:
    """The rows of `sources`; files whose rows are `kept` are not read."""
    rows = [row for row in rows if scan.status[row] == INDEXED]
    known = frozenset(() if kept is None else kept["uri"].to_pylist())
    new = [row for row in rows if scan.uri[row] not in known]
    found = pa.table(
        {
            "uri": pa.array([scan.uri[row] for row in new], pa.string()),
            "lang": pa.array([scan.lang[row] for row in new], _LANG).dictionary_encode(),
            "content": pa.array([_content(scan, row) for row in new], pa.binary()),
        }
    )
    return found if kept is None else delta.woven([scan.uri[row] for row in rows], found.cast(kept.schema), kept)


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


STAGE = Stage(source_snapshot, code_version="2")
