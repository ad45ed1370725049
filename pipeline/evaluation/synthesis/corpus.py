"""What queries are made of: files, definitions and chunks of a repository as columns, and which chunks a span lies in.

Belongs here: reading the tables, and joins by position. Not here: which definitions are asked for (`names`, `intents`, …).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import tables
from pipeline.columns import codes_of
from pipeline.evaluation.change import rows_of
from pipeline.evaluation.synthesis.files import FileColumns, files_of
from pipeline.schemas import Chunks, Definitions, Modules, Table
from pipeline.structure.kinds import CLASS_LIKE, FUNCTION_LIKE

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Span = tuple[int, int, int]
"""A file's number, the first byte, and the byte after the last."""

_SHIFT = 32
WHOLE = (1 << _SHIFT) - 1
"""The end of a span that is a whole file."""
_SPACE = r"[^\pL\pN]+"


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows by a code: those of code c are `rows[bounds[c] : bounds[c + 1]]`."""

    rows: Numbers
    bounds: Numbers

    @classmethod
    def of(cls, codes: Numbers, count: int, rows: Numbers | None = None) -> Groups:
        """Codes [n], each below `count`, of `rows` [n]; without these, of the rows from 0 to n - 1."""
        bounds = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(codes, minlength=count), out=bounds[1:])
        order = np.argsort(codes, kind="stable")
        return cls(order if rows is None else rows[order], bounds)

    def __getitem__(self, code: int) -> list[int]:
        found: list[int] = self.rows[self.bounds[code] : self.bounds[code + 1]].tolist()
        return found


@dataclass(frozen=True)
class Words:
    """A column of text: the code of each row [n] and the distinct words."""

    codes: Numbers
    words: pa.StringArray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Words:
        """From a column of strings or a dictionary column; each word once."""
        codes, words = codes_of(column)
        return cls(codes, words)

    @cached_property
    def listed(self) -> list[str]:
        """The words."""
        found: list[str] = self.words.to_pylist()
        return found

    @cached_property
    def groups(self) -> Groups:
        """Rows by word."""
        return Groups.of(self.codes, len(self.words))

    def __getitem__(self, row: int) -> str:
        word: str = self.listed[self.codes[row]]
        return word

    def like(self, row: int) -> list[int]:
        """The rows with the same word."""
        return self.groups[self.codes[row]]

    @property
    def used(self) -> list[str]:
        """The words that some row has."""
        return [self.listed[code] for code in np.unique(self.codes).tolist()]

    def among(self, words: Iterable[str]) -> Flags:
        """bool [n]: which rows have one of these."""
        return self.where(pc.is_in(self.words, value_set=pa.array(sorted(words), pa.string())))

    def matching(self, pattern: str) -> Flags:
        """bool [n]: which rows match a regular expression (RE2)."""
        return self.where(pc.match_substring_regex(self.words, pattern))

    def where(self, words: pa.BooleanArray) -> Flags:
        """bool [n] from one for each distinct word."""
        found: Flags = words.to_numpy(zero_copy_only=False).astype(np.bool_)[self.codes]
        return found

    def replaced(self, pattern: str, by: str) -> Words:
        """The column with a regular expression (RE2) replaced in every word, and words that become equal as one."""
        changed = pc.replace_substring_regex(self.words, pattern, by).dictionary_encode()
        return Words(changed.indices.to_numpy().astype(np.int64)[self.codes], changed.dictionary)


@dataclass(frozen=True)
class DefinitionColumns:
    """The table `definitions` [n]: the number of each one's file, words, and bytes."""

    file: Numbers
    name: Words
    qualified: Words
    kind: Words
    doc: Words
    start: Numbers
    end: Numbers
    name_start: Numbers
    answer_end: Numbers
    """Where what answers ends: of a class where its first member begins, of anything else its end."""
    owner: Numbers
    """The row of the innermost definition around each, or -1."""

    @cached_property
    def members(self) -> Groups:
        """Rows by the row of their owner."""
        return Groups.of(self.owner[self.owner >= 0], len(self.owner), np.flatnonzero(self.owner >= 0))

    @cached_property
    def in_function(self) -> Flags:
        """bool [n]: which lie in a function."""
        return (self.owner >= 0) & self.kind.among(FUNCTION_LIKE)[self.owner]

    @cached_property
    def first_line(self) -> Words:
        """What the docs begin with, to one paragraph or line, in lower case, letters and digits only."""
        return opening(self.doc)

    @cached_property
    def owned_name(self) -> Words:
        """The name with that of its owner, `Class.method`; the name alone where it has none."""
        return self.qualified.replaced(r"^.*\.([^.]+\.[^.]+)$", r"\1")


