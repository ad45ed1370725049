"""Columns of strings as numbers, so that rows are compared and grouped by whole columns.

Nothing here loads pyarrow.compute, which would cost a fresh process more than most answers.

Belongs here: what any room does with a column of words, or of numbers in order. Not here: tables and their files (`tables`).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def codes_of(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.StringArray]:
    """Which of its words each row of a column has, int64 [n], and the words; a dictionary's may have words that no row has."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    pieces = column.unify_dictionaries().chunks
    if not pieces:
        return np.zeros(0, np.int64), pa.array([], pa.string())
    codes = np.concatenate([piece.indices.to_numpy(zero_copy_only=False) for piece in pieces], dtype=np.int64)
    return codes, pieces[0].dictionary


def among(asked: NDArray[Any], known: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of `asked` are in `known`, which is ascending: far faster than `np.isin`, which knows no order."""
    if not len(known):
        return np.zeros(len(asked), np.bool_)
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] == asked
    return found


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    joined = column.unify_dictionaries().combine_chunks() if pa.types.is_dictionary(column.type) else column.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):
        joined = joined.chunk(0) if joined.num_chunks else pa.array([], joined.type)
    return joined


def runs(column: pa.ChunkedArray) -> dict[str, slice]:
    """Where the rows of each word lie; rows of equal words are neighbours."""
    codes, words = codes_of(column)
    if not len(codes):
        return {}
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    found = words.take(pa.array(codes[edges[:-1]])).to_pylist()
    return dict(zip(found, itertools.starmap(slice, itertools.pairwise(edges)), strict=True))


def bytes_of(strings: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Where each string starts and the last one ends, int64 [n + 1], in the bytes uint8 [m] of all of them."""
    _, offsets, data = strings.buffers()
    if not len(strings) or data is None:
        return np.zeros(len(strings) + 1, np.int64), np.zeros(0, np.uint8)
    bounds = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1].astype(np.int64)
    return bounds - bounds[0], np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]


def starting_with(strings: pa.StringArray, prefix: str) -> NDArray[np.bool_]:
    """Which strings start with an ASCII prefix."""
    bounds, data = bytes_of(strings)
    found: NDArray[np.bool_] = np.diff(bounds) >= len(prefix)
    for place, byte in enumerate(prefix.encode()):
        found[found] = data[bounds[:-1][found] + place] == byte
    return found


def spans_of(data: NDArray[np.uint8], start: NDArray[Any], end: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The bytes from each `start` to its `end` [n], one after the other, and where each of them begins and the last one ends,
    int64 [n + 1]; the counterpart of `bytes_of`."""
    lengths = (end - start).astype(np.int64, copy=False)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    at = np.repeat(start - offsets[:-1], lengths)
    at += np.arange(len(at))
    return offsets, data[at]
