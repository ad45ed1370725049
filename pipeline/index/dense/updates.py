"""An index that changes: a primary of any family, a small exact delta of what came since, and deletions.

Nothing is ever changed in two places at once: a deleted row of the primary is passed over until `merge` takes it out, and
what is added goes to the delta until `merge` moves it. Families that cannot take rows out keep passing them over, and are built
anew when too many are dead.

Belongs here: adding, deleting, merging, and storing the result. Not here: searching (`searching`), building (`building`).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import instruments
from pipeline.config import IndexSettings
from pipeline.embed.arrays import IDS_FILE, Hashes, Stacked, hashes_of, open_all, write_arrays
from pipeline.errors import IndexCorruptionError, InvariantViolationError, QueryError, RuntimeLifecycleError
from pipeline.index.dense import operating_point
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids, Rows, Scores, TrueVectors, Vectors, checked_ids, checked_vectors
from pipeline.index.dense.building import build
from pipeline.index.dense.description import IndexMeta, read_meta
from pipeline.index.dense.families import FAMILIES, Family, choose, import_faiss
from pipeline.index.dense.index_files import PrimaryRows, link_parts, read_rows, write_parts
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.dense.searching import Observe, Parts, alive_selector, answer
from pipeline.index.dense.vectors import IdMap, idmap_of, log_opened, read_parts

FOLD_SHARE = 0.1
"""Above this share of rows that are in the delta or dead, `due` says so."""
REBUILD_SHARE = 0.25
"""Above this share of dead rows, a family that cannot take them out is built anew."""
REBUILD_GROWTH = 2.0
"""A trained family is trained anew when the corpus has grown or shrunk by more than this since."""
UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a vector may be: rounding of float32 stays far below it."""

_BLOCK = 1 << 16


