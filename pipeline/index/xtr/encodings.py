"""Token vectors by text, in 8 bits, shared by all repositories of a store: what a model has read once is not read again.

`<shared>/tokens/<encoder digest>/seg-<digest>/` is one immutable segment: `keys.npy` (uint64 [n, 2], as the vector cache's,
sorted), `offsets.npy` (int64 [n + 1]), `values.npy` (int8 [t, d], only their direction counts), `spans.npy` (int32 [t, 2]) and
`segment.json` with their digests. A segment that is not what it says is forgotten, and its texts are encoded again.

Every index is built from vectors that were rounded so, whether they come from here or from the model: that is why it does not
matter which. The cache is bounded: the segments that no build has asked for the longest time go first.

Belongs here: rounding, and that file format. Not here: encoding (`encoder`), what the index keeps (`codec`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.embed.cache import Keys, positions, text_keys
from pipeline.files import canonical_json, digest_file, directory_commit
from pipeline.index.xtr.encoder import Numbers, Spans, TokenVectors, Vectors
from pipeline.npy import save_array

FORMAT = 1
MOST_SEGMENTS = 64
MOST_BYTES = 4 << 30
TEXTS = 1024
"""Of one segment; so many are lost at most when a build is interrupted."""

_PREFIX = "seg-"
_DESCRIPTION = "segment.json"
_FULL = 127

Values = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Encodings:
    """The tokens of n texts: offsets int64 [n + 1] into values int8 [t, d] and spans int32 [t, 2]."""

    offsets: Numbers
    values: Values
    spans: Spans

    def of(self, text: int) -> slice:
        """The tokens of one text."""
        return slice(int(self.offsets[text]), int(self.offsets[text + 1]))


Encode = Callable[[Sequence[str]], Iterable[Encodings]]
"""From texts to their tokens, in order, some texts at a time."""


class _Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    encoder: str
    dimension: int
    texts: int
    tokens: int
    files: dict[str, str]


def rounded(tokens: TokenVectors) -> Encodings:
    """In 8 bits: the largest number of each vector becomes 127 or -127."""
    largest = np.abs(tokens.vectors).max(axis=1, keepdims=True, initial=0.0)
    values = np.rint(tokens.vectors * (_FULL / np.maximum(largest, np.finfo(np.float32).tiny))).astype(np.int8)
    return Encodings(tokens.offsets, values, tokens.spans)


def unit(values: Values) -> Vectors:
    """The vectors that values int8 [t, d] stand for: float32 [t, d], unit rows."""
    vectors = values.astype(np.float32)
    vectors /= np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return vectors


def joined(pieces: Sequence[Encodings], dimension: int) -> Encodings:
    """One after the other."""
    counts = np.concatenate([np.zeros(1, np.int64), *(np.diff(piece.offsets) for piece in pieces)])
    return Encodings(
        np.cumsum(counts),
        np.concatenate([np.empty((0, dimension), np.int8), *(piece.values for piece in pieces)]),
        np.concatenate([np.empty((0, 2), np.int32), *(piece.spans for piece in pieces)]),
    )


@dataclass(frozen=True, slots=True)
class Gathered:
    """The tokens of n texts where they lie: text i is text `text[i]` of `pieces[piece[i]]`."""

    pieces: list[Encodings]
    piece: Numbers
    text: Numbers
    offsets: Numbers
    """int64 [n + 1], of the texts one after the other."""

    @classmethod
    def of(cls, pieces: list[Encodings], piece: Numbers, text: Numbers) -> Gathered:
        """With the offsets that follow."""
        counts = np.zeros(len(piece) + 1, np.int64)
        for number, own in enumerate(pieces):
            rows = np.flatnonzero(piece == number)
            counts[rows + 1] = np.diff(own.offsets)[text[rows]]
        return cls(pieces, piece, text, np.cumsum(counts))

    def take(self, rows: Numbers) -> Gathered:
        """Other texts, or these in another order."""
        return Gathered.of(self.pieces, self.piece[rows], self.text[rows])

    def read(self, start: int, end: int, dimension: int) -> Encodings:
        """Texts `start` to `end`, in one piece."""
        found = []
        for row in range(start, end):
            own = self.pieces[int(self.piece[row])]
            at = own.of(int(self.text[row]))
            found.append(Encodings(np.array([0, at.stop - at.start]), own.values[at], own.spans[at]))
        return joined(found, dimension)


class EncodingCache:
    """The segments of one encoder."""

    def __init__(self, shared: Path, encoder: str, dimension: int) -> None:
        self._folder = shared / "tokens" / encoder
        self._encoder, self._dimension = encoder, dimension

    def through(self, texts: Sequence[str], encode: Encode) -> Gathered:
        """The tokens of texts: those that are stored, and `encode` of the others, which are stored as they come."""
        keys = text_keys(texts)
        piece, text = np.full(len(texts), -1, np.int64), np.zeros(len(texts), np.int64)
        pieces: list[Encodings] = []
        for path in sorted(self._folder.glob(f"{_PREFIX}*")) if self._folder.is_dir() else ():
            missing = np.flatnonzero(piece < 0)
            rows, found = self._ask(path, keys[missing])
            if found is not None:
                known = rows >= 0
                piece[missing[known]], text[missing[known]] = len(pieces), rows[known]
                pieces.append(found)
        missing = np.flatnonzero(piece < 0)
        # Equal texts have equal keys: the first of each is encoded. Neighbours stay so: they are about as long as each other.
        _, first, which = np.unique(keys[missing], axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        wanted = missing[first[order]]
        done = 0
        for made in self._batches(encode([texts[row] for row in wanted.tolist()]) if len(wanted) else ()):
            count = len(made.offsets) - 1
            self._write(keys[wanted[done : done + count]], made)
            own = rank[which.ravel()] - done
            here = (own >= 0) & (own < count)
            piece[missing[here]], text[missing[here]] = len(pieces), own[here]
            pieces.append(made)
            done += count
        if done != len(wanted):
            raise ValueError(f"{done} encodings for {len(wanted)} texts")
        self._trim()
        return Gathered.of(pieces, piece, text)

    def _batches(self, made: Iterable[Encodings]) -> Iterator[Encodings]:
        """The same, about `TEXTS` at a time."""
        waiting: list[Encodings] = []
        for some in made:
            waiting.append(some)
            if sum(len(one.offsets) - 1 for one in waiting) >= TEXTS:
                yield joined(waiting, self._dimension)
                waiting = []
        if waiting:
            yield joined(waiting, self._dimension)

    def _ask(self, path: Path, keys: Keys) -> tuple[Numbers, Encodings | None]:
        """Where the texts of these keys are in a segment (-1: not there), and its tokens, if any is."""
        nothing = np.full(len(keys), -1, np.int64), None
        try:
            described = msgspec.json.decode((path / _DESCRIPTION).read_bytes(), type=_Segment)
            if (described.version, described.encoder, described.dimension) != (FORMAT, self._encoder, self._dimension):
                raise ValueError("of another kind")
            stored = _array(path, "keys.npy", described, (described.texts, 2))
            rows = positions(stored, keys)
            if (rows < 0).all():
                return nothing
            found = Encodings(
                _array(path, "offsets.npy", described, (described.texts + 1,)),
                _array(path, "values.npy", described, (described.tokens, self._dimension)),
                _array(path, "spans.npy", described, (described.tokens, 2)),
            )
            os.utime(path)
        except (OSError, ValueError, EOFError, KeyError, msgspec.MsgspecError):
            # Damaged, or removed by somebody who keeps the cache small: its texts are encoded again.
            shutil.rmtree(path, ignore_errors=True)
            return nothing
        return rows, found

    def _write(self, keys: Keys, made: Encodings) -> None:
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        spread = [made.of(row) for row in order.tolist()]
        arrays: dict[str, npt.NDArray[Any]] = {
            "keys.npy": keys[order],
            "offsets.npy": np.cumsum([0, *(part.stop - part.start for part in spread)]).astype(np.int64),
            "values.npy": np.concatenate([made.values[:0], *(made.values[part] for part in spread)]),
            "spans.npy": np.concatenate([made.spans[:0], *(made.spans[part] for part in spread)]),
        }
        name = blake2b(keys[order].tobytes(), digest_size=16).hexdigest()
        # A full disk costs the cache, not the build.
        with contextlib.suppress(OSError), directory_commit(self._folder / f"{_PREFIX}{name}") as folder:
            for file, array in arrays.items():
                save_array(folder / file, array)
            described = _Segment(
                FORMAT,
                self._encoder,
                self._dimension,
                len(keys),
                len(made.values),
                {file: digest_file(folder / file) for file in arrays},
            )
            (folder / _DESCRIPTION).write_bytes(canonical_json(described))

    def _trim(self) -> None:
        """Remove what is beyond the bounds. Builds that have it open keep it: the system frees it when they are done."""
        with contextlib.suppress(OSError):  # Another build may be at it, too.
            found = [(path.stat().st_mtime_ns, path) for path in self._folder.glob(f"{_PREFIX}*")]
            used = 0
            for place, (_, path) in enumerate(sorted(found, reverse=True)):
                used += sum(file.stat().st_size for file in path.iterdir())
                if place >= MOST_SEGMENTS or used > MOST_BYTES:
                    shutil.rmtree(path, ignore_errors=True)


_TYPES = {"keys.npy": np.uint64, "offsets.npy": np.int64, "values.npy": np.int8, "spans.npy": np.int32}


def _array(path: Path, name: str, described: _Segment, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A memory-mapped array that has been checked whole. Raises ValueError for another one."""
    if digest_file(path / name) != described.files[name]:
        raise ValueError(f"{name} is damaged")
    array = np.load(path / name, mmap_mode="r", allow_pickle=False)
    if array.dtype != _TYPES[name] or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {array.shape}")
    return np.asarray(array)
