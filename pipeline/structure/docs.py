"""Documentation of definitions: the comments and attributes that stand before them, and the plain text of both.

Belongs here: what is attached to a definition, and removing markers and indentation. Not here: which nodes are definitions
(`definitions`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

DOC_CHARACTERS = 4096
_MAX_GAP = 512
"""No longer stretch of whitespace is looked through, so that hostile files cost no more than others."""
_MAX_ATTACHED = 512

_BLOCKS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile(r"\A/\*[*!]*<?"), re.compile(r"\**/\Z")),
    (re.compile(r"\A\{-\s?[|^]?"), re.compile(r"-\}\Z")),
    (re.compile(r"\A--\[(=*)\["), re.compile(r"\](=*)\]\Z")),
    (re.compile(r"\A=begin\b.*"), re.compile(r"\n=end\b.*\s*\Z")),
    (re.compile(r"\A<!--"), re.compile(r"-->\Z")),
)
_LINE_MARKER = re.compile(r"^[ \t]*(?:///?[/!<]*|#+[!:]?|-{2,}[ ]?[|^]?|;+)[ ]?")
_STAR = re.compile(r"^[ \t]*\*+[ ]?")
_INNER_DOC = ("//!", "/*!")
"""What describes the thing around it (Rust, Zig), not the one after it."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A comment, or a node that belongs to the definition after it, such as an attribute. Bytes into the file."""

    start: int
    end: int
    is_comment: bool
    doc: tuple[int, int] | None = None
    """Where its documentation lies: `@doc "…"` in Elixir."""
    is_signature: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands before a definition."""

    start: int
    """Where the definition begins, its attributes included."""
    doc: str = ""
    signature: tuple[int, int] | None = None


@dataclass(frozen=True)
class Leading:
    """All that can be attached to definitions of one file, sorted by `end`, the innermost first."""

    content: bytes
    attached: Sequence[Attached]
    _known: dict[int, Surroundings] = field(default_factory=dict)

    @cached_property
    def _ends(self) -> list[int]:
        return [item.end for item in self.attached]

    def before(self, start: int) -> Surroundings:
        """What belongs to a definition that begins at `start`: attributes, and the comment block with no blank line between."""
        if start not in self._known:
            self._known[start] = self._look(start)
        return self._known[start]

    def _look(self, start: int) -> Surroundings:
        at, begin = start, start
        doc: str | None = None
        signature: tuple[int, int] | None = None
        comments: list[str] = []
        last = bisect_right(self._ends, start) - 1
        for index in range(last, max(-1, last - _MAX_ATTACHED), -1):
            item = self.attached[index]
            if item.start >= at:
                continue  # inside an attribute that was taken already
            end = item.end
            while end > item.start and self.content[end - 1] in b"\r\n":
                end -= 1
            gap = self.content[end:at] if at - end <= _MAX_GAP else b"x"
            if gap.strip():
                break
            if not item.is_comment:
                begin = item.start
                signature = (item.start, item.end) if item.is_signature else signature
                if item.doc is not None and doc is None:
                    doc = dedent(_text(self.content, *item.doc))
                comments.clear()
            else:
                if gap.count(b"\n") + gap.count(b"\r") - gap.count(b"\r\n") > 1 or not self._opens_line(item.start):
                    break
                comment = _text(self.content, item.start, end)
                if comment.startswith(_INNER_DOC):
                    break
                comments.append(comment)
            at = item.start
        if doc is None:
            doc = comment_text(comments[::-1]) if comments else ""
        return Surroundings(begin, doc[:DOC_CHARACTERS].strip(), signature)

    def _opens_line(self, start: int) -> bool:
        floor = max(0, start - _MAX_GAP)
        before = self.content[floor:start]
        line = before[max(before.rfind(b"\n"), before.rfind(b"\r")) + 1 :]
        return not line.strip() and (floor == 0 or len(line) < len(before))


def _text(content: bytes, start: int, end: int) -> str:
    return content[start : min(end, start + 8 * DOC_CHARACTERS)].decode("utf-8", "replace")


def comment_text(comments: Sequence[str]) -> str:
    """The text of a block of comments without markers. Where there are `///` comments among others, only those count."""
    documenting = [comment for comment in comments if comment.startswith("///")]
    return dedent("\n".join(_unmarked(comment) for comment in documenting or comments))


def _unmarked(comment: str) -> str:
    for opening, closing in _BLOCKS:
        match = opening.match(comment)
        if match:
            lines = closing.sub("", comment[match.end() :]).split("\n")
            starred = all(_STAR.match(line) for line in lines[1:] if line.strip())
            return "\n".join([lines[0].strip(), *(_STAR.sub("", line) if starred else line for line in lines[1:])])
    return "\n".join(_LINE_MARKER.sub("", line) for line in comment.split("\n"))


def dedent(text: str) -> str:
    """The text without the common indentation of all lines but the first, and without blank lines around it."""
    first, *rest = text.replace("\r\n", "\n").replace("\r", "\n").expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first.strip(), *(line[margin:].rstrip() for line in rest)]).strip()
