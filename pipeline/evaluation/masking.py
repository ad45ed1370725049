"""Taking text out of chunks: the words of a query's mask, wherever they follow each other in the files that answer it.

A mask is documentation as people read it. In a file there are comment markers, quotes and indentation between its words, and
its lines may be broken elsewhere: so only words are compared.

Belongs here: texts in, texts out. Not here: which files, and the index without that text (`twin`).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_LEAST_WORDS = 3
"""Fewer words may follow each other anywhere, also in code: they must fill their lines."""


class FileText:
    """The chunks of a file, in their order, from which text is taken out."""

    def __init__(self, contents: Sequence[str]) -> None:
        self._text = "\n".join(contents)
        self._starts = [0]
        """Where each chunk begins, and where one more would."""
        for content in contents:
            self._starts.append(self._starts[-1] + len(content) + 1)
        self._spans = [found.span() for found in _WORD.finditer(self._text)]
        stream = [self._text[start:end] for start, end in self._spans]
        self._stream = f" {' '.join(stream)} "
        self._at: list[int] = []
        """Where each word begins in the stream."""
        place = 1
        for word in stream:
            self._at.append(place)
            place += len(word) + 1
        self._taken: list[tuple[int, int]] = []
        self.changed: set[int] = set()
        """Numbers of chunks that lost something."""

    def content(self, chunk: int) -> str:
        """What is left of a chunk; as many lines as before."""
        start, end = self._starts[chunk], self._starts[chunk + 1] - 1
        left, at = [], start
        for first, last in sorted(self._taken):
            first, last = max(first, at), min(last, end)
            if first < last:
                left.append(self._text[at:first] + "\n" * self._text.count("\n", first, last))
                at = last
        return "".join(left) + self._text[at:end]

    def blank(self, mask: str) -> bool:
        """Take out every passage of the words of the mask, or else of each of its lines; whether any was there."""
        words = _WORD.findall(mask)
        if self._take(words):
            return True
        # It may be cut at its end, or the file may have more between its lines.
        lines = [_WORD.findall(line) for line in mask.splitlines()]
        return sum(self._take(line) for line in lines if len(line) >= _LEAST_WORDS) > 0

    def _take(self, words: Sequence[str]) -> bool:
        wanted = f" {' '.join(words)} "
        found = False
        at = self._stream.find(wanted) if words else -1
        while at >= 0:
            first = bisect_left(self._at, at + 1)
            start, end = self._spans[first][0], self._spans[first + len(words) - 1][1]
            if len(words) >= _LEAST_WORDS or self._fills_lines(start, end):
                found = True
                self._taken.append((start, end))
                # From the chunk of the first word to that of the last.
                last = bisect_right(self._starts, end - 1)
                self.changed.update(range(bisect_right(self._starts, start) - 1, last))
            at = self._stream.find(wanted, at + 1)
        return found

    def _fills_lines(self, start: int, end: int) -> bool:
        """Whether no other word stands on the lines of a passage."""
        before = self._text[self._text.rfind("\n", 0, start) + 1 : start]
        stop = self._text.find("\n", end)
        after = self._text[end : stop if stop >= 0 else len(self._text)]
        return not _WORD.search(before) and not _WORD.search(after)
