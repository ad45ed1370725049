"""Where tokens stand in files, and the bits of their roles.

Importing this module loads no pyarrow, so that a search can say where its tokens stand.

Belongs here: arithmetic over spans. Not here: which names there are (`names`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline.index.xtr.encoder import NOWHERE, Numbers, Spans

Roles = npt.NDArray[np.uint8]

DEFINED = 1
"""Part of the name that a definition gives to something."""
SYMBOL = 2
"""Part of any name: an identifier of the syntax tree."""
MASKS: Mapping[str, int] = {"definitions": DEFINED, "symbols": SYMBOL | DEFINED}
"""What the settings call them."""


def file_spans(content: str, start: int, end: int, spans: Spans) -> Spans:
    """Spans in the bytes of a chunk's text as spans in the bytes of its file: int32 [t, 2]; -1 where that is not known.

    `start` and `end` are the chunk's bytes in the file. Files in UTF-8 or with one byte a character are known; others are not.
    """
    size = end - start
    placed = spans[:, 0] >= 0
    if len(content.encode()) == size:
        return np.where(placed[:, None], spans + start, NOWHERE).astype(np.int32)
    if len(content) != size:
        return np.full_like(spans, NOWHERE)
    lengths = np.array([len(character.encode()) for character in content], np.int64)
    ends = np.cumsum(lengths)
    return np.where(placed[:, None], np.searchsorted(ends, np.maximum(spans, 0), side="right") + start, NOWHERE).astype(
        np.int32
    )


def inside(spans: Spans, names: Spans | None) -> npt.NDArray[np.bool_]:
    """Which spans (int32 [t, 2]) share a byte with one of `names` (int32 [m, 2], ascending, none in another): bool [t]."""
    if names is None or not len(names):
        return np.zeros(len(spans), bool)
    before: Numbers = np.searchsorted(names[:, 0], spans[:, 1], side="left") - 1
    found = (before >= 0) & (names[np.maximum(before, 0), 1] > spans[:, 0])
    return np.asarray(found & (spans[:, 0] >= 0))
