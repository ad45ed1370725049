"""What was seen while an object was built: times, threads, latencies. Kept beside the objects, never in them.

An object is a function of its key, so that what differs between two builds has no place in it. One file an asset holds what
was seen of the object that was built last; of other objects nothing is known. Nothing depends on these files.

Belongs here: their form. Not here: what is seen, which stages say through `Runtime.observe`.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from pipeline import files
from pipeline.store.layout import Repository

FORMAT = 1
_FOLDER = "observed"


class Observed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was seen when the object `key` of an asset was built, at `at` (seconds since the epoch), in `seconds`."""

    key: str
    at: float
    seconds: float
    facts: dict[str, Any]
    """What the stage said."""
    format: int = FORMAT


def remember(repository: Repository, asset: str, observed: Observed) -> None:
    """Keep it in place of what was known of the asset. A store that cannot be written is no reason to fail."""
    with contextlib.suppress(OSError):
        files.write_file(repository.path / _FOLDER / f"{asset}.json", msgspec.json.encode(observed))


def recall(repository: Repository, asset: str, key: str) -> Observed | None:
    """What was seen when this object was built; None where another was built last, or the file cannot be read."""
    try:
        observed = msgspec.json.decode((repository.path / _FOLDER / f"{asset}.json").read_bytes(), type=Observed)
    except (OSError, ValueError):
        return None
    return observed if (observed.key, observed.format) == (key, FORMAT) else None
