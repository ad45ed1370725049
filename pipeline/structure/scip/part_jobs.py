"""One part of the tables of symbols, in two passes: what is in it, then its rows.

What a reference by syntax means depends on the definitions of all parts, and where a symbol is described that several files
describe, on all symbols; both are gathered between the passes. What the first leaves for the second lies in a scratch folder.

Belongs here: the two jobs. Not here: what happens between them and over all parts (`scip_tables`), what one occurrence is
(`documents`, `from_syntax`).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import tables
from pipeline.columns import one_chunk
from pipeline.errors import IndexFormatError
from pipeline.schemas import AstNodes, Definitions, ScipOccurrences, ScipSymbols, Sources, Table
from pipeline.structure.scip import documents, from_syntax, indexers, reader
from pipeline.structure.scip.symbol_grammar import LOCAL
from pipeline.structure.scip.texts import Texts

SYNTAX_INDEXER = "tree-sitter"
CAPPED = f"it has more than {from_syntax.MAX_REFERENCES} references"
_DEFINED = ("uri", "name", "qualified_name", "kind", "signature", "doc", "start_byte", "end_byte", "name_start_byte")
_KEPT = ("uri", "name", "start_byte", "end_byte", "name_start_byte")
_NODES = ("uri", "parent_id", "type", "start_byte", "end_byte", "named")


def _rows(kind: type[Table]) -> pa.Schema:
    """A table's columns while it is put together: without restrictions."""
    return pa.schema([pa.field(field.name, field.type) for field in kind.schema])


_OCCURRENCES = _rows(ScipOccurrences)
_SYMBOLS = pa.schema([*tables.plain(_rows(ScipSymbols).empty_table()).schema, pa.field("uri", pa.string())])
"""Symbols, and the file that describes each (null: external)."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents of one index: the bytes of the file at which they begin, int64 [n]. `supplied`: it was built elsewhere."""

    path: Path
    language: str
    tool: str
    indexer: str
    supplied: bool
    starts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its tables, and what the indexes have of it."""

    number: int
    sources: Path
    ast_nodes: Path
    definitions: Path
    documents: tuple[Documents, ...]
    scratch: Path

    def left(self, what: str) -> Path:
        """What the first pass leaves for the second."""
        return self.scratch / f"{what}-{self.number:03d}.arrow"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the first pass says of a part.

    `names` are all definitions, in the shape of `from_syntax.NAMES`; `symbols` (symbol, uri) are what it describes, as in the
    table that it leaves.
    """

    names: pa.Table
    symbols: pa.Table
    precise: frozenset[str]
    left_out: dict[str, str]
    families: frozenset[str]
    """Families of the languages that names are asked for."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The second pass over a part: the names of all parts lie at `names`; `described` [symbols left] are those to write."""

    part: Part
    names: Path
    precise: frozenset[str]
    described: NDArray[np.bool_]
    occurrences: Path
    symbols: Path


@dataclass(frozen=True, slots=True)
class Written:
    """What the second pass says of a part: rows, files without precise occurrences, and which have too many references."""

    scip: int
    syntax: int
    syntax_files: int
    capped: list[str]


def gather(part: Part) -> Gathered:
    """Take the documents of a part, name its definitions, and leave its precise occurrences and all its symbols."""
    precise = documents.Precise()
    sources = tables.read_part(part.sources, Sources, None if part.documents else ["uri", "lang"])
    uris, langs = sources["uri"].to_pylist(), sources["lang"].cast(pa.string()).to_pylist()
    if part.documents:
        contents = dict(zip(uris, sources["content"].to_pylist(), strict=True))
        for index in part.documents:
            try:
                for group in reader.read_documents(index.path, index.starts, language=index.language):
                    documents.add(precise, group, index.tool, index.indexer, contents.get, supplied=index.supplied)
            except IndexFormatError:
                # What somebody supplies must be right; an indexer that was run here may fail, and its files have their syntax.
                if index.supplied:
                    raise
                wanted = indexers.languages(index.language)
                lost = (uri for uri, lang in zip(uris, langs, strict=True) if lang in wanted and uri not in precise.taken)
                precise.left_out.update(dict.fromkeys(lost, documents.DAMAGED))
        del contents
    exact = _joined(precise.occurrences)
    write_scratch(part.left("occurrences"), exact)
    defined = tables.read_part(part.definitions, Definitions, _DEFINED)
    families = {uri: from_syntax.family(lang) for uri, lang in zip(uris, langs, strict=True)}
    by_syntax, symbols, names = _named(defined, exact, precise.taken, families)
    write_scratch(part.left("definitions"), by_syntax.select(_KEPT).append_column("symbol", symbols))
    described = pa.concat_tables([*map(_from_index, precise.symbols), _from_syntax(by_syntax, symbols)])
    described = described.take(pa.array(first_described(described)))
    write_scratch(part.left("symbols"), described)
    asked = frozenset(family for uri, family in families.items() if uri not in precise.taken)
    return Gathered(names, described.select(["symbol", "uri"]), frozenset(precise.taken), precise.left_out, asked)


