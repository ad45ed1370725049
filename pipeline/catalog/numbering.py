"""Columns of strings as numbers: how tables become arrays that can be sliced.

Nothing here loads pyarrow.compute, which would cost a fresh process more than the work itself.

Belongs here: turning columns into arrays. Not here: what is in them (`symbol_table`, `surroundings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.int32]
Bounds = npt.NDArray[np.int64]


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


def _bytes_of(strings: pa.StringArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where each string starts and the last one ends, int64 [n + 1], in the bytes uint8 [m] of all."""
    _, offsets, data = strings.buffers()
    if not len(strings) or data is None:
        return np.zeros(len(strings) + 1, np.int64), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return ends.astype(np.int64), np.frombuffer(data, np.uint8)


def starting_with(strings: pa.StringArray, prefix: str) -> npt.NDArray[np.bool_]:
    """Which strings start with an ASCII prefix."""
    bounds, data = _bytes_of(strings)
    found: npt.NDArray[np.bool_] = np.diff(bounds) >= len(prefix)
    for place, byte in enumerate(prefix.encode()):
        found[found] = data[bounds[:-1][found] + place] == byte
    return found


def last_bytes(strings: pa.StringArray) -> npt.NDArray[np.uint8]:
    """The last byte of each string; 0 for an empty one."""
    bounds, data = _bytes_of(strings)
    last = np.zeros(len(strings), np.uint8)
    filled = np.diff(bounds) > 0
    last[filled] = data[bounds[1:][filled] - 1]
    return last


def bounds_of(groups: npt.NDArray[Any], count: int) -> Bounds:
    """Where each of `count` groups starts among ascending group numbers, and the end of the last: int64 [count + 1]."""
    return np.concatenate(([0], np.cumsum(np.bincount(groups, minlength=count)))).astype(np.int64)
