"""What must hold of vectors, of the index over them and of its operating point; `checks` lists these among the checks.

Belongs here: the invariants of `embeddings`, `faiss_index`, `faiss_idmap` and `tuning`. Not here: how checks run (`checks`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import files, tables
from pipeline.embed.arrays import HASHES_FILE, VECTORS_FOLDER, hashes_of
from pipeline.index.dense.index_files import read_rows
from pipeline.index.dense.operating_point import parse, thorough
from pipeline.index.tuning.document import read_tuning
from pipeline.release.findings import SAMPLE, Finding, Subject, finding, name_of, sample_rows
from pipeline.schemas import Embeddings, FaissIdmap, FaissIndex, Tuning
from pipeline.store import readings

_NORM_TOLERANCE = 1e-3
_BLOCK = 1 << 14
_LANES = 2


def shards(root: Path) -> list[Path]:
    """The files that hold the vectors, in the order of the ids."""
    return sorted((root / VECTORS_FOLDER).iterdir())


def _of_shards(subject: Subject, read: Callable[[Any, Any], Any], by: Any = None) -> list[Any]:
    """What `read` makes of the ids (or numbers `by` row) and vectors of each shard, remembered where the digests are known.

    Raises ValueError where ids and vectors are not as many.
    """
    root, ids = subject[Embeddings.asset], subject.vector_ids if by is None else by
    found = []
    start = 0
    for path in shards(root):
        known = subject.digests_of((Embeddings.asset, f"{VECTORS_FOLDER}/{path.name}"))
        length = readings.reading(name_of(_length), known, partial(_length, path))
        own = ids[start : start + length]
        start += length
        digests = known and [*known, files.digest_bytes(own.tobytes())]
        found.append(readings.reading(name_of(read), digests, partial(_read_shard, read, own, path)))
    if start != len(ids):
        raise ValueError(f"there are {len(ids)} ids and {start} vectors")
    return found


def _length(path: Path) -> int:
    """How many vectors a shard has."""
    return len(np.load(path, mmap_mode="r"))


def _read_shard(read: Callable[[Any, Any], Any], own: Any, path: Path) -> Any:
    """What `read` makes of a shard, and of as many ids or numbers."""
    vectors = np.load(path, mmap_mode="r")
    if len(own) != len(vectors):
        raise ValueError(f"there are {len(own)} ids left for {len(vectors)} vectors")
    return read(own, vectors)


def _unit(ids: Any, vectors: Any) -> tuple[int, float | None]:
    """The dimension, and how far from 1 the worst length is; None where a vector is not finite."""
    worst = 0.0
    for start in range(0, len(vectors), _BLOCK):
        block = np.asarray(vectors[start : start + _BLOCK])
        if not np.isfinite(block).all():
            return vectors.shape[1], None
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        worst = max(worst, float(np.abs(norms - 1).max(initial=0)))
    return vectors.shape[1], worst


def _odd_hashes(hashes: Any, vectors: Any) -> int:
    """How many vectors are not those that their hashes say."""
    return int(np.count_nonzero(hashes_of(vectors) != hashes))


def vectors_finite_unit(subject: Subject) -> Finding:
    """Vectors are finite, of unit length and those that their hashes say; ids are sorted and unique."""
    ids = subject.vector_ids
    hashes = np.load(subject[Embeddings.asset] / HASHES_FILE)
    told = _of_shards(subject, _unit)
    problems = []
    if np.any(np.diff(ids) <= 0):
        problems.append("ids.npy is not strictly ascending")
    if any(worst is None for _, worst in told):
        problems.append("a vector is not finite")
    worst = max((worst for _, worst in told if worst is not None), default=0.0)
    if worst > _NORM_TOLERANCE:
        problems.append(f"a vector's length differs from 1 by {worst:.4f}")
    if len(hashes) != len(ids) or any(_of_shards(subject, _odd_hashes, hashes)):
        problems.append("a vector is not the one that its hash says")
    if len({dimension for dimension, _ in told}) > 1:
        problems.append("vectors are of several dimensions")
    return finding(problems, vectors=len(ids), dimension=told[0][0] if told else 0)


def _mixed(numbers: Any) -> Any:
    """Each uint64 as another one that tells nothing of it (the finalizer of SplitMix64)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(31))


