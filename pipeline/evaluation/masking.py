"""Taking text out of chunks: the lines of a query's mask, wherever they stand in the files that answer it.

A mask is documentation as people read it; in a file its lines have comment markers, quotes and indentation around them. Lines
are compared by their words alone.

Belongs here: texts in, texts out. Not here: which files, and the index without that text (`twin`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"\w+")
_LEAST_WORDS = 3
"""A line of fewer words may stand anywhere: it is known only by the lines around it."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with words: the chunk and the place in it where it stands, the text without space around it, and its words."""

    chunk: int
    place: int
    text: str
    words: str


class FileText:
    """The chunks of a file, in their order, from which text is taken out."""

    def __init__(self, contents: Sequence[str]) -> None:
        self._pieces = [content.split("\n") for content in contents]
        self._lines = [
            _Line(chunk, place, text.strip(), found)
            for chunk, piece in enumerate(self._pieces)
            for place, text in enumerate(piece)
            if (found := _words(text))
        ]
        self._at: dict[str, list[int]] = {}
        for number, line in enumerate(self._lines):
            self._at.setdefault(line.words, []).append(number)
        self.changed: set[int] = set()
        """Numbers of chunks that lost something."""

    def content(self, chunk: int) -> str:
        """What is left of a chunk; as many lines as before."""
        return "\n".join(self._pieces[chunk])

    def blank(self, mask: str) -> bool:
        """Take every passage out that has the lines of the mask, or else its longer lines one by one; whether any was there."""
        lines = [(text.strip(), found) for text in mask.splitlines() if (found := _words(text))]
        if not lines:
            return False
        starts = self._starts(lines[0][1])
        passages = [start for start in starts if self._is_passage(start, lines)]
        for start in passages:
            for offset, (text, _) in enumerate(lines):
                self._take(start + offset, text)
        if passages:
            return True
        longer = [(text, words) for text, words in lines if words.count(" ") + 1 >= _LEAST_WORDS and words in self._at]
        for text, words in longer:
            for number in self._at[words]:
                self._take(number, text)
        return bool(longer)

    def _starts(self, words: str) -> list[int]:
        """Lines that a passage may begin with: code and quotes may stand before its first words."""
        if words.count(" ") + 1 < _LEAST_WORDS:
            return self._at.get(words, [])
        return [number for number, line in enumerate(self._lines) if _within(words, line.words)]

    def _is_passage(self, start: int, lines: Sequence[tuple[str, str]]) -> bool:
        """Whether the lines follow each other from there. The last one may go on: masks are cut, and quotes close."""
        there = self._lines[start : start + len(lines)]
        if len(there) < len(lines):
            return False
        middle = all(line.words == words for line, (_, words) in zip(there[1:-1], lines[1:-1], strict=True))
        return middle and (len(lines) == 1 or there[-1].words == lines[-1][1] or _within(lines[-1][1], there[-1].words))

    def _take(self, number: int, text: str) -> None:
        line = self._lines[number]
        piece = self._pieces[line.chunk]
        # Where the words stand otherwise, for example escaped, the whole line goes.
        piece[line.place] = piece[line.place].replace(text, "") if text in piece[line.place] else ""
        self.changed.add(line.chunk)


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text))


def _within(words: str, line: str) -> bool:
    return words in line and f" {words} " in f" {line} "
