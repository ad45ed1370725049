"""The oracle of evaluation: exact MaxSim over all chunks, a block at a time, so that memory does not grow with the corpus.

It answers what wide search should have found, over the stored tokens (`TokenIndex.blocks`) or over freshly encoded ones
(`encoded_blocks`), which no compression has touched.

Belongs here: exhaustive scoring. Not here: metrics (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipeline.index.dense.arrays import Ids, Scores
from pipeline.index.xtr.encoder import TokenEncoder, Vectors
from pipeline.index.xtr.narrow import best_first
from pipeline.index.xtr.token_index import Block

_TEXTS = 32


def exact(blocks: Iterable[Block], queries: Sequence[Vectors], k: int) -> list[tuple[Ids, Scores]]:
    """For each query (its tokens, float32 [q, d], unit rows) the k best of all chunks: ids int64 and scores float32, best
    first, ties by id. Scores are mean cosines, as `narrow.score` gives them; chunks without tokens are not ranked."""
    best = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    for block in blocks:
        filled = np.flatnonzero(np.diff(block.offsets))
        if not len(filled):
            continue
        for number, query in enumerate(queries):
            if not len(query):
                continue
            highest = np.maximum.reduceat(block.vectors @ query.T, block.offsets[filled], axis=0)
            scores = highest.mean(axis=1, dtype=np.float64).astype(np.float32)
            ids, known = np.r_[best[number][0], block.ids[filled]], np.r_[best[number][1], scores]
            order = best_first(ids, known)[:k]
            best[number] = ids[order], known[order]
    return best


def encoded_blocks(encoder: TokenEncoder, ids: Ids, texts: Sequence[str]) -> Iterator[Block]:
    """The tokens of texts as the encoder gives them, some texts at a time. `ids` int64 [n]."""
    for start in range(0, len(texts), _TEXTS):
        made = encoder.encode(texts[start : start + _TEXTS])
        yield Block(ids[start : start + _TEXTS], made.offsets, made.vectors)
