"""The files of a version as a search sees them: the words of their names, and which of them a path means.

Belongs here: facts of files, looked up. Not here: what they are worth in a ranking (`adjustments`, `channels.path`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.embed import words
from pipeline.index.chunk_files import ChunkFiles

_ENTRIES = ("init", "index", "mod")
"""Names of files that stand for their folder, without underscores."""
END, STEM, FOLDER, ABBREVIATED = 1.0, 0.9, 0.6, 0.3
"""How well a path means a file: it is its end; so without the file's ending; it is a folder of it; its parts stand in it."""


@dataclass(slots=True)
class FileFacts:
    """The files of a version, and the words of their names, which are cut when they are first asked for."""

    files: ChunkFiles
    _names: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _lowered: list[str] = field(default_factory=list)

    def name_words(self, file: int) -> tuple[str, ...]:
        """The parts of a file's name without its endings; of a package's `__init__` or `index` those of its folder."""
        found = self._names.get(file)
        if found is None:
            *folders, name = self.files.uris[file].split("/")
            stem = name.lstrip(".").split(".")[0]
            if folders and stem.strip("_").lower() in _ENTRIES:
                stem = folders[-1]
            found = self._names[file] = tuple(part for run in words.runs(stem) for part in words.parts(run))
        return found

    def folder_words(self, file: int) -> tuple[str, ...]:
        """The parts of the name of the folder that a file lies in."""
        folder = self.files.uris[file].rpartition("/")[0].rpartition("/")[2]
        return tuple(part for run in words.runs(folder) for part in words.parts(run))

    def meant(self, path: str) -> npt.NDArray[np.float64]:
        """How well a path, in any letter case, means each file, float64 [files]; 0: not at all."""
        if len(self._lowered) != len(self.files.uris):
            self._lowered = [f"/{uri.lower()}" for uri in self.files.uris]
        wanted = "/" + path.lower().removeprefix("./").strip("/")
        parts = wanted.split("/")
        return np.array([_meant(wanted, parts, uri) for uri in self._lowered], np.float64)


def _meant(wanted: str, parts: list[str], uri: str) -> float:
    if uri.endswith(wanted):
        return END
    if f"{wanted}/" in uri:
        return FOLDER
    if f"{wanted}." in uri:
        return STEM
    at = 0
    for part in parts:
        at = uri.find(part, at)
        if at < 0:
            return 0.0
        at += len(part)
    return ABBREVIATED
