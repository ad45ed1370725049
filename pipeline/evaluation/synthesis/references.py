"""Which definition a symbol is, and which definitions refer to which: joins of SCIP tables with definitions.

Belongs here: these joins, by column. Not here: what is asked because of them (`calls`, `from_tests`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.columns import codes_of
from pipeline.evaluation.synthesis.corpus import Corpus, Flags, Numbers
from pipeline.schemas import ScipOccurrences, SymbolEdges

_SHIFT = 32


@dataclass(frozen=True)
class References:
    """Occurrences [n] that refer: the number of the file, the byte, and the row of the definition that is meant; and the
    symbols [m] of definitions with their rows."""

    file: Numbers
    start: Numbers
    target: Numbers
    symbols: pa.StringArray
    rows: Numbers

    def rows_of(self, symbols: pa.StringArray) -> Numbers:
        """int64 [symbols]: the row of each one's definition, or -1."""
        if not len(self.symbols):
            return np.full(len(symbols), -1, np.int64)
        places = pc.fill_null(pc.index_in(symbols, value_set=self.symbols), -1).to_numpy().astype(np.int64)
        return np.where(places >= 0, self.rows[np.maximum(places, 0)], -1)


def read_references(corpus: Corpus, occurrences: Path) -> References:
    """What refers to definitions of the repository. A symbol that several definitions have is that of the first."""
    table = tables.read_columns(occurrences, ScipOccurrences, ["uri", "symbol", "is_definition", "start_byte"])
    (uri, uris), (symbol, symbols) = codes_of(table["uri"]), codes_of(table["symbol"])
    known = pa.array(corpus.files.uris, pa.string())
    file = pc.fill_null(pc.index_in(uris, value_set=known), -1).to_numpy().astype(np.int64)[uri]
    start, defines = table["start_byte"].to_numpy().astype(np.int64), table["is_definition"].to_numpy()
    own = corpus.definitions
    row_of = np.full(len(symbols), -1, np.int64)
    if len(own.file):
        keys = (own.file << _SHIFT) + own.name_start
        order = np.argsort(keys, kind="stable")
        at = np.flatnonzero(defines & (file >= 0))[::-1]
        wanted = (file[at] << _SHIFT) + start[at]
        places = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(order) - 1)]
        hits = keys[places] == wanted
        row_of[symbol[at[hits]]] = places[hits]
    refers = np.flatnonzero(~defines & (file >= 0) & (row_of[symbol] >= 0))
    defined = np.flatnonzero(row_of >= 0)
    return References(file[refers], start[refers], row_of[symbol[refers]], symbols.take(pa.array(defined)), row_of[defined])


def read_calls(references: References, edges: Path) -> tuple[Numbers, Numbers]:
    """The rows of calling and of called definitions [calls], each pair once."""
    table = tables.read_columns(edges, SymbolEdges, ["source", "target", "kind"])
    table = table.filter(pc.equal(table["kind"], "calls"))
    sides = []
    for name in ("source", "target"):
        codes, words = codes_of(table[name])
        sides.append(references.rows_of(words)[codes])
    source, target = sides
    both = (source >= 0) & (target >= 0) & (source != target)
    pairs = np.unique(np.stack([source[both], target[both]], 1), axis=0) if both.any() else np.zeros((0, 2), np.int64)
    return pairs[:, 0], pairs[:, 1]


def used_inside(corpus: Corpus, references: References, rows: Numbers, wanted: Flags) -> tuple[Numbers, Numbers]:
    """For definitions `rows` that do not lie in each other: which of them (its place in `rows`) uses which of the `wanted`
    definitions [definitions], each pair once."""
    own = corpus.definitions
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    keys = (own.file[rows] << _SHIFT) + own.start[rows]
    order = np.argsort(keys, kind="stable")
    at = np.flatnonzero(wanted[references.target])
    places = np.searchsorted(keys[order], (references.file[at] << _SHIFT) + references.start[at], side="right") - 1
    owners = order[np.maximum(places, 0)]
    inside = (places >= 0) & (own.file[rows[owners]] == references.file[at]) & (references.start[at] < own.end[rows[owners]])
    pairs = np.unique(np.stack([owners[inside], references.target[at[inside]]], 1), axis=0)
    return pairs[:, 0], pairs[:, 1]
