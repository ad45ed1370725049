"""Where tokens stand in files, and which of them are part of a name.

Belongs here: spans of tokens against definitions and identifiers, as columns. Not here: how names are found (`structure`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.index.xtr.encoder import NOWHERE, Numbers, Spans
from pipeline.structure.scip.from_syntax import IDENTIFIERS

Roles = npt.NDArray[np.uint8]

DEFINED = 1
"""Part of the name that a definition gives to something."""
SYMBOL = 2
"""Part of any name: an identifier of the syntax tree."""
MASKS: Mapping[str, int] = {"definitions": DEFINED, "symbols": SYMBOL | DEFINED}
"""What the settings call them."""
_HIGH = 32


def file_spans(content: str, start: int, end: int, spans: Spans) -> Spans:
    """Spans in the bytes of a chunk's text as spans in the bytes of its file: int32 [t, 2]; -1 where that is not known.

    `start` and `end` are the chunk's bytes in the file. Files in UTF-8 or with one byte a character are known; others are not.
    """
    size = end - start
    placed = spans[:, 0] >= 0
    if len(content.encode()) == size:
        return np.where(placed[:, None], spans + start, NOWHERE).astype(np.int32)
    if len(content) != size:
        return np.full_like(spans, NOWHERE)
    lengths = np.array([len(character.encode()) for character in content], np.int64)
    ends = np.cumsum(lengths)
    return np.where(placed[:, None], np.searchsorted(ends, np.maximum(spans, 0), side="right") + start, NOWHERE).astype(
        np.int32
    )


def names_of(definitions: pa.Table) -> dict[str, Spans]:
    """The bytes of the names that a part of `definitions` defines, by file: int32 [m, 2], ascending.

    A section of a document is a title, and no name.
    """
    kept = definitions.filter(pc.not_equal(definitions["kind"].cast(pa.string()), "section"))
    starts = kept["name_start_byte"].to_numpy()
    return _by_file(kept["uri"], starts, starts + pc.binary_length(kept["name"]).to_numpy())


def identifiers_of(ast_nodes: pa.Table) -> dict[str, Spans]:
    """The bytes of the identifiers in a part of `ast_nodes`, by file: int32 [m, 2], ascending."""
    types = ast_nodes["type"].unify_dictionaries().combine_chunks()
    words = types.dictionary.to_pylist()
    wanted = np.array([word in IDENTIFIERS or word.endswith("identifier") for word in words], bool)
    rows = np.flatnonzero(wanted[types.indices.to_numpy()]) if len(types) else np.zeros(0, np.int64)
    kept = ast_nodes.take(pa.array(rows))
    return _by_file(kept["uri"], kept["start_byte"].to_numpy(), kept["end_byte"].to_numpy())


def _by_file(uris: pa.ChunkedArray, starts: npt.NDArray[np.int32], ends: npt.NDArray[np.int32]) -> dict[str, Spans]:
    if not len(uris):
        return {}
    column = uris.cast(pa.string()).dictionary_encode().combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    codes = column.indices.to_numpy()
    order = np.lexsort((starts, codes))
    bounds = np.searchsorted(codes[order], np.arange(len(column.dictionary) + 1))
    spans = np.stack([starts, ends], axis=1).astype(np.int32)[order]
    return {uri: spans[bounds[at] : bounds[at + 1]] for at, uri in enumerate(column.dictionary.to_pylist())}


def inside(spans: Spans, names: Spans | None) -> npt.NDArray[np.bool_]:
    """Which spans (int32 [t, 2]) share a byte with one of `names` (int32 [m, 2], ascending, none in another): bool [t]."""
    if names is None or not len(names):
        return np.zeros(len(spans), bool)
    before: Numbers = np.searchsorted(names[:, 0], spans[:, 1], side="left") - 1
    found = (before >= 0) & (names[np.maximum(before, 0), 1] > spans[:, 0])
    return np.asarray(found & (spans[:, 0] >= 0))