@cache
def _weights(words: int) -> Any:
    """Odd numbers, uint64 [lanes, words]: one for each word of a row."""
    return np.random.default_rng(0).integers(0, 1 << 63, (_LANES, words), np.uint64) * np.uint64(2) + np.uint64(1)


def row_sums(ids: Any, vectors: Any) -> list[int]:
    """What pairs of id (int64 [n]) and vector (float32 [n, d]) sum up to, in any order and however they are divided.

    Each pair is hashed twice to 64 bits, and hashes are summed: sums of different sets are the same by chance only. First the
    number of pairs.
    """
    weights = _weights(vectors.shape[1])
    sums = [np.uint64(0)] * _LANES
    with np.errstate(over="ignore"):
        for start in range(0, len(vectors), _BLOCK):
            words = np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32).view(np.uint32).astype(np.uint64)
            own = _mixed(ids[start : start + _BLOCK].astype(np.uint64))
            for lane in range(_LANES):
                sums[lane] += _mixed(np.einsum("ij,j->i", words, weights[lane]) ^ own).sum(dtype=np.uint64)
    return [len(vectors), *map(int, sums)]


def _row_sums_of_part(path: Path) -> list[int]:
    part = tables.read_part(path, Embeddings)
    rows = part["embedding"].combine_chunks()
    vectors = rows.flatten().to_numpy().reshape(len(rows), rows.type.list_size)
    return row_sums(part["id"].to_numpy(), vectors)


def vectors_match_chunks(subject: Subject) -> Finding:
    """There is exactly one vector for every chunk, in both forms."""
    ids = np.sort(subject.chunk_ids)
    problems = []
    if not np.array_equal(ids, subject.vector_ids):
        problems.append("ids.npy does not hold the chunks' ids")
    arrays, table = _of_shards(subject, row_sums), subject.of_parts(Embeddings, _row_sums_of_part)
    (rows, *of_arrays), (parquet_rows, *of_table) = (
        [sum(column) for column in zip(*sums, strict=True)] for sums in (arrays, table)
    )
    if rows != parquet_rows:
        problems.append(f"the table `embeddings` has {parquet_rows} rows, and there are {rows} vectors")
    elif any((left - right) % (1 << 64) for left, right in zip(of_arrays, of_table, strict=True)):
        problems.append(f"the ids and vectors in the table `embeddings` are not those in {Embeddings.IDS} and {VECTORS_FOLDER}")
    return finding(problems, chunks=len(ids))


def _meta(root: Path) -> dict[str, Any]:
    return msgspec.json.decode((root / FaissIndex.META).read_bytes(), type=dict[str, Any])


def faiss_matches_embeddings(subject: Subject) -> Finding:
    """The FAISS index has as many vectors as there are, of the same dimension, made by the same embedder."""
    meta = _meta(subject[FaissIndex.asset])
    root = subject[Embeddings.asset]
    vectors = (len(subject.vector_ids), np.load(shards(root)[0], mmap_mode="r").shape[1])
    embedder = msgspec.json.decode((root / Embeddings.EMBEDDER).read_bytes(), type=dict[str, Any])
    problems = []
    if (meta["count"], meta["dimension"]) != vectors:
        problems.append(f"the index has {meta['count']} × {meta['dimension']}, the embeddings are {vectors}")
    if meta["embedder_digest"] != embedder["digest"]:
        problems.append("the index was made from another embedder's vectors")
    return finding(problems, vectors=int(meta["count"]))


