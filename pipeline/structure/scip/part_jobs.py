"""One part of the tables of symbols, in two passes: what is in it, then its rows.

What a reference by syntax means depends on the definitions of all parts, and where a symbol is described that several files
describe, on all symbols; both are gathered between the passes. What the first leaves for the second lies in a scratch folder.

Belongs here: the two jobs. Not here: what happens between them and over all parts (`scip_tables`), what one occurrence is
(`documents`, `from_syntax`), what a part says of names to others (`part_names`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import tables
from pipeline.columns import one_chunk
from pipeline.errors import IndexFormatError
from pipeline.files import seal_of
from pipeline.schemas import AstNodes, Definitions, ScipOccurrences, ScipSymbols, Sources, Table
from pipeline.structure.scip import documents, from_syntax, indexers, part_names, reader
from pipeline.structure.scip.former_symbols import Former, former
from pipeline.structure.scip.naming import named
from pipeline.structure.scip.texts import Texts

SYNTAX_INDEXER = "tree-sitter"
CAPPED = f"it has more than {from_syntax.MAX_REFERENCES} references"
_DEFINED = ("uri", "name", "qualified_name", "kind", "signature", "doc", "start_byte", "end_byte", "name_start_byte")
_NODES = ("uri", "parent_id", "type", "start_byte", "end_byte", "named")


def _rows(kind: type[Table]) -> pa.Schema:
    """A table's columns while it is put together: without restrictions."""
    return pa.schema([pa.field(field.name, field.type) for field in kind.schema])


_OCCURRENCES = _rows(ScipOccurrences)
_SYMBOLS = pa.schema([*tables.plain(_rows(ScipSymbols).empty_table()).schema, pa.field("uri", pa.string())])
"""Symbols, and the file that describes each (null: external)."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents of one index: rows of `covered` that have a start. `supplied`: the index was built elsewhere."""

    path: Path
    language: str
    tool: str
    indexer: str
    supplied: bool
    covered: pa.Table


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

    `names` are all definitions, as `from_syntax.merged`; `symbols` (symbol, uri) are what it describes, as in the table that
    it leaves, and `described` the same as `part_names.described_hashes`; `asked` are the identifiers of `files` (uri, family
    of languages), those that no index describes.
    """

    names: pa.Table
    symbols: pa.Table
    described: pa.Table
    asked: NDArray[np.uint32]
    files: list[tuple[str, str]]
    precise: int
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True)
class Rest:
    """The second pass over a part: what names stand for lies at `names`; `described` [symbols left] are those to write."""

    part: Part
    names: Path
    files: list[tuple[str, str]]
    described: NDArray[np.bool_]
    occurrences: Path
    symbols: Path


@dataclass(frozen=True, slots=True)
class Written:
    """What the second pass says of a part: rows, files with rows from syntax, and which of these have too many references."""

    scip: int
    syntax: int
    syntax_files: int
    capped: list[str]


def gather(part: Part) -> Gathered:
    """Take the documents of a part, name its definitions, and leave its precise occurrences, all its symbols, and what may
    refer to something by name."""
    sources = tables.read_part(part.sources, Sources)
    uris, langs = sources["uri"].to_pylist(), sources["lang"].cast(pa.string()).to_pylist()
    contents: dict[str, bytes] = dict(zip(uris, sources["content"].to_pylist(), strict=True))
    families = {uri: from_syntax.family(lang) for uri, lang in zip(uris, langs, strict=True)}
    precise, before = _by_indexes(part, contents, dict(zip(uris, langs, strict=True)))
    exact = _joined(precise.occurrences)
    write_scratch(part.left("occurrences"), exact)
    defined = tables.read_part(part.definitions, Definitions, _DEFINED)
    by_syntax, symbols, names = named(defined, exact, precise.taken, families, before)
    nodes = tables.read_part(part.ast_nodes, AstNodes, _NODES)
    files = sorted({*one_chunk(nodes["uri"]).dictionary.to_pylist(), *pc.unique(by_syntax["uri"]).to_pylist()} - precise.taken)
    asked = _identified(part, nodes, files, [families[uri] for uri in files], contents, by_syntax, symbols)
    described = pa.concat_tables([*map(_from_index, precise.symbols), _from_syntax(by_syntax, symbols)])
    described = described.take(pa.array(first_described(described)))
    write_scratch(part.left("symbols"), described)
    described = described.select(["symbol", "uri"])
    hashed = part_names.described_hashes(described)
    listed = [(uri, families[uri]) for uri in files]
    return Gathered(from_syntax.merged([names]), described, hashed, asked, listed, len(precise.taken), precise.left_out)


def _by_indexes(
    part: Part, contents: Mapping[str, bytes], langs: Mapping[str, str]
) -> tuple[documents.Precise, dict[str, Former]]:
    """What the indexes say of files that are as they were, and which symbols they gave to what others defined."""
    precise = documents.Precise()
    before: dict[str, Former] = {}
    for index in part.documents:
        fitting, outdated = _sorted_out(index.covered, contents)
        try:
            for group in reader.read_documents(index.path, fitting, language=index.language):
                documents.add(precise, group, index.tool, index.indexer, contents.get, supplied=index.supplied)
            for group in reader.read_documents(index.path, outdated, language=index.language):
                before |= former(group)
        except IndexFormatError:
            # What somebody supplies must be right; an indexer that was run here may fail, and its files have their syntax.
            if index.supplied:
                raise
            wanted = indexers.languages(index.language)
            lost = (uri for uri, lang in langs.items() if lang in wanted and uri not in precise.taken)
            precise.left_out.update(dict.fromkeys(lost, documents.DAMAGED))
    return precise, {uri: found for uri, found in before.items() if uri not in precise.taken}


def _sorted_out(covered: pa.Table, contents: Mapping[str, bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where documents begin of files that may be what they were, and of files that are not; none of files that are gone."""
    found: tuple[list[int], list[int]] = ([], [])
    columns = (covered[name].to_pylist() for name in ("uri", "content_hash", "start"))
    for uri, digest, start in zip(*columns, strict=True):
        if digest is None:
            found[0].append(start)
        elif uri in contents:
            found[seal_of(contents[uri]) != digest].append(start)
    fitting, outdated = (np.sort(np.array(starts, np.int64)) for starts in found)
    return fitting, outdated


