"""Occurrences from syntax alone, where no index knows better: definitions, and identifiers that are spelt like one.

A reference is resolved by its name. Where one thing in the languages that it could come from has that name, it is that thing's
symbol; where several have, a symbol that stands for the name alone: `syntax . . . name#`.

Belongs here: symbols of the scheme `syntax` and what refers to them. Not here: precise occurrences (`scip_stage`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.structure.kinds import CLASS_LIKE

MAX_REFERENCES = 50_000
"""Of one file; what has more is data."""
MAX_NAME_BYTES = 256
SCHEME = "syntax . . . "

IDENTIFIERS = frozenset({"constant", "name", "variable", "variable_name", "constructor", "alias", "word", "atom"})
"""Types of leaves that are names, besides all that end in `identifier`: of Ruby and PHP (constant, name, variable_name),
Haskell (variable, constructor), Elixir (alias, atom) and shells (word)."""
_FAMILIES = {"tsx": "typescript", "javascript": "typescript", "cpp": "c", "java": "jvm", "kotlin": "jvm", "scala": "jvm"}
"""Languages that use each other's names; any other is a family of its own."""
_METHODS = frozenset({"function", "method", "constructor", "test"})
_SPACES = frozenset({"namespace", "module", "section"})
_TYPES = CLASS_LIKE | {"type"}
_SUFFIXES = {"().": _METHODS, "#": _TYPES, "/": _SPACES, "!": frozenset({"macro"})}
_SIMPLE = re.compile(r"[A-Za-z0-9_+\-$]+")


def escaped(name: str) -> str:
    """A name as SCIP's grammar of symbols writes it."""
    return name if _SIMPLE.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def symbol_of(uri: str, qualified_name: str, kind: str) -> str:
    """The symbol of a definition: its file as a namespace, its owners, and itself with the suffix of its kind."""
    *owners, name = qualified_name.split(".")
    suffix = (
        "()." if kind in _METHODS else "#" if kind in _TYPES else "/" if kind in _SPACES else "!" if kind == "macro" else "."
    )
    return f"{SCHEME}{escaped(uri)}/" + "".join(f"{escaped(owner)}#" for owner in owners if owner) + escaped(name) + suffix


def family(lang: str) -> str:
    """The languages that a name of `lang` can come from."""
    return _FAMILIES.get(lang, lang)


@dataclass(slots=True)
class Names:
    """What is defined under each name of a family of languages, over the whole repository."""

    symbols: dict[str, dict[bytes, str]] = field(default_factory=dict)

    def add(self, lang: str, name: str, symbol: str) -> None:
        """Note a definition."""
        known = self.symbols.setdefault(family(lang), {})
        encoded = name.encode()
        if known.setdefault(encoded, symbol) != symbol:
            known[encoded] = f"{SCHEME}{escaped(name)}#"


@dataclass(frozen=True, slots=True)
class Found:
    """Columns of occurrences of one file: bytes int64 [n], symbols, whether each defines, and its enclosing range (or -1)."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    symbols: list[str]
    defines: NDArray[np.bool_]
    enclosing_start: NDArray[np.int64]
    enclosing_end: NDArray[np.int64]
    capped: bool


def identifiers(nodes: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end bytes of the leaves of one file that are names; `nodes` are its rows of `ast_nodes`, in pre-order."""
    types = nodes["type"].combine_chunks()
    words = types.dictionary.to_pylist()
    wanted = np.array([word.endswith("identifier") or word in IDENTIFIERS for word in words], bool)
    ids = nodes["node_id"].to_numpy()
    leaf = np.ones(len(ids), bool)
    leaf[:-1] = nodes["parent_id"].to_numpy()[1:] != ids[:-1]
    chosen = wanted[types.indices.to_numpy()] & leaf & nodes["named"].to_numpy()
    start = nodes["start_byte"].to_numpy()[chosen].astype(np.int64)
    end = nodes["end_byte"].to_numpy()[chosen].astype(np.int64)
    fits = (end > start) & (end - start <= MAX_NAME_BYTES)
    return start[fits], end[fits]


def occurrences(
    content: bytes, lang: str, nodes: pa.Table | None, defined: pa.Table, symbols: Sequence[str], names: Names
) -> Found:
    """Occurrences in one file: its rows of `definitions`, their symbols, and its rows of `ast_nodes` (None: not parsed)."""
    name_start = defined["name_start_byte"].to_numpy().astype(np.int64)
    lengths = pc.binary_length(pc.cast(defined["name"], pa.binary())).to_numpy().astype(np.int64)
    name_end = np.minimum(name_start + lengths, len(content))
    known = names.symbols.get(family(lang), {})
    start, end, found = np.empty(0, np.int64), np.empty(0, np.int64), list[str]()
    capped = False
    if nodes is not None and known:
        start, end = identifiers(nodes)
        other = ~np.isin(start, name_start)
        start, end = start[other], end[other]
        resolved = [known.get(content[a:b]) for a, b in zip(start.tolist(), end.tolist(), strict=True)]
        hits = np.array([symbol is not None for symbol in resolved], bool)
        capped = int(hits.sum()) > MAX_REFERENCES
        if capped:
            hits[np.flatnonzero(hits)[MAX_REFERENCES:]] = False
        start, end = start[hits], end[hits]
        found = [symbol for symbol, hit in zip(resolved, hits.tolist(), strict=True) if hit and symbol is not None]
    nothing = np.full(len(start), -1, np.int64)
    return Found(
        start=np.concatenate([name_start, start]),
        end=np.concatenate([name_end, end]),
        symbols=[*symbols, *found],
        defines=np.concatenate([np.ones(len(name_start), bool), np.zeros(len(start), bool)]),
        enclosing_start=np.concatenate([defined["start_byte"].to_numpy().astype(np.int64), nothing]),
        enclosing_end=np.concatenate([defined["end_byte"].to_numpy().astype(np.int64), nothing]),
        capped=capped,
    )


def runs(column: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    """Where the rows of each uri are in a dictionary column, as (offset, length); rows of a uri stand together."""
    words = column.combine_chunks()
    numbers = words.indices.to_numpy()
    if not len(numbers):
        return {}
    offsets = np.concatenate([[0], np.flatnonzero(np.diff(numbers)) + 1])
    lengths = np.diff(offsets, append=len(numbers))
    names = words.dictionary.take(pa.array(numbers[offsets])).to_pylist()
    return dict(zip(names, zip(offsets.tolist(), lengths.tolist(), strict=True), strict=True))
