"""What a version, or one object of it, does not have of a file that it was asked to take, and why.

Three artefacts can lose a file and go on: `scip_index` (an indexer did not take it), `scip_occurrences` (its document did not
fit the file, or its references were cut) and `cst_nodes` (libcst rejected it). Each writes what it lost beside its tables; here
it is read, for `status`, for metadata and for SQL.

Belongs here: reading these lists. Not here: writing them (the stages), files that were never to be indexed (the table `files`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa

from pipeline.errors import IndexCorruptionError
from pipeline.schemas import CstNodes, ScipIndex, ScipOccurrences
from pipeline.structure.scip import outcomes
from pipeline.structure.scip.outcomes import Indexer, Loss
from pipeline.tables import names_in

T = TypeVar("T")
_LISTS = (ScipOccurrences.LEFT_OUT, CstNodes.REJECTED)
SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("artefact", "uri", "reason")])


class _LeftOut(msgspec.Struct):
    left_out: list[Loss]


class _Rejected(msgspec.Struct):
    rejected: list[Loss]


def has_lists(root: Path) -> bool:
    """Whether anything in `root` could say what was lost."""
    return _has_outcomes(root) or not names_in(root).isdisjoint(_LISTS)


def losses(root: Path) -> pa.Table:
    """Everything lost, by artefact, uri and reason, of the artefacts that lie in `root`: a version's folder, or an object's.

    Raises IndexCorruptionError for a list that is damaged, IndexFormatError for one of another format.
    """
    rows = sorted(set(_rows(root)))
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)


def indexers(root: Path) -> tuple[Indexer, ...]:
    """The indexers that a version's folder (or an object of `scip_index`) tells of; none where it has no symbols.

    Raises what `losses` does.
    """
    return outcomes.read(root) if _has_outcomes(root) else ()


def _has_outcomes(root: Path) -> bool:
    return ScipIndex.DIRECTORY in names_in(root) and ScipIndex.META in names_in(root / ScipIndex.DIRECTORY)


def _rows(root: Path) -> Iterator[tuple[str, str, str]]:
    for indexer in indexers(root):
        yield from ((ScipIndex.asset, loss.uri, loss.reason) for loss in indexer.lost)
    there = names_in(root)
    if ScipOccurrences.LEFT_OUT in there:
        left_out = _read(root / ScipOccurrences.LEFT_OUT, _LeftOut).left_out
        yield from ((ScipOccurrences.asset, loss.uri, loss.reason) for loss in left_out)
    if CstNodes.REJECTED in there:
        rejected = _read(root / CstNodes.REJECTED, _Rejected).rejected
        yield from ((CstNodes.asset, loss.uri, loss.reason) for loss in rejected)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError) as error:
        raise IndexCorruptionError(f"{path} is missing or damaged: {error}.", hint="Run `indexctl build` again.") from None
