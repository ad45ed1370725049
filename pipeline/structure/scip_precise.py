"""Occurrences of an index in bytes of the snapshot's files, and which of its files are not those of the snapshot.

Belongs here: from a group of documents to columns. Not here: decoding (`scip_reader`), tables and parts (`scip_stage`).
"""

from __future__ import annotations

import posixpath
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.source.text import line_of, line_starts
from pipeline.structure.scip_described import completed
from pipeline.structure.scip_reader import DocumentGroup, byte_offsets, column_unit

MISMATCHES = 0.02
"""Share of a file's definitions whose name is not what stands there, from which on the index is of another state."""
UNKNOWN = "the snapshot has no such file"
TWICE = "the index describes it twice"
OUTSIDE = "the index has positions outside of the file"
OTHER = "the index is of another state of the file"

_ESCAPED = re.compile(r"`((?:[^`]|``)+)`$")
_SORT = re.compile(r"^<[a-z]+>")
_SIMPLE = string.ascii_letters + string.digits + "_+-$"
_LINE_COLUMNS = ("start_line", "end_line", "enclosing_start_line", "enclosing_end_line")
_COLUMN_COLUMNS = ("start_column", "end_column", "enclosing_start_column", "enclosing_end_column")


@dataclass(slots=True)
class Precise:
    """What the indexes say, so far. `occurrences` have the columns of `ScipOccurrences` without provenance and indexer."""

    occurrences: list[pa.Table] = field(default_factory=list)
    symbols: list[pa.Table] = field(default_factory=list)
    """The columns of `ScipSymbols` without provenance, and `uri` (null: external)."""
    indexers: dict[str, str] = field(default_factory=dict)
    """uri -> the indexer of each file that is taken from an index."""
    left_out: dict[str, str] = field(default_factory=dict)
    """uri -> why its document was not taken."""


def add(precise: Precise, group: DocumentGroup, tool: str, indexer: str, content_of: Callable[[str], bytes | None]) -> None:
    """Take the documents of a group that fit the snapshot; `content_of` gives a file's bytes, or None."""
    table = group.occurrences
    bounds = np.searchsorted(table["document"].to_numpy(), np.arange(len(group.paths) + 1))
    lines = np.stack([table[name].to_numpy() for name in _LINE_COLUMNS])
    columns = np.stack([table[name].to_numpy() for name in _COLUMN_COLUMNS])
    defines = (table["roles"].to_numpy() & 1) == 1
    symbols = table["symbol"].combine_chunks()
    names = [_defined_name(symbol) for symbol in symbols.dictionary.to_pylist()]
    numbers = symbols.indices.to_numpy()
    offsets = np.full((4, table.num_rows), -1, np.int64)
    line_numbers = np.zeros((2, table.num_rows), np.int64)
    kept = np.zeros(table.num_rows, bool)
    uris = [posixpath.normpath(path) for path in group.paths]
    taken = np.zeros(len(uris), bool)
    for place, uri in enumerate(uris):
        rows = slice(int(bounds[place]), int(bounds[place + 1]))
        content = content_of(uri)
        if content is None or uri in precise.indexers:
            precise.left_out[uri] = UNKNOWN if content is None else TWICE
            continue
        unit = column_unit(int(group.encoding[place]), tool)
        found = byte_offsets(content, lines[:, rows].ravel(), columns[:, rows].ravel(), unit).reshape(4, -1)
        reason = _mismatch(content, found, lines[2, rows] >= 0, defines[rows], numbers[rows], names)
        if reason:
            precise.left_out[uri] = reason
            continue
        offsets[:, rows] = found
        starts = line_starts(content)
        line_numbers[0, rows] = line_of(starts, found[0])
        line_numbers[1, rows] = line_of(starts, np.maximum(found[1] - 1, found[0]))
        # An empty range names nothing, but for the module that a file is. Some indexers write ends that lie before the start.
        kept[rows] = (found[1] > found[0]) | (defines[rows] & (found[1] == found[0]))
        taken[place] = True
        precise.indexers[uri] = indexer
        precise.left_out.pop(uri, None)
    words = pa.array(uris, pa.string())
    enclosed = (offsets[2] < 0) | (offsets[3] < offsets[2])
    precise.occurrences.append(
        pa.table(
            {
                "uri": pa.DictionaryArray.from_arrays(table["document"].combine_chunks(), words),
                "symbol": symbols,
                "roles": table["roles"],
                "is_definition": pa.array(defines),
                "start_byte": pa.array(offsets[0].astype(np.int32)),
                "end_byte": pa.array(offsets[1].astype(np.int32)),
                "start_line": pa.array(line_numbers[0].astype(np.int32)),
                "end_line": pa.array(line_numbers[1].astype(np.int32)),
                "enclosing_start_byte": pa.array(offsets[2].astype(np.int32), mask=enclosed),
                "enclosing_end_byte": pa.array(offsets[3].astype(np.int32), mask=enclosed),
            }
        ).filter(pa.array(kept))
    )
    precise.symbols.append(_symbols(group.symbols, words, taken))


def _mismatch(
    content: bytes,
    found: NDArray[np.int64],
    enclosed: NDArray[np.bool_],
    defines: NDArray[np.bool_],
    numbers: NDArray[np.int32],
    names: list[bytes],
) -> str:
    """Why the occurrences of one document cannot be of this content, or nothing. `names` by symbol; empty: cannot be told."""
    start, end = found[0], found[1]
    if (found[:2] < 0).any() or (found[2:, enclosed] < 0).any():
        return OUTSIDE
    asked = wrong = 0
    for a, b, number in zip(start[defines].tolist(), end[defines].tolist(), numbers[defines].tolist(), strict=True):
        name = names[number]
        if name and b > a:
            asked += 1
            wrong += name not in content[a:b]
    return OTHER if wrong > MISMATCHES * asked else ""


def _defined_name(symbol: str) -> bytes:
    """The name that stands where a symbol is defined, or nothing where that cannot be told.

    Namespaces may stand for a file. Meta symbols are numbered (`area0:` is a property of an object in TypeScript), and what
    stands in angle brackets says what sort of thing it is (`<constructor>`, `<get>area`).
    """
    if symbol.startswith("local ") or symbol.endswith(("/", ":")):
        return b""
    head = symbol[: symbol.rfind("(")] if symbol.endswith(").") else symbol[:-1]
    if head.endswith("`"):
        match = _ESCAPED.search(head)
        return _SORT.sub("", match[1].replace("``", "`")).encode() if match else b""
    return head[len(head.rstrip(_SIMPLE)) :].encode()


def _symbols(table: pa.Table, uris: pa.Array, taken: NDArray[np.bool_]) -> pa.Table:
    """Descriptions of global symbols in documents that were taken, and of external ones."""
    document = table["document"].to_numpy()
    external = document < 0
    known = external | taken[document] if len(taken) else external
    uri = uris.take(pa.array(document, mask=external))
    table = table.drop_columns(["document"]).append_column("uri", uri)
    # The ids of locals mean something in their document only.
    is_global = [not symbol.startswith("local ") for symbol in table["symbol"].to_pylist()]
    return completed(table.filter(pa.array(known & np.array(is_global, bool))))


def reasons(left_out: Mapping[str, str]) -> dict[str, int]:
    """Files by reason."""
    counted: dict[str, int] = {}
    for reason in left_out.values():
        counted[reason] = counted.get(reason, 0) + 1
    return dict(sorted(counted.items()))
