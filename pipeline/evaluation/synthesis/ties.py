"""What a query depends on, as numbers: whoever changes none of it leaves the query and its answers as they are.

A query is tied to the files that its words and answers are from, to the texts of chunks whose copies answer too, and to what is
matched over the whole repository: a name, and what documentation begins with. A file is tied to itself, to the names that it
defines, to what its documentation begins with, and to the texts of its chunks. A query stays as it is while no file that
changed is one of its files, and no tie came or went with the files that changed.

Belongs here: these ties. Not here: which queries are kept in the end (`keeping`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.queries import Query
from pipeline.evaluation.synthesis.corpus import Corpus, read_corpus
from pipeline.evaluation.synthesis.sampling import draw

Ties = frozenset[int]


@dataclass(frozen=True, slots=True)
class Tied:
    """A query, and what it is tied to: int64 [n], ascending."""

    query: Query
    ties: NDArray[np.int64]


def named(name: str) -> str:
    """A name, alone or with that of its owner."""
    return f"name {name}"


def says(opening: str) -> str:
    """What the documentation of a definition begins with."""
    return f"says {opening}"


def opens(opening: str) -> str:
    """What a file says of itself begins with."""
    return f"opens {opening}"


def file(uri: str) -> str:
    """A file."""
    return f"file {uri}"


def text(content_hash: int) -> str:
    """The text of a chunk."""
    return f"text {content_hash}"


def numbers(ties: Iterable[str]) -> NDArray[np.int64]:
    """int64 [n], ascending: each tie as a number."""
    return np.unique(np.array([draw("tie", one) for one in ties], np.int64))


def of_files(uris: Collection[str], definitions: Path, chunks: Path, modules: Path) -> Ties:
    """What these files are tied to beside themselves, by the roots of the tables."""
    return frozenset(numbers(_all(read_corpus(definitions, chunks, modules, uris))).tolist())


def _all(corpus: Corpus) -> Iterable[str]:
    own = corpus.definitions
    yield from map(named, {*own.name.used, *own.owned_name.used})
    yield from map(says, own.first_line.used)
    yield from map(opens, corpus.modules.first_line.used)
    yield from map(text, np.unique(corpus.chunk_hash).tolist())
