"""All vectors of a repository as arrays: sorted ids, a hash of each vector, and the vectors themselves in shards.

    ids.npy               int64 [n], ascending
    vector_hashes.npy     uint64 [n], blake2b-64 of the bytes of each vector
    vectors/shard-….npy   float32 [m, d], in the order of the ids

A shard holds the ids that begin with the same bits, and how many shards there are depends on n alone: ids are hashes, so shards
are about equal, and a small change leaves most of them as they were. Whether a shard changed, and which vectors did, is told by
ids and hashes, without looking at a vector.

Importing this loads NumPy alone.

Belongs here: those files. Not here: making vectors (`stage`), scoring them (`index.dense.arrays`).
"""

from __future__ import annotations

import io
import itertools
import mmap
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline import files
from pipeline.errors import IndexCorruptionError
from pipeline.npy import save_array, write_header

Ids = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Vectors = npt.NDArray[np.float32]

# The names of `schemas.Embeddings`, again: importing those loads pyarrow, which a cold search process does without. A test
# holds both together.
IDS_FILE = "ids.npy"
HASHES_FILE = "vector_hashes.npy"
VECTORS_FOLDER = "vectors"

ONE_SHARD = 8192
"""Up to so many vectors lie in one piece."""
SHARD = 2048
"""A shard has no more on average, while there are fewer than `MOST_SHARDS`."""
MOST_SHARDS = 128
"""Each that is looked into takes a file handle."""
_FEW = 256
"""Rows that are read one by one."""
_ID_BITS = 63
_BLOCK = 1 << 14
_REBUILD = "Run `indexctl verify`, then `indexctl build`."


class Rows(Protocol):
    """Vectors float32 [n, d] that are read by slices and by row numbers: an array, a memory-mapped one, shards or a stack."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        ...

    def __getitem__(self, rows: Any, /) -> Vectors:
        """A slice, or the rows of numbers int64 [m]."""
        ...


class Arrays(NamedTuple):
    """Ids int64 [n], strictly ascending, the hash of each vector uint64 [n], and the vectors float32 [n, d]."""

    ids: Ids
    hashes: Hashes
    vectors: Rows


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


class Shards:
    """Rows of several files, one after the other, each mapped into memory when it is first looked into."""

    def __init__(self, paths: Sequence[Path], starts: npt.NDArray[np.int64]) -> None:
        """`starts` int64 [shards + 1]: the row that each begins with, and how many there are."""
        self._paths, self._starts = paths, starts
        self._mapped: dict[int, Vectors] = {}
        self._dimension = self._shard(0).shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, d)."""
        return int(self._starts[-1]), self._dimension

    def _shard(self, number: int) -> Vectors:
        found = self._mapped.get(number)
        if found is None:
            rows = int(self._starts[number + 1] - self._starts[number])
            found = _open_shard(self._paths[number], rows, self._mapped[0].shape[1] if number else None)
            self._mapped[number] = found
        return found

    def __getitem__(self, rows: Any) -> Vectors:
        """A slice, or the rows of numbers int64 of any shape. Raises `IndexCorruptionError` for a shard that is not one."""
        if isinstance(rows, slice):
            return self._slice(*rows.indices(self.shape[0]))
        wanted = np.asarray(rows, np.int64)
        flat = wanted.ravel()
        homes = self._starts.searchsorted(flat, side="right") - 1
        inside = flat - self._starts[homes]
        found = np.empty((len(flat), self._dimension), np.float32)
        if len(flat) <= _FEW:
            # What a search re-ranks lies in nearly as many shards: to sort it would take longer.
            for at, (home, row) in enumerate(zip(homes.tolist(), inside.tolist(), strict=True)):
                found[at] = self._shard(home)[row]
            return found.reshape(*wanted.shape, self._dimension)
        ascending = bool((homes[1:] >= homes[:-1]).all())
        order = None if ascending else homes.argsort(kind="stable")
        if order is not None:
            homes, inside = homes[order], inside[order]
        for low, high in itertools.pairwise([0, *(np.flatnonzero(homes[1:] != homes[:-1]) + 1).tolist(), len(flat)]):
            # Without `clip` NumPy would copy twice; rows are inside by the look-up of their shard.
            self._shard(int(homes[low])).take(inside[low:high], axis=0, out=found[low:high], mode="clip")
        if order is not None:
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            found = found[back]
        return found.reshape(*wanted.shape, self._dimension)

    def _slice(self, start: int, stop: int, step: int) -> Vectors:
        if step != 1:
            return self[np.arange(start, stop, step)]
        first, last = self._starts.searchsorted((start, max(start, stop - 1)), side="right") - 1
        pieces = []
        for home in range(int(first), min(int(last), len(self._paths) - 1) + 1):
            low = int(self._starts[home])
            pieces.append(self._shard(home)[max(start - low, 0) : max(stop - low, 0)])
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((0, self._dimension), np.float32), *pieces])


def shard_count(n: int) -> int:
    """Into how many shards n vectors are cut: a power of two."""
    count = 1
    while n > ONE_SHARD and count * SHARD < n and count < MOST_SHARDS:
        count *= 2
    return count


def shard_path(folder: Path, number: int) -> Path:
    """The file of one shard, in the folder of an embeddings object or a version."""
    return folder / VECTORS_FOLDER / f"shard-{number:03d}.npy"


def shard_starts(ids: Ids) -> npt.NDArray[np.int64]:
    """The row that each shard begins with, and how many rows there are: int64 [shards + 1]."""
    count = shard_count(len(ids))
    width = _ID_BITS + 1 - count.bit_length()
    inner = ids.searchsorted(np.arange(1, count, dtype=np.int64) << width)
    return np.concatenate([[0], inner, [len(ids)]]).astype(np.int64)


