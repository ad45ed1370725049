"""Why a definition is not found: the first reason that is known to be true.

Belongs here: the words, and when each of them holds. Not here: asking (`looking`).
"""

from __future__ import annotations

from collections.abc import Mapping

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
    NAMESAKE: "asked by its name, it would be within k but for other definitions of that name",
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
    """The chunks in which definitions of a name lie."""

    def __init__(self, structure: Structure) -> None:
        """Nothing is looked up yet."""
        self._structure = structure
        self._rows: dict[str, list[int]] = {}
        for row, name in enumerate(structure.definitions.names):
            self._rows.setdefault(name, []).append(row)

    def chunks(self, row: int) -> Ids:
        """Ids of the chunks with definitions of the same name as that of a row, its own definition left out; ascending."""
        found, chunks = self._structure.definitions, self._structure.chunks
        others = [other for other in self._rows[found.names[row]] if other != row]
        pieces: list[Numbers] = [chunks.ids[found.first[other] : found.last[other]] for other in others]
        return np.unique(np.concatenate([np.empty(0, np.int64), *pieces]))


def of_search(seen: Seen, row: int, k: int, *, by_name: bool, namesakes: Namesakes) -> str:
    """Why a search missed a definition that lies in every index."""
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
