"""The stages `faiss_index` and `faiss_idmap`: unit vectors in, a FAISS index and the map of its rows out.

Belongs here: what is checked before vectors are indexed, and writing. Not here: which families there are (`families`),
reading and searching (`vectors`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from pipeline import files, tables
from pipeline.config import IndexSettings, Settings
from pipeline.errors import InvariantViolationError
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids, Vectors, open_arrays
from pipeline.index.dense.building import beyond, build
from pipeline.index.dense.description import read_embedder_digest
from pipeline.index.dense.families import PRESETS_FILE, choose, import_faiss
from pipeline.index.dense.index_files import parse, write_parts
from pipeline.index.dense.operating_point import first_point
from pipeline.index.dense.shards import build_sharded
from pipeline.index.dense.vectors import VectorIndex
from pipeline.schemas import Embeddings, FaissIdmap, FaissIndex
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.workers import Runtime

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a stored vector may be: rounding of float32 stays far below it."""

PRIMARY, DELTA = "primary", "delta"
_BLOCK = 1 << 16


def faiss_index(embeddings: Artefact[Embeddings], settings: IndexSettings, runtime: Runtime, out: Output[FaissIndex]) -> Facts:
    """Index all vectors of `embeddings`. Raises `InvariantViolationError` for ids or vectors that may not be indexed."""
    ids, vectors = open_arrays(embeddings.path)
    check_vectors(ids, vectors)
    count, dimension = vectors.shape
    family = choose(settings, count, dimension)
    runtime.observe({"threads": import_faiss().omp_get_max_threads()})
    written = None
    if shard := beyond(family, count, dimension, settings):
        path = out.path / FaissIndex.INDEX
        written, training = build_sharded(
            family, ids, vectors, settings, path, shard=shard, scratch=out.path, observe=runtime.observe
        )
        with path.open("rb") as file:
            primary = Ann(parse(path, file, mapped=True), family)
    else:
        primary, training = build(family, ids, vectors, settings, runtime.observe)
    meta = write_parts(
        out.path,
        primary,
        None,
        np.empty(0, np.int64),
        factory=family.factory(dimension, max(count, 1), settings),
        training=training,
        point=first_point(family, primary.nlist),
        embedder_digest=read_embedder_digest(embeddings.path),
        first=written,
    )
    return {
        "rows": count,
        "dimension": dimension,
        "family": family.name,
        "factory": meta.factory,
        "parameters": meta.parameters,
        "bytes": sum(written.bytes for written in meta.files.values()),
    }


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


def faiss_idmap(index: Artefact[FaissIndex], out: Output[FaissIdmap]) -> Facts:
    """Which id each row of the index is, exported from the index itself."""
    idmap = VectorIndex.open(index.path).idmap()
    if len(np.unique(idmap.ids)) != len(idmap.ids):
        raise InvariantViolationError("An id occurs twice in the FAISS index.", hint="Run `indexctl build` again.")
    rows = pa.table(
        {
            "faiss_row": pa.array(idmap.rows),
            "external_id": pa.array(idmap.ids),
            "source": pa.DictionaryArray.from_arrays(pa.array(idmap.in_delta.astype(np.int32)), pa.array([PRIMARY, DELTA])),
        },
        schema=FaissIdmap.schema,
    )
    return {"rows": tables.write_parquet(out.path / FaissIdmap.FILE, rows, FaissIdmap.tag())}


def _uses(settings: Settings) -> Mapping[str, str]:
    presets = {"presets": files.digest_file(PRESETS_FILE)} if settings.index.faiss_family == "auto" else {}
    return {"faiss": str(import_faiss().__version__), **presets}


INDEX_STAGE = Stage(faiss_index, code_version="1", uses=_uses)
IDMAP_STAGE = Stage(faiss_idmap, code_version="1")
