"""Metrics of one ranking: the same figures as a library that is made for it, and what our judgements add to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Success, nDCG

from pipeline.evaluation.metrics import Scores, score
from pipeline.evaluation.queries import Query


def query(positives: Sequence[int], answers: Sequence[int] | None = None, neutral: Sequence[int] = ()) -> Query:
    numbers = range(len(positives)) if answers is None else answers
    return Query(
        qid="q", query="where", label="name", split="test", uri="a.py", symbol="a", lang="python",
        positives=tuple(positives), answers=tuple(numbers), neutral=tuple(neutral),
    )  # fmt: skip


def by_library(ranking: Sequence[int], judged: Query, k: int) -> dict[str, float]:
    """The same by ir-measures, which knows documents alone: neutral chunks are no documents, and the document that stands
    for an answer is its first chunk in the ranking."""
    shown = [chunk for chunk in ranking if chunk not in judged.neutral]
    relevant = []
    for answer in set(judged.answers):
        chunks = {chunk for chunk, of in zip(judged.positives, judged.answers, strict=True) if of == answer}
        relevant.append(next((chunk for chunk in shown if chunk in chunks), f"not found {answer}"))
    qrels = [ir_measures.Qrel("q", str(chunk), 1) for chunk in relevant]
    run = [ir_measures.ScoredDoc("q", str(chunk), float(-place)) for place, chunk in enumerate(shown)]
    measures = {"ndcg": nDCG @ k, "rr": RR @ k, "recall": R @ k, "hit": Success @ k}
    found = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    return {name: float(found[measure]) for name, measure in measures.items()}


CHUNKS = st.integers(1, 40)
RANKINGS = st.lists(CHUNKS, min_size=1, max_size=40, unique=True)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """A few answers, some of several chunks, and chunks that count neither way."""
    positives = draw(st.lists(CHUNKS, min_size=1, max_size=12, unique=True))
    answers = draw(st.lists(st.integers(0, 4), min_size=len(positives), max_size=len(positives)))
    neutral = draw(st.lists(CHUNKS.filter(lambda chunk: chunk not in positives), max_size=6, unique=True))
    return query(positives, answers, neutral)


@settings(max_examples=300, deadline=None)
@given(RANKINGS, queries(), st.integers(1, 20))
def test_metrics_are_those_of_ir_measures(ranking: list[int], judged: Query, k: int) -> None:
    ours = score(ranking, judged, k)
    assert {"ndcg": ours.ndcg, "rr": ours.rr, "recall": ours.recall, "hit": ours.hit} == pytest.approx(
        by_library(ranking, judged, k), abs=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(RANKINGS, queries(), st.integers(1, 20))
def test_neither_names_of_answers_nor_neutral_chunks_matter(ranking: list[int], judged: Query, k: int) -> None:
    renamed = query(judged.positives, [100 - answer for answer in judged.answers])
    without = [chunk for chunk in ranking if chunk not in judged.neutral]
    assert score(ranking, judged, k) == score(without, renamed, k)


@settings(max_examples=100, deadline=None)
@given(RANKINGS, queries(), st.integers(1, 20))
def test_metrics_lie_between_0_and_1_and_agree_with_the_rank(ranking: list[int], judged: Query, k: int) -> None:
    scores = score(ranking, judged, k)
    assert all(0 <= value <= 1 for value in (scores.hit, scores.recall, scores.rr, scores.ndcg))
    within = scores.rank is not None and scores.rank <= k
    assert within == bool(scores.hit) == bool(scores.recall) == bool(scores.rr) == bool(scores.ndcg)


def test_a_further_chunk_of_an_answer_takes_a_place_and_gains_nothing() -> None:
    # Answer 0 is the chunks 1 and 2, answer 1 the chunk 3, which its copy pushes to the third place.
    scores = score([1, 2, 3], query([1, 2, 3], [0, 0, 1]), 10)
    ideal = 1 + 1 / math.log2(3)
    assert scores == Scores(hit=1.0, recall=1.0, rr=1.0, ndcg=(1 + 1 / math.log2(4)) / ideal, rank=1)
    assert score([1, 2, 3], query([1, 2, 3], [0, 0, 1]), 2).recall == 0.5


def test_any_chunk_of_an_answer_is_the_whole_answer() -> None:
    assert score([9, 2], query([1, 2], [0, 0]), 10) == score([9, 1], query([1, 2], [0, 0]), 10)


def test_a_rank_beyond_k_is_told_and_counts_nothing() -> None:
    assert score([7, 8, 1], query([1]), 2) == Scores(hit=0.0, recall=0.0, rr=0.0, ndcg=0.0, rank=3)


@pytest.mark.parametrize("judged", [query([]), query([5])])
def test_what_has_no_answer_or_is_not_found_scores_nothing(judged: Query) -> None:
    assert score([1, 2], judged, 10) == score([], judged, 10) == Scores(hit=0.0, recall=0.0, rr=0.0, ndcg=0.0, rank=None)