@dataclass(frozen=True)
class ModuleColumns:
    """The files that say what they are for, [n]."""

    file: Numbers
    doc: Words

    @cached_property
    def first_line(self) -> Words:
        """As that of definitions."""
        return opening(self.doc)


@dataclass(frozen=True)
class Corpus:
    """All of it."""

    files: FileColumns
    definitions: DefinitionColumns
    modules: ModuleColumns
    chunk_ids: Numbers
    chunk_file: Numbers
    chunk_start: Numbers
    chunk_hash: NDArray[np.uint64]

    @cached_property
    def _chunk_keys(self) -> Numbers:
        return (self.chunk_file << _SHIFT) + self.chunk_start

    @cached_property
    def _copies(self) -> Groups:
        return Groups.of(self._hash_codes, int(self._hash_codes.max(initial=-1)) + 1)

    @cached_property
    def _hash_codes(self) -> Numbers:
        return np.unique(self.chunk_hash, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def namesakes(self) -> Numbers:
        """int64 [definitions]: how many things have the name of each one; the forms of a module count once."""
        own = self.definitions
        things = np.stack([own.name.codes, self.files.twins[own.file], own.qualified.codes], 1)
        distinct = np.unique(things, axis=0) if len(things) else things
        return np.bincount(distinct[:, 0], minlength=len(own.name.words))[own.name.codes]

    @cached_property
    def speaks_of_a_definition(self) -> Flags:
        """bool [modules]: which docs are those of a definition in the file, which `modules` takes where a file has none."""
        own, modules = self.definitions, self.modules
        codes = pc.fill_null(pc.index_in(modules.first_line.words, value_set=own.first_line.words), -1).to_numpy()
        code = codes.astype(np.int64)[modules.first_line.codes]
        known = (own.file << _SHIFT) + own.first_line.codes
        found: Flags = (code >= 0) & np.isin((modules.file << _SHIFT) + code, known)
        return found

    def answer_spans(self, row: int) -> Span:
        """Where the definition of a row lies that answers."""
        own = self.definitions
        return int(own.file[row]), int(own.start[row]), int(own.answer_end[row])

    def chunks_in(self, span: Span) -> Iterator[int]:
        """Rows of the chunks that overlap a span, and of all copies of that in which it begins.

        Other chunks may be boilerplate that says nothing about what they are a part of; so may all chunks of a whole file.
        """
        file, start, end = span
        key = file << _SHIFT
        first = max(int(np.searchsorted(self._chunk_keys, key + start, side="right")) - 1, 0)
        after = int(np.searchsorted(self._chunk_keys, key + max(end, start + 1), side="left"))
        own = [row for row in range(first, after) if self.chunk_file[row] == file]
        yield from own
        if own and end < WHOLE:
            yield from self._copies[self._hash_codes[own[0]]]

    def whole_file(self, file: int) -> Span:
        """The span of a file."""
        return file, 0, WHOLE


def opening(docs: Words) -> Words:
    """What documentation begins with, so that texts which ask the same fall together."""
    first = pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(docs.words), 0, 400)
    first = pc.replace_substring_regex(first, r"(?s)\n[ \t]*\n.*", "")
    first = pc.replace_substring_regex(first, r"(?s)([.!?])\s.*", r"\1")
    plain = pc.utf8_lower(pc.replace_substring_regex(first, _SPACE, " ")).dictionary_encode()
    return Words(plain.indices.to_numpy().astype(np.int64)[docs.codes], plain.dictionary)


