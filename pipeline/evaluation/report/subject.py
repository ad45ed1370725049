"""What a report is about, given by whoever wants one: an asset with objects, or a command with a version.

Belongs here: the form of it. Not here: reading artefacts (`reading`), finding past versions and checks (the callers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.history import Entry


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
    """Asset -> the folder that holds its files: an object's, or for all of them that of a version. Needed are
    `source_snapshot`, `chunks`, `embeddings`, `faiss_index`, `tuning`, `eval_metrics` and `coverage`."""
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
    history: Sequence[Entry] = ()
    """The versions in the store, the first published first; this one is among them where it is published."""
    before: str | None = None
    """The version that it is compared with."""
    comparison: Comparison | None = None
    checks: Sequence[Checked] = ()
