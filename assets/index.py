"""Group `index`: what is searched.

Belongs here: embeddings and the indexes over chunks. Not here: how they are made (`pipeline.embed`, `pipeline.index`).
"""

from __future__ import annotations

from assets.adapter import Card, asset_of
from pipeline.stages import EMBEDDINGS, FAISS_IDMAP, FAISS_INDEX, LEXICAL, SPLADE, TUNING, XTR

embeddings = asset_of(
    EMBEDDINGS,
    group="index",
    cards={
        "embeddings": Card(
            "One unit vector a chunk, as Parquet and as sorted NumPy arrays for exact re-ranking.",
            frozenset({"numpy", "parquet"}),
            channel="dense",
        )
    },
)

faiss_index = asset_of(
    FAISS_INDEX,
    group="index",
    cards={
        "faiss_index": Card("The vector index, with a description of how it was made.", frozenset({"faiss"}), channel="dense"),
    },
)

faiss_idmap = asset_of(
    FAISS_IDMAP,
    group="index",
    cards={
        "faiss_idmap": Card("Which chunk each row of the vector index is.", frozenset({"faiss", "parquet"}), channel="dense"),
    },
)

tuning = asset_of(
    TUNING,
    group="index",
    cards={
        "tuning": Card(
            "The point at which the vector index is searched: the cheapest that finds enough, with all that was measured.",
            frozenset({"faiss", "json", "parquet"}),
            channel="dense",
        ),
    },
)

lexical_index = asset_of(
    LEXICAL,
    group="index",
    cards={
        "lexical_index": Card(
            "Fielded BM25 over body, defined names, path and file name, fed with code-aware words.",
            frozenset({"tantivy"}),
            channel="lexical",
        ),
    },
)

splade_index = asset_of(
    SPLADE,
    group="index",
    cards={
        "splade_index": Card(
            "Learned sparse weights of every chunk, as postings with impacts; a note alone where the setting `splade` is off.",
            frozenset({"numpy"}),
            channel="splade",
        ),
    },
)

xtr_index = asset_of(
    XTR,
    group="index",
    cards={
        "xtr_index": Card(
            "A compressed vector of every token, for late interaction; where the setting `xtr` is off, a note of that.",
            frozenset({"numpy", "faiss"}),
            channel="xtr",
        ),
    },
)
