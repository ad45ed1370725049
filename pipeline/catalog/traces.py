"""Which traces of searches can be read: a set with a file that is cut off, damaged or of another format is left out whole.

Belongs here: looking at sets before DuckDB does. Not here: the views over them (`views`), writing sets (`search.trace`), their
names (`store.traces`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.schemas import TRACES, TraceTable
from pipeline.store import traces
from pipeline.tables import tag_of

_MAGIC = b"PAR1"
"""What a Parquet file starts and ends with; before the end stands the length of the footer, in four bytes."""


@dataclass(frozen=True, slots=True)
class Readable:
    """The sets of a folder that can be read, oldest first, and what is the matter with the others, a sentence each."""

    folder: Path
    sets: tuple[Path, ...]
    problems: tuple[str, ...]

    def files_of(self, kind: type[TraceTable]) -> list[Path]:
        """The files of one table."""
        return [one / kind.file_name() for one in self.sets]


def readable(folder: Path) -> Readable:
    """The sets in a repository's folder of traces (`Repository.traces`), whether there is one or not."""
    folder = folder.resolve()
    whole, problems = [], []
    for one in traces.sets(folder):
        problem = next(filter(None, (_problem(one / kind.file_name(), kind) for kind in TRACES)), None)
        if problem is None:
            whole.append(one)
        else:
            problems.append(problem)
    return Readable(folder, tuple(whole), tuple(problems))


def _problem(path: Path, kind: type[TraceTable]) -> str | None:
    """What is the matter with a file, by its two ends: hundreds of them are looked at before a query, and Arrow takes ten times
    as long."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
            size = file.seek(0, 2)
            file.seek(max(0, size - 8))
            end = file.read()
            footer = int.from_bytes(end[:4], "little")
            if start != _MAGIC or end[4:] != _MAGIC or footer + 12 > size:
                return f"{path} is cut off or damaged."
            file.seek(size - 8 - footer)
            if tag_of(kind).encode() not in file.read(footer):
                return f"{path} was written in another format."
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
    return None
