"""The fit: it takes what gains, leaves what does not, and a fold never sees the repository it is scored on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fit_ranking import FITTED, Fit, goal, values

from pipeline.config import SearchSettings


@dataclass
class Repository:
    """Stands for a searched repository whose queries like a weight of vectors of `best`, the nearer the better."""

    repo: str
    best: float
    docs: bool = False
    asked: list[float] = field(default_factory=list)

    def scores(self, settings: SearchSettings) -> list[float]:
        self.asked.append(settings.dense_weight)
        return [1 - abs(settings.dense_weight - self.best)]


def fit(*repositories: Any, without: str = "", start: float = 0.5) -> SearchSettings:
    names = ["dense_weight", "test_factor"]
    return Fit(repositories).run(SearchSettings(dense_weight=start), names, 4, without, tell=False)


def test_descent_takes_what_gains_and_leaves_the_rest_alone() -> None:
    found = fit(Repository("a", 0.7), Repository("b", 0.7))
    assert found.dense_weight == 0.7 and found.test_factor == SearchSettings().test_factor


def test_what_is_best_already_stays() -> None:
    assert fit(Repository("a", 0.5)) == SearchSettings(dense_weight=0.5)


def test_a_fold_does_not_listen_to_the_repository_that_it_leaves_out() -> None:
    many, other = [Repository(name, 0.5) for name in "abc"], Repository("other", 1.0)
    assert fit(*many, other, other, without="other").dense_weight == 0.5


def test_a_setting_is_scored_once_a_repository() -> None:
    one = Repository("a", 0.7)
    shared = Fit([one])
    for _ in range(3):
        shared.run(SearchSettings(dense_weight=0.5), ["dense_weight"], 2, tell=False)
    assert len(one.asked) == len(set(one.asked))


def test_docstrings_count_as_much_as_labels() -> None:
    labelled, docs = Repository("a", 0.5), Repository("d", 0.5, docs=True)
    scores = {"a": [0.5, 0.7], "d": [0.2, 0.4]}
    assert abs(goal(scores, [labelled, docs]) - (0.6 + 0.3)) < 1e-9  # type: ignore[list-item]


def test_every_fitted_setting_exists_and_factors_stay_below_one() -> None:
    settings = SearchSettings()
    for name in FITTED:
        tried = values(name, settings)
        assert tried and float(getattr(settings, name)) not in tried
        if name.endswith("_factor") and not name.endswith("_dense_factor"):
            assert max(tried) <= 1
