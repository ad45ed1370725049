"""Fusion: shares add up, order is total, and a channel that found nothing takes no part."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.search.fusion import Ranking, best_first, by_ranks, by_scores, total_of


def ranking(**scores: float) -> Ranking:
    ids = np.array([int(name[1:]) for name in scores], np.int64)
    return Ranking(ids, np.array(list(scores.values()), np.float32))


CANDIDATES = np.array([1, 2, 3, 9], np.int64)


def test_the_best_of_a_channel_gets_its_whole_weight_and_others_their_share() -> None:
    share = by_scores(CANDIDATES, ranking(i3=8.0, i1=4.0), weight=2.0, power=1.0)
    assert share.contribution.tolist() == [1.0, 0.0, 2.0, 0.0]
    assert share.rank.tolist() == [2, 0, 1, 0]
    assert share.score.tolist() == [4.0, 0.0, 8.0, 0.0]


def test_a_power_widens_the_distance_to_the_best() -> None:
    share = by_scores(CANDIDATES, ranking(i3=1.0, i1=0.5), weight=1.0, power=2.0)
    assert share.contribution.tolist() == [0.25, 0.0, 1.0, 0.0]


def test_scores_known_for_every_candidate_replace_those_of_the_ranking() -> None:
    known = np.array([0.5, 1.0, 0.25, -0.3])
    share = by_scores(CANDIDATES, ranking(i2=1.0), weight=1.0, scores=known)
    assert share.contribution.tolist() == [0.5, 1.0, 0.25, 0.0]
    assert share.rank.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("best", [0.0, -0.5])
def test_a_channel_without_a_good_score_contributes_nothing(best: float) -> None:
    share = by_scores(CANDIDATES, ranking(i2=best), weight=1.0, scores=np.full(4, best))
    assert not share.contribution.any()
    empty = by_scores(CANDIDATES, ranking(), weight=1.0, power=2.0)
    assert not empty.contribution.any() and not empty.rank.any()


def test_ranks_give_the_first_place_the_weight_and_what_was_not_found_nothing() -> None:
    share = by_ranks(CANDIDATES, ranking(i3=8.0, i1=7.9), weight=2.0, k_rrf=9.0)
    assert share.contribution.tolist() == pytest.approx([2 * 10 / 11, 0.0, 2.0, 0.0])
    known = by_ranks(CANDIDATES, ranking(i2=1.0), weight=1.0, k_rrf=0.0, scores=np.array([0.5, 1.0, 0.25, 0.1]))
    assert known.contribution.tolist() == [0.0, 1.0, 0.0, 0.0] and known.score.tolist() == [0.5, 1.0, 0.25, 0.1]


def test_candidates_are_ordered_by_the_sum_and_ties_by_id() -> None:
    shares = {
        "a": by_scores(CANDIDATES, ranking(i9=4.0, i1=2.0), weight=1.0),
        "b": by_scores(CANDIDATES, ranking(i2=4.0, i1=2.0), weight=1.0),
    }
    fused = total_of(CANDIDATES, shares)
    order = best_first(CANDIDATES, fused)
    assert fused.tolist() == [1.0, 1.0, 0.0, 1.0]
    assert CANDIDATES[order].tolist() == [1, 2, 9, 3]


def test_nothing_fuses_to_nothing() -> None:
    nothing = np.zeros(0, np.int64)
    fused = total_of(nothing, {"a": by_scores(nothing, ranking(), weight=1.0)})
    order = best_first(nothing, fused)
    assert len(order) == len(fused) == 0
