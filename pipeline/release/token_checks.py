"""What must hold of token vectors.

Belongs here: invariants of `xtr_index`. Not here: those of vectors, of one a chunk (`checks`).
"""

from __future__ import annotations

import numpy as np

from pipeline import tables
from pipeline.index.xtr.description import read_meta
from pipeline.index.xtr.token_index import TokenIndex
from pipeline.release.findings import Finding, Subject, finding, sample_rows
from pipeline.schemas import Chunks, XtrIndex


def tokens_match_chunks(subject: Subject) -> Finding:
    """The token index is off, or has every chunk and no other; tokens of sampled chunks stand inside of their text."""
    root = subject[XtrIndex.asset]
    meta = read_meta(root)
    if meta.encoder is None:
        return finding([], state="off", tokens=0)
    chunks = tables.read_table(subject[Chunks.asset], Chunks, ["id", "content"]).sort_by("id")
    index = TokenIndex.open(root)
    problems = []
    if not np.array_equal(chunks["id"].to_numpy(), index.ids):
        return finding([f"{len(index)} chunks with tokens for {chunks.num_rows} chunks, or others"])
    for row in sample_rows(chunks.num_rows).tolist():
        spans = index.spans[index.offsets[row] : index.offsets[row + 1]]
        if (spans[:, 0] > spans[:, 1]).any() or spans.max(initial=-1) > len(chunks["content"][row].as_py().encode()):
            problems.append(f"a token of chunk {int(index.ids[row])} lies outside of its text")
    return finding(problems, state="on", tokens=index.tokens, encoder=meta.encoder.name)
