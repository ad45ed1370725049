"""Label `preview`: first lines of chunks, where a repository has too few queries to tune an index on.

Belongs here: these texts. Not here: queries that measure anything (`selection`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pipeline import tables
from pipeline.evaluation.queries import TUNE, Query
from pipeline.evaluation.synthesis import ties
from pipeline.evaluation.synthesis.corpus import Corpus
from pipeline.evaluation.synthesis.prose import normalised
from pipeline.evaluation.synthesis.sampling import draw, qid_of
from pipeline.evaluation.synthesis.ties import Tied
from pipeline.schemas import Chunks

LABEL = "preview"
_LONGEST = 300
"""Characters."""


def previews(corpus: Corpus, chunks: Path, taken: Collection[str], wanted: int) -> list[Tied]:
    """`wanted` queries for tuning, or as many as there are, none with a text of `taken`, which are normalised."""
    if wanted <= 0:
        return []
    table = tables.read_table(chunks, Chunks, ["name", "preview"])
    rows = np.flatnonzero(~corpus.files.is_test_half[corpus.chunk_file]).tolist()
    texts = table["preview"].take(rows).to_pylist() if rows else []
    cut = [" ".join(text.split())[:_LONGEST] for text in texts]
    found: dict[str, tuple[str, int]] = {}
    known = set(taken)
    for _, text, row in sorted((draw(LABEL, text), text, row) for text, row in zip(cut, rows, strict=True) if text):
        if len(found) == wanted:
            break
        key = normalised(text) or text
        if key not in known:
            found.setdefault(key, (text, row))
    names = table["name"].take([row for _, row in found.values()]).to_pylist() if found else []
    queries = [_query(corpus, text, row, name) for (text, row), name in zip(found.values(), names, strict=True)]
    made = [Tied(query, ties.numbers([ties.file(query.uri)])) for query in queries]
    return sorted(made, key=lambda one: one.query.qid)


def _query(corpus: Corpus, text: str, row: int, name: str) -> Query:
    file = int(corpus.chunk_file[row])
    uri, own = corpus.files.uris[file], int(corpus.chunk_ids[row])
    return Query(
        qid=qid_of(LABEL, text, uri, name), query=text, label=LABEL, split=TUNE, uri=uri, symbol=name,
        lang=corpus.files.languages[file], positives=(own,), answers=(0,),
    )  # fmt: skip
