"""`modules.jsonl`: the rows of all parts as JSON, one a line, sorted by uri; in a small build lines are replaced.

Belongs here: that file. Not here: the table (`part`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from pipeline import tables
from pipeline.schemas import Modules


class _Line(msgspec.Struct):
    """Of a line, what it is sorted by."""

    uri: str


_decoder = msgspec.json.Decoder(_Line)


def write_lines(folder: Path) -> None:
    """Write the lines of a whole table."""
    rows = tables.read_table(folder, Modules).sort_by("uri")
    _write(folder, [line for _, line in _encoded([rows])])


def splice_lines(before: Path, folder: Path, gone: Sequence[Path], come: Sequence[Path]) -> None:
    """Write the lines that were in `before`, with those of some parts as they are now in place of those as they were."""
    lines = (before / Modules.JSONL).read_bytes().splitlines(keepends=True)
    places = {}
    for path in gone:
        for uri in tables.read_part(path, Modules, ["uri"])["uri"].to_pylist():
            places[bisect_left(lines, uri, key=_uri)] = uri
    for place in sorted(places, reverse=True):
        del lines[place]
    new = sorted(_encoded(tables.read_part(path, Modules) for path in come))
    for uri, line in reversed(new):
        lines.insert(bisect_left(lines, uri, key=_uri), line)
    _write(folder, lines)


def _uri(line: bytes) -> str:
    return _decoder.decode(line).uri


def _encoded(found: Iterable[pa.Table]) -> Iterable[tuple[str, bytes]]:
    for table in found:
        for row in table.to_pylist():
            yield row["uri"], msgspec.json.encode(row) + b"\n"


def _write(folder: Path, lines: Sequence[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / Modules.JSONL).open("wb") as file:
        file.writelines(lines)
