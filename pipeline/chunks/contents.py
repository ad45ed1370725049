"""The text of parts of a file, such that the texts of its chunks together are the text of the file.

Belongs here: decoding between byte offsets. Not here: which encoding a file has (`source.text`).
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.source import text


def text_slices(content: bytes, lang: str) -> Callable[[int, int], str]:
    """A function from two byte offsets to the text between them.

    A character that an offset cuts shows as U+FFFD in UTF-8, and belongs to the left part in other encodings of several bytes a
    character. A file that cannot be decoded at all is read as UTF-8 with U+FFFD.
    """
    whole = text.decode(content, lang)
    if whole is not None and len(whole) == len(content):
        # One byte a character: ASCII, Latin-1 and their like.
        decoded = whole
        return lambda start, end: decoded[start:end]
    if whole is None or _is_utf8(content, whole):
        return lambda start, end: content[start:end].decode("utf-8", "replace")
    decoded = whole
    return lambda start, end: decoded[_characters(content, lang, start) : _characters(content, lang, end)]


def _is_utf8(content: bytes, whole: str) -> bool:
    try:
        return content.decode("utf-8") == whole
    except UnicodeDecodeError:
        return False


def _characters(content: bytes, lang: str, offset: int) -> int:
    """Characters before `offset`, in the encoding that the file declares (its prefixes declare it too)."""
    for end in range(offset, len(content) + 1):
        prefix = text.decode(content[:end], lang)
        if prefix is not None:
            return len(prefix)
    return 0
