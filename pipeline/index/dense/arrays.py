"""The true vectors of an index (`embed.arrays`), looked up and scored by id.

Belongs here: exact scores over those arrays. Not here: their files, FAISS (`ann`).
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.embed.arrays import Ids, Rows, Vectors, open_arrays
from pipeline.errors import NotFoundError, QueryError
from pipeline.index.dense.families import import_faiss

__all__ = ["Ids", "Rows", "Scores", "TrueVectors", "Vectors", "checked_ids", "checked_vectors", "rows_of"]

Scores = npt.NDArray[np.float32]

_NAMED_AT_MOST = 3
_BLOCK = 8192
_MATRIX = 2


class TrueVectors:
    """Vectors by id: ids int64 [n], strictly ascending, and vectors float32 [n, d], often memory-mapped."""

    def __init__(self, ids: Ids, vectors: Rows) -> None:
        self.ids = ids
        self.vectors = vectors

    @classmethod
    def open(cls, folder: Path) -> TrueVectors:
        """Those of an embeddings object or a version. Raises `IndexCorruptionError`."""
        return cls(*open_arrays(folder))

    def rows(self, wanted: Ids) -> npt.NDArray[np.int64]:
        """The row of each id (int64, of any shape), -1 where it is not known."""
        return rows_of(self.ids, wanted)

    def take(self, wanted: Ids) -> Vectors:
        """The vectors of ids, float32 [m, d], in the order asked. Raises `NotFoundError` for unknown ids."""
        rows = self.rows(wanted)
        if len(missing := wanted[rows < 0]):
            named = ", ".join(str(one) for one in missing[:_NAMED_AT_MOST])
            raise NotFoundError(f"The index has no vector of {len(missing)} of the ids, for example {named}.")
        return np.asarray(self.vectors[rows])

    def scores(self, queries: Vectors, rows: npt.NDArray[np.int64]) -> Scores:
        """Inner products of queries, float32 [q, d], each with the vectors in rows of its own, int64 [q, m]: float32 [q, m].

        Of rows below 0, -inf. Equal vectors get equal scores, wherever they stand (matrix products do not promise that).
        """
        scores = np.empty(rows.shape, np.float32)
        if self._base is not None:
            _inner_products(queries, self._base, rows, scores)
            return scores
        step = max(1, _BLOCK // max(1, rows.shape[1]))
        for top in range(0, len(rows), step):
            for at in range(0, rows.shape[1], _BLOCK):
                block = rows[top : top + step, at : at + _BLOCK]
                there = np.where(block < 0, -1, np.arange(block.size).reshape(block.shape))
                found = np.empty(block.shape, np.float32)
                _inner_products(queries[top : top + step], self.vectors[np.maximum(block, 0).ravel()], there, found)
                scores[top : top + step, at : at + _BLOCK] = found
        return scores

    @cached_property
    def _base(self) -> Vectors | None:
        """The vectors in one piece, where they lie in one."""
        whole = isinstance(self.vectors, np.ndarray) and self.vectors.dtype == np.float32 and self.vectors.flags.c_contiguous
        return self.vectors if whole and len(self.ids) else None  # type: ignore[return-value]


def rows_of(ids: Ids, wanted: Ids) -> npt.NDArray[np.int64]:
    """Where each wanted id (of any shape) stands in `ids`, int64 [n], strictly ascending; -1 where it does not."""
    if not len(ids):
        return np.full(wanted.shape, -1, np.int64)
    rows = ids.searchsorted(wanted)
    # Ids beyond the last one would stand behind the end.
    known = ids.take(rows, mode="clip") == wanted
    return rows if known.all() else np.where(known, rows, -1)


def _inner_products(queries: Vectors, base: Vectors, rows: npt.NDArray[np.int64], scores: Scores) -> None:
    """Write them into `scores` (float32 [q, m]), without a copy of the vectors. Rows are checked by the caller."""
    faiss = import_faiss()
    pointer = faiss.swig_ptr
    queries, rows = np.ascontiguousarray(queries), np.ascontiguousarray(rows)
    faiss.fvec_inner_products_by_idx(
        pointer(scores), pointer(queries), pointer(base), pointer(rows), base.shape[1], *rows.shape
    )


def checked_ids(ids: npt.ArrayLike) -> Ids:
    """Ids as int64 [m]. Raises `QueryError` for anything but whole numbers in one dimension that int64 can hold."""
    try:
        array = np.asarray(ids)
    except (TypeError, ValueError, OverflowError):
        array = np.asarray(None)
    if array.ndim == 1 and not array.size:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.dtype.kind == "u" and int(array.max()) >= 1 << 63):
        raise QueryError("Ids must be a list of whole numbers below 2^63.")
    return np.ascontiguousarray(array, dtype=np.int64)


def checked_vectors(vectors: npt.ArrayLike, dimension: int, what: str = "Query vectors") -> Vectors:
    """Vectors as float32 [q, d]. Raises `QueryError` for another shape and for what is not finite."""
    if isinstance(vectors, np.ndarray) and vectors.dtype == np.float32:
        array = np.ascontiguousarray(vectors)
    else:
        try:
            with np.errstate(over="ignore"):
                array = np.ascontiguousarray(vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise QueryError(f"{what} must be numbers: {error}.") from None
    if array.ndim != _MATRIX or array.shape[1] != dimension:
        raise QueryError(f"{what} must have the shape [q, {dimension}], not {list(np.shape(vectors))}.")
    # The sum of squares is finite in nearly every case, and several times faster to find than whether each number is.
    if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
        raise QueryError(f"{what} must be finite.")
    return array
