"""What one part of the tables of symbols says of names, in a file beside the tables: `scip_names/part-000.arrow`.

A reference by syntax means the one definition of its name in the whole repository, and a symbol is described where the first
file describes it: both depend on all parts. Whoever makes some parts anew learns from these files what the others say, and
which of them ask for a name whose meaning has changed.

Belongs here: that file, and hashes of names. Not here: what names mean (`from_syntax`), which parts are made anew
(`small_tables`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.columns import bytes_of, one_chunk
from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.structure.scip.from_syntax import NAMES, SCHEME

DIRECTORY = "scip_names"
TAG = b"scip_names/1"
_TAG, _FACTS = b"codeintel.kind", b"codeintel.facts"
_NAMES = pa.struct(NAMES)
_DESCRIBED = pa.struct([pa.field("symbol", pa.uint64()), pa.field("uri", pa.uint64())])
_SCHEMA = pa.schema([
    pa.field("names", pa.list_(_NAMES)), pa.field("asked", pa.list_(pa.uint32())), pa.field("described", pa.list_(_DESCRIBED)),
])  # fmt: skip
_FACTOR, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class PartNames:
    """One part: tables, and arrays of hashes, ascending.

    `names` (`from_syntax.NAMES`) are what it defines, once a family and name; the symbol is null where several have the name.
    `asked` [names], uint32, are the identifiers of the files that are known by syntax, as `asked_hashes`. `described` (symbol,
    uri), uint64 hashes ascending by symbol, are the symbols that other parts might describe, too: those of indexes. `facts` are
    what the part's tables hold.
    """

    names: pa.Table
    asked: NDArray[np.uint32]
    described: pa.Table
    facts: dict[str, Any]

    @cached_property
    def symbols(self) -> Hashes:
        """Hashes of the symbols that it describes, ascending."""
        return np.asarray(one_chunk(self.described["symbol"]).to_numpy())

    def pairs(self) -> set[tuple[int, int]]:
        """Hashes of (symbol, file that describes it)."""
        return set(zip(self.described["symbol"].to_pylist(), self.described["uri"].to_pylist(), strict=True))


def path_in(root: Path, part: int) -> Path:
    """Where the file of a part lies in the folder of a version or of an object of `scip_occurrences`."""
    return root / DIRECTORY / f"part-{part:03d}.arrow"


def write(root: Path, part: int, found: PartNames) -> None:
    """Write the file of one part."""
    columns = []
    for field, rows in zip(_SCHEMA, (found.names, found.asked, found.described), strict=True):
        values = _structs(rows) if isinstance(rows, pa.Table) else pa.array(rows)
        columns.append(pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values.cast(field.type.value_type)))
    table = pa.table(
        columns, schema=_SCHEMA.with_metadata({_TAG: TAG, _FACTS: msgspec.json.encode(found.facts, order="sorted")})
    )
    path = path_in(root, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not compressed: to unpack all parts would take longer than all else that a small build does.
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


def _structs(table: pa.Table) -> pa.StructArray:
    return pa.StructArray.from_arrays([one_chunk(table[name]) for name in table.column_names], table.column_names)


def read(root: Path, part: int) -> PartNames:
    """One part. Raises IndexCorruptionError when its file is missing or damaged, IndexFormatError for one of another kind."""
    path = path_in(root, part)
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            told = file.schema.metadata or {}
            if told.get(_TAG) != TAG:
                kind = told.get(_TAG, b"no kind").decode("utf-8", "replace")
                raise IndexFormatError(f"{path} holds `{kind}`, not `{TAG.decode()}`.", hint="Rebuild the index.")
            table = file.read_all()
        if table.num_rows != 1 or not table.schema.equals(_SCHEMA):
            raise ValueError("not in its shape")
        names, asked, described = (one_chunk(column).flatten() for column in table.columns)
        facts = msgspec.json.decode(told.get(_FACTS, b"{}"), type=dict[str, Any])
        return PartNames(pa.Table.from_struct_array(names), asked.to_numpy(), pa.Table.from_struct_array(described), facts)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IndexCorruptionError(
            f"{path} cannot be read: {type(error).__name__}.", hint="Run `indexctl verify`, then `indexctl build`."
        ) from error


def hashes(words: pa.Array) -> Hashes:
    """A 64-bit number of each string (or binary, with offsets of 32 bits) [n]: equal for equal words, and for others hardly
    ever. That two words share one by chance makes more work, and no other result."""
    bounds, data = bytes_of(words)
    lengths = np.diff(bounds)
    found = lengths.astype(np.uint64)
    filled = np.flatnonzero(lengths)
    if len(filled):
        place = np.arange(len(data)) - np.repeat(bounds[:-1], lengths)
        powers = np.cumprod(np.full(int(lengths.max()), _FACTOR, np.uint64))
        sums = np.add.reduceat((data.astype(np.uint64) + np.uint64(1)) * powers[place], bounds[:-1][filled])
        found[filled] += sums
    found = (found ^ (found >> np.uint64(32))) * _MIX
    return found ^ (found >> np.uint64(29))


def asked_hashes(families: pa.Array, words: pa.Array) -> NDArray[np.uint32]:
    """The distinct numbers of (family, name) [n], ascending."""
    together = hashes(families) * _FACTOR ^ hashes(words)
    return np.unique((together >> np.uint64(32)).astype(np.uint32))


def described_hashes(symbols: pa.Table) -> pa.Table:
    """Of descriptions (symbol, uri), those whose symbols are of an index, as hashes; external ones have the uri 0."""
    symbol = one_chunk(symbols["symbol"])
    rows = np.flatnonzero(~pc.starts_with(symbol, SCHEME).to_numpy(zero_copy_only=False))
    numbers = hashes(symbol.take(pa.array(rows)))
    files = one_chunk(symbols["uri"]).take(pa.array(rows))
    uris = np.where(files.is_null().to_numpy(zero_copy_only=False), np.uint64(0), hashes(pc.fill_null(files, "")))
    order = np.lexsort((uris, numbers))
    return pa.table([pa.array(numbers[order]), pa.array(uris[order])], names=["symbol", "uri"])
