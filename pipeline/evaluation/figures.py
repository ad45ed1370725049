"""Figures over queries, in all and by group.

Belongs here: which queries are counted together. Not here: statistics of arrays (`intervals`), judging one query (`metrics`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.document import Figures, Interval
from pipeline.evaluation.intervals import Values, difference_of, mean_of
from pipeline.evaluation.metrics import Scores

LEAST_QUERIES = 10
"""A folder with fewer queries is not told apart from the folder that it lies in."""


def figures_of(scores: Sequence[Scores]) -> Figures:
    """The means over some queries."""
    return Figures(
        queries=len(scores),
        hit=mean_of(_column(scores, "hit")),
        recall=mean_of(_column(scores, "recall")),
        mrr=mean_of(_column(scores, "rr")),
        ndcg=mean_of(_column(scores, "ndcg")),
    )


def figures_by(groups: Sequence[str], scores: Sequence[Scores]) -> dict[str, Figures]:
    """The figures of each group, by name; `groups` has a name for each query."""
    members: dict[str, list[Scores]] = {}
    for group, one in zip(groups, scores, strict=True):
        members.setdefault(group, []).append(one)
    return {group: figures_of(members[group]) for group in sorted(members)}


def loss_of(without: Sequence[Scores], whole: Sequence[Scores]) -> Interval:
    """How much nDCG is lost without something, paired by query."""
    return difference_of(_column(without, "ndcg"), _column(whole, "ndcg"))


def _column(scores: Sequence[Scores], name: str) -> Values:
    return np.array([getattr(one, name) for one in scores], np.float64)


def modules_of(uris: Sequence[str]) -> list[str]:
    """For each file the folder that its queries are counted with, as `a/b/`; the top is empty.

    The tree of folders is cut as deep as folders have `LEAST_QUERIES` of them. What lies in smaller ones counts with the
    nearest folder above that is large enough, so that every query counts once.
    """
    counts: dict[str, int] = {}
    for uri in uris:
        for folder in _folders(uri):
            counts[folder] = counts.get(folder, 0) + 1
    large = {folder for folder, count in counts.items() if count >= LEAST_QUERIES}
    return [next((folder for folder in reversed(_folders(uri)) if folder in large), "") for uri in uris]


def _folders(uri: str) -> list[str]:
    """The folders that a file lies in, the outermost first."""
    parts = uri.split("/")[:-1]
    return ["".join(f"{part}/" for part in parts[:depth]) for depth in range(1, len(parts) + 1)]
