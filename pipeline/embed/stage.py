"""The stage `embeddings`: one vector a chunk, as a table in parts and as sorted NumPy arrays.

Belongs here: from chunks to those files, through the cache or from what was made before. Not here: how a vector is made
(`registry`), the files of the arrays (`arrays`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import delta, files, tables
from pipeline.artefacts import Earlier
from pipeline.config import EmbedSettings, Settings
from pipeline.embed import registry
from pipeline.embed.arrays import Arrays, Ids, Stacked, hashes_of, open_all, write_arrays
from pipeline.embed.cache import VectorCache
from pipeline.embed.interface import Embedder, Vectors, document_text
from pipeline.errors import InvariantViolationError
from pipeline.files import canonical_json
from pipeline.schemas import Chunks, Embeddings
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.workers import Runtime, run_jobs

FORMAT = 1
NORM_TOLERANCE = 1e-5


class _Part(NamedTuple):
    """A part that is not what it was: its number, its ids int64 [n], their texts."""

    number: int
    ids: Ids
    texts: list[str]


def embeddings(chunks: Artefact[Chunks], settings: EmbedSettings, runtime: Runtime, out: Output[Embeddings]) -> Facts:
    """A unit vector for each chunk. Raises `InvariantViolationError` for a bad vector or a repeated id.

    Parts and shards of which nothing changed are linked from the earlier result, and of texts that it has, the vectors copied.
    """
    paths = tables.parts(chunks.path, Chunks)
    before = _Before.of(runtime.earlier, chunks)
    linked = delta.unchanged_parts(runtime.earlier, (chunks, Chunks)) if before is not None else frozenset()
    changed = [_Part(number, *read_texts(path)) for number, path in enumerate(paths) if number not in linked]
    vectors, who = _vectors(changed, before, settings, runtime)
    _check(vectors)
    start = 0
    for part in changed:
        order = np.argsort(part.ids)
        rows = vectors[start : start + len(part.ids)][order]
        _write_part(out.path / Embeddings.name, part.number, part.ids[order], rows)
        start += len(part.ids)
    ids = np.concatenate([np.empty(0, np.int64), *(part.ids for part in changed)])
    if before is None:
        count = _write_arrays(out.path, ids, vectors)
        (out.path / Embeddings.EMBEDDER).write_bytes(canonical_json({"version": FORMAT, "normalised": True, **who}))
    else:
        for number in linked:
            delta.link_part(before.folder, out.path, Embeddings, number)
        gone = [before.ids_of(part.number) for part in changed]
        count = _change_arrays(out.path, before, np.concatenate([np.empty(0, np.int64), *gone]), ids, vectors)
        files.link_or_copy(before.folder / Embeddings.EMBEDDER, out.path / Embeddings.EMBEDDER)
    return {"vectors": count, "embedder": who["name"], "digest": who["digest"], "dimension": who["dimension"]}


@dataclass(frozen=True)
class _Before:
    """What the stage made before: the folders of the vectors and of their chunks, and the facts."""

    folder: Path
    chunks: Path
    facts: Facts

    @classmethod
    def of(cls, earlier: Earlier | None, chunks: Artefact[Chunks]) -> _Before | None:
        """None where nothing can be compared."""
        if earlier is None or not delta.cut_alike(earlier, chunks, Chunks):
            return None
        made = earlier.outputs[Embeddings.asset]
        return cls(made.path, earlier.inputs[Chunks.asset].path, made.facts)

    @cached_property
    def arrays(self) -> Arrays:
        return open_all(self.folder)

    def ids_of(self, part: int) -> Ids:
        """The ids of one part, int64 [n]."""
        table = tables.read_part(tables.part_path(self.folder / Embeddings.name, part), Embeddings, ["id"])
        ids: Ids = table["id"].to_numpy().astype(np.int64, copy=False)
        return ids

    def known(self, part: _Part) -> npt.NDArray[np.int64]:
        """The row of the vector that each chunk of a part had for the same text, -1 where there is none: int64 [n]."""
        ids, texts = read_texts(tables.part_path(self.chunks / Chunks.name, part.number))
        had = dict(zip(ids.tolist(), texts, strict=True))
        same = np.array([had.get(one) == text for one, text in zip(part.ids.tolist(), part.texts, strict=True)], np.bool_)
        return np.where(same, np.searchsorted(self.arrays.ids, part.ids), -1)


def _vectors(
    changed: Sequence[_Part], before: _Before | None, settings: EmbedSettings, runtime: Runtime
) -> tuple[Vectors, Mapping[str, object]]:
    """The vectors of all texts of these parts, float32 [n, d], and who makes such vectors."""
    texts = [text for part in changed for text in part.texts]
    if before is None:
        embedder = registry.load(settings)
        who = {"name": embedder.name, "digest": embedder.digest, "dimension": embedder.dimension}
        return _encoded(embedder, texts, settings, runtime, stored=True), who
    facts = before.facts
    who = {"name": facts["embedder"], "digest": facts["digest"], "dimension": facts["dimension"]}
    rows = np.concatenate([np.empty(0, np.int64), *(before.known(part) for part in changed)])
    vectors = np.empty((len(texts), facts["dimension"]), np.float32)
    vectors[rows >= 0] = before.arrays.vectors[rows[rows >= 0]]
    if len(missing := np.flatnonzero(rows < 0)):
        # To look a few texts up, and to store them, takes longer than to embed them where that is cheap.
        spread = registry.spread_of(settings)
        stored = spread.keep_after is not None or len(missing) > spread.texts
        wanted = [texts[row] for row in missing.tolist()]
        vectors[missing] = _encoded(registry.load(settings), wanted, settings, runtime, stored=stored)
    return vectors, who


def _encoded(embedder: Embedder, texts: Sequence[str], settings: EmbedSettings, runtime: Runtime, *, stored: bool) -> Vectors:
    """Vectors of texts; with `stored` from the cache, which keeps the others."""
    spread = registry.spread_of(settings)
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

    if runtime.shared is None or not stored:
        return np.concatenate([np.empty((0, embedder.dimension), np.float32), *encode(texts)])
    cache = VectorCache(runtime.shared, embedder.document_digest, embedder.dimension)
    vectors = cache.through(texts, encode, keep_after=spread.keep_after)
    cache.flush()
    return vectors


def read_texts(path: Path) -> tuple[Ids, list[str]]:
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


def _write_part(folder: Path, part: int, ids: Ids, vectors: Vectors) -> None:
    schema = Embeddings.schema_of(vectors.shape[1])
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field("embedding").type)
    tables.write_part(folder, Embeddings, part, pa.table([pa.array(ids), rows], schema=schema), schema)


def _write_arrays(folder: Path, ids: Ids, vectors: Vectors) -> int:
    order = np.argsort(ids)
    ids = _distinct(ids[order])
    write_arrays(folder, ids, vectors[order])
    return len(ids)


def _change_arrays(folder: Path, before: _Before, gone: Ids, ids: Ids, vectors: Vectors) -> int:
    """The arrays without what was in the changed parts, and with what is there now."""
    old = before.arrays
    stay = np.ones(len(old.ids), np.bool_)
    stay[np.searchsorted(old.ids, gone)] = False
    kept = np.flatnonzero(stay)
    everything = np.concatenate([old.ids[kept], ids])
    places = np.concatenate([kept, np.arange(len(old.ids), len(old.ids) + len(ids))])
    hashes = np.concatenate([old.hashes[kept], hashes_of(vectors)])
    order = np.argsort(everything, kind="stable")
    merged = _distinct(everything[order])
    rows = Stacked(old.vectors, vectors, places[order])
    write_arrays(folder, merged, rows, hashes[order], earlier=(before.folder, old))
    return len(merged)


def _distinct(ids: Ids) -> Ids:
    """Ascending ids. Raises `InvariantViolationError` where two are equal."""
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if len(repeated):
        raise InvariantViolationError(f"The chunk id {repeated[0]} is not unique.", hint="Build with another `id_salt`.")
    return ids


def _uses(settings: Settings) -> Mapping[str, str]:
    return registry.uses(settings.embed)


STAGE = Stage(embeddings, code_version="2", uses=_uses)
