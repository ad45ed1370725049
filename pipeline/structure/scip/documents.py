"""Occurrences of an index in bytes of the snapshot's files, and which of its files are not those of the snapshot.

Belongs here: from a group of documents to columns. Not here: decoding (`reader`), tables and parts (`part_jobs`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.structure.scip import fit
from pipeline.structure.scip.described import completed
from pipeline.structure.scip.positions import column_unit, offsets_in
from pipeline.structure.scip.reader import DocumentGroup
from pipeline.structure.scip.symbol_grammar import LOCAL, LastDescriptors, ending_with
from pipeline.structure.scip.texts import Texts

UNKNOWN = "the snapshot has no such file"
TWICE = "the index describes it twice"
OUTSIDE = "the index has positions outside of the file"
OTHER = "the index is of another state of the file"
NOTHING = "the index says nothing of it"
DAMAGED = "what the indexer wrote is damaged"

_LONG = 256
"""Bytes; names are shorter."""
_LINE_COLUMNS = ("start_line", "end_line", "enclosing_start_line", "enclosing_end_line")
_COLUMN_COLUMNS = ("start_column", "end_column", "enclosing_start_column", "enclosing_end_column")


@dataclass(slots=True)
class Precise:
    """What the indexes say, so far. `occurrences` have the columns of `ScipOccurrences`, words as dictionaries."""

    occurrences: list[pa.Table] = field(default_factory=list)
    symbols: list[pa.Table] = field(default_factory=list)
    """The columns of `ScipSymbols` without provenance, and `uri` (null: external)."""
    taken: set[str] = field(default_factory=set)
    """The uri of each file that is taken from an index."""
    left_out: dict[str, str] = field(default_factory=dict)
    """uri -> why its document was not taken."""


def add(
    precise: Precise,
    group: DocumentGroup,
    tool: str,
    indexer: str,
    content_of: Callable[[str], bytes | None],
    *,
    supplied: bool = False,
) -> None:
    """Take the documents of a group that fit the snapshot; `content_of` gives a file's bytes, or None.

    `supplied`: the index was made elsewhere, of whatever state of the files.
    """
    table = group.occurrences
    document = table["document"].to_numpy()
    defines = (table["roles"].to_numpy() & 1) == 1
    symbols = table["symbol"].combine_chunks()
    uris = [posixpath.normpath(path) for path in group.paths]
    contents = [content_of(uri) for uri in uris]
    texts = Texts.of([content or b"" for content in contents])
    units = np.array([column_unit(encoding, tool) for encoding in group.encoding.tolist()], np.int64)
    lines, columns = ([table[name].to_numpy() for name in names] for names in (_LINE_COLUMNS, _COLUMN_COLUMNS))
    found = [offsets_in(texts, document, *position, units) for position in zip(lines, columns, strict=True)]
    start, end = found[:2]
    # An empty range names nothing, but for the module that a file is. Some indexers write ends that lie before the start.
    named = (end > start) | (defines & (end == start))
    tolerances = fit.tolerances(tool, supplied=supplied)
    unfit = _unfit(texts, document, found, lines[2] >= 0, named, defines, symbols, tolerances)
    taken = np.zeros(len(uris), bool)
    for place, (uri, content) in enumerate(zip(uris, contents, strict=True)):
        if content is None or uri in precise.taken:
            precise.left_out[uri] = UNKNOWN if content is None else TWICE
        elif (reason := unfit[place]) and (reason != NOTHING or content.strip()):
            precise.left_out[uri] = reason
        else:
            taken[place] = True
            precise.taken.add(uri)
            precise.left_out.pop(uri, None)
    words = pa.array(uris, pa.string())
    distinct = words.dictionary_encode()
    free = (found[2] < 0) | (found[3] < found[2])
    alike = np.zeros(len(start), np.int32)
    rows = pa.table(
        {
            "uri": pa.DictionaryArray.from_arrays(distinct.indices.take(pa.array(document)), distinct.dictionary),
            "symbol": symbols,
            "roles": table["roles"],
            "is_definition": pa.array(defines),
            "start_byte": pa.array(start.astype(np.int32)),
            "end_byte": pa.array(end.astype(np.int32)),
            "start_line": pa.array(texts.lines(document, start).astype(np.int32)),
            "end_line": pa.array(texts.lines(document, np.maximum(end - 1, start)).astype(np.int32)),
            "enclosing_start_byte": pa.array(found[2].astype(np.int32), mask=free),
            "enclosing_end_byte": pa.array(found[3].astype(np.int32), mask=free),
            "provenance": pa.DictionaryArray.from_arrays(alike, pa.array(["scip"])),
            "indexer": pa.DictionaryArray.from_arrays(alike, pa.array([indexer])),
        }
    )
    kept = taken[document] & named
    precise.occurrences.append(rows if kept.all() else rows.filter(pa.array(kept)))
    precise.symbols.append(_symbols(group.symbols, words, taken))


def _unfit(
    texts: Texts,
    document: NDArray[np.int32],
    found: list[NDArray[np.int64]],
    enclosed: NDArray[np.bool_],
    named: NDArray[np.bool_],
    defines: NDArray[np.bool_],
    symbols: pa.DictionaryArray,
    tolerances: tuple[float, float],
) -> list[str]:
    """Why each document cannot be taken; empty where it can.

    `found` are the bytes of starts, ends, and enclosing starts and ends, where there is such. `tolerances` are those of
    `fit.tolerances`.
    """
    start, end = found[:2]
    count = len(texts.base)

    def of_each(rows: NDArray[Any]) -> NDArray[np.int64]:
        return np.bincount(document[rows], minlength=count)

    lost = (start < 0) | (end < 0) | (enclosed & ((found[2] < 0) | (found[3] < 0)))
    rows = np.flatnonzero((end > start) & ~lost)
    low = texts.base[document[rows]]
    cut = fit.inside_words(texts.data, low + start[rows], low + end[rows], low, low + texts.size[document[rows]])
    asked, wrong = _misspelt(texts, document, start, end, rows[defines[rows]], symbols)
    other = (of_each(rows[cut]) > tolerances[0] * of_each(rows)) | (of_each(wrong) > tolerances[1] * of_each(asked))
    reasons = np.where(of_each(named.nonzero()[0]) > 0, "", NOTHING)
    reasons = np.where(of_each(lost) > 0, OUTSIDE, np.where(other, OTHER, reasons))
    return [str(reason) for reason in reasons]


def _misspelt(
    texts: Texts,
    document: NDArray[np.int32],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    rows: NDArray[np.int64],
    symbols: pa.DictionaryArray,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of definitions, those that should be spelt like their symbol, and of these those where no such name stands."""
    distinct, numbers = np.unique(symbols.indices.to_numpy()[rows], return_inverse=True)
    names = _defined_names(symbols.dictionary.take(pa.array(distinct)))
    known = pc.not_equal(names, b"").to_numpy(zero_copy_only=False)[numbers]
    rows, expected = rows[known], names.take(pa.array(numbers[known]))
    # Nearly all are equal, which columns tell; what spans more than names do is not put into columns.
    differs = end[rows] - start[rows] > _LONG
    short = np.flatnonzero(~differs)
    there = texts.spans(document[rows[short]], start[rows[short]], end[rows[short]])
    differs[short] = pc.not_equal(there, expected.take(pa.array(short))).to_numpy(zero_copy_only=False)
    unlike = rows[differs]
    spans = zip(texts.base[document[unlike]] + start[unlike], texts.base[document[unlike]] + end[unlike], strict=True)
    wanted = expected.filter(pa.array(differs)).to_pylist()
    wrong = [name not in texts.data[low:high].tobytes() for (low, high), name in zip(spans, wanted, strict=True)]
    return rows, unlike[np.array(wrong, bool)]


