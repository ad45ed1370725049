"""The stage `embeddings`: one vector a chunk, as a table in parts and as sorted NumPy arrays.

Belongs here: from chunks to those files, through the cache. Not here: how a vector is made (`static`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import tables
from pipeline.config import EmbedSettings, Settings
from pipeline.embed import registry
from pipeline.embed.cache import VectorCache
from pipeline.embed.interface import Embedder, Vectors, document_text
from pipeline.errors import InvariantViolationError
from pipeline.files import canonical_json
from pipeline.schemas import Chunks, Embeddings
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.workers import Runtime, run_jobs

FORMAT = 1
NORM_TOLERANCE = 1e-5
_JOB_TEXTS = 512
_CHEAPER_THAN_PARSING = 4
"""The threshold for worker processes is in bytes to parse; static vectors cost about this much less."""

_Ids = npt.NDArray[np.int64]


def embeddings(chunks: Artefact[Chunks], settings: EmbedSettings, runtime: Runtime, out: Output[Embeddings]) -> Facts:
    """A unit vector for each chunk. Raises `InvariantViolationError` for a bad vector or a repeated id."""
    embedder = _embedder(settings)
    cache = VectorCache(runtime.shared, embedder.digest, embedder.dimension) if runtime.shared is not None else None
    read = [_read(path) for path in tables.parts(chunks.path, Chunks)]
    texts = [text for _, part_texts in read for text in part_texts]

    def encode(missing: Sequence[str]) -> Vectors:
        jobs = [(settings, missing[start : start + _JOB_TEXTS]) for start in range(0, len(missing), _JOB_TEXTS)]
        work = sum(map(len, missing)) // _CHEAPER_THAN_PARSING
        return np.concatenate(list(run_jobs(_encode_texts, jobs, runtime, work_bytes=work)))

    vectors = cache.through(texts, encode) if cache is not None else encode(texts)
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


def _read(path: Path) -> tuple[_Ids, list[str]]:
    """Ids, int64 [n], and the text to embed of each chunk of one part."""
    table = tables.read_part(path, Chunks, ["id", "name", "uri", "content"])
    ids = table["id"].to_numpy().astype(np.int64, copy=False)
    rows = zip(table["name"].to_pylist(), table["uri"].to_pylist(), table["content"].to_pylist(), strict=True)
    return ids, [document_text(name, uri, content) for name, uri, content in rows]


def _encode_texts(job: tuple[EmbedSettings, Sequence[str]]) -> Vectors:
    """One job: made in this process or in a worker, the vectors are the same, because a row depends on its text alone."""
    settings, texts = job
    return _embedder(settings).encode(texts)


def prepare(settings: EmbedSettings) -> None:
    """Load what the jobs of this stage need, in a worker that has nothing to do yet."""
    _embedder(settings).encode(["ready"])


@functools.cache
def _embedder(settings: EmbedSettings) -> Embedder:
    """One embedder a process: it remembers the words that it has seen."""
    return registry.load(settings)


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
    return {
        "embedder": registry.embedder_digest(settings.embed),
        "numpy": version("numpy"),
        "tokenizers": version("tokenizers"),
    }


STAGE = Stage(embeddings, code_version="1", uses=_uses)
