"""The reading side of the vector index: open, search, and look vectors up by id.

A damaged FAISS file can load and answer wrongly, so size and digest are checked before FAISS sees a byte. Importing this module
loads neither pyarrow nor FAISS.

Belongs here: everything that reads `faiss.index`, `ids.npy` and `vectors.npy`. Not here: building (`faiss_stage`).
"""

from __future__ import annotations

import operator
import os
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pipeline import files
from pipeline.errors import IndexCorruptionError, NotFoundError, QueryError
from pipeline.index.faiss_families import FAMILIES, import_faiss
from pipeline.index.faiss_meta import IDS_FILE, INDEX_FILE, METRIC, VECTORS_FILE, IndexMeta, read_meta

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

_REBUILD = "Run `indexctl verify`, then `indexctl build`."
_NAMED_AT_MOST = 3


class VectorIndex:
    """An opened vector index. Threads may search it at the same time: nothing in it changes after opening."""

    def __init__(self, index: Any, meta: IndexMeta, vectors: Path) -> None:
        """`open` makes these. `vectors` is the folder of ids.npy and vectors.npy."""
        self._index = index
        self._folder = vectors
        self.meta = meta

    @classmethod
    def open(cls, folder: Path, *, vectors: Path | None = None, verified: bool = False) -> VectorIndex:
        """Open the index in a version's or an object's directory.

        `vectors` is the folder of ids.npy and vectors.npy where that is another one; `verified` says that the digest of the
        file has been checked already (its size is checked always). Raises `IndexCorruptionError` when the file is missing or
        not what its description says, `IndexFormatError` when it is of another format.
        """
        meta = read_meta(folder)
        path = folder / INDEX_FILE
        try:
            with path.open("rb") as file:
                _check_bytes(path, file, meta, digest=not verified)
                index = _parse(path, file)
        except OSError as error:
            raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=_REBUILD) from error
        _check_shape(path, index, meta)
        return cls(index, meta, vectors or folder)

    @property
    def count(self) -> int:
        """How many vectors the index holds."""
        return self.meta.count

    @property
    def dimension(self) -> int:
        """The length of each vector."""
        return self.meta.dimension

    def row_ids(self) -> Ids:
        """The external id of each FAISS row, int64 [n], read from the index itself."""
        ids: Ids = import_faiss().vector_to_array(self._index.id_map)
        return ids

    def search(
        self, queries: npt.ArrayLike, k: int, *, allowed: npt.ArrayLike | None = None
    ) -> tuple[Ids, npt.NDArray[np.float32]]:
        """The nearest vectors of each query by inner product: ids int64 [q, k'], scores float32 [q, k'].

        `queries` is float32 [q, d], finite. k' is at most k, and smaller where fewer vectors can be found. Each row is ordered
        by score, highest first, then by id; a row that found fewer than another ends in id -1, score -inf. With `allowed`
        (ids int64 [m], in any order; unknown ones are ignored) only those vectors are found. Raises `QueryError` for anything
        else.
        """
        queries = self._checked_queries(queries)
        k = min(_checked_k(k), self.count)
        faiss = import_faiss()
        selector = None
        if allowed is not None:
            allowed_ids = np.unique(checked_ids(allowed))
            k = min(k, len(allowed_ids))
            selector = faiss.IDSelectorBatch(allowed_ids)
        if k == 0 or not len(queries):
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        # A fresh object a call: IndexIDMap2 rewrites the selector in it while it searches.
        parameters = faiss.SearchParameters(sel=selector) if selector is not None else None
        threads = faiss.omp_get_max_threads()
        try:
            # One query is worked on by one thread anyway, but waits for the others, which a busy machine makes long. The
            # number is that of the calling thread alone.
            if len(queries) == 1:
                faiss.omp_set_num_threads(1)
            scores, ids = self._index.search(queries, k, params=parameters)
        finally:
            faiss.omp_set_num_threads(threads)
        return _ordered(ids, scores)

    def vectors_of(self, ids: npt.ArrayLike) -> Vectors:
        """The stored vectors of ids (int64 [m]), float32 [m, d], in the order asked. Raises `NotFoundError` for unknown ids."""
        wanted = checked_ids(ids)
        known, vectors = self._arrays
        rows = np.searchsorted(known, wanted)
        missing = wanted if not len(known) else wanted[known[np.minimum(rows, len(known) - 1)] != wanted]
        if len(missing):
            named = ", ".join(str(one) for one in missing[:_NAMED_AT_MOST])
            raise NotFoundError(f"The index has no vector of {len(missing)} of the ids, for example {named}.")
        return np.asarray(vectors[rows])

    @cached_property
    def _arrays(self) -> tuple[Ids, Vectors]:
        ids, vectors = open_arrays(self._folder)
        if vectors.shape != (self.count, self.dimension):
            raise IndexCorruptionError(
                f"{self._folder / VECTORS_FILE} holds {vectors.shape[0]} vectors of dimension {vectors.shape[1]}, "
                f"and the index {self.count} of dimension {self.dimension}.",
                hint=_REBUILD,
            )
        return ids, vectors

    def _checked_queries(self, queries: npt.ArrayLike) -> Vectors:
        try:
            with np.errstate(over="ignore"):
                array = np.ascontiguousarray(queries, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise QueryError(f"Query vectors must be numbers: {error}.") from None
        if np.ndim(queries) != 2 or array.shape[1] != self.dimension:
            raise QueryError(f"Query vectors must have the shape [q, {self.dimension}], not {list(np.shape(queries))}.")
        if not np.isfinite(array).all():
            raise QueryError("A query vector holds a value that is not finite.")
        return array


def _ordered(ids: Ids, scores: npt.NDArray[np.float32]) -> tuple[Ids, npt.NDArray[np.float32]]:
    """Each row by score, highest first, then by id; FAISS's padding (id -1) last, and cut off where all rows have it."""
    scores[ids < 0] = -np.inf
    found = int((ids >= 0).sum(axis=1).max())
    order = np.lexsort((ids, -scores), axis=1)[:, :found]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def open_arrays(folder: Path) -> tuple[Ids, Vectors]:
    """`ids.npy` (int64 [n]) and `vectors.npy` (float32 [n, d]), memory-mapped. Raises `IndexCorruptionError`."""
    ids = _open_array(folder / IDS_FILE, np.dtype(np.int64), dimensions=1)
    vectors = _open_array(folder / VECTORS_FILE, np.dtype(np.float32), dimensions=2)
    if len(ids) != len(vectors):
        raise IndexCorruptionError(f"{folder} holds {len(ids)} ids and {len(vectors)} vectors.", hint=_REBUILD)
    return ids, vectors


def _open_array(path: Path, dtype: np.dtype[Any], dimensions: int) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
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


def _checked_k(k: int) -> int:
    try:
        number = 0 if isinstance(k, bool) else operator.index(k)
    except TypeError:
        number = 0
    if number < 1:
        raise QueryError(f"k = {k!r} is not a whole number of at least 1.")
    return number


def _check_bytes(path: Path, file: BinaryIO, meta: IndexMeta, *, digest: bool) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != meta.bytes:
        raise IndexCorruptionError(f"{path} has {size} bytes, not {meta.bytes}.", hint=_REBUILD)
    if digest:
        hasher = files.new_hash()
        while block := file.read(1 << 20):
            hasher.update(block)
        if hasher.hexdigest() != meta.digest:
            raise IndexCorruptionError(f"{path} is not what its digest says.", hint=_REBUILD)
        # The same open file is parsed next: what was checked is what FAISS reads.
        file.seek(0)


def _parse(path: Path, file: BinaryIO) -> Any:
    faiss = import_faiss()
    try:
        return faiss.read_index(faiss.PyCallbackIOReader(file.read))
    except (RuntimeError, MemoryError) as error:
        raise IndexCorruptionError(f"FAISS cannot read {path}.", hint=_REBUILD) from error


def _check_shape(path: Path, index: Any, meta: IndexMeta) -> None:
    faiss = import_faiss()
    family = FAMILIES.get(meta.family)
    told = (meta.dimension, meta.count, meta.metric, meta.mapping)
    mapping = "idmap2" if isinstance(index, faiss.IndexIDMap2) else "native"
    metric = METRIC if index.metric_type == faiss.METRIC_INNER_PRODUCT else str(index.metric_type)
    if family is None or family.mapping != mapping or told != (index.d, index.ntotal, metric, mapping):
        raise IndexCorruptionError(
            f"{path} holds {index.ntotal} vectors of dimension {index.d} ({metric}, {mapping}), "
            f"not {meta.count} of dimension {meta.dimension} ({meta.metric}, {meta.mapping}).",
            hint=_REBUILD,
        )