def write(rest: Rest) -> Written:
    """Write the occurrences and symbols of a part."""
    part = rest.part
    exact = read_scratch(part.left("occurrences"))
    by_syntax, files, capped = _by_syntax(part, rest.precise, read_scratch(rest.names))
    tables.write_part(rest.occurrences, ScipOccurrences, part.number, _ordered(_joined([exact, by_syntax])))
    described = read_scratch(part.left("symbols"))
    if not rest.described.all():
        described = described.filter(pa.array(rest.described))
    tables.write_part(rest.symbols, ScipSymbols, part.number, described)
    return Written(exact.num_rows, by_syntax.num_rows, files, capped)


def _joined(found: list[pa.Table]) -> pa.Table:
    """Occurrences in one table, each of its columns in one piece."""
    table = pa.concat_tables([_OCCURRENCES.empty_table(), *(one.cast(_OCCURRENCES) for one in found)])
    return table.unify_dictionaries().combine_chunks()


def _named(
    defined: pa.Table, exact: pa.Table, taken: set[str], families: Mapping[str, str]
) -> tuple[pa.Table, pa.StringArray, pa.Table]:
    """The definitions of files that no index describes, their symbols, and what each name of the part stands for.

    In a file that an index describes a name stands for the index's symbol, so that files known by syntax alone refer to it.
    """
    uris = one_chunk(defined["uri"]).dictionary_encode()
    described = np.array([uri in taken for uri in uris.dictionary.to_pylist()], bool)[uris.indices.to_numpy()]
    by_syntax = defined.filter(pa.array(~described)).combine_chunks()
    columns = [one_chunk(by_syntax[name]) for name in ("uri", "qualified_name", "kind")]
    symbols = from_syntax.symbols_of(columns[0].dictionary_encode(), *columns[1:])
    names = [_names(by_syntax, symbols, families)]
    if described.any():
        names.append(_names(*_exactly(defined.filter(pa.array(described)), exact), families))
    return by_syntax, symbols, pa.concat_tables(names)


def _names(defined: pa.Table, symbols: pa.StringArray, families: Mapping[str, str]) -> pa.Table:
    uris = one_chunk(defined["uri"]).dictionary_encode()
    owners = pa.array([families[uri] for uri in uris.dictionary.to_pylist()], pa.string()).take(uris.indices)
    return pa.table([owners, defined["name"], symbols], schema=from_syntax.NAMES)


def _exactly(defined: pa.Table, exact: pa.Table) -> tuple[pa.Table, pa.StringArray]:
    """Those definitions whose names are defining occurrences, and the symbols of these."""
    uris, symbols = one_chunk(exact["uri"]), one_chunk(exact["symbol"])
    is_global = ~pc.starts_with(symbols.dictionary, LOCAL).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(exact["is_definition"].to_numpy() & is_global[symbols.indices.to_numpy()])
    there = (uris.indices.to_numpy()[rows].astype(np.int64) << 32) + exact["start_byte"].to_numpy()[rows]
    # Of several at one place the first.
    there, first = np.unique(there, return_index=True)
    files = pc.fill_null(pc.index_in(one_chunk(defined["uri"]), value_set=uris.dictionary), -1).to_numpy().astype(np.int64)
    wanted = (files << 32) + defined["name_start_byte"].to_numpy()
    place = np.minimum(np.searchsorted(there, wanted), max(len(there) - 1, 0))
    known = np.flatnonzero(there[place] == wanted) if len(there) else np.zeros(0, np.int64)
    codes = symbols.indices.to_numpy()[rows[first[place[known]]]]
    return defined.take(pa.array(known)), symbols.dictionary.take(pa.array(codes))


def _from_index(symbols: pa.Table) -> pa.Table:
    return symbols.append_column("provenance", pa.repeat("scip", symbols.num_rows)).select(_SYMBOLS.names).cast(_SYMBOLS)


def _from_syntax(defined: pa.Table, symbols: pa.StringArray) -> pa.Table:
    count = len(symbols)
    nothing = pa.array([], _SYMBOLS.field("relationships").type.value_type)
    columns = {
        "symbol": symbols,
        "display_name": defined["name"],
        "kind": defined["kind"].cast(pa.string()),
        "signature": defined["signature"],
        "documentation": defined["doc"],
        "relationships": pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), nothing),
        "provenance": pa.repeat("syntax", count),
        "uri": defined["uri"],
    }
    return pa.table(columns).cast(_SYMBOLS)


def first_described(symbols: pa.Table) -> NDArray[np.int64]:
    """Of rows (symbol, uri), one of each symbol, in the order of symbols: where the first file by uri describes it.

    Files come before what is said of external symbols; of several descriptions in one file the first stays.
    """
    if not symbols.num_rows:
        return np.zeros(0, np.int64)
    symbol, uri = (_ranks(symbols[name]) for name in ("symbol", "uri"))
    order = np.lexsort((uri, symbol))
    differs = np.ones(len(order), bool)
    differs[1:] = symbol[order][1:] != symbol[order][:-1]
    return order[differs]


