"""Training of the static table: what a pair is, that what it learns helps, and that eight bits keep it."""

from __future__ import annotations

import numpy as np
import pytest
import train_static
import train_static_data
from train_static import Bags, Lesson
from train_static_data import Package, description, pairs_of

PYTHON = b'''"""A module of berths."""

def berth_fee(ship, days):
    """Return what a ship pays for a berth.

    Days are whole.
    """
    return ship.length * days
'''
RUST = b"""/// Returns what a ship pays
/// for a berth.
#[inline]
// Not a doc comment.
pub fn berth_fee(ship: &Ship, days: u32) -> u32 {
    ship.length * days // Whole days.
}
"""
TYPESCRIPT = b"""/**
 * Returns what a ship pays for a {@link berth}.
 * @param days - whole days
 */
export function berthFee(ship: Ship, days: number): number {
  return ship.length * days;
}
"""


@pytest.mark.parametrize(("uri", "content"), [("a.py", PYTHON), ("a.rs", RUST), ("a.ts", TYPESCRIPT)])
def test_a_pair_is_a_description_and_its_chunk_without_it(uri: str, content: bytes) -> None:
    texts, pairs = pairs_of(uri, content)
    (pair,) = (pair for pair in pairs if pair.name.lower().replace("_", "") == "berthfee")
    assert "what a ship pays for a berth" in pair.query.replace(" }", "").replace("}", "")
    text = texts[pair.chunk]
    assert text.startswith(f"{uri}\n{pair.name} {pair.name}\n") and "ship.length * days" in text
    assert "pays" not in text and "hole days" not in text.replace("// Whole days.", "")


def test_a_comment_inside_of_a_function_stays() -> None:
    texts, _ = pairs_of("a.rs", RUST)
    assert "Whole days." in texts[0] and "Not a doc comment" not in texts[0]


def test_a_file_without_descriptions_or_of_long_lines_gives_nothing() -> None:
    assert pairs_of("a.py", b"def f():\n    return 1\n") == ([], [])
    assert pairs_of("a.py", PYTHON + b"X = '" + b"x" * 10_000 + b"'\n") == ([], [])


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ("Return the fee of\na berth.\n\nMore.", "Return the fee of a berth."),
        ("Return the fee of a berth.\n@param days whole", "Return the fee of a berth."),
        ("\\brief Return the fee of a berth.", "Return the fee of a berth."),
        ("The :func:`fee` of <b>a berth</b>", "The `fee` of a berth"),
        ("Too short.", ""),
        ("Copyright 2024 The Harbour Authors", ""),
        ("= = = = = = = = = a", ""),
        ("word " * 100, ""),
    ],
)
def test_a_description_is_the_first_paragraph_without_markup(doc: str, expected: str) -> None:
    assert description(doc) == expected


def test_no_package_is_listed_twice_and_what_is_held_out_is_listed() -> None:
    listed = train_static_data.packages()
    assert len({package.key for package in listed}) == len(listed)
    assert {package.licence for package in listed} <= {"MIT", "BSD", "Apache-2.0", "MIT OR Apache-2.0"}
    assert sum(package.held_out for package in listed) == len(train_static_data.read_list()["held_out"])


def _lesson(name: str, pairs: int, seed: int, held_out: bool) -> Lesson:
    """Descriptions and chunks with one subject each (tokens 10 and up, another token on either side), and noise (below 10)."""
    drawn = np.random.default_rng(seed)
    subjects = drawn.integers(0, 20, pairs)

    def bags(first: int) -> Bags:
        tokens = np.column_stack([first + subjects, *(drawn.permuted(np.tile(np.arange(10), (pairs, 1)), axis=1)[:, :3].T)])
        return Bags(np.arange(0, 4 * pairs + 1, 4), tokens.ravel(), np.ones(4 * pairs, np.float32))

    package = Package(name, "1", "wheel", "MIT", held_out)
    return Lesson(package, bags(10), bags(30), np.arange(pairs))


def test_it_learns_what_belongs_together_also_in_packages_that_it_never_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_static, "GROUPS", 2)
    monkeypatch.setattr(train_static, "WARM_UP", 1)
    monkeypatch.setattr(train_static, "RATE", 0.05)
    monkeypatch.setattr(train_static, "PASSES", 6)
    start = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    taught = [_lesson(f"p{number}", 64, number, False) for number in range(8)]
    table, judged = train_static.train(start, taught, [_lesson("held", 20, 99, True)])
    assert max(judged) > judged[0] + 0.2
    assert train_static.judge(table, [_lesson("held", 20, 99, True)]) == max(judged)


def test_the_gradient_of_the_loss_is_its_slope() -> None:
    drawn = np.random.default_rng(0)
    queries, chunks = drawn.normal(size=(2, 5, 4)) / 4
    again = np.zeros((5, 5), bool)
    again[1, 3] = again[3, 1] = True
    _, change = train_static._contrast(queries, chunks, again)
    gradient = change @ chunks
    for row, column in np.ndindex(queries.shape):
        beside = [queries.copy(), queries.copy()]
        for sign, one in zip((1, -1), beside, strict=True):
            one[row, column] += sign * 1e-5
        up, down = (train_static._contrast(one, chunks, again)[0] for one in beside)
        assert gradient[row, column] == pytest.approx((up - down) / 2e-5, abs=1e-4)


def test_eight_bits_keep_the_directions_of_rows_and_their_lengths() -> None:
    drawn = np.random.default_rng(0)
    table = (drawn.normal(size=(100, 64)) * drawn.uniform(0.01, 1, (100, 1))).astype(np.float32)
    rows, scales = train_static.rounded(table)
    assert rows.dtype == np.int8 and scales.dtype == np.uint16
    back = rows * scales[:, None].astype(np.float64)
    back *= np.abs(table).max() / np.abs(back).max()
    assert np.abs(back - table).max(axis=1) == pytest.approx(0, abs=0.02)
    cosine = (back * table).sum(axis=1) / np.linalg.norm(back, axis=1) / np.linalg.norm(table, axis=1)
    assert cosine.min() > 0.999