def idmap_bijection(subject: Subject) -> Finding:
    """Every row of the FAISS index that can be found is one chunk id, and no id is there twice."""
    idmap = pq.read_table(subject[FaissIdmap.asset] / FaissIdmap.FILE)
    rows, ids = idmap["faiss_row"].to_numpy(), idmap["external_id"].to_numpy()
    index = subject.index
    own = index.idmap()
    problems = []
    if not np.array_equal(read_rows(subject[FaissIndex.asset], index.meta, verified=True).ids, index.primary_ids()):
        problems.append("what is written of the rows of the index is not what it has in them")
    if len(own.rows) != index.count:
        problems.append(f"the index says that it has {index.count} vectors, and {len(own.rows)} rows hold one")
    if not np.array_equal(rows, own.rows):
        problems.append("the rows are not those of the index")
    if len(np.unique(ids)) != len(ids):
        problems.append("an id stands for two rows")
    # The index answers with its own ids, people join by the idmap: they must say the same.
    if not np.array_equal(own.ids, ids):
        problems.append("the index itself has other ids in its rows")
    if not np.array_equal(own.in_delta, pc.equal(tables.plain(idmap)["source"], "delta").to_numpy()):
        problems.append("the index itself has other rows in its delta")
    return finding(problems, rows=len(rows))


def tuning_of_this_index(subject: Subject) -> Finding:
    """The operating point was found on this index and no other, and the index can be searched at it."""
    tuned = read_tuning(subject[Tuning.asset])
    index = subject.index
    problems = []
    if (tuned.index, tuned.family, tuned.exact) != (index.meta.seal, index.family.name, index.family.exact):
        problems.append(f"the point was found on another index ({tuned.family}, {tuned.index[:16]})")
    else:
        parse(tuned.parameters, tuned.k_factor, family=index.family, nlist=index.nlist, default=index.point)
    sweep = pq.read_metadata(subject[Tuning.asset] / Tuning.SWEEP).num_rows
    if sweep != tuned.grid:
        problems.append(f"{tuned.grid} points were measured, and the sweep has {sweep}")
    return finding(problems, points=tuned.grid, parameters=tuned.parameters)


_SAMPLE_AGAIN = 8
_SAME_SCORE = 2e-6
"""Squared distance of unit vectors whose inner product is 1 as far as float32 sums of many dimensions can tell: chunks of one
pattern repeated over and over, each its neighbour's twin but for a last line."""


def self_search(subject: Subject) -> Finding:
    """Sampled chunks' own vectors return the chunk itself, or one with the same vector as far as a score can tell, first."""
    ids = subject.vector_ids
    if not len(ids):
        return finding(["no indexed file has any text, so there is nothing to search"])
    # Of an index whose first part passed before, a few rows tell whether it still belongs to the vectors.
    part = subject.digests_of((FaissIndex.asset, FaissIndex.INDEX))
    key = None if part is None else readings.key_of(name_of(self_search), part)
    most = SAMPLE if key is None or readings.known(key) is None else _SAMPLE_AGAIN
    rows = [sample_rows(len(ids), most)]
    index = subject.index
    if index.meta.delta:
        mapped = index.idmap()
        delta = np.flatnonzero(mapped.in_delta)
        rows.append(np.searchsorted(ids, mapped.ids[delta[sample_rows(len(delta), most)]]))
    sample = ids[np.unique(np.concatenate(rows)).clip(max=len(ids) - 1)]
    own = index.vectors_of(sample)
    # Whether ids and vectors belong together is asked here, and not how much is found in a hurry.
    found, _ = index.search(own, 1, point=thorough(index.point, index.nlist))
    if not found.shape[1]:
        return finding(["no chunk finds anything"], sample=len(sample))
    there = found[:, 0] >= 0
    first = np.zeros_like(own)
    first[there] = index.vectors_of(found[there, 0])
    wrong = np.flatnonzero((found[:, 0] != sample) & (np.square(first - own).sum(axis=1) > _SAME_SCORE))
    if key is not None and not len(wrong):
        readings.note(key, True)
    return finding([f"chunk {int(sample[row])} finds {int(found[row, 0])} first" for row in wrong], sample=len(sample))
