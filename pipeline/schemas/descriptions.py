"""What each column of a table means, a phrase each, and which columns hold text of the repository.

Not in the Arrow schemas: what stands there becomes bytes of every Parquet file.

Belongs here: columns of artefacts. Not here: their types (the modules beside this one), the columns of traces.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.schemas.base import Kind
from pipeline.schemas.indexes import Chunks, Embeddings, FaissIdmap, Tuning
from pipeline.schemas.quality import Coverage, EvalMetrics, EvalQueries
from pipeline.schemas.structure import (
    AstNodes,
    ChunkSymbols,
    CstNodes,
    Definitions,
    Modules,
    ScipOccurrences,
    ScipSymbols,
    Snapshot,
    SymbolEdges,
)

TEXT_COLUMNS = frozenset({"content", "preview", "signature", "doc", "documentation", "query", "mask"})
"""Columns with what somebody wrote in a file: code, comments and values of constants, among them secrets."""

_EVERYWHERE: Mapping[str, str] = {
    "uri": "Path of the file from the root of the repository, with `/`.",
    "lang": "Language of the file.",
    "start_byte": "First byte, 0-based, in the file as stored.",
    "end_byte": "Behind the last byte, 0-based, in the file as stored.",
    "start_line": "First line, 1-based.",
    "end_line": "Last line, 1-based, inclusive.",
    "symbol": "The symbol as SCIP writes it: scheme, package, descriptors.",
    "provenance": "`scip` where an indexer said it, `syntax` where it follows from the syntax tree.",
}
_SWEPT: Mapping[str, str] = {
    "nprobe": "Lists that are visited; null where the family has none.",
    "ef_search": "Candidates that a graph search keeps; null where the family has no graph.",
    "k_factor": "How many times k candidates are re-ranked on true vectors.",
    "queries": "Queries that were asked.",
    "low": "Lower end of the 95 % interval of the recall.",
    "high": "Upper end of the 95 % interval of the recall.",
}
_ASKED: Mapping[str, str] = {
    "qid": "The query's id.",
    "query": "The query's words.",
    "label": "What it was made from: name, docstring, usage, test, preview, module, …",
    "symbol": "Qualified name of what is looked for.",
}
_OF_KIND: Mapping[type[Kind], Mapping[str, str]] = {
    Snapshot: {
        "uri": "Path from the root of the repository, with `/`; an ignored folder is one row whose path ends in `/`.",
        "lang": "Language; null where none is recognised.",
        "size": "Size in bytes; null where the file was not read.",
        "content_hash": "blake2b-256 of the bytes (of the target, for a link); null where the file was not read.",
        "status": "`indexed` or `skipped`.",
        "reason": "Why it is skipped; null where it is indexed.",
    },
    AstNodes: {
        "node_id": "Number of the node in its file, from 0 in pre-order.",
        "parent_id": "`node_id` of the parent; -1 for the root.",
        "type": "The grammar's name of the node.",
        "field": "The grammar's name of its place in the parent, if it has one.",
        "depth": "Nodes above it; 0 for the root.",
        "named": "Whether the grammar names it; else it is a token such as `(`.",
    },
    Definitions: {
        "name": "The defined name.",
        "qualified_name": "The name with those of the enclosing definitions, joined by `.`.",
        "kind": "function, method, class, constant, …",
        "signature": "The head of the definition, on one line.",
        "doc": "Its documentation.",
        "name_start_byte": "First byte of the name, 0-based.",
        "node_id": "The defining node in `ast_nodes`.",
        "parent": "`node_id` of the innermost enclosing definition, or null.",
    },
    ScipOccurrences: {
        "roles": "SCIP's bits: 1 definition, 2 import, 4 write, 8 read, 16 generated, 32 test.",
        "is_definition": "Whether the symbol is defined here.",
        "enclosing_start_byte": "First byte of the whole definition or call, or null.",
        "enclosing_end_byte": "Behind the last byte of the whole definition or call, or null.",
        "indexer": "Who said it, with its version.",
    },
    ScipSymbols: {
        "display_name": "The name for people.",
        "kind": "function, class, module, …",
        "signature": "The declaration, as the indexer writes it.",
        "documentation": "Its documentation.",
        "relationships": "Symbols that it refers to, implements, types or defines.",
    },
    CstNodes: {
        "node_id": "Number of the node in its file, from 0 in pre-order.",
        "parent_id": "`node_id` of the parent; -1 for the root.",
        "kind": "Statement, parameter, decorator, import, call, comment, …",
        "role": "What it is to its parent, if that says more.",
        "text_hash": "blake2b-64 of its text.",
        "qualified_name": "Of what it defines, imports or calls, where that is known.",
    },
    Modules: {
        "lines": "Lines of the file.",
        "defs": "Definitions in the file.",
        "imports": "What it imports: files of the repository by path, others by name.",
        "exports": "Names that it offers.",
        "doc": "Its documentation.",
        "tags": "cli, config, docs, entry_point, generated, test.",
        "churn": "Commits that changed it in the days of the setting `churn_days` before the indexed commit.",
        "authors": "Distinct authors of those commits, by e-mail address.",
        "complexity": "Functions, and branches in their code.",
        "hotspot_score": "Churn and complexity as one figure, from 0 to below 1.",
    },
    Chunks: {
        "id": "The chunk's id, positive, the same in every artefact.",
        "kind": "function, method, class, module (top-level code), section, data, text, …",
        "name": "The definition, heading or key that it is about, or empty.",
        "preview": "The line that says most about it.",
        "content": "Its text.",
        "content_hash": "blake2b-64 of its text.",
    },
    ChunkSymbols: {
        "chunk_id": "The chunk's id.",
        "role": "`definition` or `reference`.",
        "count": "Occurrences in the chunk.",
    },
    SymbolEdges: {
        "source": "The symbol that calls, imports, implements or contains.",
        "target": "The symbol that is called, imported, implemented or contained.",
        "kind": "calls, imports, implements or contains.",
        "count": "How often, in the file.",
    },
    Embeddings: {"id": "The chunk's id.", "embedding": "Its vector, of length 1; its dimension is the embedder's."},
    FaissIdmap: {
        "faiss_row": "Row in the FAISS index, from 0.",
        "external_id": "The chunk's id.",
        "source": "`primary` or `delta`: which part of the index has the row.",
    },
    Tuning: {
        **_SWEPT,
        "recall": "Share of the nearest vectors that were found, from 0 to 1.",
        "scored": "Vectors scored for one query: the cost.",
        "bound": "Whether the recall is what the visited lists hold, which no search there exceeds.",
    },
    EvalQueries: {
        **_ASKED,
        "split": "`tune` or `test`: the operating point is chosen on the one, figures are of the other.",
        "uri": "File of what is looked for.",
        "positives": "Ids of the chunks that answer it.",
        "answers": "For each of `positives` the number of its answer: chunks of one answer count once, at the first.",
        "neutral": "Ids of the chunks that its words are from; they count neither way.",
        "mask": "Text of the answer that the query was copied from, and that it is asked without; null where there is none.",
    },
    EvalMetrics: {
        **_ASKED,
        "masked": "Whether the text that it was copied from was left out of the index for it.",
        "uri": "File of what is looked for.",
        "channel": "Who was asked; `fused` is the whole engine.",
        "state": "answered, empty, off or broken.",
        "rank": "Rank of the first answer, from 1; null where none was found.",
        "hit": "1 where an answer is among the first k, else 0.",
        "recall": "Share of the answers among the first k.",
        "rr": "1 / rank of the first answer among the first k, else 0.",
        "ndcg": "nDCG at k, from 0 to 1.",
        "without_hit": "`hit` of the whole engine without this channel.",
        "without_recall": "`recall` of the whole engine without this channel.",
        "without_rr": "`rr` of the whole engine without this channel.",
        "without_ndcg": "`ndcg` of the whole engine without this channel.",
        "nearest": "Of the k nearest vectors, how many the index found; of the whole engine alone.",
        "since": "Key of the evaluation that asked the query; null where it is this one.",
    },
    Coverage: {
        "symbol": "Qualified name of the definition.",
        "kind": "function, method, class, type, …",
        "chunks": "Chunks that it lies in.",
        "chunked": "Whether all of it lies inside of chunks.",
        "missing_in": "Indexes that lack one of its chunks.",
        "asked": "Whether it was asked for by a query of its own.",
        "query": "That query.",
        "rank": "Its rank in the fused ranking; null where it is not within k.",
        "found_by": "Channels that had it within k.",
        "reason": "Why it is not found; null where it is.",
    },
}


def described(kind: type[Kind], column: str) -> str:
    """What a column of a kind's table means. Raises `KeyError` for a column that nobody described."""
    own = _OF_KIND[kind]
    return own[column] if column in own else _EVERYWHERE[column]
