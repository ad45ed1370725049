"""Postings with impacts: which terms weigh how much in which documents, sorted by term and then by document.

A posting is packed into one 64-bit word, term first, then row, then impact: sorting words sorts postings, and an update
inserts sorted words into sorted ones.

Belongs here: arrays, how they are built and changed. Not here: searching them (`impact_index`), files (`index_files`),
which weights a text has (`encoder`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.errors import InvariantViolationError, QueryError

Ids: TypeAlias = npt.NDArray[np.int64]
Impacts: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

STEPS = {8: 2.0**-6, 16: 2.0**-12}
"""Bits of an impact -> what one unit of it weighs: the largest impacts weigh just under 4 and 16. Fixed, and no function of the
corpus, so that no document changes the impacts of another. Weights of SPLADE are log(1 + x), and seldom above 3."""
_IMPACT_BITS, _ROW_BITS = 16, 28
MOST_DOCUMENTS = 1 << _ROW_BITS
MOST_TERMS = 1 << (64 - _IMPACT_BITS - _ROW_BITS)

POSTING = np.dtype([("term", "<u4"), ("impact", "<u2")])
"""One term of a document, as a row of an encoder holds it."""
DocumentRows: TypeAlias = npt.NDArray[np.void]
"""`POSTING` [n, m]: the terms of each document, ascending; then, where there are fewer than m, impacts of 0."""

_Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class SparseDocuments:
    """Documents as a compressed sparse matrix: document i has the postings offsets[i] to offsets[i + 1].

    ids int64 [n], in any order; offsets int64 [n + 1]; terms int32 [p], each once in a document; impacts uint16 [p], above 0.
    """

    ids: Ids
    offsets: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int32]
    impacts: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Postings:
    """Postings of `terms[i]` are rows and impacts from offsets[i] to offsets[i + 1], rows ascending; row r is document ids[r].

    ids int64 [n] and terms int32 [t] ascending; offsets int64 [t + 1]; rows int32 [p]; impacts uint8 or uint16 [p], above 0.
    """

    ids: Ids
    terms: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    impacts: Impacts


def quantise(weights: npt.NDArray[np.floating], bits: int) -> npt.NDArray[np.uint16]:
    """Weights [p], not negative, as impacts uint16 [p]. Below half a unit they become 0; what is too large, the largest."""
    units = np.rint(np.asarray(weights, np.float64) / STEPS[bits])
    return np.minimum(units, (1 << bits) - 1).astype(np.uint16)


def build(documents: SparseDocuments, *, bits: int) -> Postings:
    """The postings of documents. Raises `InvariantViolationError` for what cannot be one: an id or a term twice, no impact."""
    ids = _ascending(documents.ids)
    return _unpack(np.sort(_words(documents, ids)), ids, bits)


def update(postings: Postings, added: SparseDocuments, removed: Ids, *, bits: int) -> Postings:
    """The postings without the documents `removed` and with those of `added`: byte for byte what `build` of all would give.

    A document that changed is in both. Raises `InvariantViolationError` when one to remove is not there, or one to add is.
    """
    removed = _ascending(removed)
    if len(removed) and (missing := removed[~np.isin(removed, postings.ids)]).size:
        raise InvariantViolationError(f"The document {missing[0]} to be removed is not there.", hint="Build the index anew.")
    stay = ~np.isin(postings.ids, removed)
    ids = _ascending(np.concatenate([postings.ids[stay], added.ids]))
    # Rows only move together: those of a term stay in order.
    moved = np.searchsorted(ids, postings.ids).astype(np.int32)
    old = _pack(np.repeat(postings.terms, np.diff(postings.offsets)), moved[postings.rows], postings.impacts)
    old = old[stay[postings.rows]] if len(removed) else old
    new = np.sort(_words(added, ids))
    return _unpack(np.insert(old, np.searchsorted(old, new), new), ids, bits)


def document_rows(
    documents: npt.NDArray[np.int64], terms: npt.NDArray[np.int32], impacts: npt.NDArray[np.uint16], count: int, most: int
) -> DocumentRows:
    """Rows of `count` documents, from postings [p] by document: the `most` heaviest terms of each, ties by term."""
    order = np.lexsort((terms, -impacts.astype(np.int64), documents))
    order = order[_places(documents[order]) < most]
    order = order[impacts[order] > 0]
    order = order[np.lexsort((terms[order], documents[order]))]
    rows = np.zeros((count, most), POSTING)
    owners, places = documents[order], _places(documents[order])
    rows["term"][owners, places] = terms[order]
    rows["impact"][owners, places] = impacts[order]
    return rows


def documents_of(ids: Ids, rows: DocumentRows) -> SparseDocuments:
    """Documents int64 [n] of rows [n, m]."""
    there = rows["impact"] > 0
    offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64)
    return SparseDocuments(ids, offsets, rows["term"][there].astype(np.int32), rows["impact"][there])


def _places(ascending: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place of each value among those equal to it, from 0."""
    return np.arange(len(ascending)) - np.searchsorted(ascending, ascending)


