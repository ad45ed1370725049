"""Whether stored vectors are those of the embedder that the settings mean: some chunks embedded once more.

Catches what no comparison inside of the index can: vectors of another embedder, and vectors under ids of other chunks.

Belongs here: the sample and the comparison. Not here: embedders.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.embed import registry
from pipeline.embed.interface import document_text
from pipeline.evaluation.change import rows_of
from pipeline.evaluation.document import Agreement
from pipeline.index.dense.arrays import Ids
from pipeline.schemas import Chunks
from pipeline.search.opened import Opened

SAMPLE = 32
_DIGITS = 4
"""Of the cosine: servers and devices round the rest as they like."""


def agreement(opened: Opened, chunks: Mapping[int, str] | None = None) -> Agreement | None:
    """An even sample of chunks, or these (id -> uri), embedded again. None where the embedder cannot be asked, or there are
    none."""
    ids, texts = _texts(opened, _sample(opened) if chunks is None else chunks)
    if not len(ids):
        return None
    stored = opened.vectors.vectors_of(ids)
    try:
        made = registry.load(opened.embed_settings).encode(texts)
    except Exception:
        # A model's runtime raises what it likes. The channel is broken then, and the evaluation says why.
        return None
    # Vectors of another dimension have nothing in common.
    cosines = np.einsum("ij,ij->i", stored, made) if stored.shape == made.shape else np.zeros(1)
    return Agreement(sample=len(ids), least=round(float(cosines.min()), _DIGITS))


def _sample(opened: Opened) -> dict[int, str]:
    """Id and uri of an even sample of chunks. Ids are as good as drawn."""
    every = tables.read_table(opened.version.ensure("chunks"), Chunks, ["id", "uri"]).sort_by("id")
    rows = np.unique(np.linspace(0, every.num_rows - 1, min(SAMPLE, every.num_rows)).astype(np.int64))
    chosen = every.take(pa.array(rows))
    return dict(zip(chosen["id"].to_pylist(), chosen["uri"].to_pylist(), strict=True))


def _texts(opened: Opened, chunks: Mapping[int, str]) -> tuple[Ids, list[str]]:
    """Those of these chunks that there are, and what is embedded of each. Only the parts that hold them are read."""
    root = opened.version.ensure("chunks")
    rows = rows_of(root, Chunks, set(chunks.values()), ["id", "name", "uri", "content"])
    rows = rows.filter(pc.is_in(rows["id"], value_set=pa.array(sorted(chunks), pa.int64()))).sort_by("id")
    columns = (rows[name].to_pylist() for name in ("name", "uri", "content"))
    texts = [document_text(name, uri, content) for name, uri, content in zip(*columns, strict=True)]
    return rows["id"].to_numpy(), texts