class UpdatableIndex:
    """Ids and vectors that come and go. One lock guards it: changes and searches wait for each other."""

    def __init__(self, primary: Ann, truth: TrueVectors, options: IndexSettings, *, embedder_digest: str = "") -> None:
        """`build` and `open` make these."""
        self._primary = primary
        self._delta: Ann | None = None
        self._dead = np.empty(0, np.int64)
        self._truth = truth
        self._options = options
        self._embedder_digest = embedder_digest
        self._factory = ""
        self._training: dict[str, Any] | None = None
        self._point = operating_point.first_point(primary.family, primary.nlist)
        self._rows: PrimaryRows | None = None
        """What was stored of the rows of the primary; None once they are others."""
        self._lock = threading.RLock()
        self.collisions = 0
        """Ids that were refused because they were there already, or twice in one request."""
        self._arrange()

    @classmethod
    def build(cls, ids: npt.ArrayLike, vectors: Rows, options: IndexSettings, *, embedder_digest: str = "") -> UpdatableIndex:
        """A fresh index over vectors float32 [n, d] of length 1 under ascending ids int64 [n]."""
        checked = checked_ids(ids)
        if (np.diff(checked) <= 0).any() or (len(checked) and checked[0] < 0) or len(checked) != vectors.shape[0]:
            raise QueryError("Ids must be ascending, not negative, and as many as the vectors.")
        truth = TrueVectors(checked, vectors)
        family = choose(options, *vectors.shape)
        primary, training = build(family, checked, vectors, options)
        index = cls(primary, truth, options, embedder_digest=embedder_digest)
        index._training, index._factory = training, family.factory(vectors.shape[1], max(1, len(checked)), options)
        return index

    @classmethod
    def open(
        cls, folder: Path, options: IndexSettings, *, vectors: Path | None = None, verified: bool = False
    ) -> UpdatableIndex:
        """A stored index, read into memory whole, to be changed there; its files are never written.

        `vectors` is the folder of the true vectors, where it is not `folder`. Raises `IndexCorruptionError` also when
        the ids of the index are not those of ids.npy.
        """
        meta = read_meta(folder)
        primary, delta, dead = read_parts(folder, meta, verified=verified, mapped=False)
        log_opened(folder, meta, verified=verified, mapped=False, note="to be changed")
        truth = TrueVectors.open(vectors or folder)
        index = cls(primary, truth, options, embedder_digest=meta.embedder_digest)
        index._delta, index._dead = delta, dead
        index._training, index._factory = meta.training, meta.factory
        index._rows = read_rows(folder, meta, verified=verified)
        index._point = operating_point.parse(
            meta.parameters, meta.k_factor, family=primary.family, nlist=primary.nlist, default=index._point
        )
        index._arrange()
        if not np.array_equal(np.sort(index.idmap().ids), truth.ids):
            raise IndexCorruptionError(
                f"The index in {folder} and {(vectors or folder) / IDS_FILE} hold different ids.", hint="Run `indexctl build`."
            )
        return index

    def _arrange(self) -> None:
        """What a search looks at, after a change."""
        self._parts = Parts(
            self._primary, self._delta, self._dead, alive_selector(self._dead), len(self._truth.ids), lambda: self._truth
        )

    def __len__(self) -> int:
        """How many vectors can be found."""
        return len(self._truth.ids)

    @property
    def family(self) -> Family:
        """The family of the primary."""
        return self._primary.family

    @property
    def dimension(self) -> int:
        """The length of each vector."""
        return self._primary.dimension

    @property
    def dead(self) -> int:
        """Rows of the primary that are passed over."""
        return len(self._dead)

    @property
    def delta(self) -> int:
        """Vectors in the delta."""
        return len(self._delta or ())

    @property
    def due(self) -> bool:
        """Whether so much has changed that folding it in is worth it."""
        return self.delta + self.dead > FOLD_SHARE * max(1, len(self._primary))

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add vectors float32 [m, d] of length 1 under new ids int64 [m]: all of them, or none.

        Raises `InvariantViolationError` for an id that is there already or given twice (counted in `collisions`), `QueryError`
        for what may not be added at all.
        """
        new = checked_ids(ids)
        rows = checked_vectors(vectors, self.dimension, "Vectors") if len(new) else np.empty((0, self.dimension), np.float32)
        if len(rows) != len(new):
            raise QueryError(f"There are {len(new)} ids for {len(rows)} vectors.")
        if len(new) and new.min() < 0:
            raise QueryError(f"The id {new.min()} is negative.")
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        if (np.abs(lengths - 1) > UNIT_TOLERANCE).any():
            raise QueryError("Vectors must be of length 1.")
        with self._lock:
            self._refuse_collisions(new)
            if not len(new):
                return
            order = np.argsort(new)
            new, rows = new[order], rows[order]
            if self._delta is None:
                faiss = import_faiss()
                exact = FAMILIES["flat"]
                string = exact.factory(self.dimension, 0, self._options)
                self._delta = Ann(faiss.index_factory(self.dimension, string, faiss.METRIC_INNER_PRODUCT), exact)
            self._delta.add(new, rows)
            self._truth = _with(self._truth, new, rows)
            self._arrange()

    def _refuse_collisions(self, new: Ids) -> None:
        distinct, counts = np.unique(new, return_counts=True)
        colliding = distinct[(counts > 1) | (self._truth.rows(distinct) >= 0)]
        if len(colliding):
            self.collisions += len(colliding)
            instruments.count("faiss_update_collisions_total", len(colliding))
            raise InvariantViolationError(
                f"{len(colliding)} ids are in the index already or given twice, for example {colliding[0]}.",
                hint="Delete them first.",
            )

    def delete(self, ids: npt.ArrayLike) -> int:
        """Delete ids (int64 [m]); those that are not there are passed over. Returns how many were there."""
        wanted = np.unique(checked_ids(ids))
        with self._lock:
            known = wanted[self._truth.rows(wanted) >= 0]
            if not len(known):
                return 0
            in_delta = np.isin(known, self._delta.ids()) if self._delta is not None else np.zeros(len(known), bool)
            if self._delta is not None and self._delta.remove(known[in_delta]) != int(in_delta.sum()):
                raise IndexCorruptionError("The delta did not hold what it said.", hint="Run `indexctl build`.")
            if self._delta is not None and not len(self._delta):
                self._delta = None
            self._dead = np.union1d(self._dead, known[~in_delta])
            self._truth = _without(self._truth, known)
            self._arrange()
            instruments.count("faiss_deletes_total", len(known))
            return len(known)

    def merge(self) -> None:
        """Fold the delta into the primary and take the dead out of it, or build it anew where that is better.

        Where the family cannot take rows out, an id that came back while its dead row is still there stays in the delta.
        """
        with self._lock:
            self._rows = None
            if self._rebuild_due():
                self._rebuild()
            else:
                stay = np.empty(0, np.int64)
                if self.family.deletes == "remove":
                    if self._primary.remove(self._dead) != len(self._dead):
                        raise IndexCorruptionError("The index did not hold what was deleted.", hint="Run `indexctl build`.")
                    self._dead = np.empty(0, np.int64)
                elif self._delta is not None:
                    stay = np.intersect1d(self._delta.ids(), self._dead)
                self._move(stay)
            self._arrange()

    def _move(self, stay: Ids) -> None:
        """Move the delta, but for the ids of `stay`, into the primary."""
        if self._delta is None:
            return
        moved = np.setdiff1d(self._delta.ids(), stay)
        for start in range(0, len(moved), _BLOCK):
            block = moved[start : start + _BLOCK]
            self._primary.add(block, self._truth.take(block))
        if len(stay):
            self._delta.remove(moved)
        else:
            self._delta = None

    def _rebuild_due(self) -> bool:
        n = len(self)
        if choose(self._options, n, self.dimension).name != self.family.name:
            return True
        if self.family.deletes == "tombstone" and self.dead > REBUILD_SHARE * len(self._primary):
            return True
        trained_on = (self._training or {"of": n})["of"]
        return not trained_on / REBUILD_GROWTH <= n <= trained_on * REBUILD_GROWTH

    def _rebuild(self) -> None:
        family = choose(self._options, len(self), self.dimension)
        self._primary, self._training = build(family, self._truth.ids, self._truth.vectors, self._options)
        self._factory = family.factory(self.dimension, max(1, len(self)), self._options)
        self._delta, self._dead = None, np.empty(0, np.int64)
        self._point = operating_point.first_point(family, self._primary.nlist)

    def search(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        allowed: npt.ArrayLike | None = None,
        point: OperatingPoint | None = None,
        observe: Observe | None = None,
    ) -> tuple[Ids, Scores]:
        """As `VectorIndex.search`."""
        with self._lock:
            return answer(self._parts, queries, k, allowed=allowed, point=point, default=self._point, observe=observe)

    def vectors_of(self, ids: npt.ArrayLike) -> Vectors:
        """The vectors of ids (int64 [m]), float32 [m, d]. Raises `NotFoundError` for unknown ids."""
        with self._lock:
            return self._truth.take(checked_ids(ids))

    def idmap(self) -> IdMap:
        """The id of each row that can be found, read from the index itself."""
        with self._lock:
            return idmap_of(self._parts)

    def save(self, folder: Path, *, arrays: bool = False) -> IndexMeta:
        """Write the index into an empty directory; with `arrays` also the true vectors, so that it stands alone."""
        with self._lock:
            if arrays:
                write_arrays(folder, self._truth.ids, self._truth.vectors)
            return write_parts(
                folder,
                self._primary,
                self._delta,
                self._dead,
                rows=self._rows or self._rows_of_primary(),
                factory=self._factory,
                training=self._training,
                point=self._point,
                embedder_digest=self._embedder_digest,
            )

    def save_beside(self, opened: Path, folder: Path) -> IndexMeta:
        """Write the index into an empty directory, with the true vectors; what is as it was in `opened`, the folder that it was
        opened from and not folded since, becomes symbolic links: only for a scratch copy."""
        with self._lock:
            if self._rows is None:
                raise RuntimeLifecycleError("The primary is no longer the one that was opened.", hint="Save the index whole.")
            before = open_all(opened)
            hashes = _hashes_of(self._truth, before.hashes)
            write_arrays(folder, self._truth.ids, self._truth.vectors, hashes, earlier=(opened, before), link=_point_to)
            return link_parts(folder, opened, read_meta(opened), self._delta, self._dead, link=_point_to)

    def _rows_of_primary(self) -> PrimaryRows:
        """What its rows are; the vectors of the dead are not known."""
        ids = self._primary.ids()
        hashes = np.zeros(len(ids), np.uint64)
        living = np.flatnonzero(~np.isin(ids, self._dead))
        for start in range(0, len(living), _BLOCK):
            block = living[start : start + _BLOCK]
            hashes[block] = hashes_of(self._truth.take(ids[block]))
        return PrimaryRows(ids, hashes)


def _point_to(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def _hashes_of(truth: TrueVectors, before: Hashes) -> Hashes:
    """Of the vectors of an index that was opened and changed; `before` has those of the rows that it was opened with."""
    rows = _stacked(truth)
    old = rows.places < len(before)
    found = np.empty(len(old), np.uint64)
    found[old] = before[rows.places[old]]
    found[~old] = hashes_of(rows.more[rows.places[~old] - len(before)])
    return found


def _stacked(truth: TrueVectors) -> Stacked:
    if isinstance(truth.vectors, Stacked):
        return truth.vectors
    count, dimension = truth.vectors.shape
    return Stacked(truth.vectors, np.empty((0, dimension), np.float32), np.arange(count, dtype=np.int64))


def _with(truth: TrueVectors, ids: Ids, vectors: Vectors) -> TrueVectors:
    """`truth` and more vectors under ascending ids that it does not have."""
    old = _stacked(truth)
    first = old.base.shape[0] + len(old.more)
    places = np.concatenate([old.places, np.arange(first, first + len(ids), dtype=np.int64)])
    everything = np.concatenate([truth.ids, ids])
    order = np.argsort(everything, kind="stable")
    return TrueVectors(everything[order], Stacked(old.base, np.concatenate([old.more, vectors]), places[order]))


def _without(truth: TrueVectors, ids: Ids) -> TrueVectors:
    """`truth` without some of its ids. What was added and deleted again takes memory until the index is stored and opened."""
    old = _stacked(truth)
    stay = np.ones(len(truth.ids), bool)
    stay[truth.rows(ids)] = False
    return TrueVectors(truth.ids[stay], Stacked(old.base, old.more, old.places[stay]))
