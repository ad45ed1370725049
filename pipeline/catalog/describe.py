"""What is known of a name, and what stands around a chunk: the answers of `symbols` and `show`, as JSON values.

Belongs here: putting together what is known. Not here: which symbols a name means (`lookup`), reading tables (`symbol_table`),
rendering (`interfaces`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.catalog.lookup import qualified_name
from pipeline.catalog.numbering import Links, Numbers
from pipeline.catalog.symbol_table import FILE, Relation, SymbolTable

MOST_RELATED = 100
"""Implementations, callers and callees of one symbol."""
MOST_NAMES = 10
"""Callers and callees that are named around a chunk."""
_AROUND: tuple[Relation, Relation] = ("callers", "callees")


def describe(table: SymbolTable, symbols: Numbers, *, k: int, references: bool = True) -> list[dict[str, Any]]:
    """Symbols, each with all its definitions, at most k references (or none), and at most `MOST_RELATED` implementations,
    callers and callees; and how many there are of those."""
    return [_described(table, number, k if references else 0) for number in symbols.tolist()]


def _described(table: SymbolTable, number: int, most_references: int) -> dict[str, Any]:
    references = table.places.references(number)
    related = {relation: links.of([number]) for relation, links in table.relations.items()}
    return {
        "symbol": table.symbols[number], "display_name": table.name(number), "qualified_name": qualified_name(table, number),
        "kind": table.kinds[number], "provenance": table.provenances[number],
        "signature": table.text(number, "signature"), "documentation": table.text(number, "documentation"),
        "definitions": _places(table, table.places.definitions(number)),
        "references": _places(table, slice(references.start, min(references.stop, references.start + most_references))),
        "reference_count": references.stop - references.start,
        **{relation: _shown(table, _by_place(table, others)[:MOST_RELATED]) for relation, others in related.items()},
        **{f"{relation[:-1]}_count": len(others) for relation, others in related.items()},
    }  # fmt: skip


def _places(table: SymbolTable, rows: slice) -> list[dict[str, Any]]:
    places = table.places
    columns = (places.uri[rows], places.line[rows], places.start[rows], places.end[rows])
    return [
        {"uri": table.uris[uri], "line": line, "start_byte": start, "end_byte": end}
        for uri, line, start, end in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _by_place(table: SymbolTable, symbols: Numbers) -> Numbers:
    """Symbols by file and line of their first definitions; those without one last."""
    places = table.places
    first, end = places.bounds[2 * symbols], places.bounds[2 * symbols + 1]
    here = first < end
    uri, line = np.zeros(len(symbols), np.int32), np.zeros(len(symbols), np.int32)
    uri[here], line[here] = places.uri[first[here]], places.line[first[here]]
    return symbols[np.lexsort((symbols, line, uri, ~here))]


def _shown(table: SymbolTable, symbols: Numbers) -> list[dict[str, Any]]:
    shown = []
    for number in symbols.tolist():
        row = table.places.definitions(number)
        defined = row.start < row.stop
        symbol = table.symbols[number]
        uri = (
            table.uris[table.places.uri[row.start]]
            if defined
            else symbol.removeprefix(FILE)
            if symbol.startswith(FILE)
            else None
        )
        shown.append({
            "symbol": symbol, "display_name": table.name(number), "qualified_name": qualified_name(table, number), "uri": uri,
            "line": int(table.places.line[row.start]) if defined else None,
        })  # fmt: skip
    return shown


def around_chunk(table: SymbolTable, chunk: dict[str, Any]) -> dict[str, Any]:
    """What a chunk (its `id`, `uri`, `start_byte`, `content`) stands in, defines, is called by and calls.

    `scope` are the definitions around it, outermost first; `defines` the symbols whose definition is in it; `callers` and
    `callees` the qualified names of at most `MOST_NAMES` others that call these symbols or are called by them, and how many
    there are.
    """
    around = table.surroundings
    # What holds the chunk from before its start to the end of its text.
    text_end = chunk["start_byte"] + len(chunk["content"].rstrip().encode())
    scope = around.scope(chunk["uri"], chunk["start_byte"], text_end)
    symbols = around.defined_in(chunk["id"])
    defines = sorted((table.symbols[number], number) for number in symbols.tolist() if _is_own(table, number))
    callers, callees = (_other_names(table, table.relations[relation], symbols) for relation in _AROUND)
    return {
        "scope": [{"kind": kind, "name": name, "line": line} for kind, name, line in scope],
        "defines": [
            {
                "symbol": symbol, "display_name": table.name(number), "qualified_name": qualified_name(table, number),
                "kind": table.kinds[number],
            }
            for symbol, number in defines
        ],
        "callers": callers[:MOST_NAMES], "caller_count": len(callers),
        "callees": callees[:MOST_NAMES], "callee_count": len(callees),
    }  # fmt: skip


def _is_own(table: SymbolTable, number: int) -> bool:
    """Whether a symbol is more than a parameter, or a variable inside of a function: what these belong to is named instead."""
    return not table.part[number] and "()." not in table.symbols[number][:-3]


def _other_names(table: SymbolTable, links: Links, symbols: Numbers) -> list[str]:
    others = _by_place(table, np.setdiff1d(links.of(symbols.tolist()), symbols))
    return list(dict.fromkeys(qualified_name(table, number) for number in others.tolist()))