def hashes_of(vectors: Rows) -> Hashes:
    """Of the bytes of each vector: uint64 [n]."""
    found = []
    for start in range(0, vectors.shape[0], _BLOCK):
        block = np.ascontiguousarray(vectors[start : start + _BLOCK])
        width, data = block.shape[1] * block.itemsize, block.tobytes()
        found += [blake2b(data[at : at + width], digest_size=8).digest() for at in range(0, len(data), width)]
    return np.frombuffer(b"".join(found), "<u8").astype(np.uint64)


def write_arrays(
    folder: Path,
    ids: Ids,
    vectors: Rows,
    hashes: Hashes | None = None,
    *,
    earlier: tuple[Path, Arrays] | None = None,
    link: files.Link = files.link_or_copy,
) -> None:
    """Write all files. Ids int64 [n] ascending; hashes are those of the vectors float32 [n, d] (None: they are made here).

    A shard that is what it was in the folder `earlier`, which holds such arrays, is linked from there.
    """
    hashes = hashes_of(vectors) if hashes is None else hashes
    save_array(folder / IDS_FILE, ids)
    save_array(folder / HASHES_FILE, hashes)
    (folder / VECTORS_FOLDER).mkdir(exist_ok=True)
    starts = shard_starts(ids)
    old = shard_starts(earlier[1].ids) if earlier is not None else starts
    for number, (low, high) in enumerate(itertools.pairwise(starts.tolist())):
        path = shard_path(folder, number)
        if earlier is not None and len(old) == len(starts):
            was = slice(int(old[number]), int(old[number + 1]))
            if np.array_equal(ids[low:high], earlier[1].ids[was]) and np.array_equal(hashes[low:high], earlier[1].hashes[was]):
                link(shard_path(earlier[0], number), path)
                continue
        _write_shard(path, vectors, low, high)


def _write_shard(path: Path, vectors: Rows, low: int, high: int) -> None:
    """Rows low to high, a block at a time: with few shards or uneven ids one of them can be most of the vectors."""
    with path.open("wb") as file:
        write_header(file, "<f4", (high - low, vectors.shape[1]))
        for start in range(low, high, _BLOCK):
            file.write(np.ascontiguousarray(vectors[start : min(start + _BLOCK, high)], "<f4").data)


def open_arrays(folder: Path) -> tuple[Ids, Rows]:
    """Ids int64 [n] and vectors float32 [n, d] of an embeddings object or a version, memory-mapped.

    Where they lie in one piece, the vectors are an array. Raises `IndexCorruptionError`; for shards after the first one, when
    they are looked into.
    """
    ids = open_array(folder / IDS_FILE, np.dtype(np.int64), dimensions=1)
    starts = shard_starts(ids)
    paths = [shard_path(folder, number) for number in range(len(starts) - 1)]
    return ids, _open_shard(paths[0], len(ids), None) if len(paths) == 1 else Shards(paths, starts)


def open_hashes(folder: Path) -> Hashes:
    """The hash of each vector, uint64 [n], memory-mapped. Raises `IndexCorruptionError`."""
    return open_array(folder / HASHES_FILE, np.dtype(np.uint64), dimensions=1)


def open_all(folder: Path) -> Arrays:
    """Ids, hashes and vectors. Raises `IndexCorruptionError`."""
    ids, vectors = open_arrays(folder)
    hashes = open_hashes(folder)
    if len(hashes) != len(ids):
        raise IndexCorruptionError(f"{folder} holds {len(ids)} ids and {len(hashes)} hashes.", hint=_REBUILD)
    return Arrays(ids, hashes, vectors)


def _open_shard(path: Path, rows: int, dimension: int | None) -> Vectors:
    vectors = open_array(path, np.dtype(np.float32), dimensions=2)
    if vectors.shape != (rows, vectors.shape[1] if dimension is None else dimension):
        raise IndexCorruptionError(f"{path} holds {list(vectors.shape)} numbers for {rows} ids.", hint=_REBUILD)
    return vectors


def open_array(path: Path, dtype: np.dtype[Any], dimensions: int) -> npt.NDArray[Any]:
    """A `.npy` file, memory-mapped. Raises `IndexCorruptionError` for one of another type or number of dimensions."""
    try:
        array = _mapped(path)
        problem = "" if array.dtype == dtype and array.ndim == dimensions else f"{array.dtype} {list(array.shape)}"
    # NumPy raises whatever its header parser meets: SyntaxError and tokenizer errors among it.
    except Exception as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error}.", hint=_REBUILD) from error
    if problem:
        raise IndexCorruptionError(f"{path} holds {problem}, not {dtype} in {dimensions} dimensions.", hint=_REBUILD)
    return array


def _mapped(path: Path) -> npt.NDArray[Any]:
    """What `np.load` maps, without its subclass of arrays, which makes every look-up slower, and without resolving the path and
    parsing the header anew for each of a hundred shards."""
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) == (1, 0):
            length = file.read(2)
            shape, fortran, dtype = _parsed(length + file.read(int.from_bytes(length, "little")))
            count = int(np.prod(shape))
            if not fortran and not dtype.hasobject and count:
                pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                return np.frombuffer(pages, dtype, count, file.tell()).reshape(shape)
    return np.asarray(np.load(path, mmap_mode="r"))


@lru_cache(maxsize=256)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type that the header of a `.npy` file says, given from its length on."""
    return np.lib.format.read_array_header_1_0(io.BytesIO(header))
