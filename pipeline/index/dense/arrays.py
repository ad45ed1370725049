"""The true vectors of an index: sorted `ids.npy` and memory-mapped `vectors.npy`, looked up and scored by id.

Belongs here: reading those arrays, and exact scores over them. Not here: FAISS (`ann`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import IndexCorruptionError, NotFoundError, QueryError
from pipeline.index.dense.description import IDS_FILE, VECTORS_FILE

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]

_REBUILD = "Run `indexctl verify`, then `indexctl build`."
_NAMED_AT_MOST = 3
_BLOCK = 8192


class Rows(Protocol):
    """Vectors float32 [n, d] that are read by slices and by row numbers: an array, a memory-mapped one, or a stack of them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        ...

    def __getitem__(self, rows: Any, /) -> Vectors:
        """A slice, or the rows of numbers int64 [m]."""
        ...


class Stacked:
    """Rows of `base` [n, d] and of `more` [m, d] in an order of their own: row i is row places[i] of one above the other."""

    def __init__(self, base: Rows, more: Vectors, places: npt.NDArray[np.int64]) -> None:
        self.base, self.more, self.places = base, more, places

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, d)."""
        return len(self.places), self.more.shape[1]

    def __getitem__(self, rows: Any) -> Vectors:
        """A slice, or the rows of numbers int64 [m]."""
        places = self.places[rows]
        found = np.empty((len(places), self.more.shape[1]), np.float32)
        old = places < self.base.shape[0]
        found[old] = self.base[places[old]]
        found[~old] = self.more[places[~old] - self.base.shape[0]]
        return found


class TrueVectors:
    """Vectors by id: ids int64 [n], strictly ascending, and vectors float32 [n, d], often memory-mapped."""

    def __init__(self, ids: Ids, vectors: Rows) -> None:
        self.ids = ids
        self.vectors = vectors

    @classmethod
    def open(cls, folder: Path) -> TrueVectors:
        """Those of an embeddings object or a version. Raises `IndexCorruptionError`."""
        return cls(*open_arrays(folder))

    def rows(self, wanted: Ids) -> npt.NDArray[np.intp]:
        """The row of each id (int64 [m]), -1 where it is not known."""
        if not len(self.ids):
            return np.full(len(wanted), -1, np.intp)
        rows = np.searchsorted(self.ids, wanted)
        return np.where(self.ids[np.minimum(rows, len(self.ids) - 1)] == wanted, rows, -1)

    def take(self, wanted: Ids) -> Vectors:
        """The vectors of ids, float32 [m, d], in the order asked. Raises `NotFoundError` for unknown ids."""
        rows = self.rows(wanted)
        if len(missing := wanted[rows < 0]):
            named = ", ".join(str(one) for one in missing[:_NAMED_AT_MOST])
            raise NotFoundError(f"The index has no vector of {len(missing)} of the ids, for example {named}.")
        return np.asarray(self.vectors[rows])

    def scores(self, query: Vectors, wanted: Ids) -> Scores:
        """Inner products of one query, float32 [d], with the vectors of ids, float32 [m].

        Equal vectors get equal scores, wherever they stand (matrix products do not promise that).
        """
        scores = np.empty(len(wanted), np.float32)
        for at in range(0, len(wanted), _BLOCK):
            np.einsum("kd,d->k", self.take(wanted[at : at + _BLOCK]), query, out=scores[at : at + _BLOCK])
        return scores


def open_arrays(folder: Path) -> tuple[Ids, Vectors]:
    """`ids.npy` (int64 [n]) and `vectors.npy` (float32 [n, d]), memory-mapped. Raises `IndexCorruptionError`."""
    ids = open_array(folder / IDS_FILE, np.dtype(np.int64), dimensions=1)
    vectors = open_array(folder / VECTORS_FILE, np.dtype(np.float32), dimensions=2)
    if len(ids) != len(vectors):
        raise IndexCorruptionError(f"{folder} holds {len(ids)} ids and {len(vectors)} vectors.", hint=_REBUILD)
    return ids, vectors


def open_array(path: Path, dtype: np.dtype[Any], dimensions: int) -> npt.NDArray[Any]:
    """A `.npy` file, memory-mapped. Raises `IndexCorruptionError` for one of another type or number of dimensions."""
    try:
        # Without its subclass, which makes every look-up slower.
        array: npt.NDArray[Any] = np.asarray(np.load(path, mmap_mode="r"))
        problem = "" if array.dtype == dtype and array.ndim == dimensions else f"{array.dtype} {list(array.shape)}"
    # NumPy raises whatever its header parser meets: SyntaxError and tokenizer errors among it.
    except Exception as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error}.", hint=_REBUILD) from error
    if problem:
        raise IndexCorruptionError(f"{path} holds {problem}, not {dtype} in {dimensions} dimensions.", hint=_REBUILD)
    return array


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
    try:
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise QueryError(f"{what} must be numbers: {error}.") from None
    if np.ndim(vectors) != 2 or array.shape[1] != dimension:
        raise QueryError(f"{what} must have the shape [q, {dimension}], not {list(np.shape(vectors))}.")
    if not np.isfinite(array).all():
        raise QueryError(f"{what} must be finite.")
    return array
