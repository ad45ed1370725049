"""What every artefact is: the Arrow schema and version of each table, and the file names of everything that is not a table.

A `Kind` is both a typed name (`Artefact[Chunks]`) and the one place where the shape of that artefact is written down. Files lie
under the same relative names in a store object and in a published version.

Belongs here: schemas and names. Not here: reading and writing (`tables`), digests and keys (`store`).
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa


class Kind:
    """An artefact's type. `asset` is its name in the graph; `version` rises whenever its shape changes."""

    asset: ClassVar[str]
    version: ClassVar[int] = 1

    @classmethod
    def tag(cls) -> str:
        """What a stored object says that it is, for example `chunks/1`."""
        return f"{cls.asset}/{cls.version}"


class Table(Kind):
    """A table: a directory `name` of Parquet parts, cut by a hash of the uri, rows sorted by `order`."""

    name: ClassVar[str]
    schema: ClassVar[pa.Schema]
    order: ClassVar[tuple[str, ...]]


def _schema(**columns: pa.DataType | pa.Field) -> pa.Schema:
    return pa.schema(
        [
            kind.with_name(name) if isinstance(kind, pa.Field) else pa.field(name, kind, nullable=False)
            for name, kind in columns.items()
        ]
    )


def _null(kind: pa.DataType) -> pa.Field:
    return pa.field("", kind, nullable=True)


_WORD = pa.dictionary(pa.int32(), pa.string())
"""Strings of few distinct values."""


class Files(Table):
    """Every file of the tree, and `indexed` or the reason why it is skipped.

    `content_hash` is blake2b-256 of the bytes (of the target, for a symlink); null where the bytes were not read (ignored
    files, submodules). An ignored directory is one row whose uri ends in `/`. `size` in bytes.
    """

    asset = "source_snapshot"
    name = "files"
    schema = _schema(
        uri=pa.string(),
        lang=_null(_WORD),
        size=_null(pa.int64()),
        content_hash=_null(pa.binary(32)),
        status=_WORD,
        reason=_null(_WORD),
    )
    order = ("uri",)


class Sources(Table):
    """The bytes of every indexed file, so that all later stages are functions of artefacts and not of a moving work tree."""

    asset = "source_snapshot"
    name = "sources"
    schema = _schema(uri=pa.string(), lang=_WORD, content=pa.binary())
    order = ("uri",)


class Snapshot(Kind):
    """The tables `Files` and `Sources` in one object."""

    asset = "source_snapshot"
    tables = (Files, Sources)


class AstNodes(Table):
    """Syntax nodes of each parsed file in pre-order. `node_id` counts from 0 in its file; the root's `parent_id` is -1."""

    asset = "ast_nodes"
    name = "ast_nodes"
    schema = _schema(
        uri=_WORD,
        node_id=pa.int32(),
        parent_id=pa.int32(),
        type=_WORD,
        field=_null(_WORD),
        start_byte=pa.int32(),
        end_byte=pa.int32(),
        depth=pa.int16(),
        named=pa.bool_(),
    )
    order = ("uri", "node_id")


class Definitions(Table):
    """Named definitions. Bytes half-open into the file as stored, lines 1-based inclusive.

    `node_id` is the defining node in `ast_nodes`; `parent` the `node_id` of the innermost enclosing definition, or null.
    """

    asset = "definitions"
    name = "definitions"
    schema = _schema(
        uri=pa.string(),
        name=pa.string(),
        qualified_name=pa.string(),
        kind=_WORD,
        signature=pa.string(),
        doc=pa.string(),
        start_byte=pa.int32(),
        end_byte=pa.int32(),
        start_line=pa.int32(),
        end_line=pa.int32(),
        name_start_byte=pa.int32(),
        node_id=pa.int32(),
        parent=_null(pa.int32()),
    )
    order = ("uri", "start_byte", "node_id")


class ScipIndex(Kind):
    """SCIP indexes as they were built or supplied: `scip/<language>.scip`, and `scip/scip.json`, which says by which indexer
    and which files were left out for which reason."""

    asset = "scip_index"
    DIRECTORY = "scip"
    META = "scip.json"


class ScipOccurrences(Table):
    """Where symbols occur. Bytes half-open into the file as stored, lines 1-based inclusive.

    `roles` are SCIP's bits (1 definition, 2 import, 4 write, 8 read, 16 generated, 32 test). `provenance`: `scip` or `syntax`.
    `LEFT_OUT`, beside the table, lists the files whose document was not taken or whose references were cut.
    """

    asset = "scip_occurrences"
    name = "scip_occurrences"
    LEFT_OUT = "scip_left_out.json"
    schema = _schema(
        uri=_WORD, symbol=_WORD, roles=pa.int32(), is_definition=pa.bool_(),
        start_byte=pa.int32(), end_byte=pa.int32(), start_line=pa.int32(), end_line=pa.int32(),
        enclosing_start_byte=_null(pa.int32()), enclosing_end_byte=_null(pa.int32()), provenance=_WORD, indexer=_WORD,
    )  # fmt: skip
    order = ("uri", "start_byte", "end_byte", "symbol")


