"""`tuning.json`: the operating point of an index, and what is known of it.

Belongs here: the shape of that file and of a row of its sweep. Not here: finding the point (`sweep`), writing it (`stage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.tuning.locked_point import LockedPoint
from pipeline.schemas import Tuning

FORMAT = 2


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
    kept: bool = False
    """Whether the point is that of an earlier tuning of the same primary, and only its recall was measured again; the other
    points of the sweep are as they were then."""


def read_tuning(folder: Path) -> TuningDocument:
    """`tuning.json` of an object or a version. Raises OSError and `msgspec.MsgspecError`."""
    return msgspec.json.decode((folder / Tuning.FILE).read_bytes(), type=TuningDocument)


def point_of(row: Mapping[str, Any]) -> OperatingPoint:
    """The point that a row of `sweep.parquet` is about."""
    return OperatingPoint(nprobe=row["nprobe"], ef_search=row["ef_search"], k_factor=row["k_factor"])


def operating_point(tuning: Path, locked: LockedPoint | None) -> dict[str, Any]:
    """Where the index of a version is searched, and how much is found there; null where that was not measured.

    A locked point takes the place of the tuned one of its own family, and its recall is known where it is the same.
    """
    tuned = msgspec.to_builtins(read_tuning(tuning))
    copied = ("family", "exact", "parameters", "k_factor", "k", "target", "met", "tuning", "held_out")
    point = {name: tuned[name] for name in copied}
    holds = locked is not None and locked.family == point["family"]
    if locked is None or not holds:
        return {**point, "locked": False}
    if (locked.parameters, locked.k_factor) != (point["parameters"], point["k_factor"]):
        point |= {"parameters": locked.parameters, "k_factor": locked.k_factor, **_recall_of(tuning, locked)}
    return {**point, "locked": True}


def _recall_of(tuning: Path, locked: LockedPoint) -> dict[str, Any]:
    """What the sweep knows of a point that it did not choose."""
    for row in pq.read_table(tuning / Tuning.SWEEP).to_pylist():
        point = point_of(row)
        # Where only a bound is known, nothing was measured.
        if not row["bound"] and (point.parameters, point.k_factor) == (locked.parameters, locked.k_factor):
            return {"tuning": {name: row[name] for name in ("recall", "low", "high")}, "held_out": None, "met": None}
    return {"tuning": None, "held_out": None, "met": None}
