"""The impact index made from an earlier one: the bytes of one made anew, by reading what changed alone."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.artefacts import Artefact, Earlier, Output
from pipeline.config import SpladeSettings
from pipeline.index.splade.stage import splade_index
from pipeline.schemas import Chunks, SpladeIndex
from pipeline.workers import Runtime
from tests.index.lexical_tables import Row, digests, write_tables

PARTS = 4
ROWS: list[Row] = [(number, f"pkg/file{number % 9}.py", f"berth {number % 5} fee ship{number}", []) for number in range(1, 40)]


def build(out: Path, source: Artefact[Any], before: tuple[Path, Artefact[Any]] | None = None, bits: int = 16) -> dict[str, Any]:
    """The index over a table, from an earlier one (where it lies, and its table) where that is given."""
    out.mkdir(parents=True)
    earlier = None
    if before is not None:
        made: Artefact[Any] = Artefact("repo", SpladeIndex.asset, "key", before[0], SpladeIndex.tag(), "", {})
        earlier = Earlier({SpladeIndex.asset: made}, {Chunks.asset: before[1]})
    settings = SpladeSettings(splade="on", splade_document_terms=64, splade_bits=8 if bits == 8 else 16)
    return dict(splade_index(source, settings, Runtime(earlier=earlier), Output(out)))


@pytest.mark.parametrize("bits", [8, 16])
def test_after_any_changes_postings_made_from_those_before_equal_postings_made_anew(
    tmp_path: Path, words_encoder: Any, bits: int
) -> None:
    drawn, rows, before = random.Random(bits), ROWS, None
    for step in range(6):
        source = write_tables(tmp_path / f"in{step}", rows, PARTS)
        anew = build(tmp_path / f"anew{step}", source, bits=bits)
        delta = build(tmp_path / f"delta{step}", source, before, bits=bits)
        assert delta == anew
        assert digests(tmp_path / f"delta{step}") == digests(tmp_path / f"anew{step}")
        before = (tmp_path / f"delta{step}", source)
        uri = drawn.choice(rows)[1]
        # Edited with and without another id; deleted; added.
        edited = [(row[0] + step % 2 * 100, row[1], f"{row[2]} step{step}", []) if row[1] == uri else row for row in rows]
        rows = [row for row in edited if row[1] != uri] if step == 3 else [*edited, (1000 + step, f"new{step}.py", "tide", [])]


def test_only_parts_that_changed_are_encoded(tmp_path: Path, words_encoder: Any) -> None:
    source = write_tables(tmp_path / "in", ROWS, PARTS)
    build(tmp_path / "before", source)
    words_encoder.encoded.clear()
    build(tmp_path / "same", source, (tmp_path / "before", source))
    assert words_encoder.encoded == []
    after = write_tables(tmp_path / "now", [(ROWS[0][0], ROWS[0][1], "harbour", []), *ROWS[1:]], PARTS)
    build(tmp_path / "after", after, (tmp_path / "before", source))
    assert 0 < len(words_encoder.encoded) < len(ROWS)


def test_a_table_that_was_cut_otherwise_is_read_whole(tmp_path: Path, words_encoder: Any) -> None:
    source = write_tables(tmp_path / "in", ROWS, PARTS)
    build(tmp_path / "before", source)
    words_encoder.encoded.clear()
    build(tmp_path / "fewer", write_tables(tmp_path / "halves", ROWS, PARTS // 2), (tmp_path / "before", source))
    assert len(words_encoder.encoded) == len(ROWS)
    words_encoder.encoded.clear()
    build(tmp_path / "unknown", replace(source, digests={}), (tmp_path / "before", source))
    assert len(words_encoder.encoded) == len(ROWS)
    assert digests(tmp_path / "unknown") == digests(tmp_path / "before")
