"""One FAISS index as the rest of the room sees it: search at a point, ids in row order, adding and removing by id.

What differs between families at search time is hidden here. A rotation is applied by hand before the inverted lists are
searched, so that no selector has to be nested in FAISS's parameters, where it can filter wrong ids. Every call makes a fresh
parameter object: FAISS rewrites them while it searches.

Belongs here: calls into a FAISS index. Not here: training and filling it (`building`), files (`index_files`), re-ranking
(`searching`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.index.dense.arrays import Ids, Scores, Vectors, rows_of
from pipeline.index.dense.families import Family, import_faiss
from pipeline.index.dense.operating_point import OperatingPoint


class Ann:
    """A FAISS index of a family. Searching changes nothing in it, so threads may search at the same time."""

    def __init__(self, index: Any, family: Family) -> None:
        faiss = import_faiss()
        self.index = index
        self.family = family
        self.dimension = int(index.d)
        inner = index
        self._rotations: list[Any] = []
        if isinstance(index, faiss.IndexPreTransform):
            self._rotations = [faiss.downcast_VectorTransform(index.chain.at(at)) for at in range(index.chain.size())]
            inner = faiss.downcast_index(index.index)
        self._inner = inner
        self.nlist = int(inner.nlist) if isinstance(inner, faiss.IndexIVF) else 0
        self._lists = faiss.downcast_InvertedLists(inner.invlists) if self.nlist else None
        if self._lists is not None and isinstance(self._lists, faiss.OnDiskInvertedLists):
            # It would start 32 threads for every search, to read what the page cache mostly has.
            self._lists.prefetch_nthread = 0
        self._open: npt.NDArray[np.bool_] | None = None
        """Which inverted lists a search may visit; None: all."""

    @property
    def true_scores(self) -> bool:
        """Whether the scores of a search are those of the true vectors, bit by bit."""
        return self.family.true_scores

    def __len__(self) -> int:
        """How many rows it has, also those that may not be found."""
        return int(self.index.ntotal)

    def search(self, queries: Vectors, depth: int, point: OperatingPoint, selector: Any = None) -> tuple[Ids, Scores]:
        """The `depth` best rows of each query by the index's own scores: ids int64 [q, depth], scores float32 [q, depth].

        Rows that were not found have id -1 and stand anywhere. `selector` is a FAISS selector over ids.
        """
        faiss = import_faiss()
        parameters: Any
        if self.nlist:
            parameters = faiss.SearchParametersIVF()
            parameters.nprobe = point.nprobe
            # FAISS keeps no reference to either: the names do, until the search is done.
            if selector is not None:
                parameters.sel = selector
            if (visited := self._visited()) is not None:
                parameters.quantizer_params = visited
        elif point.ef_search is not None:
            # FAISS takes `depth` where that is more.
            parameters = faiss.SearchParametersHNSW(efSearch=point.ef_search, sel=selector)
        else:
            parameters = faiss.SearchParameters(sel=selector) if selector is not None else None
        # The identity map of a flat index is inside `index`; a rotation is outside of the inner one.
        target = self._inner if self._rotations else self.index
        scores, ids = np.empty((len(queries), depth), np.float32), np.empty((len(queries), depth), np.int64)
        queries = np.ascontiguousarray(self._rotated(queries))
        # Without FAISS's wrapper, which checks what is checked already.
        pointer = faiss.swig_ptr
        target.search_c(len(queries), pointer(queries), depth, pointer(scores), pointer(ids), parameters)
        return ids, scores

    def within(self, ids: Ids) -> tuple[Self, float]:
        """This index with only those inverted lists open that hold any of `ids` (int64 [m]), and what share `ids` are of them.

        A filter by language or folder lets whole neighbourhoods through and others not at all: to visit those others is
        wasted, and to count them as visited leaves nothing of nprobe for the lists that matter.
        """
        if not self.nlist:
            return self, len(ids) / max(1, len(self))
        homes = self._homes_of(ids)
        homes = homes[homes >= 0]
        inside = copy.copy(self)
        inside._open = np.zeros(self.nlist, bool)
        inside._open[homes] = True
        return inside, len(homes) / max(1, int(self._homes[2][inside._open].sum()))

    def _homes_of(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The inverted list of each id, int64 of any shape; -1 where it is in none."""
        known, homes, _ = self._homes
        rows = rows_of(known, ids)
        return np.where(rows >= 0, homes[rows], -1) if len(homes) else rows

    @cached_property
    def _homes(self) -> tuple[Ids, npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids ascending, int64 [n]; the inverted list of each, int32 [n]; the size of each list, int64 [nlist]."""
        sizes = self._sizes()
        ids = self.ids()
        order = np.argsort(ids)
        return ids[order], np.repeat(np.arange(self.nlist, dtype=np.int32), sizes)[order], sizes

    def _sizes(self) -> npt.NDArray[np.int64]:
        return np.array([self._lists.list_size(number) for number in range(self.nlist)], np.int64)  # type: ignore[union-attr]

    def _visited(self) -> Any:
        """The parameters that keep the search for near lists to the open ones; None where all are open."""
        faiss = import_faiss()
        if self._open is None:
            return None
        return faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(self._open, bitorder="little")))

    def _rotated(self, queries: Vectors) -> Vectors:
        for rotation in self._rotations:
            queries = rotation.apply(queries)
        return queries

    def ids(self) -> Ids:
        """The id of each row, int64 [n]: of inverted lists, list by list."""
        faiss = import_faiss()
        if self._lists is None:
            mapped: Ids = faiss.vector_to_array(self.index.id_map)
            return mapped
        found = np.empty(len(self), np.int64)
        at = 0
        for number in range(self.nlist):
            if size := self._lists.list_size(number):
                found[at : at + size] = faiss.rev_swig_ptr(self._lists.get_ids(number), size)
                at += size
        # Fewer than the index says: never a wrong id, but a hole.
        return found[:at]

    def scanned(self, queries: Vectors) -> Callable[[int, OperatingPoint], int]:
        """How many vectors a search for these queries scores, over all of them, as a function of depth and point.

        Inverted lists: the sizes of those that are visited. Graphs: a bound, efSearch times the links of the lowest level,
        because FAISS counts in one variable for all threads. Else: all.
        """
        if self._lists is None or not len(queries):
            return lambda depth, point: len(queries) * self.effort(depth, point)
        order = self._order(queries)
        total = np.cumsum(np.where(order < 0, 0, self._sizes()[order]).sum(axis=0))
        return lambda _depth, point: int(total[(point.nprobe or 1) - 1])

    def places(self, queries: Vectors, ids: Ids) -> npt.NDArray[np.int64]:
        """How many inverted lists are nearer to a query than that of an id: int64 [q, m] for queries [q, d] and ids [q, m].

        A search that visits more lists than that comes by; 0 for ids that are in none. Only for families with lists.
        """
        order = self._order(queries)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(self.nlist)[None], axis=1)
        homes = self._homes_of(ids)
        return np.where(homes >= 0, np.take_along_axis(rank, np.maximum(homes, 0), axis=1), 0)

    def _order(self, queries: Vectors) -> npt.NDArray[np.int64]:
        """The inverted lists in the order in which each query visits them, int64 [q, nlist]; -1 where lists are closed."""
        quantizer, visited = self._inner.quantizer, self._visited()
        _, order = quantizer.search(self._rotated(queries), self.nlist, params=visited)
        return np.asarray(order, np.int64)

    def effort(self, depth: int, point: OperatingPoint) -> int:
        """About how many vectors one query is scored against."""
        n = len(self)
        if self.nlist:
            return n * (point.nprobe or 1) // self.nlist
        if point.ef_search is not None:
            return min(n, max(point.ef_search, depth) * self._links)
        return n

    @property
    def _links(self) -> int:
        faiss = import_faiss()
        return int(faiss.downcast_index(self.index.index).hnsw.nb_neighbors(0))

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors under ids that are not in it. The caller has checked both."""
        if len(ids):
            self.__dict__.pop("_homes", None)
            self.index.add_with_ids(np.ascontiguousarray(vectors), np.ascontiguousarray(ids))

    def remove(self, ids: Ids) -> int:
        """Take rows out; only for families that can. Returns how many."""
        self.__dict__.pop("_homes", None)
        return int(self.index.remove_ids(import_faiss().IDSelectorBatch(ids))) if len(ids) else 0
