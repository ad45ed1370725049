"""Vectors, or rows of another type, by text, shared by all repositories of a store.

`<shared>/embeddings/<embedder digest>/seg-<digest>/` is one immutable segment: `keys.npy` (uint64 [n, 2], the two halves of
blake2b-128 of each text, sorted), `vectors.npy` (float32 [n, d], row i of key i) and `segment.json`. Writers only ever add
segments, so they need no lock; a segment's name is the digest of its keys, so two writers of the same texts write it once.
Other encoders keep rows of their own type in a folder of their own beside `embeddings`.

A segment is trusted when its files have the digests that its description says; of the vectors, block by block, so that a few
rows cost little however many there are. One that does not is renamed to `.bad-...` and forgotten: its vectors are computed
again. Small segments are merged into larger ones, never a large one with a few small ones, so that what is added is written
again a few times at most.

Belongs here: that file format. Not here: which text stands for a chunk (`interface`), and when to ask (`stage`).
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.files import canonical_json, digest_bytes, digest_file, directory_commit, temporary_sibling
from pipeline.npy import save_array

FORMAT = 2
MAX_SEGMENTS = 8
"""With more, the small ones are merged."""
BLOCK_ROWS = 1024
"""Rows that one digest vouches for."""

_MERGED_UP_TO = 2
_PREFIX = "seg-"
_BAD_PREFIX = ".bad-"
_KEYS, _VECTORS, _DESCRIPTION = "keys.npy", "vectors.npy", "segment.json"

Keys: TypeAlias = npt.NDArray[np.uint64]
"""uint64 [n, 2]."""

Scalar = TypeVar("Scalar", bound=np.generic)

Rows: TypeAlias = npt.NDArray[Scalar]
"""[n, d], one row a text."""

Encode: TypeAlias = Callable[[Sequence[str]], Iterable[npt.NDArray[Scalar]]]
"""From texts to their rows, in order, block by block."""


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    embedder: str
    dimension: int
    count: int
    keys: str
    vectors: tuple[str, ...]
    """Digests of the rows, `BLOCK_ROWS` at a time."""


class _DamagedError(Exception):
    """A segment is not what it says."""


def text_keys(texts: Sequence[str]) -> Keys:
    """The key of each text: uint64 [n, 2]."""
    digests = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(len(texts), 2)


@dataclass(slots=True)
class _Segment(Generic[Scalar]):
    path: Path
    description: _Description
    keys: Keys
    vectors: Rows[Scalar] | None = None
    """None until a key is found here for the first time."""
    checked: set[int] = field(default_factory=set)
    """Blocks of vectors whose digest is right: digesting costs a second a gigabyte."""


class RowCache(Generic[Scalar]):
    """The segments of one encoder, as they were when this was opened, and what was added since through it.

    They lie in `folder / encoder`; a row has `dimension` values of `dtype`, which may be a structured one.
    """

    def __init__(self, folder: Path, encoder: str, dimension: int, dtype: np.dtype[Scalar]) -> None:
        self._folder = folder / encoder
        self._embedder = encoder
        self._dimension = dimension
        self._dtype = dtype
        self._segments: list[_Segment[Scalar]] = []
        self._fresh: list[tuple[Keys, Rows[Scalar]]] = []
        if self._folder.is_dir():
            for path in sorted(self._folder.glob(f"{_PREFIX}*")):
                self._open(path)

    def through(self, texts: Sequence[str], encode: Encode[Scalar], *, keep_after: int | None = None) -> Rows[Scalar]:
        """Rows of texts, [n, d]: those that are stored, and `encode` of the others, which `flush` will store.

        A text that occurs several times is encoded once. What was computed is stored too when `encode` fails on the way, and,
        with `keep_after`, whenever so many vectors have come.
        """
        keys = text_keys(texts)
        known, vectors = self.lookup(keys)
        missing = np.flatnonzero(~known)
        # Equal texts have equal keys: the first of each is encoded, the others get its vector.
        _, first, which = np.unique(keys[missing], axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        wanted = missing[first[order]]
        new = np.empty((len(wanted), self._dimension), self._dtype)
        done = unstored = 0
        try:
            for block in encode([texts[row] for row in wanted.tolist()]) if len(wanted) else ():
                new[done : done + len(block)] = block
                self._fresh.append((keys[wanted[done : done + len(block)]], block))
                done, unstored = done + len(block), unstored + len(block)
                if keep_after is not None and unstored >= keep_after:
                    self.flush()
                    unstored = 0
        except BaseException:
            # What failed matters more than that this could not be stored either.
            with contextlib.suppress(OSError):
                self.flush()
            raise
        if done != len(wanted):
            raise ValueError(f"{done} vectors for {len(wanted)} texts")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        vectors[missing] = new[rank[which.ravel()]]
        return vectors

    def lookup(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], Rows[Scalar]]:
        """For each key whether it is stored, bool [n], and its row, [n, d] (undefined where it is not)."""
        known = np.zeros(len(keys), np.bool_)
        vectors = np.empty((len(keys), self._dimension), self._dtype)
        for segment in list(self._segments):
            wanted = np.flatnonzero(~known)
            rows = positions(segment.keys, keys[wanted])
            found = rows >= 0
            if not found.any():
                continue
            with self._setting_aside(segment.path):
                vectors[wanted[found]] = self._vectors(segment, rows[found])
                known[wanted[found]] = True
        return known, vectors

    def flush(self) -> None:
        """Store what was computed, durably, as one new segment; when there are many segments, merge them."""
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            self._write(np.concatenate([keys for keys, _ in fresh]), np.concatenate([vectors for _, vectors in fresh]))
        if len(self._segments) > MAX_SEGMENTS:
            self._merge()

    def _open(self, path: Path) -> None:
        with self._setting_aside(path):
            description = msgspec.json.decode((path / _DESCRIPTION).read_bytes(), type=_Description)
            if (description.version, description.embedder, description.dimension) != (FORMAT, self._embedder, self._dimension):
                raise _DamagedError
            if len(description.vectors) != -(-description.count // BLOCK_ROWS) or digest_file(path / _KEYS) != description.keys:
                raise _DamagedError
            keys = _mapped(path / _KEYS, np.dtype(np.uint64), (description.count, 2))
            self._segments.append(_Segment(path, description, keys))

    def _vectors(self, segment: _Segment[Scalar], rows: npt.NDArray[np.int64]) -> Rows[Scalar]:
        """Rows of a segment, checked."""
        if segment.vectors is None:
            segment.vectors = _mapped(segment.path / _VECTORS, self._dtype, (segment.description.count, self._dimension))
        for block in np.unique(rows // BLOCK_ROWS).tolist():
            if block not in segment.checked:
                held = segment.vectors[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS]
                if digest_bytes(held.tobytes()) != segment.description.vectors[block]:
                    raise _DamagedError
                segment.checked.add(block)
        return segment.vectors[rows]

    @contextlib.contextmanager
    def _setting_aside(self, path: Path) -> Iterator[None]:
        """Work on a segment; when it turns out damaged or foreign, rename and forget it."""
        try:
            yield
        except (_DamagedError, OSError, ValueError, EOFError, msgspec.DecodeError) as error:
            self._segments = [segment for segment in self._segments if segment.path != path]
            # Somebody who merged segments may have removed this one meanwhile: then there is nothing to rename.
            if not isinstance(error, FileNotFoundError) or path.exists():
                with contextlib.suppress(OSError):
                    path.rename(path.with_name(f"{_BAD_PREFIX}{path.name}-{secrets.token_hex(4)}"))

    def _write(self, keys: Keys, vectors: Rows[Scalar]) -> Path:
        """One segment of these vectors; of equal keys, the first."""
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        keys = keys[order]
        distinct = np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])
        keys, vectors = keys[distinct], vectors[order[distinct]]
        target = self._folder / f"{_PREFIX}{blake2b(keys.tobytes(), digest_size=16).hexdigest()}"
        with directory_commit(target) as folder:
            save_array(folder / _KEYS, keys)
            save_array(folder / _VECTORS, vectors)
            description = _Description(
                version=FORMAT,
                embedder=self._embedder,
                dimension=self._dimension,
                count=len(keys),
                keys=digest_file(folder / _KEYS),
                vectors=tuple(
                    digest_bytes(vectors[start : start + BLOCK_ROWS].tobytes()) for start in range(0, len(keys), BLOCK_ROWS)
                ),
            )
            (folder / _DESCRIPTION).write_bytes(canonical_json(description))
        self._segments.append(_Segment(target, description, keys, vectors, set(range(len(description.vectors)))))
        return target

    def _merge(self) -> None:
        """One segment of the small ones that can be trusted; then those it was made of are removed."""
        held: list[Rows[Scalar]] = []
        merged: list[_Segment[Scalar]] = []
        for segment in small_segments(self._segments):
            with self._setting_aside(segment.path):
                held.append(self._vectors(segment, np.arange(segment.description.count)))
                merged.append(segment)
        if not merged:
            return
        gone = {segment.path for segment in merged}
        self._segments = [segment for segment in self._segments if segment.path not in gone]
        kept = self._write(np.concatenate([segment.keys for segment in merged]), np.concatenate(held))
        for segment in merged:
            if segment.path != kept:
                # Renamed first, so that nobody meets half of it and takes it for damaged.
                doomed = temporary_sibling(segment.path)
                with contextlib.suppress(OSError):
                    segment.path.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)


class VectorCache(RowCache[np.float32]):
    """The vectors of one embedder."""

    def __init__(self, shared: Path, embedder: str, dimension: int) -> None:
        super().__init__(shared / "embeddings", embedder, dimension, np.dtype(np.float32))


def small_segments(segments: Sequence[_Segment[Scalar]]) -> list[_Segment[Scalar]]:
    """Those worth merging, at least two of several: from the smallest on, while the next one is not twice all before it."""
    found: list[_Segment[Scalar]] = []
    total = 0
    for segment in sorted(segments, key=lambda one: one.description.count):
        if len(found) > 1 and segment.description.count > _MERGED_UP_TO * total:
            break
        found.append(segment)
        total += segment.description.count
    return found


def _mapped(path: Path, dtype: np.dtype[Scalar], shape: tuple[int, int]) -> npt.NDArray[Scalar]:
    """A memory-mapped array of this type and shape."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.shape != shape:
        raise _DamagedError
    return cast("npt.NDArray[Scalar]", array)


def positions(sorted_keys: Keys, keys: Keys) -> npt.NDArray[np.int64]:
    """Row of each key in `sorted_keys`, or -1: int64 [n]. Equal first halves with different second halves count as unknown."""
    if not len(sorted_keys):
        return np.full(len(keys), -1, np.int64)
    rows = np.minimum(np.searchsorted(sorted_keys[:, 0], keys[:, 0]), len(sorted_keys) - 1)
    return np.where((sorted_keys[rows] == keys).all(axis=1), rows, -1)
