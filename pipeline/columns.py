"""Columns of strings as numbers, so that rows are compared and grouped by whole columns.

Belongs here: what any room does with a column of words. Not here: tables and their files (`tables`).
"""

from __future__ import annotations

import itertools

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
