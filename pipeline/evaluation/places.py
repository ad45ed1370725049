"""Which chunks lie at a place that somebody names: a file, some of its lines, a folder.

Belongs here: the lookup over all chunks of a version. Not here: what is named and why (`own_queries`).
"""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.columns import runs
from pipeline.schemas import Chunks
from pipeline.tables import read_table

_AFTER_ALL = "\U0010ffff"


class Chunked:
    """The chunks of a version, ordered by file and line."""

    def __init__(self, folder: Path) -> None:
        table = read_table(folder, Chunks, ["id", "uri", "lang", "start_line", "end_line", "start_byte"])
        table = table.sort_by([("uri", "ascending"), ("start_byte", "ascending")])
        self._ids: npt.NDArray[np.int64] = table.column("id").to_numpy()
        self._start: npt.NDArray[np.int32] = table.column("start_line").to_numpy()
        self._end: npt.NDArray[np.int32] = table.column("end_line").to_numpy()
        self._uri, self._lang = table.column("uri"), table.column("lang")
        self._rows = runs(self._uri)
        self._uris = list(self._rows)
        self._by_id = np.argsort(self._ids, kind="stable")
        self._sorted = self._ids[self._by_id]
        self._found: dict[str, tuple[int, ...]] = {}
        """What folders hold: many queries name the same one."""

    def __contains__(self, chunk: int) -> bool:
        place = int(np.searchsorted(self._sorted, chunk))
        return place < len(self._sorted) and int(self._sorted[place]) == chunk

    def place_of(self, chunk: int) -> tuple[str, str]:
        """File and language of a chunk that is there."""
        row = int(self._by_id[np.searchsorted(self._sorted, chunk)])
        return self._uri[row].as_py(), self._lang[row].as_py()

    def is_file(self, path: str) -> bool:
        """Whether chunks are of a file of this name."""
        return _plain(path) in self._rows

    def over(self, path: str, first: int, last: int) -> tuple[int, ...]:
        """Chunks of a file that overlap its lines `first` to `last`, in their order."""
        rows = self._rows.get(_plain(path))
        if rows is None:
            return ()
        within = (self._start[rows] <= last) & (self._end[rows] >= first)
        return tuple(self._ids[rows][within].tolist())

    def under(self, path: str) -> tuple[int, ...]:
        """All chunks of a file, or of the files in a folder."""
        path = _plain(path)
        found = self._found.get(path)
        if found is None:
            rows = self._rows.get(path) or self._folder(path.rstrip("/") + "/")
            found = self._found[path] = tuple(self._ids[rows].tolist())
        return found

    def _folder(self, prefix: str) -> slice:
        first, last = bisect_left(self._uris, prefix), bisect_left(self._uris, prefix + _AFTER_ALL)
        if first == last:
            return slice(0)
        return slice(self._rows[self._uris[first]].start, self._rows[self._uris[last - 1]].stop)


def _plain(path: str) -> str:
    return path.strip().removeprefix("./")