def _ranks(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """int64 [n] in the order of the values, nulls after all."""
    codes = one_chunk(column)
    codes = codes if pa.types.is_dictionary(codes.type) else codes.dictionary_encode()
    ranks = np.append(pc.rank(codes.dictionary, tiebreaker="dense").to_numpy().astype(np.int64), np.iinfo(np.int64).max)
    found: NDArray[np.int64] = ranks[pc.fill_null(codes.indices, len(ranks) - 1).to_numpy()]
    return found


def _by_syntax(part: Part, precise: Set[str], names: pa.Table) -> tuple[pa.Table, int, list[str]]:
    """Occurrences in the files of a part that no index describes, how many files have such, and which of these too many."""
    defined = read_scratch(part.left("definitions"))
    nodes = tables.read_part(part.ast_nodes, AstNodes, _NODES)
    files = sorted({*one_chunk(nodes["uri"]).dictionary.to_pylist(), *pc.unique(defined["uri"]).to_pylist()} - precise)
    if not files:
        return _OCCURRENCES.empty_table(), 0, []
    listed = pa.array(files, pa.string())
    sources = tables.read_part(part.sources, Sources)
    sources = sources.take(pc.index_in(listed, value_set=one_chunk(sources["uri"])))
    texts = Texts.of(sources["content"].to_pylist())
    families = [from_syntax.family(lang) for lang in sources["lang"].cast(pa.string()).to_pylist()]
    file = pc.index_in(one_chunk(defined["uri"]), value_set=listed).to_numpy().astype(np.int64)
    start, outer, last = (defined[name].to_numpy().astype(np.int64) for name in ("name_start_byte", "start_byte", "end_byte"))
    end = np.minimum(start + pc.binary_length(defined["name"]).to_numpy(), texts.size[file])
    found = from_syntax.references(
        texts, families, *from_syntax.identifiers(nodes, files), np.unique((file << 32) + start), names
    )
    used, of = np.unique(found.symbol, return_inverse=True)
    meant = one_chunk(names["symbol"].take(pa.array(used)))
    words = pa.concat_arrays([one_chunk(defined["symbol"]), meant]).dictionary_encode()
    symbol = words.indices.take(pa.array(np.concatenate((np.arange(len(file)), len(file) + of))))
    defines = np.repeat((True, False), (len(file), len(found.file)))
    nothing = np.zeros(len(found.file), np.int64)
    file, start, end = (np.concatenate(pair) for pair in ((file, found.file), (start, found.start), (end, found.end)))
    alike = np.zeros(len(file), np.int32)
    columns = {
        "uri": pa.DictionaryArray.from_arrays(file.astype(np.int32), listed),
        "symbol": pa.DictionaryArray.from_arrays(symbol, words.dictionary),
        "roles": np.where(defines, 1, 8).astype(np.int32),
        "is_definition": defines,
        "start_byte": start.astype(np.int32),
        "end_byte": end.astype(np.int32),
        "start_line": texts.lines(file, start).astype(np.int32),
        "end_line": texts.lines(file, np.maximum(end - 1, start)).astype(np.int32),
        "enclosing_start_byte": pa.array(np.concatenate((outer, nothing)).astype(np.int32), mask=~defines),
        "enclosing_end_byte": pa.array(np.concatenate((last, nothing)).astype(np.int32), mask=~defines),
        "provenance": pa.DictionaryArray.from_arrays(alike, pa.array(["syntax"])),
        "indexer": pa.DictionaryArray.from_arrays(alike, pa.array([SYNTAX_INDEXER])),
    }
    table = pa.table([columns[name] for name in _OCCURRENCES.names], schema=_OCCURRENCES)
    return table, len(np.unique(file)), [files[number] for number in found.capped]


def _ordered(table: pa.Table) -> pa.Table:
    """Occurrences in the order of their table; those alike in it by roles."""
    place = (_ranks(table["uri"]) << 32) + table["start_byte"].to_numpy()
    end = table["end_byte"].to_numpy()
    order = np.lexsort((end, place))
    same = (place[order][1:] == place[order][:-1]) & (end[order][1:] == end[order][:-1])
    # Symbols are strings, and few of them stand at one place.
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    if len(tied):
        rows = order[tied]
        symbols = _ranks(table["symbol"].take(pa.array(rows)).cast(pa.string()))
        order[tied] = rows[np.lexsort((table["roles"].to_numpy()[rows], symbols, end[rows], place[rows]))]
    return table.take(pa.array(order))


def write_scratch(path: Path, table: pa.Table) -> None:
    """Leave a table for `read_scratch`."""
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table.combine_chunks())


def read_scratch(path: Path) -> pa.Table:
    """The table, in memory that the system shares between processes and can take back."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
