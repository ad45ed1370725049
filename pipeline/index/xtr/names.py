"""The names in files, as spans of bytes: those that definitions give, and identifiers of the syntax tree.

Belongs here: from tables to spans. Not here: which tokens stand there (`places`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import codes_of
from pipeline.index.xtr.encoder import Spans
from pipeline.structure.scip.from_syntax import IDENTIFIERS


def names_of(definitions: pa.Table) -> dict[str, Spans]:
    """The bytes of the names that a part of `definitions` defines, by file: int32 [m, 2], ascending.

    A section of a document is a title, and no name.
    """
    kept = definitions.filter(pc.not_equal(definitions["kind"].cast(pa.string()), "section"))
    starts = kept["name_start_byte"].to_numpy()
    return _by_file(kept["uri"], starts, starts + pc.binary_length(kept["name"]).to_numpy())


def identifiers_of(ast_nodes: pa.Table) -> dict[str, Spans]:
    """The bytes of the identifiers in a part of `ast_nodes`, by file: int32 [m, 2], ascending."""
    codes, words = codes_of(ast_nodes["type"])
    wanted = np.array([word in IDENTIFIERS or word.endswith("identifier") for word in words.to_pylist()], bool)
    kept = ast_nodes.take(pa.array(np.flatnonzero(wanted[codes])))
    return _by_file(kept["uri"], kept["start_byte"].to_numpy(), kept["end_byte"].to_numpy())


def _by_file(uris: pa.ChunkedArray, starts: npt.NDArray[np.int32], ends: npt.NDArray[np.int32]) -> dict[str, Spans]:
    codes, words = codes_of(uris)
    order = np.lexsort((starts, codes))
    bounds = np.searchsorted(codes[order], np.arange(len(words) + 1))
    spans = np.stack([starts, ends], axis=1).astype(np.int32)[order]
    return {uri: spans[bounds[at] : bounds[at + 1]] for at, uri in enumerate(words.to_pylist()) if bounds[at] < bounds[at + 1]}
