"""Vectors to measure vector indexes on: clustered ones of any number, and those of the chunks of real code.

Belongs here: where vectors and queries come from. Not here: what is measured on them (`vector_index`, `vector_presets`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIMENSION = 256
_LATENT = 32
"""The dimension that the vectors really have: neighbours of points in 256 independent dimensions are all equally far."""
_SEED = 20_26

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Unit vectors float32 [n, 256] in random order, and queries float32 [q, 256] that are not among them."""

    name: str
    vectors: Vectors
    queries: Vectors

    def part(self, n: int) -> Corpus:
        """The first n vectors."""
        return Corpus(self.name, self.vectors[:n], self.queries)


def clustered(n: int, queries: int, seed: int = 0) -> Corpus:
    """Overlapping clusters of different sizes in 32 dimensions, laid into 256 with some noise; queries are drawn alike."""
    fixed = np.random.default_rng(_SEED)
    centres = fixed.standard_normal((1024, _LATENT)).astype(np.float32)
    weights = 1 / np.arange(1, len(centres) + 1) ** 0.7
    mixing = fixed.standard_normal((_LATENT, DIMENSION)).astype(np.float32) / np.sqrt(_LATENT)

    def drawn(count: int, number: int) -> Vectors:
        rng = np.random.default_rng((_SEED, number))
        found = np.empty((count, DIMENSION), np.float32)
        for start in range(0, count, 1 << 16):
            size = min(1 << 16, count - start)
            latent = centres[rng.choice(len(centres), size, p=weights / weights.sum())]
            latent = latent + 0.8 * rng.standard_normal((size, _LATENT), np.float32)
            found[start : start + size] = latent @ mixing + 0.1 * rng.standard_normal((size, DIMENSION), np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return Corpus("clustered", drawn(n, 1), drawn(queries, 1000 + seed))


def chunks(tree: Path, work: Path, queries: int) -> Corpus:
    """The vectors of the chunks of a folder of code, by `indexctl`; queries are those that it is tuned on."""
    from pipeline.config import EmbedSettings
    from pipeline.embed import registry
    from pipeline.embed.arrays import open_arrays
    from pipeline.index.tuning.queries import query_texts

    data = work / "chunks"
    build: Mapping[str, str] = {**os.environ, "CODEINTEL_CST": "false", "CODEINTEL_FAISS_FAMILY": "flat"}
    program = [str(Path(sys.executable).with_name("indexctl"))]
    options = ["--no-scip", "--ephemeral", "--data", str(data), "--json"]
    done = subprocess.run([*program, "build", str(tree), *options], env=build, stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    version = next(data.glob(f"*/versions/{report['version']}"))
    vectors = open_arrays(version)[1][:]
    order = np.random.default_rng(_SEED).permutation(len(vectors))
    texts = query_texts(version, queries)
    asked = registry.load(EmbedSettings()).encode_queries(texts)
    return Corpus("chunks", np.ascontiguousarray(vectors[order]), asked[np.random.default_rng(_SEED).permutation(len(asked))])
