"""Files without a telling syntax tree: Markdown, data, text."""

from __future__ import annotations

import itertools

from pipeline.chunks import blocks
from pipeline.chunks.packing import layout, pack


def cut_markdown(source: str, budget: int) -> list[str]:
    lines = layout(source.encode())
    levels, _ = blocks.markdown(lines)
    edges = pack(lines, levels, budget, keep_headers=False)
    return [source.encode()[low:high].decode() for low, high in itertools.pairwise(edges)]


def headings(source: str) -> list[str]:
    return blocks.markdown(layout(source.encode()))[1].names


def test_a_heading_begins_a_chunk_and_small_sections_merge() -> None:
    one, two, three = (f"## {name}\n\n{'word ' * 10}\n\n" for name in ("one", "two", "three"))
    assert cut_markdown(one + two + three, 90) == [one + two, three]


def test_sections_are_cut_by_rank_before_paragraphs() -> None:
    text = "# A\n\n" + "aaaa\n" * 15 + "\n## B\n\n" + "bbbb\n" * 5 + "\n# C\n\n" + "cccc\n" * 5
    assert [piece.split("\n")[0] for piece in cut_markdown(text, 70)] == ["# A", "## B", "# C"]


def test_a_long_section_is_cut_at_blank_lines() -> None:
    paragraph = "some words here\nand more of them\n\n"
    pieces = cut_markdown("# T\n\n" + paragraph * 6, 64)
    assert len(pieces) > 2
    assert all(piece.startswith(("# T", "some")) for piece in pieces)


def test_fenced_code_has_no_headings() -> None:
    text = "# A\n\n```sh\n# not one\n~~~\n## nor this\n```\n\n~~~~\n# no\n~~~\n# no\n~~~~\n\nB\n===\n\n`` ` `` # no\n"
    assert headings(text) == ["A", "B"]


def test_headings_are_found_under_front_matter_in_both_styles_and_with_a_byte_order_mark() -> None:
    assert headings("---\ntitle: x\n---\n\n# One #\n\nTwo\n---\n") == ["One", "Two"]
    assert headings("\ufeff# First\n\n#nothing\n\n####### seven\n") == ["First"]
    assert headings("# A\r\n\r\n## B\r\n") == ["A", "B"]


def test_data_without_a_tree_is_cut_at_its_outermost_keys() -> None:
    source = "".join(f"key{i}:\n  - {'a' * 20}\n  - {'b' * 20}\n" for i in range(4)).encode()
    edges = pack(layout(source), blocks.indented(layout(source)), 64)
    assert [source[low : low + 4] for low in edges[:-1]] == [b"key0", b"key1", b"key2", b"key3"]


def test_text_is_cut_at_blank_lines_where_it_can() -> None:
    source = (("word " * 8 + "\n") * 2 + "\n").encode() * 4
    edges = pack(layout(source), blocks.paragraphs(layout(source)), 70)
    assert all(source[edge - 2 : edge] == b"\n\n" for edge in edges[1:])
