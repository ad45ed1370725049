"""Postings and their search beside a dense product; updates beside building anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InvariantViolationError, QueryError
from pipeline.index.splade.impact_index import WEIGHT_STEP, ImpactIndex, SparseQuery, sparse_query
from pipeline.index.splade.postings import (
    STEPS,
    Postings,
    SparseDocuments,
    build,
    check,
    document_rows,
    documents_of,
    quantise,
    update,
)

VOCABULARY = 12
NOTHING = np.empty(0, np.int64)


def documents(ids: list[int], dense: np.ndarray) -> SparseDocuments:
    """Documents of a dense matrix of impacts [n, VOCABULARY]."""
    rows, terms = np.nonzero(dense)
    offsets = np.concatenate([[0], np.cumsum((dense > 0).sum(axis=1))]).astype(np.int64)
    return SparseDocuments(np.array(ids, np.int64), offsets, terms.astype(np.int32), dense[rows, terms].astype(np.uint16))


def equal(left: Postings, right: Postings) -> bool:
    """Byte for byte."""
    names = ("ids", "terms", "offsets", "rows", "impacts")
    pairs = [(getattr(left, name), getattr(right, name)) for name in names]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@st.composite
def corpora(draw: Any, most: int = 2**63 - 1) -> tuple[list[int], np.ndarray]:
    found = draw(st.lists(st.integers(0, most), unique=True, max_size=12))
    # Few distinct impacts, so that there are many ties.
    cells = draw(
        st.lists(st.sampled_from([0, 0, 0, 1, 2, 255]), min_size=len(found) * VOCABULARY, max_size=len(found) * VOCABULARY)
    )
    return found, np.array(cells, np.int64).reshape(len(found), VOCABULARY)


@st.composite
def queries(draw: Any) -> SparseQuery:
    terms = draw(st.lists(st.integers(0, VOCABULARY + 2), unique=True, max_size=8))
    weights = [draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 0.1, 3.7])) for _ in terms]
    return sparse_query(terms, weights)


def by_hand(ids: list[int], dense: np.ndarray, query: SparseQuery, bits: int) -> list[tuple[int, float]]:
    """(id, score) of every document that shares a term, best first, ties by id: in whole numbers, without a float."""
    units = {int(term): round(weight / WEIGHT_STEP) for term, weight in zip(query.terms, query.weights, strict=True)}
    totals = [sum(units.get(term, 0) * int(row[term]) for term in range(VOCABULARY)) for row in dense]
    found = [(identifier, total * WEIGHT_STEP * STEPS[bits]) for identifier, total in zip(ids, totals, strict=True) if total]
    return sorted(found, key=lambda one: (-one[1], one[0]))


@settings(max_examples=200, deadline=None)
@given(corpora(), queries(), st.integers(1, 14), st.sampled_from([8, 16]))
def test_a_search_is_the_dense_product(corpus: Any, query: SparseQuery, k: int, bits: int) -> None:
    ids, dense = corpus
    index = ImpactIndex(build(documents(ids, dense), bits=bits), bits=bits)
    expected = by_hand(ids, dense, query, bits)
    found, scores = index.search(query, k)
    assert list(zip(found.tolist(), scores.tolist(), strict=True)) == expected[:k]
    allowed = np.array(sorted({*ids[::2], 3, 2**63 - 1}), np.int64)
    found, scores = index.search(query, k, allowed=allowed)
    assert list(zip(found.tolist(), scores.tolist(), strict=True)) == [one for one in expected if one[0] in allowed][:k]
    every = dict(expected)
    asked = np.array([*ids, 5], np.int64)
    assert index.scores_of(query, asked).tolist() == [every.get(identifier, 0.0) for identifier in asked.tolist()]
    for identifier, score in expected:
        matches = index.matches(query, identifier)
        assert sum(match.contribution for match in matches) == score
        assert [match.contribution for match in matches] == sorted((m.contribution for m in matches), reverse=True)


@settings(max_examples=200, deadline=None)
@given(corpora(20), corpora(20), st.sets(st.integers(0, 20)), st.sampled_from([8, 16]))
def test_an_update_is_building_anew(before: Any, came: Any, gone: set[int], bits: int) -> None:
    old = dict(zip(before[0], before[1], strict=True))
    new = dict(zip(came[0], came[1], strict=True))
    # What comes again is replaced: removed and added.
    removed = sorted({one for one in gone if one in old} | (old.keys() & new.keys()))
    after = {identifier: row for identifier, row in old.items() if identifier not in removed} | new
    expected = build(documents(list(after), np.array(list(after.values())).reshape(len(after), VOCABULARY)), bits=bits)
    updated = update(build(documents(*before), bits=bits), documents(*came), np.array(removed, np.int64), bits=bits)
    assert equal(updated, expected)
    assert check(updated, VOCABULARY) == []


def test_the_order_of_documents_changes_no_byte() -> None:
    dense = np.arange(36).reshape(3, 12) % 5
    there = build(documents([7, 3, 5], dense), bits=16)
    assert equal(there, build(documents([5, 7, 3], dense[[2, 0, 1]]), bits=16))
    assert there.ids.tolist() == [3, 5, 7] and there.impacts.dtype == np.uint16 and there.rows.dtype == np.int32


@pytest.mark.parametrize(
    ("added", "removed", "message"),
    [
        ([1], [], "document 1 is there twice"),
        ([], [9], "document 9 to be removed is not there"),
        ([], [1, 1], "1 is there twice"),
    ],
)
def test_an_update_that_cannot_be_is_refused(added: list[int], removed: list[int], message: str) -> None:
    there = build(documents([1, 2], np.ones((2, VOCABULARY), int)), bits=8)
    with pytest.raises(InvariantViolationError, match=message):
        update(there, documents(added, np.ones((len(added), VOCABULARY), int)), np.array(removed, np.int64), bits=8)


def test_documents_that_cannot_be_are_refused() -> None:
    once = documents([1], np.ones((1, VOCABULARY), int))
    twice = SparseDocuments(once.ids, once.offsets, np.zeros_like(once.terms), once.impacts)
    with pytest.raises(InvariantViolationError, match="term twice"):
        build(twice, bits=8)
    for impact in (0, 256):
        with pytest.raises(InvariantViolationError, match="not from 1 to 255"):
            build(SparseDocuments(once.ids, once.offsets, once.terms, np.full_like(once.impacts, impact)), bits=8)
    for terms in (once.terms - 1, once.terms + (1 << 20)):
        with pytest.raises(InvariantViolationError, match="A term is not from 0"):
            build(SparseDocuments(once.ids, once.offsets, terms, once.impacts), bits=8)


def test_a_query_keeps_its_heaviest_terms_and_ties_go_to_the_lower_term() -> None:
    query = sparse_query([9, 4, 2, 7], [1.0, 3.0, 1.0, 0.5], 2)
    assert query.terms.tolist() == [2, 4] and query.weights.tolist() == [1.0, 3.0]
    assert sparse_query([1, 2], [WEIGHT_STEP / 4, 0.3]).terms.tolist() == [2]
    assert not len(sparse_query([], []).terms)


@pytest.mark.parametrize(("terms", "weights"), [([1, 1], [1, 1]), ([1], [1, 2]), ([1], [-1]), ([1], [np.nan]), ([1], [256.0])])
def test_a_query_that_cannot_be_is_refused(terms: list[int], weights: list[float]) -> None:
    with pytest.raises(QueryError):
        sparse_query(terms, weights)


def test_no_result_is_asked_for() -> None:
    index = ImpactIndex(build(documents([1], np.ones((1, VOCABULARY), int)), bits=8), bits=8)
    with pytest.raises(QueryError, match="k = 0"):
        index.search(sparse_query([1], [1]), 0)


def test_weights_become_the_nearest_impact_and_large_ones_the_largest() -> None:
    weights = np.array([0.0, STEPS[8] / 2.1, STEPS[8], 1.0, 3.99, 400.0])
    assert quantise(weights, 8).tolist() == [0, 0, 1, 64, 255, 255]
    assert quantise(weights[3:], 16).tolist() == [4096, 16343, 65535]


def test_a_document_keeps_its_heaviest_terms_in_order_and_none_without_impact() -> None:
    owners = np.array([0, 0, 0, 2, 2])
    terms = np.array([5, 1, 8, 4, 3], np.int32)
    rows = document_rows(owners, terms, np.array([7, 9, 7, 0, 2], np.uint16), 3, 2)
    assert rows["term"].tolist() == [[1, 5], [0, 0], [3, 0]] and rows["impact"].tolist() == [[9, 7], [0, 0], [2, 0]]
    found = documents_of(np.array([10, 20, 30]), rows)
    assert (found.offsets.tolist(), found.terms.tolist(), found.impacts.tolist()) == ([0, 2, 2, 3], [1, 5, 3], [9, 7, 2])


def test_wrong_postings_are_named() -> None:
    good = build(documents([1, 2, 3], np.ones((3, VOCABULARY), int)), bits=8)

    def spoilt(**changes: Any) -> list[str]:
        return check(Postings(**{name: changes.get(name, getattr(good, name)) for name in Postings.__slots__}), VOCABULARY)

    assert check(good, VOCABULARY) == []
    assert "ids" in spoilt(ids=good.ids[::-1])[0]
    assert "terms" in spoilt(terms=good.terms[::-1])[0]
    assert "terms" in check(good, VOCABULARY - 1)[0]
    assert "no document" in spoilt(ids=good.ids[:2])[0]
    assert "order" in spoilt(rows=good.rows[::-1].copy())[0]
    assert "impact" in spoilt(impacts=good.impacts * 0)[0]