def _defined_names(symbols: pa.StringArray) -> pa.LargeBinaryArray:
    """The name that stands where each symbol is defined; empty where that is not known: of locals, of namespaces, which may
    stand for a file, and of what its source does not name so."""
    last = LastDescriptors.of(symbols)
    is_namespace, is_meta = ending_with(symbols, "namespace"), ending_with(symbols, "meta")
    names = pc.if_else(pa.array(is_namespace), "", last.names())
    special = (last.is_escaped | is_meta) & ~is_namespace
    if special.any():
        columns = (names.filter(pa.array(special)).to_pylist(), is_meta[special].tolist(), last.is_escaped[special].tolist())
        spelt = [fit.spelt(name, is_meta=meta, is_escaped=escaped) for name, meta, escaped in zip(*columns, strict=True)]
        names = pc.replace_with_mask(names, pa.array(special), pa.array(spelt, pa.string()))
    return names.cast(pa.large_binary())


def _symbols(table: pa.Table, uris: pa.Array, taken: NDArray[np.bool_]) -> pa.Table:
    """Descriptions of global symbols in documents that were taken, and of external ones."""
    document = table["document"].to_numpy()
    external = document < 0
    known = external | taken[document] if len(taken) else external
    uri = uris.take(pa.array(document, mask=external))
    table = table.drop_columns(["document"]).append_column("uri", uri)
    # The ids of locals mean something in their document only.
    return completed(table.filter(pc.and_(pa.array(known), pc.invert(pc.starts_with(table["symbol"], LOCAL)))))


def reasons(left_out: Mapping[str, str]) -> dict[str, int]:
    """Files by reason."""
    counted: dict[str, int] = {}
    for reason in left_out.values():
        counted[reason] = counted.get(reason, 0) + 1
    return dict(sorted(counted.items()))
