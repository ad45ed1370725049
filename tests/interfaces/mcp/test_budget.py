"""What a text costs, and cutting texts."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest
import wordllama
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import pipeline
from pipeline.interfaces.mcp.budget import characters_within, clipped, lines_within, tokens

ROOT = Path(pipeline.__file__).parents[1]
_WINDOW = 30
"""Lines: about what a chunk has."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A vocabulary of 32,000 pieces."""
    folder = Path(wordllama.__file__).parent / "tokenizers"
    tokenizer = Tokenizer.from_file(str(folder / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _windows() -> list[str]:
    """Pieces of real files of several languages: of this project, and of what is installed."""
    installed = Path(wordllama.__file__).parents[1]
    found = []
    places = [(ROOT / "pipeline", "*.py"), (ROOT / "docs", "*.md"), (ROOT, "*.toml")]
    places += [(installed, pattern) for pattern in ("*.py", "*.js", "*.html", "*.css", "*.json", "LICENSE*")]
    for root, pattern in places:
        paths = sorted(path for path in islice(root.rglob(pattern), 3000) if path.is_file())
        for path in random.Random(3).sample(paths, min(60, len(paths))):
            lines = path.read_text("utf-8", "replace")[:20_000].splitlines(keepends=True)
            found += ["".join(lines[start : start + _WINDOW]) for start in range(0, len(lines), _WINDOW)]
    return [text for text in found if len(text) > 200 and max(map(len, text.splitlines())) < 1000]


def test_the_estimate_is_no_less_than_what_a_small_vocabulary_makes_of_real_code(tokenizer: Tokenizer) -> None:
    texts = _windows()
    assert len(texts) > 500
    exact = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    ratios = sorted(tokens(text) / count for text, count in zip(texts, exact, strict=True))
    assert ratios[0] >= 1, [text for text, count in zip(texts, exact, strict=True) if tokens(text) < count][:1]
    # An estimate that is far too high wastes the budget.
    assert ratios[len(ratios) // 2] < 1.6


@given(st.lists(st.text(max_size=30).map(lambda line: line.replace("\n", "") + "\n"), max_size=6))
def test_lines_cost_together_no_more_than_each_of_them(lines: list[str]) -> None:
    assert tokens("".join(lines)) <= sum(map(tokens, lines))


@given(st.text(max_size=80), st.integers(0, 40))
def test_what_is_cut_to_fit_fits_and_no_more_would(text: str, room: int) -> None:
    count = characters_within(text, room)
    assert tokens(text[:count]) <= room
    assert count == len(text) or tokens(text[: count + 1]) > room


@given(st.text(max_size=200), st.integers(3, 40))
def test_a_clipped_line_fits(text: str, room: int) -> None:
    assert tokens(clipped(text, room)) <= room


def test_lines_are_counted_until_the_room_is_used_up() -> None:
    assert lines_within(["a b c\n"] * 5, 12) == 3
    assert lines_within(["a b c\n"], 3) == 0
    assert lines_within([], 0) == 0
