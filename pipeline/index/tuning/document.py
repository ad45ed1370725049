"""`tuning.json`: the operating point of an index, and what is known of it.

Belongs here: the shape of that file and of a row of its sweep. Not here: finding the point (`sweep`), writing it (`stage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.schemas import Tuning

FORMAT = 1


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """A recall with the ends of its 95 % interval."""

    recall: float
    low: float
    high: float


class TuningDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`tuning.json`. Where nothing was measured (`queries` is 0) of an index that is not exact, the recalls are null."""

    version: int
    index: str
    """The seal of the index's description: whose point this is."""
    family: str
    exact: bool
    k: int
    target: float
    met: bool | None
    """Whether the target holds; null where nothing was measured."""
    parameters: str
    """The chosen point, as FAISS writes it."""
    k_factor: float
    scored: int
    """Vectors scored for one query at that point."""
    queries: int
    tuning: Recall | None
    """Over the half of the queries that the point was chosen by."""
    held_out: Recall | None
    """Over the other half."""
    grid: int
    """Points measured."""


def read_tuning(folder: Path) -> TuningDocument:
    """`tuning.json` of an object or a version. Raises OSError and `msgspec.MsgspecError`."""
    return msgspec.json.decode((folder / Tuning.FILE).read_bytes(), type=TuningDocument)


def point_of(row: Mapping[str, Any]) -> OperatingPoint:
    """The point that a row of `sweep.parquet` is about."""
    return OperatingPoint(nprobe=row["nprobe"], ef_search=row["ef_search"], k_factor=row["k_factor"])