_RELATIONSHIP = pa.struct([
    pa.field("symbol", pa.string(), nullable=False),
    *(pa.field(name, pa.bool_(), nullable=False)
      for name in ("is_reference", "is_implementation", "is_type_definition", "is_definition")),
])  # fmt: skip


class ScipSymbols(Table):
    """What is known of each symbol. A row lies in the part of the file that describes it; external symbols lie in part 0."""

    asset = "scip_symbols"
    name = "scip_symbols"
    schema = _schema(
        symbol=pa.string(), display_name=pa.string(), kind=_WORD, signature=pa.string(), documentation=pa.string(),
        relationships=pa.list_(pa.field("item", _RELATIONSHIP, nullable=False)), provenance=_WORD,
    )  # fmt: skip
    order = ("symbol",)


class CstNodes(Table):
    """Concrete syntax of Python by libcst: statements, definitions, parameters, decorators, imports, calls, comments.

    `REJECTED`, beside the table, lists the files that libcst could not read.
    """

    asset = "cst_nodes"
    name = "cst_nodes"
    REJECTED = "cst_rejected.json"
    schema = _schema(
        uri=_WORD, node_id=pa.int32(), parent_id=pa.int32(), kind=_WORD, role=_null(_WORD),
        start_byte=pa.int32(), end_byte=pa.int32(), text_hash=pa.uint64(), qualified_name=_null(pa.string()),
    )  # fmt: skip
    order = ("uri", "node_id")


class Modules(Table):
    """One row a source file with definitions or imports; also written as `modules.jsonl`."""

    asset = "modules"
    name = "modules"
    JSONL = "modules.jsonl"
    schema = _schema(
        uri=pa.string(), lang=_WORD, lines=pa.int32(), defs=pa.int32(), imports=pa.list_(pa.string()),
        exports=pa.list_(pa.string()), doc=pa.string(), tags=pa.list_(pa.string()), churn=pa.int32(), authors=pa.int32(),
        complexity=pa.int32(), hotspot_score=pa.float64(),
    )  # fmt: skip
    order = ("uri",)


class ChunkSymbols(Table):
    """Which symbols each chunk defines and refers to, and how often; in the parts of the chunks."""

    asset = "chunk_symbols"
    name = "chunk_symbols"
    schema = _schema(chunk_id=pa.int64(), symbol=_WORD, role=_WORD, count=pa.int32())
    order = ("chunk_id", "role", "symbol")


class SymbolEdges(Table):
    """Relations between symbols: `source` calls, imports, implements or contains `target`; in the part of `uri`."""

    asset = "symbol_edges"
    name = "symbol_edges"
    schema = _schema(uri=_WORD, source=_WORD, target=_WORD, kind=_WORD, count=pa.int32())
    order = ("uri", "source", "kind", "target")


