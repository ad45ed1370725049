"""Symbols joined to chunks, and to each other, by byte ranges: the occurrences of one part in, columns out.

Everything is found by binary search over sorted keys (file number, byte), so that the cost is that of sorting.

Belongs here: which chunk and which definition an occurrence lies in, and the relations that follow. Not here: reading and
writing tables (`symbols_stage`), where occurrences come from (`pipeline.structure`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.columns import codes_of, starting_with
from pipeline.structure.scip.symbol_grammar import LOCAL, LastDescriptors, ending_with

OCCURRENCE_COLUMNS = (
    "uri", "symbol", "roles", "is_definition", "start_byte", "end_byte", "enclosing_start_byte", "enclosing_end_byte",
)  # fmt: skip
CHUNK_COLUMNS = ("id", "uri", "start_byte", "end_byte")
ROLES = ("definition", "reference")
EDGES = ("calls", "contains", "implements", "imports")
FILE_PREFIX = "file:"
"""With the uri after it, what stands for a file that has no module symbol."""

_IMPORT = 2
_SHIFT = 32

Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Occurrences:
    """The occurrences of one part, in table order: int64 codes into the string arrays `uris` and `symbols`, and bytes.

    Where an occurrence has no enclosing range, `enclosing_start` and `enclosing_end` are -1.
    """

    uris: pa.Array
    symbols: pa.Array
    uri: Codes
    symbol: Codes
    roles: Codes
    defines: Flags
    start: Codes
    end: Codes
    enclosing_start: Codes
    enclosing_end: Codes

    @classmethod
    def of(cls, table: pa.Table) -> Occurrences:
        """From a table with `OCCURRENCE_COLUMNS`."""
        (uri, uris), (symbol, symbols) = codes_of(table["uri"]), codes_of(table["symbol"])
        enclosing = (pc.fill_null(table[f"enclosing_{side}_byte"], -1) for side in ("start", "end"))
        numbers = (column.to_numpy().astype(np.int64) for column in (table["start_byte"], table["end_byte"], *enclosing))
        roles = table["roles"].to_numpy().astype(np.int64)
        return cls(uris, symbols, uri, symbol, roles, table["is_definition"].to_numpy(), *numbers)

    @cached_property
    def local(self) -> Flags:
        """bool [occurrences]: its symbol means something in its file only."""
        return starting_with(self.symbols, LOCAL)[self.symbol]

    def keys(self, offsets: Codes) -> Codes:
        """(file, offset) as one sortable number."""
        return (self.uri << _SHIFT) + offsets


@dataclass(frozen=True, slots=True)
class Nesting:
    """Spans that lie in each other: `owners[i]` is the innermost span from `bounds[i]` to the next bound, or -1."""

    bounds: Codes
    owners: Codes
    parents: Codes
    """int64 [spans]: the innermost span around each span, or -1."""

    def innermost(self, keys: Codes) -> Codes:
        """int64 [keys]: the span around each key that starts last (of several, the one that ends first), or -1."""
        if not len(self.bounds):
            return np.full(len(keys), -1, np.int64)
        at = np.searchsorted(self.bounds, keys, side="right") - 1
        return np.where(at >= 0, self.owners[np.maximum(at, 0)], -1)


def nest(starts: Codes, ends: Codes) -> Nesting:
    """The nesting of half-open spans, in any order, by one pass over the sorted spans with a stack.

    Spans may also cross, and equal spans are not each other's parents. Empty spans enclose nothing, but have a parent.
    """
    bounds: list[int] = []
    owners: list[int] = []
    parents = np.full(len(starts), -1, np.int64)
    stack: list[int] = []
    low_of, high_of = starts.tolist(), ends.tolist()

    def close(until: int | None) -> None:
        while stack and (until is None or high_of[stack[-1]] <= until):
            end = high_of[stack.pop()]
            # What ended under it, which only crossing spans do.
            while stack and high_of[stack[-1]] <= end:
                stack.pop()
            bounds.append(end)
            owners.append(stack[-1] if stack else -1)

    for span in np.lexsort((-ends, starts)).tolist():
        low, high = low_of[span], high_of[span]
        close(low)
        if stack:
            top = stack[-1]
            parents[span] = parents[top] if (low_of[top], high_of[top]) == (low, high) else top
        if high > low:
            stack.append(span)
            bounds.append(low)
            owners.append(span)
    close(None)
    return Nesting(np.array(bounds, np.int64), np.array(owners, np.int64), parents)


def chunk_symbols(chunks: pa.Table, occurrences: Occurrences) -> tuple[pa.Table, int]:
    """(chunk_id, symbol, role, count) of every chunk, and how many occurrences lie in no chunk.

    `chunks` has `CHUNK_COLUMNS` and the order of its table. An occurrence belongs to the chunk that it starts in, an empty one
    at the end of a file to the last chunk. Symbols that are local to a file are left out. An empty file has no chunks, and the
    empty occurrence of its module is not counted as lost.
    """
    owner = _owners(chunks, occurrences)
    found = owner >= 0
    kept = found & ~occurrences.local
    ids = chunks["id"].to_numpy()
    by_id = np.argsort(ids, kind="stable")
    place = np.empty(len(ids), np.int64)
    place[by_id] = np.arange(len(ids))
    ranks, words = _ranked(occurrences.symbols)
    # One number sorts as (chunk, role, symbol) does: chunks and symbols of a part are fewer than 2^31.
    keys = (
        (place[owner[kept]] << _SHIFT) + ((~occurrences.defines[kept]).astype(np.int64) << 31) + ranks[occurrences.symbol[kept]]
    )
    distinct, counts = np.unique(keys, return_counts=True)
    roles = pa.DictionaryArray.from_arrays(pa.array((distinct >> 31 & 1).astype(np.int32)), pa.array(ROLES))
    columns = [
        pa.array(ids[by_id][distinct >> _SHIFT]),
        pa.DictionaryArray.from_arrays(pa.array((distinct & (1 << 31) - 1).astype(np.int32)), words),
        roles,
        pa.array(counts.astype(np.int32)),
    ]
    has_no_room = ~found & (occurrences.start == 0) & (occurrences.end == 0)
    return pa.table(columns, ["chunk_id", "symbol", "role", "count"]), int(np.count_nonzero(~found & ~has_no_room))


def symbol_edges(occurrences: Occurrences, relations: pa.Table) -> pa.Table:
    """(uri, source, target, kind, count): what symbols contain, call, import and implement.

    What is a function, method or type shows in the last descriptor of its symbol.

    * `contains`: the innermost definition (of a function, method or type) around a definition of such. Around one without an
      enclosing range, and without a definition whose range holds it, it is the symbol that its own symbol is a member of, if
      the file defines that; else the module.
    * `calls`: a reference to a function or method, from the innermost definition around it, else from the module.
    * `imports`: an occurrence with the import role, always from the module.
    * `implements`: the relationships of `relations` (symbol, relationships), in the file where `symbol` is first defined here.

    The module is the symbol of the definition at the first byte of the file (`.../` or `.../__init__:`), else `file:` with
    the uri. Symbols that are local to a file are left out, and nothing contains or implements itself.
    """
    public = ~occurrences.local
    callables = ending_with(occurrences.symbols, "method", "macro")  # a method is what functions are, too
    enclosing = callables | ending_with(occurrences.symbols, "type")
    definitions = np.flatnonzero(public & occurrences.defines & enclosing[occurrences.symbol])
    has_span = occurrences.enclosing_end[definitions] > occurrences.enclosing_start[definitions]
    scopes = definitions[has_span]
    starts, ends = (occurrences.keys(side)[scopes] for side in (occurrences.enclosing_start, occurrences.enclosing_end))
    nesting = nest(starts, ends)
    modules = len(occurrences.symbols) + occurrences.uri
    _name_modules(occurrences, public, modules)

    def owners(rows: Codes, spans: Codes) -> Codes:
        """Symbols of the scopes that rows lie in, or their modules."""
        inside = spans >= 0
        found = modules[rows].copy()
        found[inside] = occurrences.symbol[scopes[spans[inside]]]
        return found

    bare = definitions[~has_span]
    bare_spans = nesting.innermost(occurrences.keys(occurrences.start)[bare])
    bare_owners = np.where(bare_spans < 0, _members_of(occurrences, bare, definitions, modules[bare]), owners(bare, bare_spans))
    contained, containers = np.concatenate([scopes, bare]), np.concatenate([owners(scopes, nesting.parents), bare_owners])
    apart = containers != occurrences.symbol[contained]

    imports = public & (occurrences.roles & _IMPORT != 0) & ~occurrences.defines
    calls = np.flatnonzero(public & ~occurrences.defines & ~imports & callables[occurrences.symbol])
    callers = owners(calls, nesting.innermost(occurrences.keys(occurrences.start)[calls]))
    imported = np.flatnonzero(imports)
    rows = (calls, contained[apart], imported)
    sources, targets, files = _implementations(occurrences, relations)
    words = pa.concat_arrays([occurrences.symbols, pc.binary_join_element_wise(FILE_PREFIX, occurrences.uris, ""), targets])
    first_target = len(words) - len(targets)
    kinds = np.repeat([0, 1, 3, 2], [*map(len, rows), len(sources)])
    return _grouped(
        occurrences.uris,
        words,
        np.concatenate([*(occurrences.uri[part] for part in rows), files]),
        np.concatenate([callers, containers[apart], modules[imported], sources]),
        kinds,
        np.concatenate([*(occurrences.symbol[part] for part in rows), first_target + np.arange(len(targets))]),
    )


def _flags(array: pa.Array) -> Flags:
    found: Flags = array.to_numpy(zero_copy_only=False).astype(np.bool_)
    return found


def _ranked(words: pa.Array) -> tuple[Codes, pa.Array]:
    """The rank of each word, equal for equal words, and the words by rank."""
    ranks = pc.rank(words, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64) - 1
    _, first = np.unique(ranks, return_index=True)
    return ranks, words.take(pa.array(first))


def _owners(chunks: pa.Table, occurrences: Occurrences) -> Codes:
    """int64 [occurrences]: the row in `chunks` that each occurrence starts in, or -1."""
    if not len(chunks) or not len(occurrences.uri):
        return np.full(len(occurrences.uri), -1, np.int64)
    codes, uris = codes_of(chunks["uri"])
    starts, ends = (chunks[name].to_numpy().astype(np.int64) for name in ("start_byte", "end_byte"))
    numbers = pc.fill_null(pc.index_in(occurrences.uris, value_set=uris), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    file = numbers[occurrences.uri]
    # Chunks lie in the order of their files, whose codes are in the order of first use.
    found = np.searchsorted((codes << _SHIFT) + starts, (file << _SHIFT) + occurrences.start, side="right") - 1
    at = np.maximum(found, 0)
    at_end = (occurrences.start == ends[at]) & (occurrences.end == occurrences.start)
    inside = (found >= 0) & (file == codes[at]) & ((occurrences.start < ends[at]) | at_end)
    return np.where(inside, found, -1)


def _name_modules(occurrences: Occurrences, public: Flags, modules: Codes) -> None:
    """Replace the codes in `modules` of the files that define a module symbol."""
    namespaces = ending_with(occurrences.symbols, "namespace", "meta")
    named = np.flatnonzero(public & occurrences.defines & (occurrences.start == 0) & namespaces[occurrences.symbol])
    # The first of a file wins.
    files, first = np.unique(occurrences.uri[named], return_index=True)
    of_file = np.full(len(occurrences.uris), -1, np.int64)
    of_file[files] = occurrences.symbol[named[first]]
    found = of_file[occurrences.uri]
    modules[found >= 0] = found[found >= 0]


def _members_of(occurrences: Occurrences, rows: Codes, definitions: Codes, otherwise: Codes) -> Codes:
    """The symbols that those of `rows` are members of, where the same file defines them."""
    if not len(rows):
        return otherwise
    distinct, back = np.unique(occurrences.symbol[rows], return_inverse=True)
    parents = LastDescriptors.of(occurrences.symbols.take(pa.array(distinct))).owners()
    codes = pc.fill_null(pc.index_in(parents, value_set=occurrences.symbols), -1).to_numpy(zero_copy_only=False)
    parent = codes.astype(np.int64)[back]
    defined = (occurrences.uri[definitions] << _SHIFT) + occurrences.symbol[definitions]
    exists = (parent >= 0) & np.isin((occurrences.uri[rows] << _SHIFT) + parent, defined)
    return np.where(exists, parent, otherwise)


def _implementations(occurrences: Occurrences, relations: pa.Table) -> tuple[Codes, pa.Array, Codes]:
    """Codes of the sources, the targets, and codes of the files, of relationships that are implementations."""
    relations = relations.combine_chunks()
    empty = np.empty(0, np.int64)
    if not relations.num_rows:
        return empty, pa.array([], pa.string()), empty
    listed = relations["relationships"].chunk(0)
    rows, flat = pc.list_parent_indices(listed), pc.list_flatten(listed)
    targets = pc.struct_field(flat, "symbol")
    symbols = pc.cast(relations["symbol"].chunk(0), pa.string()).take(rows)
    places = (
        pc.fill_null(pc.index_in(symbols, value_set=occurrences.symbols), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    first_in = np.full(len(occurrences.symbols) + 1, -1, np.int64)
    defined = np.flatnonzero(occurrences.defines & ~occurrences.local)
    first_in[occurrences.symbol[defined][::-1]] = occurrences.uri[defined][::-1]
    kept = _flags(pc.and_(pc.struct_field(flat, "is_implementation"), pc.not_equal(symbols, targets))) & (first_in[places] >= 0)
    return places[kept], targets.filter(pa.array(kept)), first_in[places[kept]]


def _grouped(uris: pa.Array, words: pa.Array, uri: Codes, source: Codes, kind: Codes, target: Codes) -> pa.Table:
    """Equal rows counted, in the order of the table."""
    uri_ranks, uri_words = _ranked(uris)
    ranks, sorted_words = _ranked(words)
    columns = [uri_ranks[uri], ranks[source], kind, ranks[target]]
    order = np.lexsort(columns[::-1])
    columns = [column[order] for column in columns]
    differs = np.zeros(len(order), np.bool_)
    differs[:1] = True
    for column in columns:
        differs[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(differs)
    counts = np.diff(np.append(first, len(order)))
    values = (uri_words, sorted_words, pa.array(EDGES), sorted_words)
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(column[first].astype(np.int32)), dictionary)
        for column, dictionary in zip(columns, values, strict=True)
    ]
    names = ["uri", "source", "kind", "target", "count"]
    return pa.table([*arrays, pa.array(counts.astype(np.int32))], names)
