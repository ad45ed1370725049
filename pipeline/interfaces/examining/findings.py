"""What an examination finds: one thing that was looked at, how it is, and what to do about it.

Belongs here: the form of a finding. Not here: looking (its neighbours), printing (`commands_doctor`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How a thing is. Only a `PROBLEM` makes `indexctl doctor` end with 1."""

    OK = "ok"
    NOTE = "note"
    """Not there, or off, and nothing is wrong with that."""
    WARNING = "warning"
    """It works, but not as well or as long as it could."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` names it within its `area`; `hint` is a sentence that says what to do, empty where there is nothing to do."""

    area: str
    check: str
    level: Level
    text: str
    hint: str = ""
    repo: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As `doctor --json` prints it."""
        said = {"area": self.area, "check": self.check, "level": self.level.value, "text": self.text, "hint": self.hint}
        return {**said, **({"repo": self.repo} if self.repo else {}), **({"facts": dict(self.facts)} if self.facts else {})}