def _identified(
    part: Part,
    nodes: pa.Table,
    files: list[str],
    families: list[str],
    contents: Mapping[str, bytes],
    defined: pa.Table,
    symbols: pa.StringArray,
) -> NDArray[np.uint32]:
    """Leave definitions and identifiers of the files that no index describes; returns `Gathered.asked`."""
    texts = Texts.of([contents[uri] for uri in files])
    listed = pa.array(files, pa.string())
    file = pc.index_in(one_chunk(defined["uri"]), value_set=listed).to_numpy().astype(np.int64)
    start, outer, last = (defined[name].to_numpy().astype(np.int64) for name in ("name_start_byte", "start_byte", "end_byte"))
    # Names that are not written stand for the file as a whole.
    length = np.where(last > outer, pc.binary_length(defined["name"]).to_numpy(), 0)
    end = np.minimum(start + length, texts.size[file])
    columns = {"file": file, "symbol": symbols, **_placed(texts, file, start, end), "outer": outer, "last": last}
    write_scratch(part.left("definitions"), pa.table(columns))
    taken = np.unique(((file << 32) + start)[length > 0])
    found = from_syntax.free_identifiers(nodes, files, texts, taken)
    word = pa.DictionaryArray.from_arrays(found.word.astype(np.int32), found.words)
    columns = {"file": found.file, "word": word, **_placed(texts, found.file, found.start, found.end)}
    write_scratch(part.left("identifiers"), pa.table(columns))
    # Each word once for each family.
    numbers = {family: number for number, family in enumerate(sorted(set(families)))}
    family_of = np.array([numbers[family] for family in families], np.int64)[found.file]
    family, word_of = np.divmod(np.unique(family_of * max(len(found.words), 1) + found.word), max(len(found.words), 1))
    return part_names.asked_hashes(
        pa.array(list(numbers), pa.string()).take(pa.array(family)), found.words.take(pa.array(word_of))
    )


