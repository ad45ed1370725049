"""What a chunk is called: its kind, its name, and the line that previews it.

A chunk is named after the definition that it is about, which is in this order

1. the outermost definition that begins in the chunk and makes up at least half of it (a whole function, with its comments and
   a few imports; the head of a class that is too large for one chunk);
2. the innermost definition around it that makes up at least half of it (a piece of a long function, a group of methods);
3. the largest definition in it, if that makes up at least a quarter (several functions).

Otherwise it is `module`: top-level code that defines nothing, or only small things, named after the first of them. Kinds are
those of definitions, and `module`, `section` (Markdown, named by heading), `data` (named by top-level key) and `text`.

Belongs here: kinds, names, previews. Not here: boundaries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.chunks.blocks import Landmarks
from pipeline.chunks.packing import Layout

PREVIEW_LENGTH = 160
"""Characters."""
DATA_LANGUAGES = frozenset({"json", "yaml", "toml"})
_LINE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class FileDefinitions:
    """Definition columns of one file: names, kinds, and int32 [definitions] bytes."""

    name: list[str]
    kind: list[str]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    name_start: NDArray[np.int32]


def kind_of(lang: str) -> str:
    """The kind of chunks that no definition gives one."""
    if lang == "markdown":
        return "section"
    if lang in DATA_LANGUAGES:
        return "data"
    return "text" if lang == "text" else "module"


def main_definitions(
    lines: Layout, boundaries: NDArray[np.int64], definitions: FileDefinitions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each chunk the definition that it is about, and the first that begins in it: int64 [chunks], -1 for none."""
    size = len(lines.content)
    start = np.clip(definitions.start.astype(np.int64), 0, size)
    end = np.clip(definitions.end.astype(np.int64), start, size)
    count = len(boundaries) - 1
    first = np.searchsorted(boundaries, start, side="right") - 1
    last = np.searchsorted(boundaries, end, side="left") - 1
    # One row for each definition and chunk that overlap.
    repeat = np.maximum(last - first + 1, 0)
    which = np.repeat(np.arange(len(start)), repeat)
    chunk = np.arange(len(which)) - np.repeat(np.cumsum(repeat) - repeat, repeat) + first[which]
    weights = lines.weights
    low, high = boundaries[chunk], boundaries[chunk + 1]
    whole = weights[high] - weights[low]
    share = weights[np.minimum(end[which], high)] - weights[np.maximum(start[which], low)]
    begins = start[which] >= low
    half = share * 2 >= whole
    group = np.where(half & begins, 0, np.where(half, 1, np.where(share * 4 >= whole, 2, 3)))
    length = (weights[end] - weights[start])[which]
    order = np.lexsort((which, start[which], np.where(group == 1, length, -share), group, chunk))
    about = np.full(count, -1, np.int64)
    opening = np.full(count, -1, np.int64)
    _take_first(about, chunk[order], which[order], group[order] < 3)
    order = np.lexsort((which, start[which], chunk))
    _take_first(opening, chunk[order], which[order], begins[order])
    return about, opening


def _take_first(
    found: NDArray[np.int64], chunk: NDArray[np.int64], which: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> None:
    chunk, which = chunk[chosen], which[chosen]
    chunks, place = np.unique(chunk, return_index=True)
    found[chunks] = which[place]


def landmark_names(lines: Layout, boundaries: NDArray[np.int64], landmarks: Landmarks) -> list[str]:
    """For each chunk the landmark that it begins in, else the first that begins in it, else the empty name."""
    begin = np.minimum(lines.weights.searchsorted(lines.weights[boundaries[:-1]], side="right") - 1, boundaries[1:])
    place = np.searchsorted(landmarks.start, begin, side="right") - 1
    names = []
    for at, low, high in zip(place.tolist(), begin.tolist(), boundaries[1:].tolist(), strict=True):
        inside = at >= 0 and landmarks.end[at] > low
        if not inside and at + 1 < len(landmarks.names) and landmarks.start[at + 1] < high:
            at += 1
            inside = True
        names.append(landmarks.names[at] if inside else "")
    return names


def preview(
    lines: Layout, low: int, high: int, about: int, passed_over: NDArray[np.bool_], text_of: Callable[[int, int], str]
) -> str:
    """One line of the chunk [low, high), at most `PREVIEW_LENGTH` characters, without control characters.

    `text_of`: the text between two offsets (`contents.text_slices`).
    `about`: the byte that it is about (the name of a definition), whose line is taken if it lies in the chunk. Else the first
    line with a letter or digit that is not `passed_over` (bool [lines]: comments and decorators); else the first such line.
    """
    rows = range(_line(lines, low), _line(lines, high - 1) + 1)
    if low <= about < high:
        rows = range(_line(lines, about), rows.stop)
    fallback = ""
    for row in rows:
        if lines.blank[row]:
            continue
        start = max(int(lines.starts[row]), low)
        end = int(lines.starts[row + 1]) if row + 1 < len(lines.starts) else high
        shown = _printable(text_of(start, min(end, high, start + _LINE_BYTES)))
        if not any(map(str.isalnum, shown)):
            fallback = fallback or shown
        elif not passed_over[row] or low <= about < high:
            return shown
        elif not any(map(str.isalnum, fallback)):
            fallback = shown
    return fallback


def _line(lines: Layout, offset: int) -> int:
    return int(np.searchsorted(lines.starts, offset, side="right")) - 1


def _printable(shown: str) -> str:
    if not shown.isprintable():
        shown = "".join(character if character.isprintable() else " " for character in shown)
    return shown.strip()[:PREVIEW_LENGTH].rstrip()
