"""Near-copies of a better result are pushed back, and the explanation says of which."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import SearchSettings, Settings
from pipeline.search.diversity import ALIKE, demotions
from pipeline.search.engine import Hit, open_searcher
from pipeline.store.layout import Store

_QUAY = (
    'def moor_at_quay(ship, quay):\n    """Moor a ship at the quay with spring lines."""\n'
    "    lines = [quay.bollard(end) for end in ship.ends]\n    for line in lines:\n        line.tighten()\n    return lines\n"
)
FILES = {
    "port/quay.py": _QUAY,
    "port/quay_copy.py": _QUAY,
    "port/quay_again.py": _QUAY + "\n# again\n",
    "port/ropes.py": 'def choose(ship):\n    """Spring lines to moor a ship at the quay."""\n    return ship.length * 2\n',
    "port/pilot.py": 'def call_pilot(ship):\n    """A pilot brings the ship to the quay."""\n    return ship.radio("12")\n',
}
QUERY = "moor a ship at the quay with spring lines"


def unit(*rows: tuple[float, ...]) -> npt.NDArray[np.float32]:
    vectors = np.array(rows, np.float64)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Path:
    root = tmp_path_factory.mktemp("copies")
    (root / "quays/port").mkdir(parents=True)
    for name, text in FILES.items():
        (root / "quays" / name).write_text(text)
    done = indexctl("build", root / "quays", "--data", root / "store", "--json", "--ephemeral", "--no-scip")
    assert done.code == 0, done.err
    return root / "store"


def search(store: Path, **chosen: float) -> list[Hit]:
    with open_searcher(Store(store).repository("quays"), Settings(search=SearchSettings(**chosen))) as opened:
        return opened.search(QUERY)


def test_a_copy_keeps_what_strength_leaves_and_names_what_it_is_like() -> None:
    vectors = unit((1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1))
    found = demotions(np.array([1.0, 0.9, 0.8, 0.7]), vectors, 0.5)
    assert found.keys() == {2} and found[2].like == 0 and found[2].factor == pytest.approx(0.5, abs=1e-5)


def test_likeness_up_to_the_bound_costs_nothing_and_beyond_it_the_more_the_more_alike() -> None:
    def factor(cosine: float) -> float:
        vectors = unit((1, 0), (cosine, math.sqrt(1 - cosine**2)))
        found = demotions(np.array([1.0, 0.9]), vectors, 0.4)
        return found[1].factor if found else 1.0

    assert factor(0.0) == factor(ALIKE - 0.01) == 1.0
    assert factor((1 + ALIKE) / 2) == pytest.approx(0.8, abs=1e-3)
    assert factor(0.999) == pytest.approx(0.6, abs=1e-2)


def test_what_was_pushed_back_pushes_back_nothing_that_is_better_now() -> None:
    # The second is a copy of the first and falls behind the third, which is a little like the second alone.
    near = (0.5, math.sqrt(0.75), 0.0)
    found = demotions(np.array([1.0, 0.99, 0.9]), unit((1, 0, 0), (1, 0.01, 0), near), 0.5)
    assert found.keys() == {1}


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 12), seed=st.integers(0, 1000), strength=st.floats(0.01, 1.0))
def test_products_fall_in_the_order_in_which_results_are_taken(count: int, seed: int, strength: float) -> None:
    generator = np.random.default_rng(seed)
    scores = np.sort(generator.random(count))[::-1] + 0.01
    vectors = unit(*generator.random((count, 3)) ** 3)
    found = demotions(scores, vectors, strength)
    products = [score * (found[place].factor if place in found else 1.0) for place, score in enumerate(scores.tolist())]
    for place, one in found.items():
        assert 1 - strength - 1e-9 <= one.factor < 1 and products[one.like] >= products[place] - 1e-9
    assert products[0] == scores[0] == max(products)


def test_copies_come_after_other_answers_and_say_why(store: Path) -> None:
    plain, diverse = search(store, diversity=0.0), search(store, diversity=0.9)
    assert {hit.uri for hit in plain[:3]} == {"port/quay.py", "port/quay_copy.py", "port/quay_again.py"}
    assert diverse[0].id == plain[0].id and diverse[1].uri in ("port/ropes.py", "port/pilot.py")
    copies = [hit for hit in diverse if "like result 1" in hit.adjustments]
    assert len(copies) == 2 and all(hit.adjustments["like result 1"] < 0.6 for hit in copies)
    assert [hit.score for hit in diverse] == sorted((hit.score for hit in diverse), reverse=True)
    for hit in diverse:
        given = sum(channel.contribution for channel in hit.channels.values()) * math.prod(hit.adjustments.values())
        assert hit.score == pytest.approx(given)


def test_without_vectors_or_strength_nothing_is_pushed_back(store: Path) -> None:
    for hits in (search(store, diversity=0.0), search(store, diversity=0.9, dense_weight=0.0)):
        assert not any(name.startswith("like") for hit in hits for name in hit.adjustments)


@pytest.fixture
def fewer(store: Path) -> Iterator[list[list[int]]]:
    with open_searcher(Store(store).repository("quays"), Settings(search=SearchSettings(diversity=0.9))) as opened:
        yield [[hit.id for hit in opened.search(QUERY, k)] for k in range(1, 6)]


def test_fewer_results_are_the_first_of_more(fewer: list[list[int]]) -> None:
    assert all(one == fewer[-1][: len(one)] for one in fewer)
