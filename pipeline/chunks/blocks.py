"""Levels of files that no syntax tree says enough about: Markdown, data without a grammar, plain text.

Levels mean what they mean in `packing`. Markdown is cut at headings (which fenced code has none of), then at blank lines; data
by indentation, so top-level keys come first; other text at blank lines, best before lines that are not indented.

Belongs here: levels from lines. Not here: levels from a syntax tree (`cast`), splitting and merging (`packing`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.chunks.packing import LEAF, Layout

_PARAGRAPH = 40
_BLANK_IN_FENCE = 60
_LINE = 80
_LINE_IN_FENCE = 90
_MAX_INDENT = 100


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Named places of a file, ascending: headings, keys. `start` and `end`: int64 [places], bytes; `names`: one of each."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    names: list[str]


def no_landmarks() -> Landmarks:
    """None at all."""
    return Landmarks(np.zeros(0, np.int64), np.zeros(0, np.int64), [])


def markdown(lines: Layout) -> tuple[NDArray[np.int32], Landmarks]:
    """Levels, int32 [lines], and the headings of Markdown (ATX and setext, CommonMark 0.31), with front matter kept whole."""
    starts = [*lines.starts.tolist(), len(lines.content)]
    levels = np.full(len(starts) - 1, _LINE, np.int32)
    levels[1:][lines.blank[:-1]] = _PARAGRAPH
    rows = [lines.content[start:end].rstrip(b" \t\r\n") for start, end in itertools.pairwise(starts)]
    headings: list[tuple[int, str]] = []
    fence = b""
    for row in range(_front_matter(rows), len(rows)):
        line = rows[row].lstrip(b" ")
        mark = _fence(line)
        if fence:
            levels[row] = _BLANK_IN_FENCE if levels[row] == _PARAGRAPH else _LINE_IN_FENCE
            if mark.startswith(fence) and line == mark:
                fence = b""
        elif mark and len(rows[row]) - len(line) < 4:
            fence = mark
        elif rank := _atx_rank(rows[row]):
            levels[row] = 2 * rank
            headings.append((row, _plain(line.strip(b"# \t"))))
        elif row and _is_underline(line) and rows[row - 1].strip() and levels[row - 1] in (_LINE, _PARAGRAPH):
            levels[row - 1] = 2 if line[:1] == b"=" else 4
            headings.append((row - 1, _plain(rows[row - 1].strip())))
    begin = lines.starts[np.array([row for row, _ in headings], np.int64)]
    return levels, Landmarks(begin, np.append(begin[1:], len(lines.content))[: len(begin)], [name for _, name in headings])


def indented(lines: Layout) -> NDArray[np.int32]:
    """Levels, int32 [lines], by indentation; lines that only close a bracket come last."""
    indent = np.clip(lines.solid - lines.starts, 0, _MAX_INDENT).astype(np.int32)
    first = np.frombuffer(lines.content, np.uint8)[np.minimum(lines.solid, len(lines.content) - 1)]
    return np.where(np.isin(first, np.frombuffer(b"}])", np.uint8)), LEAF, indent).astype(np.int32)


def paragraphs(lines: Layout) -> NDArray[np.int32]:
    """Levels, int32 [lines], by blank lines."""
    after_blank = np.zeros(len(lines.starts), np.bool_)
    after_blank[1:] = lines.blank[:-1]
    flush = lines.solid == lines.starts
    return np.where(after_blank, np.where(flush, 0, 2), 4).astype(np.int32)


def _front_matter(rows: list[bytes]) -> int:
    """The row below YAML front matter; 0 where there is none."""
    if rows and rows[0].removeprefix(b"\xef\xbb\xbf") == b"---" and b"---" in rows[1:]:
        return rows.index(b"---", 1) + 1
    return 0


def _fence(line: bytes) -> bytes:
    """The run of backticks or tildes that opens or closes fenced code; empty when there is none."""
    mark = line[:1]
    length = len(line) - len(line.lstrip(mark)) if mark else 0
    # A backtick fence has no backtick behind it, else it is inline code.
    is_fence = mark == b"~" or (mark == b"`" and line.count(mark) == length)
    return line[:length] if is_fence and length >= 3 else b""


def _atx_rank(row: bytes) -> int:
    """1 to 6 for `# Heading`, else 0."""
    line = row.removeprefix(b"\xef\xbb\xbf").lstrip(b" ")
    rank = len(line) - len(line.lstrip(b"#"))
    indented_code = len(row) - len(row.lstrip(b" ")) > 3
    return rank if 1 <= rank <= 6 and line[rank : rank + 1] in (b" ", b"\t", b"") and not indented_code else 0


def _is_underline(line: bytes) -> bool:
    return len(line) >= 2 and (not line.strip(b"=") or not line.strip(b"-"))


def _plain(heading: bytes) -> str:
    return heading.decode("utf-8", "replace").removeprefix("\ufeff").strip("# \t")
