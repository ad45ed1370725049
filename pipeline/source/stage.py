"""The first stage: what a scan found, and the bytes of what is indexed, as the tables that all later stages read.

Belongs here: writing `files` and `sources`. Not here: deciding what is in them (`scan`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress
from operator import itemgetter
from pathlib import Path
from typing import Any

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
    root, before = _before(runtime.earlier, parts)
    rows = [_digests(scan, part, old) for part, old in zip(members, before, strict=True)]
    same = [part for part in range(parts) if (old := before[part]) is not None and old.files == rows[part].files]
    kept = [part for part in range(parts) if (old := before[part]) is not None and old.sources == rows[part].sources]
    delta.link_parts(root, out.path, Files, same)
    delta.link_parts(root, out.path, Sources, kept)
    for part in sorted(set(range(parts)).difference(same)):
        write_part(out.path / Files.name, Files, part, _files(scan, members[part]))
    for done, part in enumerate(new := sorted(set(range(parts)).difference(kept)), 1):
        known = _known(root, out.path, part) if before[part] is not None else None
        write_part(out.path / Sources.name, Sources, part, _sources(scan, members[part], known))
        runtime.progress(done, len(new))
    write_listing(out.path, rows, list(compress(scan.uri, [reason is None for reason in scan.reason])))
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


def _digests(scan: Scan, rows: list[int], before: PartRows | None) -> PartRows:
    """What the rows of a part are, in short."""
    told = [_taken(column, rows) for column in (scan.uri, scan.lang, scan.content_hash, scan.reason, scan.size)]
    files = _digest(told)
    if before is not None and files == before.files:
        return before
    indexed = [reason is None for reason in told[3]]
    return PartRows(files, _digest([tuple(compress(column, indexed)) for column in told[:3]]))


def _taken(column: Sequence[Any], rows: list[int]) -> tuple[Any, ...]:
    return itemgetter(*rows)(column) if len(rows) > 1 else tuple(column[row] for row in rows)


def _digest(columns: Sequence[Sequence[Any]]) -> str:
    return digest_bytes(msgspec.msgpack.encode(columns))[:_DIGITS]


def _before(earlier: Earlier | None, parts: int) -> tuple[Path, Sequence[PartRows | None]]:
    """The folder of the earlier snapshot, and what the rows of its parts are; of none where it is cut otherwise."""
    if earlier is None:
        return Path(), [None] * parts
    root = earlier.outputs[Snapshot.asset].path
    told = read_listing(root).parts
    return root, told if len(told) == parts else [None] * parts


def _known(before: Path, after: Path, part: int) -> pa.Table:
    """The rows of `sources` of the files of a part that have the same bytes as before."""
    same = delta.changes(part_path(after / Files.name, part), part_path(before / Files.name, part)).same
    return delta.carried(part_path(before / Sources.name, part), Sources, same)


def _files(scan: Scan, rows: list[int]) -> pa.Table:
    columns = {"uri": scan.uri, "lang": scan.lang, "size": scan.size, "content_hash": scan.content_hash}
    columns |= {"status": scan.status, "reason": scan.reason}
    return pa.table(
        {field.name: pa.array([columns[field.name][row] for row in rows], _plain(field.type)) for field in Files.schema}
    )


def _sources(scan: Scan, rows: list[int], known: pa.Table | None) -> pa.Table:
    """The rows of `sources`; files whose rows are `known` are not read."""
    rows = [row for row in rows if scan.reason[row] is None]
    uris = frozenset(() if known is None else known["uri"].to_pylist())
    new = [row for row in rows if scan.uri[row] not in uris]
    found = pa.table(
        {
            "uri": pa.array([scan.uri[row] for row in new], pa.string()),
            "lang": pa.array([scan.lang[row] for row in new], _LANG).dictionary_encode(),
            "content": pa.array([_content(scan, row) for row in new], pa.binary()),
        }
    )
    return found if known is None else delta.woven([scan.uri[row] for row in rows], found.cast(known.schema), known)


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
