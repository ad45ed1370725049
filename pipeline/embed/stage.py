"""The stage `embeddings`: one vector a chunk, as a table in parts and as sorted NumPy arrays.

Belongs here: from chunks to those files, through the cache. Not here: how a vector is made (`registry`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import tables
from pipeline.config import EmbedSettings, Settings
from pipeline.embed import registry
from pipeline.embed.cache import VectorCache
from pipeline.embed.interface import Vectors, document_text
from pipeline.errors import InvariantViolationError
from pipeline.files import canonical_json
from pipeline.schemas import Chunks, Embeddings
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.workers import Runtime, run_jobs

FORMAT = 1
NORM_TOLERANCE = 1e-5

_Ids = npt.NDArray[np.int64]


def embeddings(chunks: Artefact[Chunks], settings: EmbedSettings, runtime: Runtime, out: Output[Embeddings]) -> Facts:
    """A unit vector for each chunk. Raises `InvariantViolationError` for a bad vector or a repeated id."""
    embedder = registry.load(settings)
    spread = registry.spread_of(settings)
    cache = None
    if runtime.shared is not None:
        cache = VectorCache(runtime.shared, embedder.document_digest, embedder.dimension)
    read = [read_texts(path) for path in tables.parts(chunks.path, Chunks)]
    texts = [text for _, part_texts in read for text in part_texts]

    crew = runtime if spread.processes else replace(runtime, workers=1)

    def encode(missing: Sequence[str]) -> Iterator[Vectors]:
        jobs = [
            _Job(settings, embedder.digest, missing[start : start + spread.texts])
            for start in range(0, len(missing), spread.texts)
        ]
        work = int(sum(map(len, missing)) * spread.cost)
        for vectors in run_jobs(_encode_texts, jobs, crew, work_bytes=work):
            # Before they can reach the cache.
            _check(vectors)
            yield vectors

    if cache is not None:
        vectors = cache.through(texts, encode, keep_after=spread.keep_after)
    else:
        vectors = np.concatenate([np.empty((0, embedder.dimension), np.float32), *encode(texts)])
    _check(vectors)
    parts: list[tuple[_Ids, Vectors]] = []
    start = 0
    for part, (ids, part_texts) in enumerate(read):
        order = np.argsort(ids)
        parts.append((ids[order], vectors[start : start + len(part_texts)][order]))
        start += len(part_texts)
        _write_part(out.path / Embeddings.name, part, *parts[-1])
    if cache is not None:
        cache.flush()
    count = _write_arrays(out.path, np.concatenate([ids for ids, _ in parts]), np.concatenate([rows for _, rows in parts]))
    who = {"name": embedder.name, "digest": embedder.digest, "dimension": embedder.dimension}
    (out.path / Embeddings.EMBEDDER).write_bytes(canonical_json({"version": FORMAT, "normalised": True, **who}))
    return {"vectors": count, "embedder": embedder.name, "digest": embedder.digest, "dimension": embedder.dimension}


def read_texts(path: Path) -> tuple[_Ids, list[str]]:
    """Ids, int64 [n], and the text to embed of each chunk of one part."""
    table = tables.read_part(path, Chunks, ["id", "name", "uri", "content"])
    ids = table["id"].to_numpy().astype(np.int64, copy=False)
    rows = zip(table["name"].to_pylist(), table["uri"].to_pylist(), table["content"].to_pylist(), strict=True)
    return ids, [document_text(name, uri, content) for name, uri, content in rows]


class _Job(NamedTuple):
    settings: EmbedSettings
    digest: str
    texts: Sequence[str]


def _encode_texts(job: _Job) -> Vectors:
    """One job: made in this process or in a worker, the vectors are the same, because a row depends on its text alone."""
    embedder = registry.load(job.settings)
    if embedder.digest != job.digest:
        raise InvariantViolationError(f"{embedder.name} changed while it was at work.", hint="Build again.")
    return embedder.encode(job.texts)


def prepare(settings: EmbedSettings) -> None:
    """Load what the jobs of this stage need, in a worker that has nothing to do yet."""
    if registry.spread_of(settings).processes:
        registry.load(settings).encode(["ready"])


def _check(vectors: Vectors) -> None:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not (np.abs(lengths - 1.0) <= NORM_TOLERANCE).all():  # Also false for NaN.
        raise InvariantViolationError(
            "The embedder's vectors are not of unit length.", hint="Delete the store's `_shared/embeddings` and build again."
        )


def _write_part(folder: Path, part: int, ids: _Ids, vectors: Vectors) -> None:
    schema = Embeddings.schema_of(vectors.shape[1])
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field("embedding").type)
    tables.write_part(folder, Embeddings, part, pa.table([pa.array(ids), rows], schema=schema), schema)


def _write_arrays(folder: Path, ids: _Ids, vectors: Vectors) -> int:
    order = np.argsort(ids)
    ids = ids[order]
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if len(repeated):
        raise InvariantViolationError(f"The chunk id {repeated[0]} is not unique.", hint="Build with another `id_salt`.")
    np.save(folder / Embeddings.IDS, ids)
    np.save(folder / Embeddings.VECTORS, vectors[order])
    return len(ids)


def _uses(settings: Settings) -> Mapping[str, str]:
    return registry.uses(settings.embed)


STAGE = Stage(embeddings, code_version="1", uses=_uses)
