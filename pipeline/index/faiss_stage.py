"""The stages `faiss_index` and `faiss_idmap`: unit vectors in, a FAISS index and the map of its rows out.

Belongs here: what is checked before vectors are indexed, and writing. Not here: which families there are (`faiss_families`),
reading and searching (`vectors`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import files, tables
from pipeline.config import IndexSettings, Settings
from pipeline.errors import InvariantViolationError
from pipeline.index.faiss_families import choose, import_faiss
from pipeline.index.faiss_meta import (
    INDEX_FILE,
    META_VERSION,
    METRIC,
    NORMALISATION,
    IndexMeta,
    read_embedder_digest,
    write_meta,
)
from pipeline.index.vectors import Ids, VectorIndex, Vectors, open_arrays
from pipeline.schemas import Embeddings, FaissIdmap, FaissIndex
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.workers import Runtime

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a stored vector may be: rounding of float32 stays far below it."""

PRIMARY = "primary"
_BLOCK = 1 << 16


def faiss_index(embeddings: Artefact[Embeddings], settings: IndexSettings, runtime: Runtime, out: Output[FaissIndex]) -> Facts:
    """Index all vectors of `embeddings`. Raises `InvariantViolationError` for ids or vectors that may not be indexed."""
    faiss = import_faiss()
    ids, vectors = open_arrays(embeddings.path)
    check_vectors(ids, vectors)
    count, dimension = vectors.shape
    family = choose(settings.faiss_family, count)
    factory = family.factory(dimension, count)
    index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    if count:
        index.add_with_ids(np.ascontiguousarray(vectors), np.ascontiguousarray(ids))
    size, digest = _write_index(index, out.path / INDEX_FILE)
    meta = IndexMeta(
        version=META_VERSION,
        family=family.name,
        factory=factory,
        mapping=family.mapping,
        metric=METRIC,
        normalisation=NORMALISATION,
        dimension=dimension,
        count=count,
        training=None,
        parameters="",
        bytes=size,
        digest=digest,
        embedder_digest=read_embedder_digest(embeddings.path),
        faiss=faiss.__version__,
    )
    write_meta(out.path, meta)
    return {"rows": count, "dimension": dimension, "family": family.name, "factory": factory, "bytes": size}


def check_vectors(ids: Ids, vectors: Vectors) -> None:
    """Refuse what a FAISS index must not hold.

    ids int64 [n] must be non-negative and strictly ascending, vectors float32 [n, d] finite and of length 1. Raises
    `InvariantViolationError` naming the first id at fault.
    """
    if len(ids) and ids.min() < 0:
        raise InvariantViolationError(f"The id {ids.min()} is negative.", hint="Rebuild the chunks.")
    steps = np.diff(ids)
    if (steps == 0).any():
        raise InvariantViolationError(f"The id {ids[:-1][steps == 0][0]} occurs twice.", hint="Rebuild the embeddings.")
    if (steps < 0).any():
        raise InvariantViolationError("The ids of the vectors are not in ascending order.", hint="Rebuild the embeddings.")
    for start in range(0, len(ids), _BLOCK):
        block = vectors[start : start + _BLOCK]
        # A value that is not finite makes the length so, and every comparison with NaN is false.
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
            bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))
        if len(bad):
            first = int(bad[0])
            what = f"has length {lengths[first]:.6g}" if np.isfinite(block[first]).all() else "is not finite"
            raise InvariantViolationError(f"The vector of id {ids[start + first]} {what}.", hint="Rebuild the embeddings.")


def _write_index(index: Any, path: Path) -> tuple[int, str]:
    """Write through Python, so that a full disk is an OSError and the digest is of what was written: (bytes, digest)."""
    faiss = import_faiss()
    hasher = files.new_hash()
    with path.open("xb") as file:

        def write(block: bytes) -> int:
            hasher.update(block)
            return file.write(block)

        writer = faiss.PyCallbackIOWriter(write)
        faiss.write_index(index, writer)
        size = file.tell()
    return size, hasher.hexdigest()


def faiss_idmap(index: Artefact[FaissIndex], out: Output[FaissIdmap]) -> Facts:
    """Which id each row of the index is, exported from the index itself."""
    ids = VectorIndex.open(index.path).row_ids()
    if len(np.unique(ids)) != len(ids):
        raise InvariantViolationError("An id occurs twice in the FAISS index.", hint="Run `indexctl build` again.")
    rows = pa.table(
        {
            "faiss_row": pa.array(np.arange(len(ids), dtype=np.int64)),
            "external_id": pa.array(ids),
            "source": pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(ids), np.int32)), pa.array([PRIMARY])),
        },
        schema=FaissIdmap.schema,
    )
    return {"rows": tables.write_parquet(out.path / FaissIdmap.FILE, rows, FaissIdmap.tag())}


def _uses(settings: Settings) -> Mapping[str, str]:
    return {"faiss": str(import_faiss().__version__)}


INDEX_STAGE = Stage(faiss_index, code_version="1", uses=_uses)
IDMAP_STAGE = Stage(faiss_idmap, code_version="1")
