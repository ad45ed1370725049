"""The texts of the parts of a file are together its text, whatever its encoding."""

from __future__ import annotations

import itertools

import pytest

from pipeline.chunks.contents import text_slices
from pipeline.source import text


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1", "shift_jis", "euc-jp", "gb18030"])
@pytest.mark.parametrize("step", [7, 64])
def test_parts_join_to_the_whole(encoding: str, step: int) -> None:
    words = {"ascii": "plain", "utf-8": "plain", "latin-1": "é ü ß"}.get(encoding, "漢字 かな")
    content = (f"# coding: {encoding}\n" + f"x = '{words}'\r\n" * 20).encode(encoding)
    slices = text_slices(content, "python")
    edges = [*range(0, len(content), step), len(content)]
    joined = "".join(slices(low, high) for low, high in itertools.pairwise(edges))
    assert joined == text.decode(content, "python")


def test_lines_of_a_declared_encoding_are_cut_where_their_bytes_are() -> None:
    content = "# coding: shift_jis\n漢字 = 1\nかな = 2\n".encode("shift_jis")
    starts = [*text.line_starts(content).tolist(), len(content)]
    slices = text_slices(content, "python")
    found = [slices(low, high) for low, high in itertools.pairwise(starts)]
    assert found == ["# coding: shift_jis\n", "漢字 = 1\n", "かな = 2\n"]


def test_what_cannot_be_decoded_is_shown_with_replacements() -> None:
    assert text_slices(b"a\xff\nb", "text")(0, 3) == "a\ufffd\n"
