"""The path channel: for a query that is a path or holds some, the chunks of the files that it means, in their order.

Belongs here: what the channel says about a query. Not here: which words are paths (`query`), which files
a path means (`files`).
"""

from __future__ import annotations

import numpy as np

from pipeline.search.channels.interface import Asked, Found
from pipeline.search.files import ABBREVIATED, FOLDER
from pipeline.search.fusion import Ranking
from pipeline.search.opened import Opened

_FIRST = 0.1
"""How much more than the last chunk of a file its first one counts: a path alone asks for the file from its start."""


def ask(opened: Opened, asked: Asked) -> Found | None:
    """The chunks of files that a path in the query means (`FileFacts.meant`). None where there is no path."""
    if not asked.query.paths:
        return None
    files = opened.files.files
    best = np.max([opened.files.meant(path) for path in asked.query.paths], axis=0)
    # Inside of a sentence `and/or` is no abbreviation of a path.
    rows = np.flatnonzero(best[files.files] >= (ABBREVIATED if asked.query.is_path else FOLDER))
    if asked.allowed is not None:
        rows = rows[np.isin(files.ids[rows], asked.allowed, assume_unique=True)]
    owners = files.files[rows]
    lengths = np.bincount(files.files, minlength=len(best))
    scores = best[owners] * (1.0 - _FIRST * files.ordinals[rows] / lengths[owners])
    order = np.lexsort((files.ids[rows], -scores))[: asked.limit]
    strength = 1.0 if asked.query.is_path else opened.settings.embedded_path_factor
    return Found(Ranking(files.ids[rows][order], scores[order].astype(np.float32)), strength=strength)
