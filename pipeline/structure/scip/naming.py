"""The symbols of what is defined, and what the names of a part stand for.

Belongs here: definitions that an index describes, that one has described before, or that only syntax knows. Not here: what a
name means over all parts (`from_syntax.merged`), the tables of a part (`part_jobs`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import one_chunk
from pipeline.structure.scip import from_syntax
from pipeline.structure.scip.described import name_of
from pipeline.structure.scip.former_symbols import Former
from pipeline.structure.scip.symbol_grammar import LOCAL


def named(
    defined: pa.Table, exact: pa.Table, taken: set[str], families: Mapping[str, str], before: Mapping[str, Former]
) -> tuple[pa.Table, pa.StringArray, pa.Table]:
    """The definitions of files that no index describes, their symbols, and what each name of the part stands for.

    In a file that an index describes a name stands for the index's symbol, so that files known by syntax alone refer to it; and
    so it does in one that has changed since the index was made, where it was called the same `before`.
    """
    uris = one_chunk(defined["uri"]).dictionary_encode()
    described = np.array([uri in taken for uri in uris.dictionary.to_pylist()], bool)[uris.indices.to_numpy()]
    by_syntax = defined.filter(pa.array(~described)).combine_chunks()
    columns = [one_chunk(by_syntax[name]) for name in ("uri", "qualified_name", "kind")]
    symbols = from_syntax.symbols_of(columns[0].dictionary_encode(), *columns[1:])
    if before:
        rows = np.flatnonzero(
            pc.is_in(columns[0], value_set=pa.array(sorted(before), pa.string())).to_numpy(zero_copy_only=False)
        )
        known = (before[uri].symbols for uri in columns[0].take(pa.array(rows)).to_pylist())
        asked = columns[1].take(pa.array(rows)).to_pylist()
        renamed = symbols.to_pylist()
        for row, symbols_before, name in zip(rows.tolist(), known, asked, strict=True):
            renamed[row] = symbols_before.get(name, renamed[row])
        symbols = pa.array(renamed, pa.string())
    names = [_names(by_syntax, symbols, families)]
    if described.any():
        names.append(_names(*_exactly(defined.filter(pa.array(described)), exact), families))
    modules = {uri: found.module for uri, found in before.items() if found.module and uri in families}
    if modules:
        by_syntax = pa.concat_tables([by_syntax, _modules(modules, by_syntax.schema)]).combine_chunks()
        symbols = pa.concat_arrays([symbols, pa.array(modules.values(), pa.string())])
    return by_syntax, symbols, pa.concat_tables(names)


def _modules(modules: Mapping[str, str], schema: pa.Schema) -> pa.Table:
    """Files as modules, as if they were definitions: empty, and at the first byte."""
    values = {"uri": list(modules), "name": [name_of(symbol) for symbol in modules.values()], "kind": ["module"] * len(modules)}
    columns = []
    for column in schema:
        empty = 0 if pa.types.is_integer(column.type) else ""
        plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        columns.append(pa.array(values.get(column.name, [empty] * len(modules)), plain).cast(column.type))
    return pa.table(columns, schema=schema)


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
