"""Wide search with imputation, narrow scoring and the oracle, against arithmetic done by hand and by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import QueryError
from pipeline.index.xtr import narrow, oracle, wide
from pipeline.index.xtr.encodings import Encodings, Gathered
from pipeline.index.xtr.narrow import NOTHING, Focus
from pipeline.index.xtr.places import DEFINED, MASKS, SYMBOL
from pipeline.index.xtr.token_index import TokenIndex
from tests.index.xtr.conftest import MakeIndex, unit

ALL = 1 << 16
"""Lists: all of them."""


def at(*degrees: float) -> np.ndarray:
    """Unit vectors of a plane."""
    angles = np.deg2rad(degrees)
    return unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def cosine(degrees: float) -> float:
    return float(np.cos(np.deg2rad(degrees)))


def drawn(chunks: int, seed: int, dimension: int = 16) -> list[tuple[int, np.ndarray]]:
    """Chunks of 0 to 6 tokens."""
    draw = np.random.default_rng(seed)
    return [(10 + 3 * number, unit(draw.standard_normal((draw.integers(0, 7), dimension)))) for number in range(chunks)]


def brute(index: TokenIndex, query: np.ndarray) -> dict[int, float]:
    """Mean over the query's tokens of the best cosine, chunk by chunk."""
    found = {}
    for row, identifier in enumerate(index.ids.tolist()):
        stored = index.vectors(slice(index.offsets[row], index.offsets[row + 1]))
        if len(stored):
            found[identifier] = float(np.mean([max(float(one @ token) for one in stored) for token in query]))
    return found


def test_what_a_token_missed_counts_as_the_last_that_it_found(make_index: MakeIndex) -> None:
    """By hand: two tokens of a query at 0 and 90 degrees, each of which retrieves two tokens.

    The first finds 5° (chunk 1) and 10° (chunk 2), the second 80° (chunk 2) and 70° (chunk 3). So chunk 1 has nothing for the
    second, and gets cos 20°, its last; chunk 3 nothing for the first, and gets cos 10°. Chunk 4 is not found at all.
    """
    index = make_index([(1, at(5, 200)), (2, at(10, 80)), (3, at(70, 220)), (4, at(45, 210))])
    query = at(0, 90)
    ids, scores = wide.search(index, query, 10, tokens=2, lists=ALL)
    expected = {
        1: (cosine(5) + cosine(20)) / 2,
        2: (cosine(10) + cosine(10)) / 2,
        3: (cosine(10) + cosine(20)) / 2,
    }
    assert ids.tolist() == [2, 1, 3] == sorted(expected, key=lambda one: -expected[one])
    assert scores.tolist() == pytest.approx([expected[one] for one in ids.tolist()], abs=0.01)
    # With every token retrieved nothing is missing but what is not there, and scores are exact.
    exact = narrow.score(index, query, ids)
    assert wide.search(index, query, 10, tokens=8, lists=ALL)[1].tolist() == pytest.approx(
        sorted(brute(index, query).values(), reverse=True), abs=1e-5
    )
    assert exact.scores.tolist() == pytest.approx([brute(index, query)[one] for one in ids.tolist()], abs=1e-5)


def test_a_chunk_of_two_retrieved_tokens_counts_the_better_one() -> None:
    found = wide.Retrieved(np.array([0, 0, 0, 1]), np.array([3, 4, 9, 9]), np.array([0.5, 0.75, 0.25, 0.5], np.float32))
    rows, scores = wide.impute(found, np.array([2, 2, 7, 7]), 3)
    # The third token of the query retrieved nothing, and says nothing of any chunk.
    assert rows.tolist() == [2, 7] and scores.tolist() == pytest.approx([(0.75 + 0.5) / 3, (0.25 + 0.5) / 3])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), tokens=st.integers(1, 5), bits=st.sampled_from([2, 4, 8]))
