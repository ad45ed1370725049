"""The reading side of the vector index: open, search, and look vectors up by id.

Importing this module loads neither pyarrow nor FAISS.

Belongs here: a stored index as something to ask. Not here: building (`stage`), changing (`updates`), the steps of a
search (`searching`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.config import SearchSettings
from pipeline.embed.arrays import VECTORS_FOLDER
from pipeline.errors import IndexCorruptionError
from pipeline.index.dense import operating_point
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids, Scores, TrueVectors, Vectors, checked_ids, rows_of
from pipeline.index.dense.description import (
    DELETIONS_FILE,
    DELTA_FILE,
    INDEX_FILE,
    METRIC,
    NORMALISATION,
    ROWS_FILE,
    IndexMeta,
    read_meta,
)
from pipeline.index.dense.families import FAMILIES, Family, Maps, import_faiss
from pipeline.index.dense.gpu import Gpu, on_gpus
from pipeline.index.dense.index_files import read_ids, read_index, read_rows
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.dense.searching import Observe, Parts, alive_selector, answer, candidates, true_scores

_REBUILD = "Run `indexctl verify`, then `indexctl build`."
_MAPPED_FROM = 64 << 20
"""Bytes from which on lists, or codes, stay in their file."""

_log = logging.getLogger(__name__)


class IdMap(NamedTuple):
    """Which id each row is: rows int64 [n], ascending; ids int64 [n]; whether the row is the delta's, bool [n].

    The rows of the primary come first, those of the delta follow; rows of deleted vectors are left out.
    """

    rows: Ids
    ids: Ids
    in_delta: npt.NDArray[np.bool_]


class VectorIndex:
    """An opened vector index. Threads may search it at the same time: nothing in it changes after opening, but that an error
    of a device ends the use of the GPU (`gpu` says whether it is used, and why not)."""

    def __init__(self, primary: Ann, delta: Ann | None, dead: Ids, meta: IndexMeta, vectors: Path, gpu: Gpu) -> None:
        """`open` makes these. `vectors` is the folder of the true vectors."""
        self.meta = meta
        self.gpu = gpu
        self.point = operating_point.parse(
            meta.parameters,
            meta.k_factor,
            family=primary.family,
            nlist=primary.nlist,
            default=operating_point.first_point(primary.family, primary.nlist),
        )
        # It must not hold the index: files that are mapped would stay open until the garbage is collected.
        self._truth = cache(partial(_open_truth, vectors, meta))
        self._parts = Parts(primary, delta, dead, alive_selector(dead), meta.count, self._truth)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        vectors: Path | None = None,
        verified: bool = False,
        mapped: bool | None = None,
        search: SearchSettings | None = None,
    ) -> VectorIndex:
        """Open the index in a version's or an object's directory.

        `vectors` is the folder of the true vectors where that is another one; `verified` says that the digests of the
        files have been checked already (sizes are checked always); `mapped` whether what can be mapped stays in the file (None:
        where that is large); `search` are the settings by which a GPU is used (None: it is not), see `gpu`. Logs one audit
        line. Raises `IndexCorruptionError` when a file is missing or not what the description says, `IndexFormatError` when
        it is of another format.
        """
        meta = read_meta(folder)
        primary, delta, dead = read_parts(folder, meta, verified=verified, mapped=mapped)
        primary, gpu = on_gpus(primary, search, deleted=len(dead))
        log_opened(folder, meta, verified=verified, mapped=_mapped(meta, mapped) != "", note=str(gpu))
        return cls(primary, delta, dead, meta, vectors or folder, gpu)

    @property
    def count(self) -> int:
        """How many vectors can be found."""
        return self.meta.count

    @property
    def dimension(self) -> int:
        """The length of each vector."""
        return self.meta.dimension

    @property
    def family(self) -> Family:
        """The family of the index."""
        return self._parts.family

    @property
    def nlist(self) -> int:
        """Inverted lists; 0 in families without."""
        return self._parts.primary.nlist

    def idmap(self) -> IdMap:
        """The id of each row, read from the index itself."""
        return idmap_of(self._parts)

    def primary_ids(self) -> Ids:
        """The id of each row of the primary, also of the deleted, int64 [n], read from the index itself."""
        return self._parts.primary.ids()

    def search(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        allowed: npt.ArrayLike | None = None,
        point: OperatingPoint | None = None,
        observe: Observe | None = None,
    ) -> tuple[Ids, Scores]:
        """The nearest vectors of each query by inner product: ids int64 [q, k'], scores float32 [q, k'].

        `queries` is float32 [q, d], finite. k' is at most k, and smaller where fewer vectors can be found. Each row is ordered
        by score, highest first, then by id; a row that found fewer than another ends in id -1, score -inf. Scores are those of
        the true vectors in every family. With `allowed` (ids int64 [m], in any order; unknown ones are ignored) only those
        vectors are found. `point` takes the place of the index's own; `observe` is told what the call cost. Raises `QueryError`
        for anything else.
        """
        return answer(self._parts, queries, k, allowed=allowed, point=point, default=self.point, observe=observe)

    def scored(self, queries: Vectors, k: int) -> Callable[[OperatingPoint], int]:
        """How many vectors a search for k scores, over all queries (float32 [q, d]), as a function of the point.

        By the index (see `Ann.scanned`), by the delta, and again by re-ranking: the same on every machine.
        """
        primary = self._parts.primary.scanned(queries)
        delta = len(self._parts.delta or ())

        def scored(point: OperatingPoint) -> int:
            depth = min(operating_point.depth_of(k, point), self.count)
            again = 0 if self.family.true_scores else depth
            return primary(depth, point) + len(queries) * (delta + again)

        return scored

    def candidates(self, queries: Vectors, depth: int, point: OperatingPoint) -> Scores:
        """True scores of what the index itself puts first, in its order: float32 [q, depth], -inf where nothing is.

        What a search at a smaller k_factor would re-rank is the beginning of that, but in graphs.
        """
        ids, scores = candidates(self._parts, queries, min(depth, self.count), None, point)
        return scores if self._parts.primary.true_scores else true_scores(self._truth(), queries, ids)

    def within_lists(self, queries: Vectors, ids: Ids) -> Callable[[int], npt.NDArray[np.bool_]] | None:
        """Which of ids, int64 [q, m], lie in the first nprobe inverted lists of their query: bool [q, m], by nprobe.

        What is not there is not found at that nprobe. None for families without lists.
        """
        if not self.nlist:
            return None
        places = self._parts.primary.places(queries, ids)
        return lambda nprobe: places < nprobe

    def vectors_of(self, ids: npt.ArrayLike) -> Vectors:
        """The stored vectors of ids (int64 [m]), float32 [m, d], in the order asked. Raises `NotFoundError` for unknown ids."""
        return self._truth().take(checked_ids(ids))


def _open_truth(folder: Path, meta: IndexMeta) -> TrueVectors:
    truth = TrueVectors.open(folder)
    if truth.vectors.shape != (meta.count, meta.dimension):
        raise IndexCorruptionError(
            f"{folder / VECTORS_FOLDER} holds {truth.vectors.shape[0]} vectors of dimension "
            f"{truth.vectors.shape[1]}, and the index {meta.count} of dimension {meta.dimension}.",
            hint=_REBUILD,
        )
    return truth


def idmap_of(parts: Parts) -> IdMap:
    """The rows that can be found, those of the primary first, read from the index itself."""
    return _living(parts.primary.ids(), parts.delta, parts.dead)


def stored_idmap(folder: Path, *, verified: bool = False) -> IdMap:
    """As `idmap_of` for a stored index, by what is written beside it: the primary is not parsed."""
    meta = read_meta(folder)
    _consistent(folder, meta)
    delta, dead = _read_changes(folder, meta, verified=verified)
    return _living(read_rows(folder, meta, verified=verified).ids, delta, dead)


def _living(primary: Ids, delta: Ann | None, dead: Ids) -> IdMap:
    secondary = delta.ids() if delta is not None else np.empty(0, np.int64)
    living = np.concatenate([rows_of(dead, primary) < 0, np.ones(len(secondary), bool)])
    in_delta = np.concatenate([np.zeros(len(primary), bool), np.ones(len(secondary), bool)])
    return IdMap(np.flatnonzero(living).astype(np.int64), np.concatenate([primary, secondary])[living], in_delta[living])


def read_parts(folder: Path, meta: IndexMeta, *, verified: bool, mapped: bool | None) -> tuple[Ann, Ann | None, Ids]:
    """Primary, delta and deletions of a stored index, each checked before it is parsed and against its description after."""
    family = _consistent(folder, meta)
    index = read_index(folder, INDEX_FILE, meta, verified=verified, mapped=_mapped(meta, mapped))
    primary = _checked(folder / INDEX_FILE, index, meta, family, meta.primary)
    return primary, *_read_changes(folder, meta, verified=verified)


def _consistent(folder: Path, meta: IndexMeta) -> Family:
    """The family of an index. Raises `IndexCorruptionError` for a description that contradicts itself."""
    family = FAMILIES.get(meta.family)
    changes = ({DELTA_FILE} if meta.delta else set()) | ({DELETIONS_FILE} if meta.deleted else set())
    agrees = meta.count == meta.primary + meta.delta - meta.deleted and meta.files.keys() == {INDEX_FILE, ROWS_FILE} | changes
    if family is None or family.mapping != meta.mapping or meta.normalisation != NORMALISATION or not agrees:
        raise IndexCorruptionError(f"The description of the index in {folder} contradicts itself.", hint=_REBUILD)
    return family


def _read_changes(folder: Path, meta: IndexMeta, *, verified: bool) -> tuple[Ann | None, Ids]:
    """The delta and the deletions of a stored index."""
    delta = None
    if meta.delta:
        secondary = read_index(folder, DELTA_FILE, meta, verified=verified, mapped="")
        delta = _checked(folder / DELTA_FILE, secondary, meta, FAMILIES["flat"], meta.delta)
    dead = np.empty(0, np.int64)
    if meta.deleted:
        dead = read_ids(folder, DELETIONS_FILE, meta, verified=verified)
        if len(dead) != meta.deleted:
            raise IndexCorruptionError(f"{folder / DELETIONS_FILE} holds {len(dead)} ids, not {meta.deleted}.", hint=_REBUILD)
    return delta, dead


def _mapped(meta: IndexMeta, mapped: bool | None) -> Maps:
    """What stays in the file."""
    wanted = meta.files[INDEX_FILE].bytes >= _MAPPED_FROM if mapped is None else mapped
    return FAMILIES[meta.family].maps if wanted else ""


def log_opened(folder: Path, meta: IndexMeta, *, verified: bool, mapped: bool, note: str) -> None:
    """The audit line of an opening: what was opened, and what vouches for it."""
    text = f"opened {folder}: {meta.summary}, {'verified before' if verified else 'verified now'}"
    text = f"{text}{', memory-mapped' if mapped else ''}, {note}"
    # One line, whatever the folder is called.
    _log.info("%s", "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text))


def _checked(path: Path, index: object, meta: IndexMeta, family: Family, rows: int) -> Ann:
    """The parsed index as an `Ann`. Raises `IndexCorruptionError` unless it is of the shape that is described."""
    faiss = import_faiss()
    mapping = "idmap2" if isinstance(index, faiss.IndexIDMap2) else "native"
    metric = METRIC if index.metric_type == faiss.METRIC_INNER_PRODUCT else str(index.metric_type)  # type: ignore[attr-defined]
    found = (index.ntotal, index.d, metric, mapping)  # type: ignore[attr-defined]
    if found != (rows, meta.dimension, meta.metric, family.mapping):
        raise IndexCorruptionError(
            f"{path} holds {found[0]} vectors of dimension {found[1]} ({metric}, {mapping}), "
            f"not {rows} of dimension {meta.dimension} ({meta.metric}, {family.mapping}).",
            hint=_REBUILD,
        )
    return Ann(index, family)
