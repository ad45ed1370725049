"""How well one ranking answers one query.

An answer may be several chunks: it counts once, at its first chunk. Chunks that the query was copied from count neither way:
they are taken out of the ranking first. With binary gains, by the usual definitions (Järvelin and Kekäläinen, TOIS 2002, for
nDCG with the logarithm of base 2).

Belongs here: pure functions of a ranking and its judgements. Not here: means over queries (`intervals`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluation.queries import Query


@dataclass(frozen=True, slots=True)
class Scores:
    """The metrics of one query at k. `rank` is that of the first answer in the ranking, also beyond k; None: not found."""

    hit: float
    recall: float
    rr: float
    ndcg: float
    rank: int | None


def score(ranking: Sequence[int], query: Query, k: int) -> Scores:
    """Judge a ranking, chunk ids best first. A query without answers scores 0."""
    answer_of = dict(zip(query.positives, query.answers, strict=True))
    neutral = set(query.neutral)
    found: dict[int, int] = {}
    place = 0
    for one in ranking:
        if one in neutral:
            continue
        place += 1
        answer = answer_of.get(one)
        if answer is not None:
            # A further chunk of an answer that is there already takes a place and gives nothing.
            found.setdefault(answer, place)
    wanted = len(set(query.answers))
    within = [rank for rank in found.values() if rank <= k]
    first = min(found.values(), default=None)
    ideal = sum(1 / math.log2(1 + rank) for rank in range(1, min(wanted, k) + 1))
    gained = sum(1 / math.log2(1 + rank) for rank in within)
    return Scores(
        hit=float(bool(within)),
        recall=len(within) / wanted if wanted else 0.0,
        rr=1 / first if first is not None and first <= k else 0.0,
        ndcg=gained / ideal if ideal else 0.0,
        rank=first,
    )
