"""The rows of one file out of tables that hold those of many, as NumPy slices.

Belongs here: reading node and definition columns by uri. Not here: what is made of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.chunks.blocks import Landmarks, no_landmarks
from pipeline.chunks.cast import SyntaxNodes, is_leading
from pipeline.chunks.labels import FileDefinitions
from pipeline.columns import codes_of, runs

NODE_COLUMNS = ("uri", "type", "start_byte", "end_byte", "depth", "named")
DEFINITION_COLUMNS = ("uri", "qualified_name", "kind", "start_byte", "end_byte", "name_start_byte")
_KEY_TYPES = frozenset({"pair", "block_mapping_pair", "flow_pair", "table", "table_array_element"})
"""Node types of keyed entries in JSON, YAML and TOML; their first named child is the key."""


class NodeRows:
    """The node columns of one part of `ast_nodes`, by uri."""

    def __init__(self, table: pa.Table) -> None:
        codes, words = codes_of(table["type"])
        types = words.to_pylist()
        self._spans = runs(table["uri"])
        self._start = _numbers(table["start_byte"])
        self._end = _numbers(table["end_byte"])
        self._depth = _numbers(table["depth"])
        self._named = _numbers(table["named"])
        self._leads = np.array([is_leading(name) for name in types], np.bool_)[codes]
        self._keys = np.array([name in _KEY_TYPES for name in types], np.bool_)[codes]

    def nodes(self, uri: str) -> SyntaxNodes | None:
        """The nodes of a file; None when it was not parsed."""
        if uri not in self._spans:
            return None
        at = self._spans[uri]
        return SyntaxNodes(self._start[at], self._end[at], self._depth[at], self._named[at], self._leads[at])

    def keys(self, uri: str, content: bytes) -> Landmarks:
        """The outermost keys of a data file."""
        if uri not in self._spans:
            return no_landmarks()
        at = self._spans[uri]
        depth, start, end = self._depth[at], self._start[at], self._end[at]
        keys = np.flatnonzero(self._keys[at])
        keys = keys[depth[keys] == depth[keys].min(initial=np.iinfo(depth.dtype).max)]
        named = np.append(np.flatnonzero(self._named[at]), len(depth) - 1)
        # In pre-order the next named node is the first named child.
        child = named[np.minimum(np.searchsorted(named, keys, side="right"), len(named) - 1)]
        names = [
            content[low:high].decode("utf-8", "replace").strip("\"' ")
            for low, high in zip(start[child].tolist(), end[child].tolist(), strict=True)
        ]
        return Landmarks(start[keys].astype(np.int64), end[keys].astype(np.int64), names)


class DefinitionRows:
    """The columns of one part of `definitions`, by uri."""

    def __init__(self, table: pa.Table) -> None:
        self._spans = runs(table["uri"])
        self._kinds, words = codes_of(table["kind"])
        self._kind_words = words.to_pylist()
        self._names = table["qualified_name"].combine_chunks() if table.num_rows else pa.array([], pa.string())
        self._start = _numbers(table["start_byte"])
        self._end = _numbers(table["end_byte"])
        self._name_start = _numbers(table["name_start_byte"])

    def of(self, uri: str) -> FileDefinitions:
        """The definitions of a file, in the order of their beginnings."""
        at = self._spans.get(uri, slice(0, 0))
        return FileDefinitions(
            self._names[at].to_pylist(),
            [self._kind_words[code] for code in self._kinds[at].tolist()],
            self._start[at],
            self._end[at],
            self._name_start[at],
        )


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    numbers: NDArray[Any] = column.to_numpy()
    return numbers
