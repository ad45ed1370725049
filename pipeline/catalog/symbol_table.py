"""The symbols of a version in memory, numbered, so that an answer about one is a slice of an array and not a scan of tables.

Reading them costs about as much as two scans by SQL, and needs no DuckDB, so one question pays for it, too. A version that was
built without symbols is answered from its definitions; it knows no references. What is local to a function is left out.

Belongs here: reading the tables into arrays. Not here: what a name means (`lookup`), putting answers together (`describe`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalog.numbering import (
    Bounds,
    Links,
    Numbers,
    as_numpy,
    bounds_of,
    linked,
    numbered,
    sorted_words,
    words_of,
)
from pipeline.catalog.surroundings import Surroundings, read_surroundings
from pipeline.columns import starting_with
from pipeline.schemas import Definitions, ScipOccurrences, ScipSymbols, SymbolEdges
from pipeline.structure.scip.symbol_grammar import LOCAL, ending_with, last_descriptor
from pipeline.tables import has_table, read_columns

Relation = Literal["bases", "implementations", "callers", "callees"]

FILE = "file:"
"""How `symbol_edges` names a file whose code outside of all definitions is the source."""
_SYNTAX = "syntax "
_OCCURRENCE_COLUMNS = ("uri", "symbol", "is_definition", "start_line", "start_byte", "end_byte")
_SYMBOL_COLUMNS = ("symbol", "display_name", "kind", "provenance", "signature", "documentation")
_DEFINITION_COLUMNS = ("uri", "name", "qualified_name", "kind", "signature", "doc", "start_line", "name_start_byte")


@dataclass(frozen=True, slots=True)
class Names:
    """Symbols by their names without regard to case.

    The symbols named `folded[i]` are `symbols[bounds[i]:bounds[i + 1]]`; `folded` is sorted. `spelt[code[s]]` is the name of
    symbol s as it is written.
    """

    spelt: list[str]
    code: Numbers
    folded: list[str]
    bounds: Bounds
    symbols: Numbers


@dataclass(frozen=True, slots=True)
class Places:
    """Occurrences, by symbol, then definitions before references, then by file and place.

    The definitions of symbol s are the rows `bounds[2 * s]:bounds[2 * s + 1]`, its references those up to `bounds[2 * s + 2]`.
    `uri` are places in `SymbolTable.uris`; lines are 1-based, bytes half-open.
    """

    bounds: Bounds
    uri: Numbers
    line: Numbers
    start: Numbers
    end: Numbers

    def definitions(self, symbol: int) -> slice:
        """Rows."""
        return slice(int(self.bounds[2 * symbol]), int(self.bounds[2 * symbol + 1]))

    def has_definition(self, symbol: int) -> bool:
        """Whether there is a row that defines it."""
        return bool(self.bounds[2 * symbol] < self.bounds[2 * symbol + 1])

    def references(self, symbol: int) -> slice:
        """Rows."""
        return slice(int(self.bounds[2 * symbol + 1]), int(self.bounds[2 * symbol + 2]))


@dataclass(slots=True)
class SymbolTable:
    """Symbols 0 to n - 1 of one version. Threads may share it; what it says of the surroundings of chunks is read when first
    asked for."""

    version: Path
    symbols: list[str]
    """[n] As they are written."""
    part: npt.NDArray[np.bool_]
    """[n] Whether it is a parameter or another part of a definition, which share their names with what people look for."""
    names: Names
    kinds: Sequence[str]
    """[n], as `provenances`"""
    provenances: Sequence[str]
    texts: pa.Table
    """signature, documentation; what is known of symbol s is the row `row[s]`, or nothing where that is -1."""
    row: Numbers
    uris: list[str]
    """Ascending."""
    places: Places
    relations: Mapping[Relation, Links]
    plain: bool
    """Whether symbols are qualified names, as in a version that was built without symbols."""
    _surroundings: Surroundings | None = None
    _by_hash: tuple[Bounds, Bounds] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def name(self, number: int) -> str:
        """The display name of a symbol."""
        return self.names.spelt[int(self.names.code[number])]

    def text(self, number: int, column: str) -> str:
        """`signature` or `documentation` of a symbol; empty where nothing is known."""
        row = int(self.row[number])
        return str(self.texts[column][row].as_py()) if row >= 0 else ""

    def number_of(self, symbol: str) -> int | None:
        """The number of a symbol that is written out; None for one that is local, or not of this version."""
        with self._lock:
            if self._by_hash is None:
                hashes = np.fromiter(map(hash, self.symbols), np.int64, len(self.symbols))
                order = np.argsort(hashes, kind="stable")
                self._by_hash = hashes[order], order
            hashes, order = self._by_hash
        if symbol.startswith(LOCAL):
            return None
        first, end = np.searchsorted(hashes, hash(symbol)), np.searchsorted(hashes, hash(symbol), "right")
        return next((int(one) for one in order[first:end] if self.symbols[one] == symbol), None)

    @property
    def surroundings(self) -> Surroundings:
        """What stands around and in chunks."""
        with self._lock:
            if self._surroundings is None:
                self._surroundings = read_surroundings(self.version, pa.array(self.symbols, pa.string()))
            return self._surroundings

    @property
    def nbytes(self) -> int:
        """About how many bytes the symbols hold, the surroundings of chunks left out."""
        arrays = [self.part, self.row, self.names.code, self.names.bounds, self.names.symbols]
        arrays += [getattr(self.places, name) for name in Places.__slots__]
        arrays += [array for one in self.relations.values() for array in (one.bounds, one.others)]
        words = sum(sys.getsizeof(word) + 8 for word in (*self.symbols, *self.names.spelt, *self.names.folded, *self.uris))
        lists = 8 * (len(self.kinds) + len(self.provenances))
        return int(sum(array.nbytes for array in arrays) + self.texts.nbytes + words + lists)


def read_symbols(version: Path) -> SymbolTable:
    """The symbols of a version's directory. Raises `IndexCorruptionError` or `IndexFormatError` for a table that cannot be
    read, `IndexCorruptionError` where there are not even definitions."""
    precise = has_table(version, ScipSymbols) and has_table(version, ScipOccurrences)
    return _from_scip(version) if precise else _from_definitions(version)


def _from_scip(version: Path) -> SymbolTable:
    known = read_columns(version, ScipSymbols, _SYMBOL_COLUMNS)
    occurrences = read_columns(version, ScipOccurrences, _OCCURRENCE_COLUMNS)
    edges = read_columns(version, SymbolEdges, ("source", "target", "kind")) if has_table(version, SymbolEdges) else None
    columns = [known["symbol"], occurrences["symbol"], *((edges["source"], edges["target"]) if edges else ())]
    symbols, (rows, codes, *ends) = numbered(columns)
    local, defines = starting_with(symbols, LOCAL), as_numpy(occurrences["is_definition"])
    kept = ~local[codes]
    uris, uri = sorted_words(occurrences["uri"])
    line, start, end = (as_numpy(occurrences[name])[kept] for name in ("start_line", "start_byte", "end_byte"))
    places = _places(len(symbols), codes[kept], defines[kept], uri[kept], line, start, end)
    relations = _relations(len(symbols), edges, ends)
    return _table(version, symbols, rows, known, local, uris, places, relations, plain=False)


def _from_definitions(version: Path) -> SymbolTable:
    known = read_columns(version, Definitions, _DEFINITION_COLUMNS)
    symbols, (codes,) = numbered([known["qualified_name"]])
    uris, uri = sorted_words(known["uri"])
    lengths = np.fromiter((len(name.encode()) for name in known["name"].to_pylist()), np.int32, known.num_rows)
    start, line = as_numpy(known["name_start_byte"]), as_numpy(known["start_line"])
    places = _places(len(symbols), codes, np.ones(len(codes), bool), uri, line, start, start + lengths)
    known = known.select(["qualified_name", "name", "kind", "signature", "doc"]).rename_columns(
        ["symbol", "display_name", "kind", "signature", "documentation"]
    )
    local = np.zeros(len(symbols), bool)
    return _table(version, symbols, codes, known, local, uris, places, _relations(len(symbols), None, ()), plain=True)


def _table(
    version: Path,
    symbols: pa.StringArray,
    rows: Numbers,
    known: pa.Table,
    local: npt.NDArray[np.bool_],
    uris: list[str],
    places: Places,
    relations: Mapping[Relation, Links],
    *,
    plain: bool,
) -> SymbolTable:
    """The table of `symbols`, where `rows` are the symbols of the rows of `known`; of several rows the first one counts."""
    row = np.full(len(symbols), -1, np.int32)
    row[rows[::-1]] = np.arange(len(rows), dtype=np.int32)[::-1]
    displayed = known["display_name"].to_pylist()
    kinds_known = words_of(known["kind"])
    provenances_known = words_of(known["provenance"]) if "provenance" in known.column_names else ["syntax"] * len(rows)
    written: list[str] = symbols.to_pylist()
    names, kinds, provenances = [""] * len(symbols), [""] * len(symbols), ["scip"] * len(symbols)
    for number, place in enumerate(row.tolist()):
        if place >= 0:
            names[number], kinds[number], provenances[number] = displayed[place], kinds_known[place], provenances_known[place]
        else:
            names[number], kinds[number], provenances[number] = _facts_of_unknown(written[number])
    hidden = local | starting_with(symbols, FILE)
    part = ending_with(symbols, "parameter", "type parameter")
    texts = known.select(["signature", "documentation"])
    names_of = _named(names, ~hidden)
    return SymbolTable(version, written, part, names_of, kinds, provenances, texts, row, uris, places, relations, plain)


def _facts_of_unknown(symbol: str) -> tuple[str, str, str]:
    """Display name, kind and provenance of a symbol that occurs though nothing describes it: something outside of the
    repository, a file, or (kind `name`) whatever is spelt so, where syntax alone cannot tell what is meant."""
    if symbol.startswith(FILE):
        return symbol.removeprefix(FILE), "file", ""
    last = last_descriptor(symbol)
    name = last.name if last else symbol
    return (name, "name", "syntax") if symbol.startswith(_SYNTAX) else (name, "", "scip")


def _named(names: list[str], shown: npt.NDArray[np.bool_]) -> Names:
    codes: dict[str, int] = {}
    code = np.fromiter((codes.setdefault(name, len(codes)) for name in names), np.int32, len(names))
    spelt = list(codes)
    folded = sorted({name.lower() for name in spelt})
    place = {name: number for number, name in enumerate(folded)}
    keys = np.fromiter((place[name.lower()] for name in spelt), np.int32, len(spelt))[code]
    order = np.argsort(keys, kind="stable")
    order = order[shown[order]]
    return Names(spelt, code, folded, bounds_of(keys[order], len(folded)), order.astype(np.int32))


def _places(
    count: int, codes: Numbers, defines: npt.NDArray[np.bool_], uri: Numbers, line: Numbers, start: Numbers, end: Numbers
) -> Places:
    # The rows of a file come by place already (`schemas`), and the sort is stable.
    groups = codes.astype(np.int64) * 2 + ~defines
    order = np.argsort(groups * (int(uri.max(initial=0)) + 1) + uri, kind="stable")
    return Places(bounds_of(groups[order], 2 * count), uri[order], line[order], start[order], end[order])


def _relations(count: int, edges: pa.Table | None, ends: Sequence[Numbers]) -> dict[Relation, Links]:
    source, target = ends or (np.empty(0, np.int32),) * 2
    kinds = np.array(words_of(edges["kind"]), dtype=object) if edges else np.empty(0, object)
    calls, implements = kinds == "calls", kinds == "implements"
    return {
        "bases": linked(source[implements], target[implements], count, among=count),
        "implementations": linked(target[implements], source[implements], count, among=count),
        "callers": linked(target[calls], source[calls], count, among=count),
        "callees": linked(source[calls], target[calls], count, among=count),
    }