class Chunks(Table):
    """Chunks: consecutive byte ranges that cover each indexed file without gap or overlap."""

    asset = "chunks"
    name = "chunks"
    schema = _schema(
        id=pa.int64(),
        uri=pa.string(),
        lang=_WORD,
        kind=_WORD,
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

    `ids.npy`: int64 [n], ascending. `vectors.npy`: float32 [n, d], row i belongs to ids[i]; memory-mapped for re-ranking.
    The list size of `embedding` is the embedder's dimension; `embedder.json` says who made them.
    """

    asset = "embeddings"
    name = "embeddings"
    order = ("id",)
    IDS = "ids.npy"
    VECTORS = "vectors.npy"
    EMBEDDER = "embedder.json"

    @staticmethod
    def schema_of(dimension: int) -> pa.Schema:
        """The Arrow schema for vectors of a dimension."""
        return _schema(id=pa.int64(), embedding=pa.list_(pa.float32(), dimension))


class FaissIndex(Kind):
    """`faiss.index`, what came and went since it was built (where there is any), and the description `faiss.meta.json`."""

    asset = "faiss_index"
    INDEX = "faiss.index"
    DELTA = "faiss.delta.index"
    DELETIONS = "deletions.npy"
    META = "faiss.meta.json"


class FaissIdmap(Kind):
    """Which chunk each row of the FAISS index is: one Parquet file, in row order."""

    asset = "faiss_idmap"
    FILE = "faiss_idmap.parquet"
    schema = _schema(faiss_row=pa.int64(), external_id=pa.int64(), source=_WORD)


class Tuning(Kind):
    """The operating point of the FAISS index: `tuning.json`, and every point that was measured in `sweep.parquet`.

    `scored` counts the vectors scored for one query; `low` and `high` are the ends of the 95 % interval of the recall over
    `queries` queries. A `bound` is what the visited lists hold, which no search there exceeds.
    """

    asset = "tuning"
    FILE = "tuning.json"
    SWEEP = "sweep.parquet"
    schema = _schema(
        nprobe=_null(pa.int32()), ef_search=_null(pa.int32()), k_factor=pa.float64(), queries=pa.int32(),
        recall=pa.float64(), low=pa.float64(), high=pa.float64(), scored=pa.int64(), bound=pa.bool_(),
    )  # fmt: skip


class LexicalIndex(Kind):
    """A Tantivy index in the directory `lexical`, `lexical.meta.json`, and `lexical.files`: each chunk's file and its roles."""

    asset = "lexical_index"
    version = 2
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


_MOMENT = pa.timestamp("us")
"""UTC, without saying so: with a zone DuckDB shows it in that of the machine."""
_CHANNEL = pa.struct([
    pa.field("channel", pa.string(), nullable=False), pa.field("state", pa.string(), nullable=False),
    pa.field("found", pa.int32(), nullable=False), pa.field("reason", pa.string(), nullable=False),
    pa.field("seconds", pa.float64(), nullable=False),
])  # fmt: skip


class TraceTable(Table):
    """A table of traces: in each set (`store.traces`) one file."""

    asset = "trace"
    order = ("ts",)

    @classmethod
    def file_name(cls) -> str:
        """The name of its file in a set."""
        return f"{cls.name}.parquet"


class TraceQueries(TraceTable):
    """Searches that were answered while tracing was on. `run_id` is of the process; `filters` are as `lang=python`."""

    name = "trace_queries"
    schema = _schema(
        query_id=pa.string(), run_id=_WORD, version=_WORD, query=pa.string(), kind=_WORD, k=pa.int32(),
        filters=pa.list_(pa.string()), results=pa.int32(), channels=pa.list_(pa.field("item", _CHANNEL, nullable=False)),
        seconds=pa.float64(), ts=_MOMENT,
    )  # fmt: skip


class TracePool(TraceTable):
    """The best of what each channel found, by its own rank. `score` is the channel's, `fused_score` the sum of contributions.

    `method` is how channels were fused. The last three columns are null unless the search was asked to explain the chunk: names
    that it defines, kinds of its syntax nodes, concrete syntax in it that has a word of the query.
    """

    name = "trace_pool"
    schema = _schema(
        run_id=_WORD, query_id=_WORD, channel=_WORD, method=_WORD, rank=pa.int32(), chunk_id=pa.int64(), score=pa.float64(),
        fused_score=pa.float64(), explain_symbols=_null(pa.list_(pa.string())), explain_ast_kinds=_null(pa.list_(pa.string())),
        explain_cst_hits=_null(pa.list_(pa.string())), ts=_MOMENT,
    )  # fmt: skip


class HybridContrib(TraceTable):
    """What each channel contributed to the best candidates; the contributions to a chunk add up to its `fused_score`.

    `rank_in_channel` is null where the channel knew a score but did not find the chunk, `k_rrf` under score fusion.
    """

    name = "hybrid_contrib"
    schema = _schema(
        query_id=_WORD, channel=_WORD, rank_in_channel=_null(pa.int32()), doc_id=pa.int64(), raw_score=pa.float64(),
        weight=pa.float64(), k_rrf=_null(pa.float64()), contribution=pa.float64(), fused_score=pa.float64(), ts=_MOMENT,
    )  # fmt: skip


class HybridTopk(TraceTable):
    """What was answered, in order. `score` is `fused_score` after the adjustments by structure, which the order is by."""

    name = "hybrid_topk"
    schema = _schema(
        query_id=_WORD, rank=pa.int32(), doc_id=pa.int64(), fused_score=pa.float64(), score=pa.float64(), ts=_MOMENT
    )


TRACES: tuple[type[TraceTable], ...] = (TraceQueries, TracePool, HybridContrib, HybridTopk)
"""The tables of traces, which are no part of a version."""


TABLES: tuple[type[Table], ...] = (
    Files, Sources, AstNodes, Definitions, ScipOccurrences, ScipSymbols, CstNodes, Modules, Chunks, ChunkSymbols, SymbolEdges,
    Embeddings,
)  # fmt: skip
