"""What stands around and in chunks: the definitions that hold a place, and the symbols that a chunk defines, in memory.

Belongs here: reading both tables into arrays, and slices of them. Not here: the symbols themselves (`symbol_table`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalog.numbering import Bounds, Numbers, as_numpy, bounds_of, numbered, words_of
from pipeline.schemas import ChunkSymbols, Definitions
from pipeline.tables import has_table, read_columns

_COLUMNS = ("uri", "kind", "qualified_name", "start_line", "start_byte", "end_byte")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Definitions by file, and the defined symbols of chunks."""

    file: dict[str, int]
    """The definitions in file f are `order[bounds[f]:bounds[f + 1]]`, rows of the columns below."""
    bounds: Bounds
    order: Numbers
    start: Numbers
    end: Numbers
    line: Numbers
    kinds: list[str]
    names: pa.ChunkedArray
    chunk: npt.NDArray[np.int64]
    """[c] ascending; with `symbol` [c], one row for each symbol that a chunk defines."""
    symbol: Numbers

    def scope(self, uri: str, start: int, end: int) -> Iterator[tuple[str, str, int]]:
        """Kind, qualified name and first line of the definitions that hold the bytes from before `start` to `end` or beyond,
        outermost first."""
        if (file := self.file.get(uri)) is None:
            return
        rows = self.order[self.bounds[file] : self.bounds[file + 1]]
        rows = rows[(self.start[rows] < start) & (self.end[rows] >= end)]
        for row in rows[np.lexsort((-self.end[rows], self.start[rows]))].tolist():
            yield self.kinds[row], self.names[row].as_py(), int(self.line[row])

    def defined_in(self, chunk: int) -> Numbers:
        """The symbols that a chunk defines."""
        return self.symbol[np.searchsorted(self.chunk, chunk) : np.searchsorted(self.chunk, chunk, "right")]


def read_surroundings(version: Path, symbols: pa.StringArray) -> Surroundings:
    """Of a version's directory, where `symbols` [n] are numbered by their place. Raises what `read_symbols` does."""
    definitions = read_columns(version, Definitions, _COLUMNS)
    uris, (file,) = numbered([definitions["uri"]])
    order = np.argsort(file, kind="stable").astype(np.int32)
    chunk, symbol = _defined(version, symbols)
    return Surroundings(
        file={uri: number for number, uri in enumerate(uris.to_pylist())},
        bounds=bounds_of(file[order], len(uris)),
        order=order,
        start=as_numpy(definitions["start_byte"]),
        end=as_numpy(definitions["end_byte"]),
        line=as_numpy(definitions["start_line"]),
        kinds=words_of(definitions["kind"]),
        names=definitions["qualified_name"],
        chunk=chunk,
        symbol=symbol,
    )


def _defined(version: Path, symbols: pa.StringArray) -> tuple[npt.NDArray[np.int64], Numbers]:
    if not has_table(version, ChunkSymbols):
        return np.empty(0, np.int64), np.empty(0, np.int32)
    rows = read_columns(version, ChunkSymbols, ("chunk_id", "symbol", "role"))
    _, (_, symbol) = numbered([pa.chunked_array([symbols]), rows["symbol"]])
    roles, (role,) = numbered([rows["role"]])
    defines = np.array([word == "definition" for word in roles.to_pylist()], bool)[role] & (symbol < len(symbols))
    chunk, symbol = as_numpy(rows["chunk_id"])[defines], symbol[defines]
    order = np.argsort(chunk, kind="stable")
    return chunk[order], symbol[order]
