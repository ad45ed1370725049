"""Which candidates are asked: an even sample that hardly moves when the repository changes a little.

Strata (language and module prefix) get seats as Webster's method gives them for the square roots of their sizes, so that a
large folder has more than a small one and yet not all; within a stratum the smallest hashes come first. A new file changes its
own stratum, and at most a few seats elsewhere.

Belongs here: hashes and orders. Not here: what is hashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def draw(*parts: str) -> int:
    """A number from 0 to 2^63 that is the same for the same texts everywhere."""
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "big") >> 1


def qid_of(label: str, query: str, uri: str, symbol: str) -> str:
    """The id of a query, 16 hex digits."""
    joined = "\0".join((label, query, uri, symbol)).encode("utf-8", "surrogatepass")
    return blake2b(joined, digest_size=8).hexdigest()


def seated(strata: Numbers, draws: Sequence[int]) -> Numbers:
    """The order in which candidates [n] are taken: any first part of it is an even sample."""
    hashes = np.asarray(draws, np.int64)
    if not len(hashes):
        return np.zeros(0, np.int64)
    _, codes, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    order = np.lexsort((hashes, codes))
    firsts = np.cumsum(sizes) - sizes
    ranks = np.empty(len(hashes), np.int64)
    ranks[order] = np.arange(len(hashes)) - firsts[codes[order]]
    priority = (2 * ranks + 1) / np.sqrt(sizes)[codes]
    return np.lexsort((hashes, priority))
