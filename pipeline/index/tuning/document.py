"""`tuning.json`: the operating point of an index, and what is known of it.

Belongs here: the shape of that file. Not here: finding the point (`tuning`), writing it (`stage`).
"""

from __future__ import annotations

import msgspec

FORMAT = 1


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """A recall with the ends of its 95 % interval."""

    recall: float
    low: float
    high: float


class TuningDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`tuning.json`. Where nothing was measured (`queries` is 0) of an index that is not exact, the recalls are null."""

    version: int
    index: str
    """The seal of the index's description: whose point this is."""
    family: str
    exact: bool
    k: int
    target: float
    met: bool | None
    """Whether the target holds; null where nothing was measured."""
    parameters: str
    """The chosen point, as FAISS writes it."""
    k_factor: float
    scored: int
    """Vectors scored for one query at that point."""
    queries: int
    tuning: Recall | None
    """Over the half of the queries that the point was chosen by."""
    held_out: Recall | None
    """Over the other half."""
    grid: int
    """Points measured."""
