"""What is searched: chunks, vectors, the indexes over them, and the manifest of it all.

Belongs here: these kinds. Not here: how good they are (`quality`).
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.schemas.base import WORD, Kind, Table, columns, nullable


class Chunks(Table):
    """Chunks: consecutive byte ranges that cover each indexed file without gap or overlap.

    `chunk_listing.npy` lists id, part and size of each, in the order of the rows (`chunks.listing`).
    """

    asset = "chunks"
    version = 2
    name = "chunks"
    LISTING = "chunk_listing.npy"
    schema = columns(
        id=pa.int64(),
        uri=pa.string(),
        lang=WORD,
        kind=WORD,
        name=pa.string(),
        start_line=pa.int32(),
        end_line=pa.int32(),
        start_byte=pa.int32(),
        end_byte=pa.int32(),
        preview=pa.string(),
        content=pa.string(),
        content_hash=pa.uint64(),
    )
    order = ("uri", "start_byte")


class Embeddings(Table):
    """One unit-norm float32 vector a chunk, cut into the same parts as `chunks`; and all of them again as sorted NumPy arrays.

    `ids.npy`: int64 [n], ascending. `vectors/shard-….npy`: float32 [m, d], cut by the leading bits of the id, so that one after
    the other they hold the vectors in the order of the ids; memory-mapped for re-ranking. `vector_hashes.npy`: uint64 [n], of
    the bytes of each vector (`embed.arrays`). The list size of `embedding` is the embedder's dimension; `embedder.json` says
    who made them.
    """

    asset = "embeddings"
    version = 2
    name = "embeddings"
    order = ("id",)
    IDS = "ids.npy"
    HASHES = "vector_hashes.npy"
    VECTORS = "vectors"
    EMBEDDER = "embedder.json"

    @staticmethod
    def schema_of(dimension: int) -> pa.Schema:
        """The Arrow schema for vectors of a dimension."""
        return columns(id=pa.int64(), embedding=pa.list_(pa.float32(), dimension))


class FaissIndex(Kind):
    """`faiss.index`, the id and the hash of the vector of each of its rows, what came and went since it was built (where there
    is any), and the description `faiss.meta.json`."""

    asset = "faiss_index"
    version = 2
    INDEX = "faiss.index"
    ROWS = "faiss.rows.npy"
    DELTA = "faiss.delta.index"
    DELETIONS = "deletions.npy"
    META = "faiss.meta.json"


class FaissIdmap(Kind):
    """Which chunk each row of the FAISS index is: one Parquet file, in row order."""

    asset = "faiss_idmap"
    FILE = "faiss_idmap.parquet"
    schema = columns(faiss_row=pa.int64(), external_id=pa.int64(), source=WORD)


class Tuning(Kind):
    """The operating point of the FAISS index: `tuning.json`, every point that was measured in `sweep.parquet`, and in
    `tuning_nearest.parquet` the best vectors of each query that was asked (`index.tuning.nearest`).

    `scored` counts the vectors scored for one query; `low` and `high` are the ends of the 95 % interval of the recall over
    `queries` queries. A `bound` is what the visited lists hold, which no search there exceeds.
    """

    asset = "tuning"
    version = 2
    FILE = "tuning.json"
    SWEEP = "sweep.parquet"
    NEAREST = "tuning_nearest.parquet"
    schema = columns(
        nprobe=nullable(pa.int32()), ef_search=nullable(pa.int32()), k_factor=pa.float64(), queries=pa.int32(),
        recall=pa.float64(), low=pa.float64(), high=pa.float64(), scored=pa.int64(), bound=pa.bool_(),
    )  # fmt: skip
    nearest = columns(query=pa.string(), ids=pa.list_(pa.int64()), scores=pa.list_(pa.float32()), floor=pa.float32())


class LexicalIndex(Kind):
    """A Tantivy index in the directory `lexical`, `lexical.meta.json`, and `lexical.files`: each chunk's file and its roles."""

    asset = "lexical_index"
    version = 3
    DIRECTORY = "lexical"
    META = "lexical.meta.json"
    FILES = "lexical.files"


class XtrIndex(Kind):
    """`xtr.meta.json`, and in the directory `xtr` a compressed vector of every token, by chunk and by centroid.

    Where the setting `xtr` is off, the description says so, and there is nothing else.
    """

    asset = "xtr_index"
    DIRECTORY = "xtr"
    META = "xtr.meta.json"


class SpladeIndex(Kind):
    """An impact index over SPLADE's weights in the directory `splade`, and `splade.meta.json`, which says by which encoder.

    Where the channel is off there is `splade.meta.json` alone, without an encoder.
    """

    asset = "splade_index"
    DIRECTORY = "splade"
    META = "splade.meta.json"


class Manifest(Kind):
    """`manifest.json`: everything that a published version is made of."""

    asset = "manifest"
    FILE = "manifest.json"
