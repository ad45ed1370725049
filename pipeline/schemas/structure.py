"""What is known of a repository: its files, syntax, symbols and modules.

Belongs here: the kinds up to chunks. Not here: what is searched (`indexes`).
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.schemas.base import WORD, Kind, Table, columns, nullable


class Files(Table):
    """Every file of the tree, and `indexed` or the reason why it is skipped.

    `content_hash` is blake2b-256 of the bytes (of the target, for a symlink); null where the bytes were not read (ignored
    files, submodules). An ignored directory is one row whose uri ends in `/`. `size` in bytes.
    """

    asset = "source_snapshot"
    name = "files"
    schema = columns(
        uri=pa.string(),
        lang=nullable(WORD),
        size=nullable(pa.int64()),
        content_hash=nullable(pa.binary(32)),
        status=WORD,
        reason=nullable(WORD),
    )
    order = ("uri",)


class Sources(Table):
    """The bytes of every indexed file, so that all later stages are functions of artefacts and not of a moving work tree."""

    asset = "source_snapshot"
    name = "sources"
    schema = columns(uri=pa.string(), lang=WORD, content=pa.binary())
    order = ("uri",)


class Snapshot(Kind):
    """The tables `Files` and `Sources` in one object, and `LISTING`: the uris of what is indexed, in one place."""

    asset = "source_snapshot"
    version = 2
    tables = (Files, Sources)
    LISTING = "snapshot.json"


class AstNodes(Table):
    """Syntax nodes of each parsed file in pre-order. `node_id` counts from 0 in its file; the root's `parent_id` is -1."""

    asset = "ast_nodes"
    name = "ast_nodes"
    schema = columns(
        uri=WORD,
        node_id=pa.int32(),
        parent_id=pa.int32(),
        type=WORD,
        field=nullable(WORD),
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
    schema = columns(
        uri=pa.string(),
        name=pa.string(),
        qualified_name=pa.string(),
        kind=WORD,
        signature=pa.string(),
        doc=pa.string(),
        start_byte=pa.int32(),
        end_byte=pa.int32(),
        start_line=pa.int32(),
        end_line=pa.int32(),
        name_start_byte=pa.int32(),
        node_id=pa.int32(),
        parent=nullable(pa.int32()),
    )
    order = ("uri", "start_byte", "node_id")


class ScipIndex(Kind):
    """SCIP indexes as they were built or supplied: `scip/<language>.scip`; `scip/<language>.covered`, of which files each was
    made; and `scip/scip.json`, which says by which indexer, what was left out for which reason, and what has changed since."""

    asset = "scip_index"
    DIRECTORY = "scip"
    META = "scip.json"


class ScipOccurrences(Table):
    """Where symbols occur. Bytes half-open into the file as stored, lines 1-based inclusive.

    `roles` are SCIP's bits (1 definition, 2 import, 4 write, 8 read, 16 generated, 32 test). `provenance`: `scip` or `syntax`.
    `LEFT_OUT`, beside the table, lists the files whose document was not taken or whose references were cut; `scip_names/`, what
    the parts say of names to each other.
    """

    asset = "scip_occurrences"
    name = "scip_occurrences"
    LEFT_OUT = "scip_left_out.json"
    schema = columns(
        uri=WORD, symbol=WORD, roles=pa.int32(), is_definition=pa.bool_(),
        start_byte=pa.int32(), end_byte=pa.int32(), start_line=pa.int32(), end_line=pa.int32(),
        enclosing_start_byte=nullable(pa.int32()), enclosing_end_byte=nullable(pa.int32()), provenance=WORD, indexer=WORD,
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
    schema = columns(
        symbol=pa.string(), display_name=pa.string(), kind=WORD, signature=pa.string(), documentation=pa.string(),
        relationships=pa.list_(pa.field("item", _RELATIONSHIP, nullable=False)), provenance=WORD,
    )  # fmt: skip
    order = ("symbol",)


class CstNodes(Table):
    """Concrete syntax of Python by libcst: statements, definitions, parameters, decorators, imports, calls, comments.

    `REJECTED`, beside the table, lists the files that libcst could not read.
    """

    asset = "cst_nodes"
    name = "cst_nodes"
    REJECTED = "cst_rejected.json"
    schema = columns(
        uri=WORD, node_id=pa.int32(), parent_id=pa.int32(), kind=WORD, role=nullable(WORD),
        start_byte=pa.int32(), end_byte=pa.int32(), text_hash=pa.uint64(), qualified_name=nullable(pa.string()),
    )  # fmt: skip
    order = ("uri", "node_id")


class Modules(Table):
    """One row a source file with definitions or imports; also written as `modules.jsonl`."""

    asset = "modules"
    name = "modules"
    JSONL = "modules.jsonl"
    schema = columns(
        uri=pa.string(), lang=WORD, lines=pa.int32(), defs=pa.int32(), imports=pa.list_(pa.string()),
        exports=pa.list_(pa.string()), doc=pa.string(), tags=pa.list_(pa.string()), churn=pa.int32(), authors=pa.int32(),
        complexity=pa.int32(), hotspot_score=pa.float64(),
    )  # fmt: skip
    order = ("uri",)


class ChunkSymbols(Table):
    """Which symbols each chunk defines and refers to, and how often; in the parts of the chunks."""

    asset = "chunk_symbols"
    name = "chunk_symbols"
    schema = columns(chunk_id=pa.int64(), symbol=WORD, role=WORD, count=pa.int32())
    order = ("chunk_id", "role", "symbol")


class SymbolEdges(Table):
    """Relations between symbols: `source` calls, imports, implements or contains `target`; in the part of `uri`."""

    asset = "symbol_edges"
    name = "symbol_edges"
    schema = columns(uri=WORD, source=WORD, target=WORD, kind=WORD, count=pa.int32())
    order = ("uri", "source", "kind", "target")
