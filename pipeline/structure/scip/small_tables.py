"""Which parts of the tables of symbols are made anew after a change, and what those parts learn from the others.

A part is a function of its files, of what indexes say of these, and of two things that all parts decide: what a name stands
for, and which file describes a symbol that several describe. `part_names` keeps by part what that takes, so that an edit
costs the parts it touches, and those that use a name whose meaning it changes.

Belongs here: these decisions. Not here: making a part (`part_jobs`), the order of the work (`tables_stage`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import delta, tables
from pipeline.artefacts import Artefact, Earlier
from pipeline.columns import among, one_chunk
from pipeline.schemas import AstNodes, Definitions, ScipIndex, ScipSymbols, Sources
from pipeline.structure.scip import from_syntax, outcomes, part_names
from pipeline.structure.scip.part_jobs import Gathered
from pipeline.structure.scip.part_names import PartNames

Name = tuple[str, str]
"""A family of languages, and a name."""


def untouched(
    earlier: Earlier | None,
    index: Artefact[ScipIndex],
    source: Artefact[Any],
    ast_nodes: Artefact[Any],
    definitions: Artefact[Any],
) -> frozenset[int]:
    """Parts whose files are what they were, where the indexes are, too; none where fewer than half are."""
    before = None if earlier is None else earlier.inputs.get(ScipIndex.asset)
    if before is None or _said(before) != _said(index):
        return frozenset()
    found = delta.unchanged_parts(earlier, (source, Sources), (ast_nodes, AstNodes), (definitions, Definitions))
    return found if 2 * len(found) >= len(delta.part_digests(source, Sources)) else frozenset()


def _said(index: Artefact[ScipIndex]) -> tuple[dict[str, str], list[tuple[str, ...]]]:
    """All that the tables depend on: the indexes and what they cover, but not how much of that has changed since."""
    digests = {path: digest for path, digest in index.digests.items() if not path.endswith(f"/{ScipIndex.META}")}
    return digests, [(one.language, one.name, one.status) for one in outcomes.read(index.path)]


def touched(before: Sequence[PartNames], gathered: Mapping[int, Gathered]) -> set[int] | None:
    """Other parts that must be made anew after those that were gathered; None: all must, for a symbol that several parts
    describe is described elsewhere now."""
    moved: set[int] = set()
    for part, found in gathered.items():
        moved |= {symbol for symbol, _ in before[part].pairs() ^ _pairs(found)}
    if _shared(np.array(sorted(moved), np.uint64), before, gathered):
        return None
    asked = _shifted(before, gathered)
    if not asked:
        return set()
    families, names = zip(*asked, strict=True)
    wanted = part_names.asked_hashes(pa.array(families, pa.string()), pa.array(names, pa.string()))
    return {part for part, found in enumerate(before) if part not in gathered and among(wanted, found.asked).any()}


def _pairs(found: Gathered) -> set[tuple[int, int]]:
    return set(zip(found.described["symbol"].to_pylist(), found.described["uri"].to_pylist(), strict=True))


def _shared(moved: NDArray[np.uint64], before: Sequence[PartNames], gathered: Mapping[int, Gathered]) -> bool:
    """Whether more than one part describes, or did, one of these symbols."""
    if not len(moved):
        return False
    count = np.zeros(len(moved), np.int64)
    for part, known in enumerate(before):
        here = among(moved, known.symbols)
        if part in gathered:
            here |= among(moved, one_chunk(gathered[part].described["symbol"]).to_numpy())
        count += here
    return bool((count > 1).any())


def _shifted(before: Sequence[PartNames], gathered: Mapping[int, Gathered]) -> set[Name]:
    """The names that do not stand for what they stood for."""
    changed: set[Name] = set()
    for part, found in gathered.items():
        changed |= {(family, name) for family, name, _ in _rows(before[part].names) ^ _rows(found.names)}
    if not changed:
        return set()
    words = pa.array(sorted({name for _, name in changed}), pa.string())
    others = _spelt([known.names for part, known in enumerate(before) if part not in gathered], words)
    then = _meanings([others, *(_spelt([before[part].names], words) for part in gathered)])
    now = _meanings([others, *(_spelt([found.names], words) for found in gathered.values())])
    nothing = ("", "")
    return {name for name in changed if then.get(name, nothing) != now.get(name, nothing)}


def _rows(names: pa.Table) -> set[tuple[str, str, str | None]]:
    return set(zip(*(names[name].to_pylist() for name in names.column_names), strict=True))


def _spelt(found: Sequence[pa.Table], words: pa.Array) -> pa.Table:
    """Of tables of names, the rows with certain names."""
    table = pa.concat_tables([from_syntax.NAMES.empty_table(), *found])
    return table.filter(pc.is_in(table["name"], value_set=words))


def _meanings(found: Sequence[pa.Table]) -> dict[Name, str | None]:
    columns = (column.to_pylist() for column in from_syntax.merged(found).columns)
    return {(family, name): symbol for family, name, symbol in zip(*columns, strict=True)}


def names(before: Sequence[PartNames], gathered: Mapping[int, Gathered], words: Collection[pa.Array]) -> pa.Table:
    """What names stand for, of those that are spelt like `words` (binary)."""
    asked = pc.unique(pa.chunked_array([*words, pa.array([], pa.binary())])).cast(pa.string(), safe=False)
    known = [found.names for part, found in enumerate(before) if part not in gathered]
    return from_syntax.merged([_spelt(known, asked), *(found.names for found in gathered.values())])


def described(found: Gathered, before: PartNames, table: Path) -> NDArray[np.bool_]:
    """Which of its symbols a part is to write: those that it wrote before, and those that it describes newly, which no other
    part does."""
    symbols, uris = (one_chunk(found.symbols[name]) for name in ("symbol", "uri"))
    kept = np.ones(len(symbols), np.bool_)
    if not before.described.num_rows:
        return kept
    hashes = part_names.hashes(symbols).tolist()
    files = np.where(uris.is_null().to_numpy(zero_copy_only=False), np.uint64(0), part_names.hashes(pc.fill_null(uris, "")))
    old = before.pairs()
    rows = np.array([row for row, pair in enumerate(zip(hashes, files.tolist(), strict=True)) if pair in old], np.int64)
    written = one_chunk(tables.read_part(table, ScipSymbols, ["symbol"])["symbol"])
    kept[rows] = pc.is_in(symbols.take(pa.array(rows)), value_set=written).to_numpy(zero_copy_only=False)
    return kept
