"""Grids of operating points as people write them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import QueryError
from pipeline.evaluation.grid import MOST_POINTS, points_of
from pipeline.index.dense.families import FAMILIES
from pipeline.index.dense.operating_point import OperatingPoint, first_point


def points(text: str, family: str = "ivf_sq8", nlist: int = 128) -> tuple[OperatingPoint, ...]:
    index: Any = SimpleNamespace(family=FAMILIES[family], nlist=nlist)
    return points_of(text, index, first_point(FAMILIES[family], nlist))


def test_a_grid_is_every_combination_in_the_order_written() -> None:
    found = points(" nprobe = 1, 16 ; k_factor=2,1 ")
    assert [(point.nprobe, point.k_factor) for point in found] == [(1, 2), (1, 1), (16, 2), (16, 1)]


def test_what_a_grid_does_not_name_stays_and_equal_points_are_one() -> None:
    own = first_point(FAMILIES["ivf_sq8"], 128)
    assert {point.nprobe for point in points("k_factor=1,3")} == {own.nprobe}
    assert [point.k_factor for point in points("nprobe=4,4")] == [own.k_factor]
    assert [point.ef_search for point in points("efSearch=16,32", "hnsw")] == [16, 32]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"), (";;", "is empty"), ("nprobe", "is no part of a grid"), ("nprobe=", "is no part of a grid"),
        ("nprobe=1,,2", "is no part of a grid"), ("=3", "is no part of a grid"), ("nprobe=1;nprobe=2", "twice"),
        ("nprobe=x", "is not a whole number"), ("nprobe=0", "out of range"), ("nprobe=129", "out of range"),
        ("efSearch=16", "takes only `nprobe`"), ("m=3", "no search parameter `m`"), ("k_factor=a", "is not a number"),
        ("k_factor=nan", "out of range"), ("k_factor=0.5", "out of range"), ("k_factor=1e9", "out of range"),
        ("nprobe=" + ",".join(str(one) for one in range(1, MOST_POINTS + 2)), f"has {MOST_POINTS + 1} points"),
        ("nprobe=1,2=3", "is not a whole number"),
    ],
)  # fmt: skip
def test_what_is_no_grid_for_the_index_is_refused(text: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        points(text)


def test_an_exact_family_takes_no_parameter() -> None:
    with pytest.raises(QueryError, match="takes no parameter"):
        points("nprobe=4", "flat")
