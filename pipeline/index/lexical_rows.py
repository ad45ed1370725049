"""What the lexical index is given of chunks: their words as stems, the names that are defined in them, and what is stored.

Stems are found once for each distinct run of a text: texts repeat their words a lot, and stemming costs more than indexing.

Belongs here: from tables to rows. Not here: which words there are (`embed.words`), the fields (`lexical`), Tantivy's files
(`lexical_segments`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.embed import words
from pipeline.index import lexical

CHUNK_COLUMNS = ("id", "content", "start_byte", *lexical.ROW_COLUMNS)
DEFINITION_COLUMNS = ("uri", "name", "qualified_name", "kind", "start_byte")
"""What is read of chunks and of definitions."""

_MOST_SPELLED = 1 << 18
_spelled: dict[str, str] = {}
"""The stems of a run, joined by spaces: of the runs that this process has met."""


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk: its id, the stems of each text field joined by spaces, names that it defines, and what is stored."""

    identifier: int
    body: str
    names: str
    path: str
    file_name: str
    defines: tuple[str, ...]
    stored: bytes


def rows_of(table: pa.Table, definitions: pa.Table) -> list[Row]:
    """What the index is given of chunks, sorted by (uri, start_byte), that cover their files; and the definitions of these."""
    defined = _definitions_of(table, definitions)
    columns = [table[name].to_pylist() for name in lexical.ROW_COLUMNS]
    uris = columns[0]
    encode = msgspec.json.Encoder().encode
    return [
        Row(identifier, body, names, path, file_name, _terms_of(found), encode(row))
        for identifier, body, names, path, file_name, found, row in zip(
            table["id"].to_pylist(),
            _spell(table["content"].to_pylist()),
            _spell([" ".join(name for name, _, _ in found) for found in defined]),
            _spell(uris),
            _spell([uri.rpartition("/")[2] for uri in uris]),
            defined,
            zip(*columns, strict=True),
            strict=True,
        )
    ]


def _spell(texts: Sequence[str]) -> list[str]:
    """The stems of all terms of each text, joined by spaces."""
    runs = [words.runs(text) for text in texts]
    _learn(set(chain.from_iterable(runs)))
    known = _spelled.__getitem__
    return [" ".join(map(known, own)) for own in runs]


def _learn(runs: set[str]) -> None:
    """Cut and stem the runs that are new, all in one call."""
    if len(_spelled) + len(runs) > _MOST_SPELLED:
        _spelled.clear()
    new = [run for run in runs if run not in _spelled]
    terms = [words.terms(run) for run in new]
    stems = iter(lexical.analyzer().analyze(" ".join(chain.from_iterable(terms))))
    _spelled.update((run, " ".join(islice(stems, len(own)))) for run, own in zip(new, terms, strict=True))


def _terms_of(names: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    """What (name, qualified name, kind) are found by. A section of a document is about its title, and defines no such thing."""
    terms = (lexical.defined_terms(name, qualified) for name, qualified, kind in names if kind != "section")
    return tuple(dict.fromkeys(term for found in terms for term in found))


def _definitions_of(chunks: pa.Table, definitions: pa.Table) -> Sequence[list[tuple[str, str, str]]]:
    """For each chunk the name, qualified name and kind of each definition that starts in it."""
    uris = pa.chunked_array([*chunks["uri"].chunks, *definitions["uri"].chunks], pa.string())
    codes = pc.rank(uris, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    chunk_keys = (codes[: len(chunks)] << 32) + chunks["start_byte"].to_numpy()
    definition_keys = (codes[len(chunks) :] << 32) + definitions["start_byte"].to_numpy()
    # Chunks cover their file and are sorted by (uri, start_byte): the last one that starts before a definition holds it.
    owners = np.searchsorted(chunk_keys, definition_keys, side="right") - 1
    owned = (owners >= 0) & (chunk_keys[owners] >> 32 == definition_keys >> 32) if len(chunks) else np.zeros(len(owners), bool)
    found: list[list[tuple[str, str, str]]] = [[] for _ in range(len(chunks))]
    kept = definitions.filter(pa.array(owned))
    names = zip(*(kept[column].to_pylist() for column in ("name", "qualified_name", "kind")), strict=True)
    for owner, name in zip(owners[owned].tolist(), names, strict=True):
        found[owner].append(name)
    return found