def test_narrow_wide_over_everything_and_the_oracle_are_brute_force(
    make_index: MakeIndex, seed: int, tokens: int, bits: int
) -> None:
    index = make_index(drawn(12, seed), bits=bits, dimension=16)
    query = unit(np.random.default_rng(seed + 1).standard_normal((tokens, 16)))
    expected = brute(index, query)
    chosen = np.array(list(expected)[::-1], np.int64)
    scored = narrow.score(index, query, chosen)
    assert scored.scores.tolist() == pytest.approx([expected[one] for one in chosen.tolist()], abs=1e-5)
    for row, identifier in enumerate(chosen.tolist()):
        assert index.ids[index.owners(scored.tokens[row])].tolist() == [identifier] * tokens
        own = (index.vectors(scored.tokens[row]) * query).sum(axis=1)
        assert own.tolist() == pytest.approx(scored.similarities[row].tolist(), abs=1e-5)
    best = sorted(expected.values(), reverse=True)
    for ids, scores in (
        wide.search(index, query, 100, tokens=1000, lists=ALL),
        wide.search(index, query, 100, tokens=1000, lists=ALL, allowed=index.ids),
        oracle.exact(index.blocks(5), [query], 100)[0],
    ):
        assert scores.tolist() == pytest.approx(best, abs=1e-5) and set(ids.tolist()) == set(expected)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), tokens=st.integers(1, 30))
def test_imputed_scores_are_bounds_that_fall_towards_the_truth(make_index: MakeIndex, seed: int, tokens: int) -> None:
    """Over all lists what is missed has at most the lowest of what was retrieved, so no chunk scores less than it should."""
    index = make_index(drawn(15, seed), dimension=16)
    query = unit(np.random.default_rng(seed + 1).standard_normal((3, 16)))
    truth = brute(index, query)
    ids, scores = wide.search(index, query, 100, tokens=tokens, lists=ALL)
    assert all(score >= truth[one] - 1e-5 for one, score in zip(ids.tolist(), scores.tolist(), strict=True))
    assert (np.diff(scores) <= 0).all()


