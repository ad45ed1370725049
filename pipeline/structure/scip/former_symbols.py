"""Symbols that an index gave to what is defined in a file that has changed since.

Other files go on referring to these symbols, by the index and by name. So what is still called the same in the changed file
keeps its symbol, though where it stands is known by syntax alone.

Belongs here: which definition had which symbol. Not here: definitions and references by syntax (`from_syntax`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.columns import one_chunk
from pipeline.errors import IndexFormatError
from pipeline.structure.scip.reader import DocumentGroup
from pipeline.structure.scip.symbol_grammar import LOCAL, MODULE, Descriptor, parse

_NOT_NAMED = frozenset({"parameter", "type parameter"})


@dataclass(frozen=True, slots=True)
class Former:
    """Of one file: qualified name -> symbol, of what it defined; and the symbol of the file as a module, or an empty text."""

    symbols: Mapping[str, str] = field(default_factory=dict)
    module: str = ""


def former(group: DocumentGroup) -> dict[str, Former]:
    """By uri, from documents of files that have changed. Of several symbols with one name the first in the document counts."""
    table = group.occurrences
    rows = np.flatnonzero((table["roles"].to_numpy() & 1) == 1)
    documents = table["document"].to_numpy()[rows].tolist()
    symbols = one_chunk(table["symbol"]).take(pa.array(rows)).to_pylist()
    # Of a module the range is empty and the very beginning.
    at = np.stack([table[name].to_numpy()[rows] for name in ("start_line", "start_column", "end_line", "end_column")])
    of_file: list[bool] = np.logical_not(at.any(axis=0)).tolist()
    names: list[dict[str, str]] = [{} for _ in group.paths]
    modules = [""] * len(group.paths)
    for document, symbol, is_file in zip(documents, symbols, of_file, strict=True):
        if symbol.startswith(LOCAL):
            continue
        try:
            path = _path(parse(symbol).descriptors)
        except IndexFormatError:
            continue
        if path:
            names[document].setdefault(".".join(path), symbol)
        elif is_file and path is not None:
            modules[document] = modules[document] or symbol
    return {
        posixpath.normpath(uri): Former(found, module) for uri, found, module in zip(group.paths, names, modules, strict=True)
    }


def _path(descriptors: tuple[Descriptor, ...]) -> list[str] | None:
    """The names after those of packages and modules; None for a parameter."""
    steps = list(descriptors)
    if any(step.suffix in _NOT_NAMED for step in steps):
        return None
    while steps and (steps[0].suffix == "namespace" or steps[0] == Descriptor(MODULE, "meta")):
        del steps[0]
    return [step.name for step in steps]
