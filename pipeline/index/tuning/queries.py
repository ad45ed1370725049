"""The texts that an index is tuned on: the queries made from the repository that nothing is measured by.

Belongs here: which texts, deterministically. Not here: making queries (`pipeline.evaluation`), embedding and searching them
(`stage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc

from pipeline import tables
from pipeline.schemas import EvalQueries

QUERIES: Mapping[str, int] = {"small": 384, "medium": 640, "large": 2048}
"""Preset -> queries; the point is chosen on one half of them and confirmed on the other."""
MOST_QUERIES = max(QUERIES.values())
_SPLIT = "tune"


def query_texts(folder: Path, wanted: int) -> list[str]:
    """`wanted` texts, or as many as there are, from the queries of an object or a version.

    They are in the order of their ids, which are hashes: any two halves are alike, and most texts stay when the repository
    changes. Raises `IndexCorruptionError` and `IndexFormatError`.
    """
    table = tables.read_file(folder / EvalQueries.FILE, EvalQueries.tag(), ["qid", "query", "split"])
    own = table.filter(pc.equal(table["split"], _SPLIT)).sort_by("qid")
    texts: list[str] = own["query"].slice(0, wanted).to_pylist()
    return texts
