"""What a report is about, given by whoever wants one: an asset with objects, or a command with a version.

Belongs here: the form of it. Not here: reading artefacts (`reading`), finding past versions and checks (the callers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.evaluation.document import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A version of the repository with the figures that its manifest keeps; null where it has none, or by another method."""

    version: str
    published_at: float | None
    chunks: int
    ndcg: Interval | None = None
    hit: Interval | None = None
    found: float | None = None
    """Share of the definitions asked for that are found."""
    nearest: float | None = None
    """Share of the nearest vectors that the operating point finds."""
    changed: Sequence[str] = ()
    """What is not as in the version before it, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Beside the version before: nDCG of this one less that of the other, paired over `queries` shared queries."""

    version: str
    queries: int
    ndcg: Interval
    worse: Sequence[str] = ()
    """Queries that got worse, the worst first."""
    changed: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A check, and what it found wrong."""

    name: str
    problems: Sequence[str] = ()
    blocking: bool = True

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """An evaluated version, published or not."""

    repository: str
    roots: Mapping[str, Path]
    """Asset -> the folder that holds its files: an object's, or for all of them that of a version. Needed are `source_snapshot`,
    `chunks`, `embeddings`, `faiss_index`, `tuning`, `eval_metrics` and `coverage`."""
    settings: Mapping[str, Any]
    """By flat name, as `Settings.recorded` has them."""
    tools: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    dirty: bool = False
    version: str | None = None
    """None while it has no name."""
    published_at: float | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)
    """What was seen while `eval_metrics` was built here: times. Empty where that is not known."""
    past: Sequence[Past] = ()
    """Versions before it, the oldest first; this one is not among them."""
    against: Against | None = None
    checks: Sequence[Checked] = ()
