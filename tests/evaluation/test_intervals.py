"""Intervals of means: as wide as chance is, narrower where queries are paired, and the same every time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import intervals
from pipeline.evaluation.document import Interval
from pipeline.evaluation.intervals import difference_of, mean_of

SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=60).map(lambda values: np.array(values))


def width(interval: Interval) -> float:
    return interval.high - interval.low


@pytest.mark.parametrize(("count", "share", "least", "most"), [(50, 0.5, 0.90, 0.98), (400, 0.8, 0.91, 0.98)])
def test_an_interval_holds_the_true_mean_about_95_times_of_100(count: int, share: float, least: float, most: float) -> None:
    generator = np.random.default_rng(7)
    samples = (generator.random((400, count)) < share).astype(np.float64)
    held = [one.low <= share <= one.high for one in map(mean_of, samples)]
    assert least <= np.mean(held) <= most


def test_the_interval_of_a_share_is_as_wide_as_theory_says() -> None:
    values = np.repeat([0.0, 1.0], [80, 320])
    one = mean_of(values)
    assert one.mean == 0.8
    assert width(one) == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 400), rel=0.1)


def test_queries_that_fare_alike_make_a_difference_narrower_than_two_means_tell() -> None:
    generator = np.random.default_rng(3)
    before = generator.random(400)
    after = np.clip(before + generator.normal(0.02, 0.02, 400), 0, 1)
    paired = difference_of(before, after)
    assert 0 < paired.low < paired.mean < paired.high
    assert width(paired) < 0.2 * min(width(mean_of(before)), width(mean_of(after)))
    assert mean_of(before).high > mean_of(after).low  # Unpaired, nothing could be said.


def test_a_difference_is_after_less_before() -> None:
    better = difference_of(np.zeros(40), np.ones(40))
    assert better == Interval(mean=1.0, low=1.0, high=1.0)
    assert difference_of(np.ones(40), np.zeros(40)) == Interval(mean=-1.0, low=-1.0, high=-1.0)


def test_nothing_changed_is_told_as_nothing_changed() -> None:
    values = np.random.default_rng(1).random(100)
    assert difference_of(values, values) == Interval(mean=0.0, low=0.0, high=0.0)
    assert str(difference_of(values, values).mean) == "0.0"


@settings(max_examples=100, deadline=None)
@given(SHARES)
def test_the_mean_lies_inside_and_the_ends_where_values_can_lie(values: np.ndarray) -> None:
    one = mean_of(values)
    assert 0 <= one.low <= one.mean <= one.high <= 1
    assert one.low >= round(float(values.min()), 6) and one.high <= round(float(values.max()), 6)


def test_no_query_and_one_query_say_that_nothing_is_known() -> None:
    none = np.empty(0)
    assert mean_of(none) == Interval(mean=0.0, low=0.0, high=1.0)
    assert difference_of(none, none) == Interval(mean=0.0, low=-1.0, high=1.0)
    assert mean_of(np.array([1.0])) == Interval(mean=1.0, low=0.0, high=1.0)
    assert difference_of(np.array([1.0]), np.array([0.5])) == Interval(mean=-0.5, low=-1.0, high=1.0)


def test_intervals_are_the_same_in_another_process() -> None:
    script = (
        "import numpy as np; from pipeline.evaluation.intervals import mean_of; "
        "values = np.random.default_rng(5).random(300); print(mean_of(values))"
    )
    again = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in "ab"]
    assert again[0] == again[1] == f"{mean_of(np.random.default_rng(5).random(300))}\n"


def test_many_values_are_drawn_as_a_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).random(600)
    kept = mean_of(values)
    monkeypatch.setattr(intervals, "_MOST_KEPT", 10)
    monkeypatch.setattr(intervals, "_BLOCK_BYTES", 8 * 600 * 70)
    assert mean_of(values) == kept