def check(postings: Postings, vocabulary: int) -> list[str]:
    """What is wrong with postings as such; reads all of them."""
    ids, terms, offsets, rows = postings.ids, postings.terms, postings.offsets, postings.rows
    problems = []
    if (np.diff(ids) <= 0).any():
        problems.append("the ids are not ascending")
    if (np.diff(terms) <= 0).any() or (len(terms) and not 0 <= terms[0] <= terms[-1] < vocabulary):
        problems.append("the terms are not ascending numbers of the vocabulary")
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(ids):
        problems.append("a posting is of no document")
    starts = np.zeros(len(rows), np.bool_)
    starts[offsets[:-1]] = True
    if (np.diff(offsets) <= 0).any() or ((np.diff(rows) <= 0) & ~starts[1:]).any():
        problems.append("the postings of a term are not in order")
    if len(rows) and not postings.impacts.min():
        problems.append("a posting has no impact")
    return problems


def _ascending(ids: Ids) -> Ids:
    found = np.sort(np.asarray(ids, np.int64))
    if (repeated := found[1:][found[1:] == found[:-1]]).size:
        raise InvariantViolationError(f"The document {repeated[0]} is there twice.", hint="Build with another `id_salt`.")
    if len(found) > MOST_DOCUMENTS:
        raise QueryError(f"{len(found):,} documents are more than {MOST_DOCUMENTS:,}.", hint="Index parts of the repository.")
    return found


def _words(documents: SparseDocuments, ids: Ids) -> _Words:
    """One word a posting, in the order of the documents."""
    if len(documents.terms) and not 0 <= documents.terms.min() <= documents.terms.max() < MOST_TERMS:
        raise InvariantViolationError(f"A term is not from 0 to {MOST_TERMS - 1}.", hint="Use another model.")
    rows = np.repeat(np.searchsorted(ids, documents.ids), np.diff(documents.offsets))
    return _pack(documents.terms, rows, documents.impacts)


def _pack(terms: npt.NDArray[np.integer], rows: npt.NDArray[np.integer], impacts: npt.NDArray[np.integer]) -> _Words:
    words = terms.astype(np.uint64) << np.uint64(_ROW_BITS)
    words |= rows.astype(np.uint64)
    words <<= np.uint64(_IMPACT_BITS)
    words |= impacts.astype(np.uint64)
    return words


def _unpack(words: _Words, ids: Ids, bits: int) -> Postings:
    pairs = words >> np.uint64(_IMPACT_BITS)
    units = words & np.uint64((1 << _IMPACT_BITS) - 1)
    impacts: Impacts = units.astype(np.uint8) if bits == 8 else units.astype(np.uint16)
    if (pairs[1:] == pairs[:-1]).any():
        raise InvariantViolationError("A document has a term twice.", hint="This is a fault of the encoder.")
    if len(units) and not 0 < units.min() <= units.max() < 1 << bits:
        raise InvariantViolationError(
            f"The impact of a term is not from 1 to {(1 << bits) - 1}.", hint="This is a fault of the encoder."
        )
    terms = (pairs >> np.uint64(_ROW_BITS)).astype(np.int32)
    first = np.flatnonzero(np.concatenate([[True], terms[1:] != terms[:-1]])) if len(terms) else np.empty(0, np.int64)
    rows = (pairs & np.uint64(MOST_DOCUMENTS - 1)).astype(np.int32)
    return Postings(ids, terms[first], np.append(first, len(terms)).astype(np.int64), rows, impacts)
