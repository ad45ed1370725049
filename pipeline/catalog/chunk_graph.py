"""How the chunks of a version are tied by symbols: who defines what others refer to, call, import or derive from.

`chunk_symbols` and `symbol_edges` in memory, so that the ties of one chunk are slices of arrays. Reading them takes as long as
reading the tables, once a process; the ties of a chunk then take well below a millisecond.

Belongs here: ties, and how much each says. Not here: which chunks are near (`search.related`), symbols by name (`lookup`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalog.numbering import Links, Numbers, as_numpy, linked, numbered, words_of
from pipeline.catalog.symbol_table import FILE
from pipeline.columns import starting_with
from pipeline.schemas import Chunks, ChunkSymbols, SymbolEdges
from pipeline.structure.scip.symbol_grammar import ending_with
from pipeline.tables import read_columns

EDGES = ("calls", "contains", "implements", "imports")
"""As in `chunks.symbols`, which a fresh process does not import, for it would load pyarrow.compute; a test holds them equal."""

Ids = npt.NDArray[np.int64]


class Relation(StrEnum):
    """What another chunk is to a chunk. Of several that hold for one symbol, the one that stands first is told."""

    EXTENDS = "extends"
    """It defines what a definition here derives from, or implements."""
    EXTENDED_BY = "extended by"
    CALLS = "calls"
    """It defines what a definition here calls."""
    CALLED_BY = "called by"
    IMPORTS = "imports"
    """It defines what is referred to here and imported by this file."""
    IMPORTED_BY = "imported by"
    USES = "uses"
    """It defines what is referred to here."""
    USED_BY = "used by"
    INSIDE = "inside of"
    """It defines what a definition here is a member of."""
    HOLDS = "holds"


@dataclass(frozen=True, slots=True)
class Ties:
    """What ties other chunks to a chunk, a row for each chunk and symbol: ids int64 [n], symbols int32 [n].

    The symbol is what is extended, called, imported, used or held. `worth` float64 [n] is how much it says: from 0 for what
    every chunk has to nearly 1 for what only few have.
    """

    ids: Ids
    symbols: Numbers
    worth: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChunkGraph:
    """Chunks 0 to n - 1, files, and symbols 0 to m - 1 of one version. Threads may share it."""

    ids: Ids
    """[n] Chunks, ascending."""
    files: Numbers
    """[n] The number of each chunk's file."""
    symbols: pa.StringArray
    """[m]"""
    worth: npt.NDArray[np.float64]
    """[m] As `Ties` has it."""
    defined: Links
    """Chunk to symbol, as the next one."""
    referred: Links
    definers: Links
    """Symbol to chunk, as the next one."""
    referrers: Links
    edges: Mapping[str, Links]
    """By kind of edge from what it starts at to what it leads to; imports by the number of the file."""
    back: Mapping[str, Links]
    """The same from its end to its start."""

    def ties(self, chunk: int) -> dict[Relation, Ties]:
        """What ties other chunks to a chunk of this version, by relation; relations that tie none are left out."""
        place = int(np.searchsorted(self.ids, chunk))
        own = self.defined.of([place])
        used = np.setdiff1d(self.referred.of([place]), own)
        imported = np.intersect1d(used, self.edges["imports"].of([int(self.files[place])]))
        pairs = {
            Relation.EXTENDS: self.definers.pairs(self.edges["implements"].of(own)),
            Relation.EXTENDED_BY: self._at_other_end("implements", own),
            Relation.CALLS: self.definers.pairs(self.edges["calls"].of(own)),
            Relation.CALLED_BY: self._at_other_end("calls", own),
            Relation.IMPORTS: self.definers.pairs(imported),
            Relation.IMPORTED_BY: self._importing(own),
            Relation.USES: self.definers.pairs(used),
            Relation.USED_BY: self.referrers.pairs(own),
            Relation.INSIDE: self.definers.pairs(self.back["contains"].of(own)),
            Relation.HOLDS: self.definers.pairs(self.edges["contains"].of(own)),
        }
        return dict(self._each_once(place, pairs))

    def _at_other_end(self, kind: str, own: Numbers) -> tuple[Numbers, Numbers]:
        """What of its own edges of a kind lead to, beside the chunks that define what they start at."""
        ends, starts = self.back[kind].pairs(own)
        counts = self.definers.bounds[starts + 1] - self.definers.bounds[starts]
        return np.repeat(ends, counts), self.definers.pairs(starts)[1]

    def _importing(self, own: Numbers) -> tuple[Numbers, Numbers]:
        """What of its own other files import, beside the chunks of these that refer to it."""
        symbols, chunks = self.referrers.pairs(own)
        files = self.back["imports"].pairs(own)
        width = int(self.files.max(initial=0)) + 1
        kept = np.isin(_keys(symbols, self.files[chunks], width), _keys(*files, width))
        return symbols[kept], chunks[kept]

    def _each_once(self, place: int, pairs: Mapping[Relation, tuple[Numbers, Numbers]]) -> Iterator[tuple[Relation, Ties]]:
        """Symbols and chunks by relation as ties, each symbol and chunk in the first relation that has them."""
        symbols, chunks = (np.concatenate(columns) for columns in zip(*pairs.values(), strict=True))
        relations = np.repeat(np.arange(len(pairs)), [len(symbols) for symbols, _ in pairs.values()])
        _, first = np.unique(_keys(symbols, chunks, len(self.ids)), return_index=True)
        first = first[chunks[first] != place]
        for number, relation in enumerate(pairs):
            rows = first[relations[first] == number]
            if len(rows):
                yield relation, Ties(self.ids[chunks[rows]], symbols[rows], self.worth[symbols[rows]])


