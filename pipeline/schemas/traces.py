"""What is kept of searches.

Belongs here: the tables of traces, which are no part of a version. Not here: how they are written (`search.trace`).
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.schemas.base import WORD, Table, columns, nullable

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
    schema = columns(
        query_id=pa.string(), run_id=WORD, version=WORD, query=pa.string(), kind=WORD, k=pa.int32(),
        filters=pa.list_(pa.string()), results=pa.int32(), channels=pa.list_(pa.field("item", _CHANNEL, nullable=False)),
        seconds=pa.float64(), ts=_MOMENT,
    )  # fmt: skip


class TracePool(TraceTable):
    """The best of what each channel found, by its own rank. `score` is the channel's, `fused_score` the sum of contributions.

    `method` is how channels were fused. The last three columns are null unless the search was asked to explain the chunk: names
    that it defines, kinds of its syntax nodes, concrete syntax in it that has a word of the query.
    """

    name = "trace_pool"
    schema = columns(
        run_id=WORD, query_id=WORD, channel=WORD, method=WORD, rank=pa.int32(), chunk_id=pa.int64(), score=pa.float64(),
        fused_score=pa.float64(), explain_symbols=nullable(pa.list_(pa.string())),
        explain_ast_kinds=nullable(pa.list_(pa.string())), explain_cst_hits=nullable(pa.list_(pa.string())), ts=_MOMENT,
    )  # fmt: skip


class HybridContrib(TraceTable):
    """What each channel contributed to the best candidates; the contributions to a chunk add up to its `fused_score`.

    `rank_in_channel` is null where the channel knew a score but did not find the chunk, `k_rrf` under score fusion.
    """

    name = "hybrid_contrib"
    schema = columns(
        query_id=WORD, channel=WORD, rank_in_channel=nullable(pa.int32()), doc_id=pa.int64(), raw_score=pa.float64(),
        weight=pa.float64(), k_rrf=nullable(pa.float64()), contribution=pa.float64(), fused_score=pa.float64(), ts=_MOMENT,
    )  # fmt: skip


class HybridTopk(TraceTable):
    """What was answered, in order. `score` is `fused_score` after the adjustments by structure, which the order is by."""

    name = "hybrid_topk"
    schema = columns(
        query_id=WORD, rank=pa.int32(), doc_id=pa.int64(), fused_score=pa.float64(), score=pa.float64(), ts=_MOMENT
    )


TRACES: tuple[type[TraceTable], ...] = (TraceQueries, TracePool, HybridContrib, HybridTopk)
"""The tables of traces, which are no part of a version."""