def _placed(
    texts: Texts, file: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> dict[str, NDArray[np.int32]]:
    """Bytes and lines."""
    found = {
        "start_byte": start,
        "end_byte": end,
        "start_line": texts.lines(file, start),
        "end_line": texts.lines(file, np.maximum(end - 1, start)),
    }
    return {name: values.astype(np.int32) for name, values in found.items()}


def write(rest: Rest) -> Written:
    """Write the occurrences and symbols of a part."""
    part = rest.part
    exact = read_scratch(part.left("occurrences"))
    by_syntax, files, capped = _by_syntax(part, rest.files, read_scratch(rest.names))
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


def _from_index(symbols: pa.Table) -> pa.Table:
    # What is of the scheme of syntax is described by syntax alone, and so by one file.
    symbols = symbols.filter(pc.invert(pc.starts_with(symbols["symbol"], from_syntax.SCHEME)))
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


def _by_syntax(part: Part, files: list[tuple[str, str]], names: pa.Table) -> tuple[pa.Table, int, list[str]]:
    """Occurrences in the files of a part that no index describes, how many files have such, and which of these too many."""
    if not files:
        return _OCCURRENCES.empty_table(), 0, []
    defined, found = (read_scratch(part.left(what)) for what in ("definitions", "identifiers"))
    words = one_chunk(found["word"])
    file, start, end = (found[name].to_numpy().astype(np.int64) for name in ("file", "start_byte", "end_byte"))
    identifiers = from_syntax.Identifiers(file, start, end, words.indices.to_numpy().astype(np.int64), words.dictionary)
    meant = from_syntax.references([family for _, family in files], identifiers, names)
    found = found.take(pa.array(meant.row))
    used, of = np.unique(meant.symbol, return_inverse=True)
    known = len(defined)
    standing = one_chunk(names["symbol"].take(pa.array(used)))
    symbols = pa.concat_arrays([one_chunk(defined["symbol"]), standing]).dictionary_encode()
    codes = symbols.indices.take(pa.array(np.concatenate((np.arange(known), known + of))))
    defines = np.repeat((True, False), (known, len(found)))

    def both(name: str) -> NDArray[np.int32]:
        return np.concatenate((defined[name].to_numpy(), found[name].to_numpy())).astype(np.int32)

    def of_definitions(name: str) -> pa.Array:
        return pa.array(np.append(defined[name].to_numpy(), np.zeros(len(found), np.int64)).astype(np.int32), mask=~defines)

    files_of = both("file")
    alike = np.zeros(len(files_of), np.int32)
    columns = {
        "uri": pa.DictionaryArray.from_arrays(files_of, pa.array([uri for uri, _ in files], pa.string())),
        "symbol": pa.DictionaryArray.from_arrays(codes, symbols.dictionary),
        "roles": np.where(defines, 1, 8).astype(np.int32),
        "is_definition": defines,
        **{name: both(name) for name in ("start_byte", "end_byte", "start_line", "end_line")},
        "enclosing_start_byte": of_definitions("outer"),
        "enclosing_end_byte": of_definitions("last"),
        "provenance": pa.DictionaryArray.from_arrays(alike, pa.array(["syntax"])),
        "indexer": pa.DictionaryArray.from_arrays(alike, pa.array([SYNTAX_INDEXER])),
    }
    table = pa.table([columns[name] for name in _OCCURRENCES.names], schema=_OCCURRENCES)
    return table, len(np.unique(files_of)), [files[number][0] for number in meant.capped]


def words_of(part: Part) -> pa.BinaryArray:
    """The names that the files of a gathered part ask for."""
    return one_chunk(read_scratch(part.left("identifiers"))["word"]).dictionary


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