def test_filters_are_kept_by_both_ways_of_searching(make_index: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(drawn(60, 3), dimension=16)
    query = unit(np.random.default_rng(1).standard_normal((4, 16)))
    allowed = index.ids[::3].copy()
    few = wide.search(index, query, 100, tokens=1000, lists=ALL, allowed=np.r_[allowed, 10**9])
    monkeypatch.setattr(wide, "_FEW_TOKENS", -1)
    many = wide.search(index, query, 100, tokens=1000, lists=ALL, allowed=np.r_[allowed, 10**9])
    assert few[0].tolist() == many[0].tolist() and np.allclose(few[1], many[1], atol=1e-5)
    assert set(many[0].tolist()) == set(brute(index, query)) & set(allowed.tolist())


def test_more_lists_find_more_of_what_is_nearest(make_index: MakeIndex) -> None:
    index = make_index(drawn(400, 5), dimension=16)
    query = unit(np.random.default_rng(2).standard_normal((6, 16)))
    exact = wide.retrieve(index, query, 20, ALL)
    shares = []
    for lists in (1, 8, ALL):
        found = wide.retrieve(index, query, 20, lists)
        shares.append(
            len(
                {*zip(found.query.tolist(), found.token.tolist(), strict=True)}
                & {*zip(exact.query.tolist(), exact.token.tolist(), strict=True)}
            )
        )
    assert shares[0] < shares[1] <= shares[2] == 6 * 20


def test_ties_are_told_apart_by_token_and_by_id(make_index: MakeIndex) -> None:
    index = make_index([(identifier, at(0, 90)) for identifier in (9, 4, 7, 2)])
    found = wide.retrieve(index, at(0), 3, ALL)
    assert found.token.tolist() == [0, 2, 4]
    assert wide.search(index, at(0), 2, tokens=8, lists=ALL)[0].tolist() == [2, 4]
    assert oracle.exact(index.blocks(1), [at(0)], 3)[0][0].tolist() == [2, 4, 7]


def test_restricted_to_some_tokens_no_others_count(make_index: MakeIndex) -> None:
    index = make_index([(1, at(0, 60)), (2, at(30, 90)), (3, at(0))], roles=[0, DEFINED, SYMBOL, 0, 0])
    scored = narrow.score(index, at(0), np.array([1, 2, 3, 99]), Focus(MASKS["definitions"], 0.0))
    assert scored.tokens.ravel().tolist() == [1, NOTHING, NOTHING, NOTHING]
    # What has nothing that counts gets the lowest that another of them has.
    assert scored.scores.tolist() == pytest.approx([cosine(60)] * 4, abs=0.01)
    scored = narrow.score(index, at(0), np.array([1, 2]), Focus(MASKS["symbols"], 0.0))
    assert scored.tokens.ravel().tolist() == [1, 2] and scored.scores[0] < scored.scores[1]


def test_a_bonus_moves_the_choice_and_leaves_the_cosine(make_index: MakeIndex) -> None:
    index = make_index([(1, at(0, 20)), (2, at(10))], roles=[0, DEFINED, 0])
    plain = narrow.score(index, at(0), np.array([1, 2]))
    assert plain.tokens.ravel().tolist() == [0, 2] and plain.scores.tolist() == pytest.approx([1, cosine(10)], abs=0.01)
    biased = narrow.score(index, at(0), np.array([1, 2]), Focus(DEFINED, 0.1))
    assert biased.tokens.ravel().tolist() == [1, 2]
    assert biased.similarities.ravel().tolist() == pytest.approx([cosine(20), cosine(10)], abs=0.01)
    assert biased.scores.tolist() == pytest.approx([cosine(20) + 0.1, cosine(10)], abs=0.01)


def test_many_candidates_are_scored_as_few_are(make_index: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(drawn(50, 8), dimension=16)
    query = unit(np.random.default_rng(4).standard_normal((3, 16)))
    together = narrow.score(index, query, index.ids)
    monkeypatch.setattr(narrow, "_TOKENS", 4)
    apart = narrow.score(index, query, index.ids)
    assert np.allclose(together.scores, apart.scores, atol=1e-5) and (together.tokens == apart.tokens).all()


@pytest.mark.parametrize("query", [np.zeros((2, 5), np.float32), np.full((1, 2), np.nan, np.float32)])
def test_vectors_that_do_not_fit_are_refused(make_index: MakeIndex, query: Any) -> None:
    index = make_index([(1, at(0))])
    for ask in (lambda: wide.search(index, query, 3, tokens=3, lists=3), lambda: narrow.score(index, query, index.ids)):
        with pytest.raises(QueryError, match="Query vectors"):
            ask()


def test_a_query_without_tokens_and_an_index_without_any_find_nothing(make_index: MakeIndex) -> None:
    nothing = np.empty((0, 2), np.float32)
    index = make_index([(1, at(0))])
    assert not len(wide.search(index, nothing, 3, tokens=3, lists=3)[0])
    assert narrow.score(index, nothing, index.ids).scores.tolist() == [0.0]
    assert not len(oracle.exact(index.blocks(), [nothing], 3)[0][0])
    empty = make_index([(1, np.empty((0, 2), np.float32))])
    assert not len(wide.search(empty, at(0), 3, tokens=3, lists=3)[0])
    assert narrow.score(empty, at(0), empty.ids).scores.tolist() == [0.0]


def test_gathered_texts_keep_their_tokens_in_any_order() -> None:
    pieces = [
        Encodings(np.array([0, 2, 3]), np.arange(6, dtype=np.int8).reshape(3, 2), np.zeros((3, 2), np.int32)),
        Encodings(np.array([0, 0, 1]), np.array([[9, 9]], np.int8), np.ones((1, 2), np.int32)),
    ]
    gathered = Gathered.of(pieces, np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0]))
    assert gathered.offsets.tolist() == [0, 2, 3, 4, 4]
    assert gathered.read(0, 4, 2).values.tolist() == [[0, 1], [2, 3], [9, 9], [4, 5]]
    other = gathered.take(np.array([3, 2, 0]))
    assert other.offsets.tolist() == [0, 0, 1, 3] and other.read(1, 3, 2).values.tolist() == [[4, 5], [0, 1], [2, 3]]
