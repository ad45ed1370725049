"""Split and merge: from a level for each line to boundaries of chunks.

Every way of cutting files says only how good it is to cut before each line (its *level*: the lower, the better; for code that
is the depth of the syntax node that begins there). The rest is the same for all of them: a region over the budget is cut
at its lowest level, what is still over the budget is cut again, and neighbours of one level are merged while they fit.

Belongs here: what a chunk may hold, and splitting and merging by levels. Not here: where levels come from (`cast`, `blocks`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.source import text

LEAF = 1 << 12
"""Level of a line at which no syntax begins; deeper than every node."""
NEVER = 1 << 14
"""Level of a line that is no place to cut: a blank one, which belongs to what stands before it."""

_SPACE = np.isin(np.arange(256), np.frombuffer(b" \t\n\r\v\f", dtype=np.uint8))
_SOLID = (~_SPACE).astype(np.uint8)
_TINY = 20
_SMALL = 4
_SOFT_BREAK = 64
_WORD = frozenset(byte for byte in range(256) if byte >= 0x80 or chr(byte) == "_" or chr(byte).isalnum())
"""Bytes that names are made of."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A file as lines that are weighed.

    `weights`: int32 [bytes + 1], non-whitespace bytes before each offset. `starts`: int64 [lines], where each line begins.
    `solid`: int64 [lines], the first byte of each line that is not whitespace; for a blank line, where the next solid
    one is (the file's length when there is none). `blank`: bool [lines].
    """

    content: bytes
    weights: NDArray[np.int32]
    starts: NDArray[np.int64]
    solid: NDArray[np.int64]
    blank: NDArray[np.bool_]

    def line_at(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """0-based lines of byte offsets."""
        return text.line_of(self.starts, offsets) - 1

    def next_solid(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first line at or after each given one that is not blank; the number of lines when there is none."""
        solid = np.flatnonzero(~self.blank)
        return np.append(solid, len(self.starts))[np.searchsorted(solid, lines)]


def layout(content: bytes) -> Layout:
    """Weigh a file and find its lines."""
    weights = np.zeros(len(content) + 1, np.int32)
    np.cumsum(_SOLID[np.frombuffer(content, dtype=np.uint8)], dtype=np.int32, out=weights[1:])
    starts = text.line_starts(content)
    before = weights[starts]
    solid = np.searchsorted(weights, before, side="right") - 1
    return Layout(content, weights, starts, solid, before == weights[np.append(starts[1:], len(content))])


def pack(
    lines: Layout,
    levels: NDArray[np.int32],
    budget: int,
    *,
    enclosing: NDArray[np.int32] | None = None,
    keep_headers: bool = True,
) -> NDArray[np.int64]:
    """Boundaries of chunks: int64, ascending from 0 to the file's length; only [0] for an empty file.

    `levels`: int32 [lines], how good it is to cut before each line. `budget`: the most non-whitespace bytes of a chunk.
    Boundaries are line starts, but inside a line that alone exceeds the budget. `keep_headers`: what opens an oversize region
    (`class A:`) goes with the first that follows it, however deep that lies. `enclosing`: int32 [lines], how many definitions
    each line is inside of (their first lines do not count); with it, a header is joined to a body that would fit alone, where
    no definition breaks by it.
    """
    if not lines.content:
        return np.zeros(1, np.int64)
    if lines.weights[-1] <= budget:
        return np.array([0, len(lines.content)], np.int64)
    levels = np.where(lines.blank, NEVER, levels).astype(np.int32)
    chunks = _Packer(lines, levels, budget, enclosing, keep_headers).split(0, len(lines.starts), top=True)
    return np.array([0, *(end for _, end in chunks)], np.int64)


class _Packer:
    """The state of one file's cutting: the levels change while headers are joined to what follows them."""

    def __init__(
        self,
        lines: Layout,
        levels: NDArray[np.int32],
        budget: int,
        enclosing: NDArray[np.int32] | None,
        keep_headers: bool,
    ) -> None:
        self.lines = lines
        self.levels = levels
        self.budget = budget
        self.enclosing = enclosing
        self.keep_headers = keep_headers
        self.offsets: list[int] = [*lines.starts.tolist(), len(lines.content)]
        self.before: list[int] = lines.weights[self.offsets].tolist()

    def split(self, low: int, high: int, *, top: bool = False) -> list[tuple[int, int]]:
        """Chunks, as byte ranges, of the lines [low, high), which together exceed the budget."""
        inner = self.levels[low + 1 : high]
        level = int(inner.min()) if len(inner) else NEVER
        if level >= NEVER:
            return self.split_line(self.offsets[low], self.offsets[high])
        cuts = np.flatnonzero(inner == level) + (low + 1)
        edges: list[int] = [low, *cuts.tolist(), high]
        before, budget = self.before, self.budget
        found: list[tuple[int, int]] = []
        run: list[int] = []
        last: list[int] = []
        for start, end in itertools.pairwise(edges):
            if before[end] - before[start] <= budget:
                if run and before[end] - before[run[0]] > budget:
                    if run == [low] and not top and self.opens(low, start, end):
                        self.join(low, start, end)
                        found, run = self.split(low, end), []
                        continue
                    last = self.close(found, [*run, start], last)
                    run = []
                run.append(start)
                continue
            first = start
            if run and not top and run[0] == low and self.is_header(run, start) and self.has_cuts(start, end):
                self.join(low, start, end)
                first, run = low, []
            pieces = self.split(first, end)
            if run:
                self.close(found, [*run, start], last)
                run = []
                if self.is_tiny(*found[-1]) and self.fits(found[-1][0], pieces[0][1]):
                    pieces[0] = (found.pop()[0], pieces[0][1])
            found += pieces
            last = []
        if run:
            self.close(found, [*run, high], last)
        return found

    def close(self, found: list[tuple[int, int]], run: list[int], before: list[int]) -> list[int]:
        """Add the pieces between the lines of `run` as one chunk, and return it as the `before` of the next.

        A tiny one goes to the chunk before it if that has room, or else takes over last pieces of it: `before`, if not empty,
        are the lines of the pieces of that chunk.
        """
        start, end = self.offsets[run[0]], self.offsets[run[-1]]
        if found and self.is_tiny(start, end):
            if self.fits(found[-1][0], end):
                found[-1] = (found[-1][0], end)
                return []
            for line in reversed(before[1:-1]):
                start = self.offsets[line]
                if not self.is_tiny(start, end):
                    break
            if self.fits(start, end):
                found[-1] = (found[-1][0], start)
            else:
                start = self.offsets[run[0]]
        found.append((start, end))
        return run

    def is_header(self, run: list[int], end: int) -> bool:
        """Whether the pieces that open a region are a header: a single one, or little text."""
        return self.keep_headers and (len(run) == 1 or (self.before[end] - self.before[run[0]]) * _SMALL < self.budget)

    def opens(self, low: int, start: int, end: int) -> bool:
        """Whether the small header [low, start) can take up the first parts of the body [start, end) without breaking any."""
        rest = self.levels[start + 1 : end]
        if self.enclosing is None or not len(rest) or rest.min() >= LEAF or not self.is_header([low, low], start):
            return False
        nearest = start + 1 + int(rest.argmin())
        return bool(self.enclosing[nearest] <= self.enclosing[start]) and not self.lines.content.startswith(
            b"@", int(self.lines.solid[start])
        )

    def join(self, low: int, start: int, end: int) -> None:
        """Make the header [low, start) a piece like those that the oversize [start, end) consists of."""
        self.levels[low + 1 : start] = NEVER
        self.levels[start] = self.levels[start + 1 : end].min()

    def has_cuts(self, start: int, end: int) -> bool:
        """Whether there is a place to cut within the lines [start, end)."""
        return bool((self.levels[start + 1 : end] < NEVER).any())

    def fits(self, start: int, end: int) -> bool:
        return bool(self.lines.weights[end] - self.lines.weights[start] <= self.budget)

    def is_tiny(self, start: int, end: int) -> bool:
        return bool((self.lines.weights[end] - self.lines.weights[start]) * _TINY < self.budget)

    def split_line(self, start: int, end: int) -> list[tuple[int, int]]:
        """Even pieces of a line that alone exceeds the budget, cut after a space or comma where one is near, and not inside of
        a word where a word ends in the second half of a piece."""
        weights, content = self.lines.weights, self.lines.content
        found = []
        while (rest := int(weights[end] - weights[start])) > self.budget:
            # No smaller than the longest character.
            target = max(-(-rest // -(-rest // self.budget)), min(4, self.budget))
            limit = int(np.searchsorted(weights[start : end + 1], weights[start] + target, side="right")) - 1 + start
            cut = _soft_break(content, max(start, limit - _SOFT_BREAK), limit)
            cut = cut or _word_break(content, (start + limit) // 2, limit) or _character_start(content, start, limit)
            found.append((start, cut))
            start = cut
        return [*found, (start, end)]


def _soft_break(content: bytes, low: int, high: int) -> int:
    """After the last separator within [low, high); 0 when there is none."""
    return max(content.rfind(separator, low, high) for separator in (b" ", b",", b";", b"\t")) + 1


def _word_break(content: bytes, low: int, high: int) -> int:
    """The last place in (low, high] that is not inside of a word; 0 when there is none."""
    for cut in range(high, low, -1):
        if content[cut - 1] not in _WORD or content[cut] not in _WORD:
            return cut
    return 0


def _character_start(content: bytes, start: int, offset: int) -> int:
    """The last place in (start, offset] that cuts no UTF-8 character; `offset` itself where there is none."""
    for cut in range(offset, max(start, offset - 4), -1):
        if content[cut] & 0xC0 != 0x80:
            return cut
    return offset
