"""The text of parts of a file, such that the texts of its chunks together are the text of the file.

Belongs here: decoding between byte offsets. Not here: which encoding a file has (`source.text`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.source import text

_BREAK = re.compile(r"\r\n|\r|\n")


def text_slices(content: bytes, lang: str) -> Callable[[int, int], str]:
    """A function from two byte offsets to the text between them.

    A character that an offset cuts shows as U+FFFD in UTF-8, and belongs to the left part in other encodings of several bytes a
    character. A file that cannot be decoded at all is read as UTF-8 with U+FFFD.
    """
    whole = text.decode(content, lang)
    if whole is None or _is_utf8(content, whole):
        if whole is not None and len(whole) == len(content):
            ascii_text = whole
            return lambda start, end: ascii_text[start:end]
        return lambda start, end: content[start:end].decode("utf-8", "replace")
    decoded = whole
    if len(decoded) == len(content):
        # One byte a character: Latin-1 and its like.
        return lambda start, end: decoded[start:end]
    places = _line_places(content, decoded)

    def characters(offset: int) -> int:
        return places[offset] if offset in places else _characters_before(content, lang, offset)

    return lambda start, end: decoded[characters(start) : characters(end)]


def _is_utf8(content: bytes, whole: str) -> bool:
    try:
        return content.decode("utf-8") == whole
    except UnicodeDecodeError:
        return False


def _line_places(content: bytes, whole: str) -> dict[int, int]:
    """Characters before each line and before the end, by byte offset: most cuts are there."""
    places = {0: 0, len(content): len(whole)}
    starts = text.line_starts(content).tolist()
    ends = [match.end() for match in _BREAK.finditer(whole) if match.end() < len(whole)]
    if len(ends) == len(starts) - 1:
        places.update(zip(starts[1:], ends, strict=True))
    return places


def _characters_before(content: bytes, lang: str, offset: int) -> int:
    """Characters before `offset`, in the encoding that the file declares (its prefixes declare it too)."""
    for end in range(offset, len(content) + 1):
        prefix = text.decode(content[:end], lang)
        if prefix is not None:
            return len(prefix)
    return 0
