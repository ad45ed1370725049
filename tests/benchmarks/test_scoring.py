"""How benchmarks score answers: cases small enough to work out by hand."""

from __future__ import annotations

import math

import pytest
from scoring import Place, Target, interval, is_met, ndcg, ranks_of


def place(uri: str, start: int = 1, end: int = 10) -> Place:
    return Place(uri, start, end)


@pytest.mark.parametrize(
    ("target", "result", "met"),
    [
        ("flask/app.py", "flask/app.py", True),
        ("src/flask/app.py", "flask/app.py", True),
        ("flask/app.py", "src/flask/app.py", True),
        ("src/flask/sansio/app.py", "flask/app.py", False),
        ("flask/app.py", "flask/myapp.py", False),
        ("app.py", "myapp.py", False),
        ("flask/app.py", "flask/app.pyi", False),
    ],
)
def test_a_path_meets_a_target_when_they_are_equal_or_one_ends_the_other(target: str, result: str, met: bool) -> None:
    assert is_met(Target(target), place(result)) is met


@pytest.mark.parametrize(
    ("start", "end", "met"),
    [(1, 19, False), (1, 20, True), (20, 30, True), (22, 23, True), (30, 99, True), (31, 99, False), (1, 99, True)],
)
def test_a_chunk_meets_a_span_when_they_share_a_line(start: int, end: int, met: bool) -> None:
    assert is_met(Target("a.py", 20, 30), place("a.py", start, end)) is met


def test_a_span_is_not_met_in_another_file() -> None:
    assert not is_met(Target("a.py", 1, 10), place("b.py"))


def test_a_target_counts_once_at_its_first_result() -> None:
    results = [place("other.py"), place("a.py", 1, 5), place("a.py", 6, 9), place("b.py")]
    assert ranks_of([Target("a.py"), Target("b.py")], results) == [2, 4]


def test_several_chunks_of_one_file_waste_ranks() -> None:
    targets = [Target("a.py"), Target("b.py")]
    crowded = ndcg(ranks_of(targets, [place("a.py", 1, 5), place("a.py", 6, 9), place("a.py", 10, 12), place("b.py")]))
    spread = ndcg(ranks_of(targets, [place("a.py"), place("b.py")]))
    assert spread == 1.0
    assert crowded == pytest.approx((1 + 1 / math.log2(5)) / (1 + 1 / math.log2(3)))


def test_a_result_beyond_the_tenth_is_not_found() -> None:
    results = [place(f"{number}.py") for number in range(10)] + [place("a.py")]
    assert ranks_of([Target("a.py")], results) == [0]
    assert ndcg([0]) == 0.0


def test_one_target_at_rank_three_scores_a_half() -> None:
    assert ndcg([3]) == pytest.approx(0.5)


def test_a_missing_target_costs_its_part_of_the_ideal() -> None:
    assert ndcg([1, 0]) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_more_targets_than_places_can_still_be_answered_fully() -> None:
    assert ndcg([1, 2, 0], k=2) == 1.0


def test_an_interval_holds_the_mean_and_is_the_same_each_time() -> None:
    values = [0.0, 0.5, 1.0, 1.0, 0.25] * 20
    low, high = interval(values)
    assert low < sum(values) / len(values) < high
    assert interval(values) == (low, high)


def test_the_interval_of_equal_values_is_a_point() -> None:
    assert interval([0.25] * 30) == (0.25, 0.25)


def test_no_values_have_no_interval() -> None:
    assert all(map(math.isnan, interval([])))
