"""Queries kept from an earlier build: those that no change since then can have touched.

What a query is tied to (`ties`) says whether a change can touch it. A query that may be touched is dropped, not made again: a
few fewer queries measure a version as well, and all are made anew before a tenth is gone. So a kept query is the very query
that it was, with every chunk that answers it.

Belongs here: which are kept, and when all are made anew. Not here: what was changed (`evaluation.change`), making queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import files
from pipeline.artefacts import Artefact, Base
from pipeline.evaluation.change import Change
from pipeline.evaluation.queries import read_queries, read_ties, write_queries, write_ties
from pipeline.evaluation.synthesis import ties
from pipeline.schemas import Chunks, Definitions, EvalQueries, Modules

MOST_DROPPED = 0.1
"""The share of the queries that were made together, from which on all are made anew; so it is for chunks that came or went."""

Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]


def kept_rows(
    base: Base[EvalQueries],
    change: Change,
    definitions: Artefact[Definitions],
    chunks: Artefact[Chunks],
    modules: Artefact[Modules],
) -> Numbers | None:
    """Which queries of the base are kept, int64 [n] ascending; None where all are to be made anew."""
    if base.artefact is None or not {definitions.asset, modules.asset, chunks.asset} <= base.inputs.keys():
        return None
    made: Mapping[str, Any] = base.artefact.facts["full"]
    if abs(chunks.facts["chunks"] - made["chunks"]) > MOST_DROPPED * made["chunks"]:
        return None
    held = np.ones(base.artefact.facts["queries"], np.bool_)
    if change.uris:
        earlier = (base.inputs[one.asset].path for one in (definitions, chunks, modules))
        before = ties.of_files(change.uris, *earlier)
        after = ties.of_files(change.uris, definitions.path, chunks.path, modules.path)
        moved = (before ^ after).union(ties.numbers(map(ties.file, change.uris)).tolist())
        pairs = read_ties(base.artefact.path)
        held[pairs[np.isin(pairs[:, 1], np.fromiter(moved, np.int64, len(moved))), 0]] = False
    kept = np.flatnonzero(held)
    return kept if len(kept) >= (1 - MOST_DROPPED) * made["queries"] else None


def write_kept(before: Path, after: Path, kept: Numbers, all_of: int) -> None:
    """Write these of `all_of` queries of the folder `before` into `after`: by links, where they are all of them."""
    if len(kept) == all_of:
        for name in (EvalQueries.JSONL, EvalQueries.FILE, EvalQueries.TIES):
            files.link_or_copy(before / name, after / name)
        return
    queries = read_queries(before)
    write_queries(after, [queries[row] for row in kept.tolist()])
    pairs = read_ties(before)
    pairs = pairs[np.isin(pairs[:, 0], kept)]
    write_ties(after, np.stack([np.searchsorted(kept, pairs[:, 0]), pairs[:, 1]], 1))
