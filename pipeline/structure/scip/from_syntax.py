"""Occurrences from syntax alone, where no index knows better: definitions, and identifiers that are spelt like one.

A reference is resolved by its name. Where one thing in the languages that it could come from has that name, it is that thing's
symbol; where several have, a symbol that stands for the name alone: `syntax . . . name#`.

Belongs here: symbols of the scheme `syntax` and what refers to them, as columns. Not here: precise occurrences
(`documents`), tables and parts (`part_jobs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.columns import among, one_chunk
from pipeline.structure.kinds import CLASS_LIKE
from pipeline.structure.scip.symbol_grammar import SIMPLE_NAME, escaped
from pipeline.structure.scip.texts import Texts

MAX_REFERENCES = 50_000
"""Of one file; what has more is data."""
MAX_NAME_BYTES = 256
SCHEME = "syntax . . . "

IDENTIFIERS = frozenset({"constant", "name", "variable", "variable_name", "constructor", "alias", "word", "atom"})
"""Types of leaves that are names, besides all that end in `identifier`: of Ruby and PHP (constant, name, variable_name),
Haskell (variable, constructor), Elixir (alias, atom) and shells (word)."""
NAMES = pa.schema({"family": pa.string(), "name": pa.string(), "symbol": pa.string()})
"""The shape of a table that says what is defined under each name of a family of languages."""
_FAMILIES = {"tsx": "typescript", "javascript": "typescript", "cpp": "c", "java": "jvm", "kotlin": "jvm", "scala": "jvm"}
"""Languages that use each other's names; any other is a family of its own."""
_METHODS = frozenset({"function", "method", "constructor", "test"})
_SPACES = frozenset({"namespace", "module", "section"})
_TYPES = CLASS_LIKE | {"type"}

Numbers = NDArray[np.int64]


def family(lang: str) -> str:
    """The languages that a name of `lang` can come from."""
    return _FAMILIES.get(lang, lang)


def symbols_of(uri: pa.DictionaryArray, qualified_name: pa.StringArray, kind: pa.DictionaryArray) -> pa.StringArray:
    """The symbols of definitions [n]: the file as a namespace, the owners, and the name with the suffix of its kind.

    Functions of one symbol, overloads and conditional definitions, are numbered in the order of their file.
    """
    bodies = pc.replace_substring(qualified_name, ".", "#")
    odd = np.flatnonzero(~_flags(pc.match_substring_regex(qualified_name, rf"^{SIMPLE_NAME}(\.{SIMPLE_NAME})*$")))
    if len(odd):
        mask = np.zeros(len(qualified_name), bool)
        mask[odd] = True
        written = [_path(name) for name in qualified_name.take(pa.array(odd)).to_pylist()]
        bodies = pc.replace_with_mask(bodies, pa.array(mask), pa.array(written, pa.string()))
    files = pa.array([f"{SCHEME}{escaped(name)}/" for name in uri.dictionary.to_pylist()], pa.string()).take(uri.indices)
    suffixes = pa.array([_suffix(word) for word in kind.dictionary.to_pylist()], pa.string()).take(kind.indices)
    return _numbered(pc.binary_join_element_wise(files, bodies, suffixes, ""))


def _path(qualified_name: str) -> str:
    *owners, name = qualified_name.split(".")
    return "".join(f"{escaped(owner)}#" for owner in owners if owner) + escaped(name)


def _suffix(kind: str) -> str:
    if kind in _METHODS:
        return "()."
    return "#" if kind in _TYPES else "/" if kind in _SPACES else "!" if kind == "macro" else "."


def _numbered(symbols: pa.StringArray) -> pa.StringArray:
    """Of several methods with one symbol all but the first with a number."""
    codes = symbols.dictionary_encode().indices.to_numpy()
    rows = np.flatnonzero((np.bincount(codes) > 1)[codes]) if len(codes) else np.zeros(0, np.int64)
    rows = rows[_flags(pc.ends_with(symbols.take(pa.array(rows)), "()."))]
    if not len(rows):
        return symbols
    seen: dict[int, int] = {}
    numbered = []
    for code, symbol in zip(codes[rows].tolist(), symbols.take(pa.array(rows)).to_pylist(), strict=True):
        place = seen[code] = seen.get(code, -1) + 1
        numbered.append(f"{symbol[:-3]}(+{place})." if place else symbol)
    mask = np.zeros(len(symbols), bool)
    mask[rows] = True
    return pc.replace_with_mask(symbols, pa.array(mask), pa.array(numbered, pa.string()))


def merged(found: Sequence[pa.Table]) -> pa.Table:
    """What each name stands for, once a family and name, from tables of `NAMES`; null where several things have the name."""
    table = pa.concat_tables([NAMES.empty_table(), *found])
    families, names, symbols = (one_chunk(table[name]).dictionary_encode() for name in NAMES.names)
    keys = families.indices.to_numpy().astype(np.int64) * len(names.dictionary) + names.indices.to_numpy()
    codes = pc.fill_null(symbols.indices, -1).to_numpy()
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    ambiguous = codes[first] < 0
    ambiguous[of[codes != codes[first][of]]] = True
    table = table.take(pa.array(first))
    column = pc.if_else(pa.array(ambiguous), pa.scalar(None, pa.string()), one_chunk(table["symbol"]))
    return table.set_column(2, "symbol", column)


