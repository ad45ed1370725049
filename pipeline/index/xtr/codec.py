"""Token vectors in a few bits: the nearest of some centroids, and what is left over, each dimension in 2, 4 or 8 bits.

As in ColBERTv2 (Santhanam et al. 2022): centroids by k-means over a sample, residuals by one table of levels for all
dimensions. The levels are set where the squared error over the sample is least (Lloyd), rather than at quantiles.

Belongs here: arithmetic over arrays, deterministic. Not here: files (`token_index`), which tokens are the sample (`building`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.index.dense.families import import_faiss
from pipeline.index.xtr.encoder import Numbers, Vectors

Packed = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint16]

BITS = (2, 4, 8)
_BYTE = 8
_SEED, _ROUNDS, _LEVEL_ROUNDS = 1729, 8, 16
_LEVEL_SAMPLE = 1 << 18
_MOST_CENTROIDS = 1 << 12
_SHARE = 4
"""Centroids for each unit of the root of the number of tokens: the fewer, the faster training, the more the residuals hold."""
_ASSIGNED_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class Codec:
    """centroids float32 [c, d], unit rows; levels float32 [2^bits], ascending."""

    centroids: Vectors
    levels: Vectors

    @property
    def bits(self) -> int:
        """Of a stored dimension."""
        return len(self.levels).bit_length() - 1

    @cached_property
    def _table(self) -> Vectors:
        """The levels that each byte stands for: float32 [256, dimensions in a byte]."""
        shifts = np.arange(0, _BYTE, self.bits)
        table: Vectors = self.levels[(np.arange(256)[:, None] >> shifts) & (len(self.levels) - 1)]
        return table

    def encode(self, vectors: Vectors) -> tuple[Codes, Packed]:
        """Centroid uint16 [t] and residual uint8 [t, `packed_width`] of each vector (float32 [t, d])."""
        codes = nearest(self.centroids, vectors)
        # The edges lie between levels: a value goes to the nearest.
        edges = (self.levels[1:] + self.levels[:-1]) / 2
        found = np.searchsorted(edges, vectors - self.centroids[codes]).astype(np.uint8)
        fields = _BYTE // self.bits
        width = packed_width(vectors.shape[1], self.bits)
        padded = np.zeros((len(vectors), width * fields), np.uint8)
        padded[:, : vectors.shape[1]] = found
        shifts = np.arange(0, _BYTE, self.bits, dtype=np.uint8)
        packed = np.bitwise_or.reduce(padded.reshape(len(vectors), width, fields) << shifts, axis=2)
        return codes, packed.astype(np.uint8)

    def decode(self, codes: Codes, packed: Packed) -> Vectors:
        """The vectors that are stored so: float32 [t, d], unit rows."""
        dimension = self.centroids.shape[1]
        fields = self._table[packed]
        vectors: Vectors = fields.reshape(len(packed), fields.shape[1] * fields.shape[2])[:, :dimension]
        vectors = vectors + self.centroids[codes]
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        vectors /= np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
        return vectors


def packed_width(dimension: int, bits: int) -> int:
    """Bytes of one residual."""
    return -(-dimension * bits // _BYTE)


def centroid_count(tokens: int) -> int:
    """How many centroids so many tokens get: a power of two, about 4 √tokens, at most 4,096; 0 for no tokens."""
    if not tokens:
        return 0
    count = 1 << round(np.log2(_SHARE * np.sqrt(tokens)))
    return int(min(count, _MOST_CENTROIDS, 1 << (tokens.bit_length() - 1)))


def train(sample: Vectors, centroids: int, bits: int) -> Codec:
    """A codec for vectors like these (float32 [s, d], at least as many as centroids). Equal samples give equal codecs."""
    if not centroids:
        return Codec(np.empty((0, sample.shape[1]), np.float32), np.zeros(1 << bits, np.float32))
    found = np.ascontiguousarray(_centroids(np.ascontiguousarray(sample), centroids))
    residuals = (sample - found[nearest(found, sample)]).ravel()
    stride = max(1, len(residuals) // _LEVEL_SAMPLE)
    return Codec(found, _levels(np.sort(residuals[::stride]), 1 << bits))


def _centroids(sample: Vectors, count: int) -> Vectors:
    faiss = import_faiss()
    means = faiss.Kmeans(
        sample.shape[1],
        count,
        niter=_ROUNDS,
        seed=_SEED,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )
    means.train(sample)
    return np.asarray(means.centroids, np.float32)


def nearest(centroids: Vectors, vectors: Vectors) -> Codes:
    """The centroid with the largest inner product with each vector: uint16 [t]."""
    index = import_faiss().IndexFlatIP(centroids.shape[1])
    index.add(centroids)
    found = np.empty(len(vectors), np.uint16)
    for start in range(0, len(vectors), _ASSIGNED_AT_ONCE):
        block = np.ascontiguousarray(vectors[start : start + _ASSIGNED_AT_ONCE])
        found[start : start + len(block)] = index.search(block, 1)[1][:, 0]
    return found


def _levels(values: Vectors, count: int) -> Vectors:
    """The levels with the least squared error for ascending values: Lloyd's rounds from the middles of quantiles."""
    ranks = ((np.arange(count) + 0.5) / count * len(values)).astype(np.int64)
    levels = values[ranks].astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    for _ in range(_LEVEL_ROUNDS):
        edges: Numbers = np.concatenate([[0], np.searchsorted(values, (levels[1:] + levels[:-1]) / 2), [len(values)]])
        sizes = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(sizes, 1)
        levels = np.where(sizes > 0, means, levels)
    # An empty level keeps its place, which rounding may have left out of order.
    return np.sort(levels).astype(np.float32)
