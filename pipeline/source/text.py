"""Bytes as text: in which encoding a file is, and where its lines begin.

Spans count bytes of the file as stored, so nothing here changes, strips or normalises anything.

Belongs here: decoding and lines. Not here: what a file that cannot be decoded is then called (`selection`).
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COOKIE = re.compile(rb"[ \t\f]*#[^\r\n]*?coding[:=][ \t]*([-\w.]+)")
_BLANK = re.compile(rb"[ \t\f]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)")
_UNFIT = frozenset({"utf-8", "idna", "punycode", "unicode-escape", "raw-unicode-escape"})
"""What is UTF-8 anyway, and codecs that are no encodings of text but pass for such on plain ASCII."""
_ASCII = bytes(range(0x09, 0x0E)) + bytes(range(0x20, 0x7F))


def decode(content: bytes, lang: str) -> str | None:
    """The text of a file, or None when it cannot be decoded.

    UTF-8, or for Python the encoding that the first two lines declare (PEP 263). A byte order mark stays in the text as
    U+FEFF. A declared encoding must be one in which ASCII is ASCII, as the source itself is read by its bytes.
    """
    encoding = _declared(content) if lang == "python" else None
    try:
        return content.decode(encoding or "utf-8")
    except (UnicodeError, ValueError):
        return None


def _declared(content: bytes) -> str | None:
    """The PEP 263 encoding, or None for UTF-8: undeclared, unknown, or unfit to hold source."""
    if content.startswith(codecs.BOM_UTF8):
        return None
    match = _COOKIE.match(content)
    if match is None:
        first = _BLANK.match(content)
        match = _COOKIE.match(content, first.end()) if first else None
    if match is None:
        return None
    name = match[1].decode("ascii", "replace").lower().replace("_", "-")
    # Emacs writes `utf-8-unix`, `latin-1-dos`.
    for known in ("utf-8", "latin-1", "iso-8859-1", "iso-latin-1"):
        if name == known or name.startswith(known + "-"):
            return None if known == "utf-8" else "iso-8859-1"
    try:
        fits = codecs.lookup(name).name not in _UNFIT and _ASCII.decode(name) == _ASCII.decode("ascii")
    except (LookupError, UnicodeError, ValueError):
        return None
    return name if fits else None


def line_starts(content: bytes) -> NDArray[np.int64]:
    """Byte offset of each line, int64 [lines], ascending from 0. Breaks are `\\n`, `\\r\\n` and a lone `\\r`.

    A break at the very end opens no further line; an empty file has one line.
    """
    data = np.frombuffer(content, dtype=np.uint8)
    breaks = data == 0x0A
    if b"\r" in content:
        returns = data == 0x0D
        returns[:-1] &= ~breaks[1:]
        breaks |= returns
    ends = np.flatnonzero(breaks) + 1
    if len(ends) and ends[-1] == len(content):
        ends = ends[:-1]
    return np.concatenate((np.zeros(1, np.int64), ends.astype(np.int64, copy=False)))


def line_of(starts: NDArray[np.int64], offsets: NDArray[Any]) -> NDArray[np.int64]:
    """1-based lines, int64 [n], of byte offsets [n]; `starts` is from `line_starts`."""
    return np.searchsorted(starts, offsets, side="right").astype(np.int64, copy=False)
