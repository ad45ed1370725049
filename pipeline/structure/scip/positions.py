"""Lines and columns of an index as byte offsets of a file.

Belongs here: units of columns. Not here: where lines begin (`texts`), reading ranges (`reader`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.structure.scip.texts import Texts

UTF8, UTF16, UTF32 = 1, 2, 3
"""What a column counts, numbered as SCIP's `PositionEncoding`."""
_UNDECLARED = {"ty-scip": UTF8, "scip-go": UTF8, "scip-clang": UTF8, "scip-ruby": UTF8, "rust-analyzer": UTF8}
"""Tools that count bytes, though their indexes may not say so."""


def column_unit(encoding: int, tool_name: str) -> int:
    """What columns count: 1 bytes, 2 UTF-16 units, 3 code points. `encoding` is the document's own; 0 is decided by the tool.

    Tools not known to count bytes count UTF-16 units, as the language servers do that they are made from.
    """
    return encoding if encoding in (UTF8, UTF16, UTF32) else _UNDECLARED.get(tool_name, UTF16)


def byte_offsets(content: bytes, lines: NDArray[Any], columns: NDArray[Any], unit: int) -> NDArray[np.int64]:
    """Byte offsets, int64 [n], of positions in one file: see `offsets_in`."""
    file = np.zeros(len(lines), np.int64)
    return offsets_in(Texts.of([content]), file, lines, columns, np.array([unit]))


def offsets_in(
    texts: Texts, file: NDArray[Any], lines: NDArray[Any], columns: NDArray[Any], units: NDArray[Any]
) -> NDArray[np.int64]:
    """Byte offsets, int64 [n], of positions: `file`, `lines` and `columns` [n], from 0; `units` [files] says what columns count
    (see `column_unit`).

    -1 where the file has no such position: a line beyond the last, a column beyond the end of its line (line breaks excluded)
    or inside of a surrogate pair, a negative number. A byte order mark counts as a character of the first line. After a line
    break at the very end there is one more, empty line. In bytes that are no UTF-8 every byte but 0x80-0xBF begins a character.
    """
    lines = np.asarray(lines, dtype=np.int64)
    columns = np.asarray(columns, dtype=np.int64)
    count = np.diff(texts.first)
    inside = (lines >= 0) & (lines < count[file]) & (columns >= 0) & (columns <= texts.size[file])
    line = texts.first[file] + np.where(inside, lines, 0)
    offsets = texts.starts[line] + np.where(inside, columns, 0)
    for unit in (UTF16, UTF32):
        rows = np.flatnonzero(inside & ((units == unit) & texts.wide())[file])
        if len(rows):
            offsets[rows], inside[rows] = _by_character(texts.data, texts.starts[line[rows]], columns[rows], unit)
    return np.where(inside & (offsets <= texts.line_ends()[line]), offsets - texts.base[file], -1)


def _by_character(
    data: NDArray[np.uint8], starts: NDArray[np.int64], columns: NDArray[np.int64], unit: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Offsets that lie `columns` units after `starts`, and which of them begin a character."""
    widths = ((data & 0xC0) != 0x80).astype(np.int8)
    if unit == UTF16:
        widths += data >= 0xF0
    before = np.zeros(len(data) + 1, dtype=np.int64)
    np.cumsum(widths, out=before[1:])
    wanted = before[starts] + columns
    # Of the offsets with so many units before them the last one: the others lie inside of the character before.
    offsets = np.searchsorted(before, wanted, side="right") - 1
    # No line begins elsewhere, not even one whose first bytes are no beginning of a character.
    offsets = np.where(columns == 0, starts, offsets)
    return offsets, before[offsets] == wanted
