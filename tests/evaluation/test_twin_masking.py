"""Taking text out of chunks: whatever stands around it goes or stays, code does not."""

from __future__ import annotations

import pytest

from pipeline.evaluation.masking import FileText

MASK = "Count the ropes.\n\nThose that are frayed\nare counted, too."


@pytest.mark.parametrize(
    "before",
    [
        'def count():\n    """Count the ropes.\n\n    Those that are frayed\n    are counted, too.\n    """\n    return 1\n',
        "def count():\n    r'''Count the ropes.\n\n    Those that are frayed\n    are counted, too.'''\n    return 1\n",
        "/// Count the ropes.\n///\n/// Those that are frayed\n/// are counted, too.\nfn count() -> i32 { return 1 }\n",
        "/**\n * Count the ropes.\n *\n * Those that are frayed\n * are counted, too.\n */\nint count() { return 1; }\n",
        "# Count the ropes.\n#\n# Those that are frayed\n# are counted, too.\ndef count\n  return 1\nend\n",
        'def count(): """Count the ropes.\n\n    Those that are frayed\n    are counted, too."""; return 1\n',
    ],
)
def test_documentation_is_taken_out_in_every_form_and_code_and_lines_stay(before: str) -> None:
    text = FileText([before])
    assert text.blank(MASK) and text.changed == {0}
    after = text.content(0)
    assert not {"ropes", "Those", "frayed", "too"} & set(after.replace(".", " ").replace(",", " ").split())
    assert "count" in after and "return 1" in after
    assert after.count("\n") == before.count("\n")


def test_documentation_that_is_cut_by_chunks_is_taken_out_of_both() -> None:
    text = FileText(
        ['def count():\n    """Count the ropes.\n', '\n    Those that are frayed\n    are counted, too.\n    """\n', "x = 1\n"]
    )
    assert text.blank(MASK) and text.changed == {0, 1}
    assert "ropes" not in text.content(0) and "frayed" not in text.content(1) and text.content(2) == "x = 1\n"


def test_short_lines_of_a_mask_take_nothing_out_elsewhere() -> None:
    code = "total = 0\nreturn total\nraise Error\n"
    text = FileText([f'"""Adds.\n\nreturn total\n"""\n{code}'])
    assert text.blank("Adds.\n\nreturn total")
    assert text.content(0).endswith(code) and "Adds" not in text.content(0)


def test_where_lines_are_broken_does_not_matter() -> None:
    text = FileText(["/**\n * Count the ropes. Those\n * that are frayed are counted, too. Ask Ada.\n */\nint count;\n"])
    assert text.blank(MASK) and text.content(0) == "/**\n * \n. Ask Ada.\n */\nint count;\n"


def test_every_passage_is_taken_out_and_overlapping_masks_are_no_harm() -> None:
    text = FileText(["# Count the ropes that are frayed.\nx = 1\n", "# Count the ropes that are frayed.\ny = 2\n"])
    assert text.blank("Count the ropes that are frayed.") and text.blank("ropes that are frayed.")
    assert [text.content(0), text.content(1)] == ["# .\nx = 1\n", "# .\ny = 2\n"]


def test_lines_that_do_not_follow_each_other_are_taken_out_one_by_one() -> None:
    text = FileText(["# Those that are frayed\nx = 1\n# Count the ropes.\n"])
    assert text.blank(MASK)
    assert "frayed" not in text.content(0) and "ropes" not in text.content(0) and "x = 1" in text.content(0)


@pytest.mark.parametrize("mask", ["", " \n--\n", "Nothing like this stands here."])
def test_a_mask_that_is_not_there_changes_nothing(mask: str) -> None:
    text = FileText(["def count():\n    return 1\n"])
    assert not text.blank(mask) and not text.changed and text.content(0) == "def count():\n    return 1\n"