def standing(names: pa.Table) -> pa.Table:
    """`merged` names, with a symbol that stands for the name alone where several things have it."""
    shared = names["symbol"].is_null()
    column = one_chunk(names["symbol"])
    words = [f"{SCHEME}{escaped(name)}#" for name in names["name"].filter(shared).to_pylist()]
    return names.set_column(2, "symbol", pc.replace_with_mask(column, one_chunk(shared), pa.array(words, pa.string())))


@dataclass(frozen=True, slots=True)
class References:
    """Which identifiers refer to something, ascending rows; to what, as rows of the names; and the files that have too many."""

    row: Numbers
    symbol: Numbers
    capped: list[int]


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Names in files: file numbers, bytes, and which of `words` (distinct, binary) each is; ascending by file and start."""

    file: Numbers
    start: Numbers
    end: Numbers
    word: Numbers
    words: pa.BinaryArray


def references(families: Sequence[str], found: Identifiers, names: pa.Table) -> References:
    """What identifiers refer to, by what each name stands for (`standing`). `families` [files] as of `family`."""
    symbol = np.full(len(found.file), -1, np.int64)
    distinct = sorted(set(families))
    number = np.array([distinct.index(name) for name in families], np.int64)
    for code, name in enumerate(distinct):
        known = np.flatnonzero(_flags(pc.equal(names["family"], name)))
        rows = np.flatnonzero((number == code)[found.file])
        if len(known) and len(rows):
            spelt = one_chunk(names["name"].take(pa.array(known))).cast(pa.binary())
            places = pc.fill_null(pc.index_in(found.words, value_set=spelt), -1).to_numpy()[found.word[rows]]
            symbol[rows] = np.where(places >= 0, known[places], -1)
    hits = np.flatnonzero(symbol >= 0)
    counts = np.bincount(found.file[hits], minlength=len(families))
    capped = np.flatnonzero(counts > MAX_REFERENCES)
    if len(capped):
        place = np.arange(len(hits)) - (np.cumsum(counts) - counts)[found.file[hits]]
        hits = hits[place < MAX_REFERENCES]
    return References(hits, symbol[hits], capped.tolist())


def free_identifiers(nodes: pa.Table, files: Sequence[str], texts: Texts, taken: Numbers) -> Identifiers:
    """The identifiers of files that may refer to something.

    `nodes` are as for `identifiers`; `taken`, ascending, are (file << 32) + start of names that define something and refer to
    nothing.
    """
    file, start, end = identifiers(nodes, files)
    if len(taken):
        free = ~among((file << 32) + start, taken)
        file, start, end = file[free], start[free], end[free]
    words = texts.spans(file, start, end).cast(pa.binary()).dictionary_encode()
    return Identifiers(file, start, end, words.indices.to_numpy().astype(np.int64), words.dictionary)


def identifiers(nodes: pa.Table, files: Sequence[str]) -> tuple[Numbers, Numbers, Numbers]:
    """File numbers, start and end bytes of the leaves that are names, ascending; `nodes` are rows of `ast_nodes` of whole files
    in pre-order, `files` the uris that are asked for."""
    if not nodes.num_rows:
        return (np.zeros(0, np.int64),) * 3
    numbers = {uri: number for number, uri in enumerate(files)}
    uris, types = (one_chunk(nodes[name]) for name in ("uri", "type"))
    of_uri = np.array([numbers.get(uri, -1) for uri in uris.dictionary.to_pylist()], np.int64)
    wanted = np.array([word.endswith("identifier") or word in IDENTIFIERS for word in types.dictionary.to_pylist()], bool)
    uri_codes = uris.indices.to_numpy()
    rows = np.flatnonzero(wanted[types.indices.to_numpy()])
    file = of_uri[uri_codes[rows]]
    rows = rows[(file >= 0) & nodes["named"].to_numpy()[rows]]
    # In pre-order a node's first child follows it, and a node's id is its row in its file.
    begins = np.flatnonzero(np.diff(uri_codes, prepend=-1))
    base = begins[np.searchsorted(begins, rows, side="right") - 1]
    parents = np.append(nodes["parent_id"].to_numpy(), -1)
    rows = rows[parents[rows + 1] != rows - base]
    file = of_uri[uri_codes[rows]]
    start, end = (nodes[name].to_numpy()[rows].astype(np.int64) for name in ("start_byte", "end_byte"))
    fits = (end > start) & (end - start <= MAX_NAME_BYTES)
    file, start, end = file[fits], start[fits], end[fits]
    order = np.argsort((file << 32) + start, kind="stable")
    return file[order], start[order], end[order]


def _flags(array: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy()
    return found.astype(bool, copy=False)
