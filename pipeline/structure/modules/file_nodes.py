"""The syntax nodes of one file, out of a part of `ast_nodes`, as slices of arrays.

Belongs here: reading node columns, and finding nodes by type, parent and text. Not here: what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.columns import codes_of, runs

NODE_COLUMNS = ("uri", "parent_id", "type", "start_byte", "end_byte", "depth", "named")


@dataclass(frozen=True, slots=True)
class FileNodes:
    """The nodes of one file in pre-order, as arrays [nodes]; a node's id is its row."""

    words: list[str]
    """What the codes in `kind` stand for."""
    kind: NDArray[np.int64]
    parent: NDArray[np.int32]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    depth: NDArray[np.int16]
    named: NDArray[np.bool_]
    numbers: dict[str, int]
    content: bytes
    part: PartNodes
    number: int
    """Which file of the part it is."""

    def codes(self, types: frozenset[str]) -> list[int]:
        """The codes of those of the types that occur in the part."""
        return [self.numbers[name] for name in types if name in self.numbers]

    def of_types(self, types: frozenset[str]) -> NDArray[np.int64]:
        """Ids of the nodes of some types, named or not, ascending."""
        return self.part.of_types(types, self.number)

    def under(self, ids: NDArray[np.int64], types: frozenset[str]) -> NDArray[np.int64]:
        """Those of some nodes whose parent is of some types."""
        if not len(ids):
            return ids
        wanted = np.zeros(len(self.words) + 1, np.bool_)
        wanted[self.codes(types)] = True
        parent = self.parent[ids]
        return ids[wanted[np.where(parent >= 0, self.kind[parent], len(self.words))]]

    def spelled(self, ids: NDArray[np.int64], texts: frozenset[bytes]) -> list[int]:
        """Those of some nodes whose text is one of `texts`."""
        sizes = self.end[ids] - self.start[ids]
        fitting = np.zeros(len(ids), np.bool_)
        for size in {len(text) for text in texts}:
            fitting |= sizes == size
        return [node for node in ids[fitting].tolist() if self.raw(node) in texts]

    def raw(self, node: int) -> bytes:
        """The bytes of a node."""
        return self.content[self.start[node] : self.end[node]]

    def text(self, node: int) -> str:
        """The text of a node; bytes that are not UTF-8 are replaced."""
        return self.raw(node).decode("utf-8", "replace")

    def type(self, node: int) -> str:
        """The type of a node."""
        return self.words[int(self.kind[node])]

    def subtree_end(self, node: int) -> int:
        """The id after the last node below a node."""
        step, low = 64, node + 1
        while low < len(self.depth):
            outside = np.flatnonzero(self.depth[low : low + step] <= self.depth[node])
            if len(outside):
                return low + int(outside[0])
            low, step = low + step, step * 4
        return len(self.depth)

    def children(self, node: int) -> list[int]:
        """Ids of the children of a node."""
        below = slice(node + 1, self.subtree_end(node))
        found: list[int] = (np.flatnonzero(self.parent[below] == node) + node + 1).tolist()
        return found


class PartNodes:
    """The node columns of one part, by uri."""

    def __init__(self, table: pa.Table) -> None:
        self._spans = runs(table["uri"])
        self._edges = np.array([*(at.start for at in self._spans.values()), table.num_rows], np.int64)
        self._places = {uri: number for number, uri in enumerate(self._spans)}
        self._kind, words = codes_of(table["type"])
        self._words = words.to_pylist()
        self._numbers = {name: code for code, name in enumerate(self._words)}
        self._parent, self._start, self._end, self._depth, self._named = (
            table[name].to_numpy() for name in ("parent_id", "start_byte", "end_byte", "depth", "named")
        )
        self._found: dict[frozenset[str], tuple[NDArray[np.int64], list[int]]] = {}

    def of(self, uri: str, content: bytes) -> FileNodes | None:
        """The nodes of a file; None when it was not parsed."""
        at = self._spans.get(uri)
        if at is None:
            return None
        columns = (self._kind[at], self._parent[at], self._start[at], self._end[at], self._depth[at], self._named[at])
        return FileNodes(self._words, *columns, self._numbers, content, self, self._places[uri])

    def of_types(self, types: frozenset[str], number: int) -> NDArray[np.int64]:
        """Ids of the nodes of some types in one file, ascending. The whole part is looked through once for all files."""
        if types not in self._found:
            wanted = np.array([word in types for word in self._words], np.bool_)
            rows = np.flatnonzero(wanted[self._kind]) if wanted.any() else np.zeros(0, np.int64)
            edges = np.searchsorted(rows, self._edges)
            self._found[types] = rows - np.repeat(self._edges[:-1], np.diff(edges)), edges.tolist()
        ids, bounds = self._found[types]
        return ids[bounds[number] : bounds[number + 1]]
