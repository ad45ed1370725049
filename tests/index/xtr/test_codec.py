"""Vectors in a few bits: what is lost, what is packed, and that equal samples give equal codecs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.index.dense.families import import_faiss
from pipeline.index.xtr.codec import BITS, Codec, centroid_count, packed_width, train


def sample(count: int, dimension: int = 24, seed: int = 0) -> np.ndarray:
    """Unit vectors around a few directions."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((8, dimension))[draw.integers(0, 8, count)] + 0.4 * draw.standard_normal((count, dimension))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_more_bits_lose_less_and_every_vector_comes_back_near_and_unit() -> None:
    vectors = sample(2000)
    cosines = []
    for bits in BITS:
        codec = train(vectors, 16, bits)
        codes, packed = codec.encode(vectors)
        assert codes.dtype == np.uint16 and packed.shape == (2000, packed_width(24, bits))
        decoded = codec.decode(codes, packed)
        assert decoded.dtype == np.float32 and np.abs(np.linalg.norm(decoded, axis=1) - 1).max() < 1e-5
        cosines.append(float((decoded * vectors).sum(axis=1).mean()))
    assert 0.96 < cosines[0] < cosines[1] < cosines[2] and cosines[1] > 0.995 and cosines[2] > 0.9999


@given(bits=st.sampled_from(BITS), dimension=st.integers(1, 9), seed=st.integers(0, 99))
def test_every_field_is_unpacked_where_it_was_packed(bits: int, dimension: int, seed: int) -> None:
    """Without centroids' help: each number comes back as the level nearest to it, also where bytes are not filled."""
    levels = np.linspace(-1, 1, 1 << bits).astype(np.float32)
    codec = Codec(np.eye(1, dimension, dtype=np.float32), levels)
    vectors = np.random.default_rng(seed).uniform(-1, 1, (5, dimension)).astype(np.float32)
    codes, packed = codec.encode(vectors)
    residuals = vectors - codec.centroids[0]
    near = levels[np.abs(residuals[..., None] - levels).argmin(axis=2)] + codec.centroids[0]
    expected = near / np.maximum(np.linalg.norm(near, axis=1, keepdims=True), 1e-30)
    assert np.allclose(codec.decode(codes, packed), expected, atol=1e-5) and codec.bits == bits


def test_equal_samples_give_equal_codecs_however_many_threads_train() -> None:
    vectors, faiss = sample(3000, 48), import_faiss()
    before = faiss.omp_get_max_threads()
    made = []
    try:
        for threads in (1, 2, 1):
            faiss.omp_set_num_threads(threads)
            codec = train(vectors, 32, 4)
            made.append(codec.centroids.tobytes() + codec.levels.tobytes() + b"".join(map(bytes, codec.encode(vectors))))
    finally:
        faiss.omp_set_num_threads(before)
    assert made[0] == made[1] == made[2]


def test_levels_fit_a_sample_better_than_the_middles_of_its_quantiles() -> None:
    vectors = sample(2000)
    codec = train(vectors, 4, 2)
    residuals = vectors - codec.centroids[codec.encode(vectors)[0]]
    quantiles = np.quantile(residuals, (np.arange(4) + 0.5) / 4)
    errors = [np.square(residuals[..., None] - levels).min(axis=2).mean() for levels in (codec.levels, quantiles)]
    assert errors[0] < errors[1] and (np.diff(codec.levels) > 0).all()


@pytest.mark.parametrize(
    ("tokens", "count"), [(0, 0), (1, 1), (2, 2), (3, 2), (100, 32), (10_000, 512), (1_000_000, 4096), (1 << 30, 4096)]
)
def test_centroids_grow_with_the_root_of_the_tokens(tokens: int, count: int) -> None:
    assert centroid_count(tokens) == count
