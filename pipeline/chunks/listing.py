"""Id, part and size of every chunk, in one small file beside the table: `chunk_listing.npy`.

What is asked of all chunks at once (that their ids differ, how large they are) is asked of this file, so that a small build
reads none of the parts that it links.

Belongs here: that file. Not here: the table (`stage`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import IndexCorruptionError
from pipeline.npy import save_array
from pipeline.schemas import Chunks

_ROW = np.dtype([("id", "<i8"), ("part", "<i4"), ("size", "<i4")])


@dataclass(frozen=True, slots=True)
class Listing:
    """Columns in the order of the table's rows: ids int64 [n], parts int32 [n], sizes (non-whitespace bytes) int32 [n]."""

    ids: NDArray[np.int64]
    parts: NDArray[np.int32]
    sizes: NDArray[np.int32]

    def part(self, number: int) -> Listing:
        """The rows of one part."""
        at = slice(*np.searchsorted(self.parts, (number, number + 1)))
        return Listing(self.ids[at], self.parts[at], self.sizes[at])

    def write(self, folder: Path) -> None:
        """Write it into the folder of a table of chunks."""
        rows = np.empty(len(self.ids), _ROW)
        rows["id"], rows["part"], rows["size"] = self.ids, self.parts, self.sizes
        save_array(folder / Chunks.LISTING, rows)


def listed(parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int32]]]) -> Listing:
    """The listing of parts, each with the ids and sizes of its rows."""
    counts = [len(found) for found, _ in parts]
    return Listing(
        np.concatenate([np.empty(0, np.int64), *(found for found, _ in parts)]),
        np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        np.concatenate([np.empty(0, np.int32), *(sizes for _, sizes in parts)]),
    )


def read_listing(folder: Path) -> Listing:
    """That of a table of chunks. Raises `IndexCorruptionError`."""
    path = folder / Chunks.LISTING
    problem = "it is not a list of chunks"
    try:
        rows = np.load(path, allow_pickle=False)
    # NumPy raises whatever its header parser meets: SyntaxError and tokenizer errors among it.
    except Exception as error:
        rows, problem = None, str(error)
    if rows is None or rows.dtype != _ROW or rows.ndim != 1 or (np.diff(rows["part"]) < 0).any():
        raise IndexCorruptionError(f"{path} cannot be read: {problem}.", hint="Run `indexctl verify`, then `indexctl build`.")
    return Listing(*(np.ascontiguousarray(rows[name]) for name in ("id", "part", "size")))