def read_corpus(definitions: Path, chunks: Path, modules: Path, uris: Collection[str] | None = None) -> Corpus:
    """From the roots of the tables; of some files alone where `uris` are given."""
    chunk_table = _read(chunks, Chunks, uris, ["id", "uri", "lang", "start_byte", "content_hash"])
    uri = Words.of(chunk_table["uri"])
    own = _read(definitions, Definitions, uris, Definitions.schema.names)
    described = _read(modules, Modules, uris, ["uri", "doc"])
    described = described.filter(pc.not_equal(described["doc"], ""))
    _, first = np.unique(uri.codes, return_index=True)
    languages = chunk_table["lang"].take(pa.array(first)).to_pylist() if len(first) else []
    own = own.filter(pc.is_in(own["uri"], value_set=uri.words))
    described = described.filter(pc.is_in(described["uri"], value_set=uri.words))
    columns = _definitions(own, uri.words)
    counted = columns.kind.among(CLASS_LIKE | FUNCTION_LIKE | {"type"})
    counts = np.bincount(columns.file[counted], minlength=len(uri.words))
    return Corpus(
        files_of(uri.listed, languages, counts),
        columns,
        ModuleColumns(_numbers_of(described["uri"], uri.words), Words.of(described["doc"])),
        chunk_table["id"].to_numpy(),
        uri.codes,
        chunk_table["start_byte"].to_numpy().astype(np.int64),
        chunk_table["content_hash"].to_numpy(),
    )


def _read(root: Path, kind: type[Table], uris: Collection[str] | None, columns: Sequence[str]) -> pa.Table:
    return tables.read_table(root, kind, columns) if uris is None else rows_of(root, kind, uris, columns)


def _definitions(table: pa.Table, uris: pa.StringArray) -> DefinitionColumns:
    file, kind = _numbers_of(table["uri"], uris), Words.of(table["kind"])
    start, end, name_start, node = (
        table[name].to_numpy().astype(np.int64) for name in ("start_byte", "end_byte", "name_start_byte", "node_id")
    )
    owner = _owners(file, node, pc.fill_null(table["parent"], -1).to_numpy().astype(np.int64))
    return DefinitionColumns(
        file, Words.of(table["name"]), Words.of(table["qualified_name"]), kind, Words.of(table["doc"]), start, end, name_start,
        _answer_ends(kind, start, end, owner), owner,
    )  # fmt: skip


def _owners(file: Numbers, node: Numbers, parent: Numbers) -> Numbers:
    """int64 [n]: the row of each one's parent, or -1."""
    keys = (file << _SHIFT) + node
    order = np.argsort(keys, kind="stable")
    found = np.full(len(file), -1, np.int64)
    rows = np.flatnonzero(parent >= 0)
    if len(rows):
        wanted = (file[rows] << _SHIFT) + parent[rows]
        places = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(order) - 1)]
        found[rows] = np.where(keys[places] == wanted, places, -1)
    return found


def _answer_ends(kind: Words, start: Numbers, end: Numbers, owner: Numbers) -> Numbers:
    """Of a class-like definition the start of the first function or class in it; of anything else its end."""
    found = end.copy()
    members = np.flatnonzero((owner >= 0) & kind.among(CLASS_LIKE | FUNCTION_LIKE) & kind.among(CLASS_LIKE)[owner])
    np.minimum.at(found, owner[members], start[members])
    return np.maximum(found, start)


def _numbers_of(column: pa.ChunkedArray, uris: pa.StringArray) -> Numbers:
    found: Numbers = pc.index_in(column, value_set=uris).to_numpy().astype(np.int64)
    return found
