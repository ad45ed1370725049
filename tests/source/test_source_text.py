from __future__ import annotations

import numpy as np
import pytest

from pipeline.source.text import decode, line_of, line_starts


@pytest.mark.parametrize(
    ("content", "lang", "text"),
    [
        (b"", "text", ""),
        ("é".encode(), "c", "é"),
        (b"\xef\xbb\xbfx", "python", "\ufeffx"),
        (b"# coding: latin-1\n\xe9", "python", "# coding: latin-1\né"),
        (
            b"#!/usr/bin/python\n# -*- coding: iso-8859-1-unix -*-\n\xe9",
            "python",
            "#!/usr/bin/python\n# -*- coding: iso-8859-1-unix -*-\né",
        ),
        (b"\r# vim: set fileencoding=cp1252 :\r\x80", "python", "\r# vim: set fileencoding=cp1252 :\r\u20ac"),
        (b"# coding: utf8\n\xc3\xa9", "python", "# coding: utf8\né"),
    ],
)
def test_text_is_utf8_or_what_python_declares(content: bytes, lang: str, text: str) -> None:
    assert decode(content, lang) == text


@pytest.mark.parametrize(
    ("content", "lang"),
    [
        (b"\xe9", "python"),
        (b"# coding: latin-1\n\xe9", "c"),
        (b"x = 1\n# coding: latin-1\n\xe9", "python"),
        (b"\n\n# coding: latin-1\n\xe9", "python"),
        (b"# coding: no-such-thing\n\xe9", "python"),
        (b"# coding: cp1252\n\x81", "python"),
        (b"\xed\xa0\x80", "text"),
        (b"\xff\xfea\x00", "text"),
    ],
)
def test_what_is_neither_is_not_decoded(content: bytes, lang: str) -> None:
    assert decode(content, lang) is None


@pytest.mark.parametrize(
    "codec", ["rot13", "hex", "zip", "utf-7", "utf-16", "idna", "punycode", "unicode_escape", "cp500", "undefined"]
)
def test_declared_codecs_in_which_ascii_is_not_ascii_are_not_used(codec: str) -> None:
    content = f"# coding: {codec}\nx = '+AGE-'\n".encode()
    assert decode(content, "python") == content.decode()
    assert decode(content + b"\xe9", "python") is None


@pytest.mark.parametrize(
    ("content", "starts"),
    [
        (b"", [0]),
        (b"a", [0]),
        (b"a\n", [0]),
        (b"a\nb", [0, 2]),
        (b"a\r\nb\rc\n\nd\n", [0, 3, 5, 7, 8]),
        (b"\r\r\n\r", [0, 1, 3]),
        ("a\u2028b\x0cc".encode(), [0]),
    ],
)
def test_lines_break_at_lf_crlf_and_lone_cr(content: bytes, starts: list[int]) -> None:
    assert line_starts(content).tolist() == starts
    assert line_starts(content).dtype == np.int64


def test_offsets_have_one_based_lines() -> None:
    starts = line_starts(b"ab\ncd\r\n\re")
    assert line_of(starts, np.arange(9)).tolist() == [1, 1, 1, 2, 2, 2, 2, 3, 4]
