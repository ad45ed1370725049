"""Why a definition is not found: the first reason that is known to be true.

Belongs here: the words, and when each of them holds. Not here: asking (`looking`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from pipeline.evaluation.cover.looking import Seen
from pipeline.evaluation.cover.structure import DefinitionRows, Numbers, Structure
from pipeline.search.fusion import Ids

NOT_IN_CHUNKS = "not in chunks"
NOT_IN = "not in {index}"
NAMESAKE = "namesake"
COPY = "near-copy"
ROLE = "role: {role}"
SAME_FILE = "same file"
BELOW_K = "below k"
NOT_IN_POOL = "not in the pool"
REASONS: Mapping[str, str] = {
    NOT_IN_CHUNKS: "some of its bytes lie in no chunk",
    NOT_IN: "that index lacks one of its chunks",
    NAMESAKE: "asked by its name, it would be within k but for other definitions of that name, in any letter case",
    COPY: "within k, were it not pushed back as a near-copy of a better result",
    ROLE: "within k, were its file not a test, an example, vendored, …",
    SAME_FILE: "within k, were it not pushed back as a further chunk of a file that has a better one",
    BELOW_K: "found, beyond k",
    NOT_IN_POOL: "no channel has it among its candidates",
}
"""Every reason, in the order in which they are tried, and what it means."""


def structural(definitions: DefinitionRows, row: int) -> str | None:
    """Why a definition cannot be found, or not by every channel, whatever is asked."""
    if not definitions.chunked[row]:
        return NOT_IN_CHUNKS
    return next((NOT_IN.format(index=name) for name, lacking in definitions.missing.items() if lacking[row]), None)


class Namesakes:
    """The chunks in which definitions of a name lie: of any kind and letter case, because names are looked up so."""

    def __init__(self, structure: Structure) -> None:
        """Nothing is looked up before it is asked for."""
        self._structure = structure
        self._rows: dict[str, list[int]] = {}

    def chunks(self, row: int) -> Ids:
        """Ids of the chunks with definitions of the same name as that of a row, its own definition left out; ascending."""
        world = self._structure
        if not self._rows:
            for place, name in enumerate(world.named.names):
                self._rows.setdefault(name.lower(), []).append(place)
        own = int(world.places[row])
        others = [place for place in self._rows[world.named.names[own].lower()] if place != own]
        pieces: list[Numbers] = [world.chunks.ids[world.named.first[one] : world.named.last[one]] for one in others]
        return np.unique(np.concatenate([np.empty(0, np.int64), *pieces]))


class Crowd(Protocol):
    """Whoever knows the chunks of namesakes."""

    def chunks(self, row: int) -> Ids:
        """Those of the definition of a row."""
        ...


def of_search(seen: Seen, row: int, k: int, *, by_name: bool, namesakes: Crowd) -> str | None:
    """Why a search missed a definition that lies in every index; None where it did not."""
    if seen.rank is not None and seen.rank <= k:
        return None
    if by_name and _crowded_out(seen, namesakes.chunks(row), k):
        return NAMESAKE
    if seen.copy:
        return COPY
    if seen.role:
        return ROLE.format(role=seen.role)
    if seen.further:
        return SAME_FILE
    return NOT_IN_POOL if seen.rank is None else BELOW_K


def _crowded_out(seen: Seen, chunks: Ids, k: int) -> bool:
    """Whether chunks of namesakes hold so many places that without them the definition would be within k; where it is not in
    the pool at all, whether they hold all of the first k."""
    if seen.rank is None:
        return len(seen.before) >= k and bool(np.isin(seen.before[:k], chunks).all())
    return seen.rank - int(np.isin(seen.before, chunks).sum()) <= k
