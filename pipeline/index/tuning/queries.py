"""The texts that an index is tuned on: what definitions are called and what their docs say, and first lines of chunks.

Belongs here: which texts, deterministically. Not here: embedding and searching them (`stage`).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from pipeline import tables
from pipeline.schemas import Chunks, Definitions, Table

_LONGEST = 300
"""Characters: a question is no essay."""


def query_texts(definitions: Path, chunks: Path, wanted: int) -> list[str]:
    """`wanted` distinct texts, or as many as there are: an even sample of definitions' names and docs.

    Where those are too few, first lines of chunks follow. The order is that of the texts' hashes, so that any two halves are
    alike, and most texts stay when the repository changes.
    """
    found = _smallest(_of_definitions(definitions), wanted)
    if len(found) < wanted:
        known = set(found)
        found += _smallest((text for text in _column(chunks, Chunks, "preview") if text not in known), wanted - len(found))
    return sorted(found, key=_hash)


def _of_definitions(root: Path) -> Iterator[str]:
    yield from _column(root, Definitions, "name")
    for doc in _column(root, Definitions, "doc"):
        # The first paragraph says what it is.
        yield doc.strip().split("\n\n", 1)[0]


def _column(root: Path, kind: type[Table], name: str) -> Iterator[str]:
    for part in tables.read_parts(root, kind, [name]):
        yield from pc.unique(part[name]).to_pylist()


def _smallest(texts: Iterator[str], wanted: int) -> list[str]:
    """The distinct texts of the smallest hashes."""
    cut = (" ".join(text.split())[:_LONGEST] for text in texts)
    return heapq.nsmallest(wanted, {text for text in cut if text}, key=_hash)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
