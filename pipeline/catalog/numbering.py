"""Columns of strings as numbers: how tables become arrays that can be sliced.

Nothing here loads pyarrow.compute, which would cost a fresh process more than the work itself.

Belongs here: turning columns into arrays. Not here: what is in them (`symbol_table`, `surroundings`, `chunk_graph`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.int32]
Bounds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Links:
    """A relation of numbered things: what s is related to is `others[bounds[s]:bounds[s + 1]]`, each once, ascending."""

    bounds: Bounds
    others: Numbers

    def of(self, these: Iterable[int]) -> Numbers:
        """What any of these is related to, each once, ascending."""
        found = [self.others[self.bounds[one] : self.bounds[one + 1]] for one in these]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int32)

    def pairs(self, these: Numbers) -> tuple[Numbers, Numbers]:
        """Each of these beside everything that it is related to: two arrays int32 [pairs]."""
        starts, lengths = self.bounds[these], self.bounds[these + 1] - self.bounds[these]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(these, lengths), self.others[np.repeat(starts, lengths) + within]


def linked(these: Numbers, others: Numbers, count: int, *, among: int) -> Links:
    """The relation of `these` [n], numbers below `count`, to `others` [n], numbers below `among`."""
    pairs = np.unique(these.astype(np.int64) * among + others)
    return Links(bounds_of(pairs // max(1, among), count), (pairs % max(1, among)).astype(np.int32))


def numbered(columns: Sequence[pa.ChunkedArray]) -> tuple[pa.StringArray, list[Numbers]]:
    """The distinct strings of columns of strings in the order of their first use, and each column as places among them."""
    chunks = [
        chunk if pa.types.is_dictionary(chunk.type) else _as_words(chunk) for column in columns for chunk in column.chunks
    ]
    # Words that one chunk has twice are only put together where there is something to unify.
    unified = pa.chunked_array([*chunks, _as_words(pa.array([], pa.string()))]).unify_dictionaries()
    pending = iter(unified.chunks)
    none = np.empty(0, np.int32)
    codes = [np.concatenate([none, *(next(pending).indices.to_numpy() for _ in column.chunks)]) for column in columns]
    return unified.chunk(0).dictionary, codes


def _as_words(strings: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(strings.type):
        return strings
    # Not `dictionary_encode`, which would load pyarrow.compute; unifying makes the words distinct.
    return pa.DictionaryArray.from_arrays(pa.array(np.arange(len(strings), dtype=np.int32)), strings)


def sorted_words(column: pa.ChunkedArray) -> tuple[list[str], Numbers]:
    """The distinct strings of a column, ascending, and the column as places among them."""
    strings, (codes,) = numbered([column])
    found = strings.to_pylist()
    order = np.array(sorted(range(len(found)), key=found.__getitem__), np.int32)
    rank = np.empty(len(found), np.int32)
    rank[order] = np.arange(len(found), dtype=np.int32)
    return [found[place] for place in order], rank[codes]


def words_of(column: pa.ChunkedArray) -> list[str]:
    """A column of few distinct strings as a list, with one object for each of them."""
    strings, (codes,) = numbered([column])
    found = strings.to_pylist()
    return [found[code] for code in codes.tolist()]


def as_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The values of a column without nulls."""
    found: npt.NDArray[Any] = column.to_numpy()
    return found


def bounds_of(groups: npt.NDArray[Any], count: int) -> Bounds:
    """Where each of `count` groups starts among ascending group numbers, and the end of the last: int64 [count + 1]."""
    return np.concatenate(([0], np.cumsum(np.bincount(groups, minlength=count)))).astype(np.int64)
