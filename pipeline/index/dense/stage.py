"""The stages `faiss_index` and `faiss_idmap`: unit vectors in, a FAISS index and the map of its rows out.

A large index is not built anew for a small change: it takes the primary of its base as it is, and what came and went since is
its delta and its deletions, until that is so much that it is folded in (`updates` does the same in memory).

Belongs here: what is checked before vectors are indexed, whether there is a base, and writing. Not here: which families there
are (`families`), reading and searching (`vectors`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline import files, instruments, tables
from pipeline.config import IndexSettings, Settings
from pipeline.embed.arrays import Arrays, open_all
from pipeline.errors import InvariantViolationError
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids, Rows, rows_of
from pipeline.index.dense.building import beyond, build
from pipeline.index.dense.description import IndexMeta, read_embedder_digest, read_meta
from pipeline.index.dense.families import FAMILIES, PRESETS_FILE, Family, choose, import_faiss
from pipeline.index.dense.index_files import PrimaryRows, link_parts, parse, read_rows, write_parts
from pipeline.index.dense.operating_point import first_point
from pipeline.index.dense.shards import build_sharded
from pipeline.index.dense.updates import FOLD_SHARE
from pipeline.index.dense.vectors import stored_idmap
from pipeline.schemas import Embeddings, FaissIdmap, FaissIndex
from pipeline.stage import Artefact, Base, Facts, Output, Stage
from pipeline.workers import Runtime

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a stored vector may be: rounding of float32 stays far below it."""
LEAST_BASED = 1 << 14
"""An index of fewer vectors is built anew: that takes no longer."""

PRIMARY, DELTA = "primary", "delta"
_BLOCK = 1 << 16


class _Changes(NamedTuple):
    """From the primary of a base to present vectors: rows of these that it has not, int64 [a]; its ids that are dead, [b]."""

    meta: IndexMeta
    new: Ids
    dead: Ids


def faiss_index(
    embeddings: Artefact[Embeddings],
    settings: IndexSettings,
    base: Base[FaissIndex],
    runtime: Runtime,
    out: Output[FaissIndex],
) -> Facts:
    """Index all vectors of `embeddings`. Raises `InvariantViolationError` for ids or vectors that may not be indexed.

    The fact `base` is the key of the index whose primary this one has, or None where it has one of its own.
    """
    arrays = open_all(embeddings.path)
    count, dimension = arrays.vectors.shape
    family = choose(settings, count, dimension)
    changes = _changes(base, arrays, family)
    if changes is not None and base.artefact is not None:
        meta = _with_changes(base.artefact, arrays, changes, settings, out)
    else:
        runtime.observe({"threads": import_faiss().omp_get_max_threads()})
        meta = _built(family, arrays, settings, runtime, out, read_embedder_digest(embeddings.path))
    return {
        "rows": count,
        "dimension": dimension,
        "family": family.name,
        "factory": meta.factory,
        "parameters": meta.parameters,
        "bytes": sum(written.bytes for written in meta.files.values()),
        "base": base.key if changes is not None else None,
        "delta": meta.delta,
        "deleted": meta.deleted,
    }


def _changes(base: Base[FaissIndex], arrays: Arrays, family: Family) -> _Changes | None:
    """What came and went since the base was built; None where that is too much, or there is nothing to build on."""
    if base.artefact is None or len(arrays.ids) < LEAST_BASED:
        return None
    meta = read_meta(base.artefact.path)
    if meta.family != family.name:
        return None
    rows = read_rows(base.artefact.path, meta, verified=True)
    order = np.argsort(rows.ids, kind="stable")
    at = rows_of(rows.ids[order], arrays.ids)
    # An id may have another vector than it had: the name of a definition around a chunk is part of its text.
    same = (at >= 0) & (rows.hashes[order][at] == arrays.hashes)
    lives = np.zeros(len(order), np.bool_)
    lives[at[same]] = True
    new, dead = np.flatnonzero(~same), rows.ids[order][~lives]
    return None if len(new) + len(dead) > FOLD_SHARE * meta.primary else _Changes(meta, new, dead)


def _with_changes(
    base: Artefact[FaissIndex], arrays: Arrays, changes: _Changes, settings: IndexSettings, out: Output[FaissIndex]
) -> IndexMeta:
    """The primary of the base, linked, with a delta and deletions."""
    check_ids(arrays.ids)
    ids, vectors = arrays.ids[changes.new], arrays.vectors[changes.new]
    check_vectors(ids, vectors)
    delta = None
    if len(ids):
        delta, _ = build(FAMILIES["flat"], ids, vectors, settings)
    instruments.count("faiss_deletes_total", max(0, len(changes.dead) - changes.meta.deleted))
    return link_parts(out.path, base.path, changes.meta, delta, changes.dead)


def _built(
    family: Family, arrays: Arrays, settings: IndexSettings, runtime: Runtime, out: Output[FaissIndex], embedder_digest: str
) -> IndexMeta:
    """A new index over all vectors."""
    ids, hashes, vectors = arrays
    check_vectors(ids, vectors)
    count, dimension = vectors.shape
    written = None
    if shard := beyond(family, count, dimension, settings):
        path = out.path / FaissIndex.INDEX
        written, training = build_sharded(
            family, ids, vectors, settings, path, shard=shard, scratch=out.path, observe=runtime.observe
        )
        with path.open("rb") as file:
            primary = Ann(parse(path, file, mapped="lists"), family)
    else:
        primary, training = build(family, ids, vectors, settings, runtime.observe)
    rows = primary.ids()
    return write_parts(
        out.path,
        primary,
        None,
        np.empty(0, np.int64),
        rows=PrimaryRows(rows, hashes[rows_of(ids, rows)]),
        factory=family.factory(dimension, max(count, 1), settings),
        training=training,
        point=first_point(family, primary.nlist),
        embedder_digest=embedder_digest,
        first=written,
    )


def check_ids(ids: Ids) -> None:
    """Refuse ids int64 [n] that are negative or not strictly ascending, with an `InvariantViolationError` that names one."""
    if len(ids) and ids.min() < 0:
        raise InvariantViolationError(f"The id {ids.min()} is negative.", hint="Rebuild the chunks.")
    steps = np.diff(ids)
    if (steps == 0).any():
        raise InvariantViolationError(f"The id {ids[:-1][steps == 0][0]} occurs twice.", hint="Rebuild the embeddings.")
    if (steps < 0).any():
        raise InvariantViolationError("The ids of the vectors are not in ascending order.", hint="Rebuild the embeddings.")


def check_vectors(ids: Ids, vectors: Rows) -> None:
    """Refuse what a FAISS index must not hold: such ids, and vectors float32 [n, d] that are not finite or not of length 1.

    Raises `InvariantViolationError` naming the first id at fault.
    """
    check_ids(ids)
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
    """Which id each row of the index is, by the rows that are written beside it."""
    idmap = stored_idmap(index.path)
    ids = np.sort(idmap.ids)
    if (ids[1:] == ids[:-1]).any():
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


INDEX_STAGE = Stage(faiss_index, code_version="2", uses=_uses)
IDMAP_STAGE = Stage(faiss_idmap, code_version="2")
