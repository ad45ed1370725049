"""Whether stored vectors are those of the embedder that the settings mean: some chunks embedded once more.

Catches what no comparison inside of the index can: vectors of another embedder, and vectors under ids of other chunks.

Belongs here: the sample and the comparison. Not here: embedders.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline import tables
from pipeline.embed import registry
from pipeline.embed.interface import document_text
from pipeline.errors import CodeIntelError
from pipeline.evaluation.document import Agreement
from pipeline.index.dense.arrays import Ids
from pipeline.schemas import Chunks
from pipeline.search.opened import Opened

SAMPLE = 32
_DIGITS = 4
"""Of the cosine: servers and devices round the rest as they like."""


def agreement(opened: Opened) -> Agreement | None:
    """An even sample of chunks, embedded again. None where the embedder cannot be asked, or there is nothing to ask about."""
    ids, texts = _sample(opened)
    if not len(ids):
        return None
    stored = opened.vectors.vectors_of(ids)
    try:
        made = registry.load(opened.embed_settings).encode(texts)
    except CodeIntelError:
        return None
    # Vectors of another dimension have nothing in common.
    cosines = np.einsum("ij,ij->i", stored, made) if stored.shape == made.shape else np.zeros(1)
    return Agreement(sample=len(ids), least=round(float(cosines.min()), _DIGITS))


def _sample(opened: Opened) -> tuple[Ids, list[str]]:
    """Ids int64 [n], ascending, and the text of each chunk that is embedded. Ids are as good as drawn."""
    root = opened.version.ensure("chunks")
    parts = tables.parts(root, Chunks)
    ids = [tables.read_part(part, Chunks, ["id"])["id"].to_numpy() for part in parts]
    every = np.sort(np.concatenate(ids))
    chosen = every[np.unique(np.linspace(0, len(every) - 1, min(SAMPLE, len(every))).astype(np.int64))]
    texts: dict[int, str] = {}
    for part, there in zip(parts, ids, strict=True):
        if not len(rows := np.flatnonzero(np.isin(there, chosen))):
            continue
        table = tables.read_part(part, Chunks, ["id", "name", "uri", "content"]).take(pa.array(rows))
        columns = (table[name].to_pylist() for name in ("id", "name", "uri", "content"))
        texts |= {one: document_text(name, uri, content) for one, name, uri, content in zip(*columns, strict=True)}
    return chosen, [texts[one] for one in chosen.tolist()]