def _keys(these: Numbers, others: Numbers, width: int) -> Ids:
    return these.astype(np.int64) * width + others


def read_chunk_graph(version: Path, ids: Ids, files: Numbers, uris: Sequence[str]) -> ChunkGraph:
    """Of a version's directory, whose chunks are `ids` [n], ascending, each of a file of `uris`.

    Raises `IndexCorruptionError` or `IndexFormatError` for tables that cannot be read.
    """
    stands = read_columns(version, ChunkSymbols, ("chunk_id", "symbol", "role"))
    edges = read_columns(version, SymbolEdges, ("uri", "source", "kind", "target"))
    symbols, (symbol, source, target) = numbered([stands["symbol"], edges["source"], edges["target"]])
    told = ~ending_with(symbols, "parameter", "type parameter")
    chunk = np.searchsorted(ids, as_numpy(stands["chunk_id"])).astype(np.int32)
    defines = np.array(words_of(stands["role"]), object) == "definition"
    rows, count = told[symbol], len(symbols)
    held = {role: rows & (defines == role) for role in (True, False)}
    by_chunk = {role: linked(chunk[kept], symbol[kept], len(ids), among=count) for role, kept in held.items()}
    by_symbol = {role: linked(symbol[kept], chunk[kept], count, among=len(ids)) for role, kept in held.items()}
    everywhere = linked(symbol, chunk, count, among=len(ids))
    forth, back = _edges(edges, symbols, source, target, uris)
    return ChunkGraph(
        ids, files, symbols, _worth(np.diff(everywhere.bounds), len(ids)),
        by_chunk[True], by_chunk[False], by_symbol[True], by_symbol[False], forth, back,
    )  # fmt: skip


def _worth(chunks: npt.NDArray[np.int64], among: int) -> npt.NDArray[np.float64]:
    """Of symbols that so many chunks have: the inverse document frequency (Spärck Jones 1972), 1 for a single chunk."""
    return np.asarray(1.0 - np.log(np.maximum(chunks, 1)) / np.log(among + 1), np.float64)


def _edges(
    edges: pa.Table, symbols: pa.StringArray, source: Numbers, target: Numbers, uris: Sequence[str]
) -> tuple[dict[str, Links], dict[str, Links]]:
    """Edges by kind, forth and back. What a module calls and holds at its top is left out, for that may be in any chunk."""
    kinds, count = np.array(words_of(edges["kind"]), object), len(symbols)
    place = {uri: number for number, uri in enumerate(uris)}
    file = np.fromiter((place[uri] for uri in words_of(edges["uri"])), np.int32, edges.num_rows)
    module = ending_with(symbols, "namespace", "meta") | starting_with(symbols, FILE)
    forth, back = {}, {}
    for kind in EDGES:
        these, width = (file, len(uris)) if kind == "imports" else (source, count)
        kept = (kinds == kind) & ((kind == "imports") | ~module[source])
        forth[kind] = linked(these[kept], target[kept], width, among=count)
        back[kind] = linked(target[kept], these[kept], count, among=width)
    return forth, back


def read_contents(version: Path) -> tuple[Ids, npt.NDArray[np.uint64]]:
    """The chunks of a version's directory, ids int64 [n], and the hashes of their contents, uint64 [n], in no order. Raises
    what `read_chunk_graph` does."""
    table = read_columns(version, Chunks, ("id", "content_hash"))
    return as_numpy(table["id"]), as_numpy(table["content_hash"])
