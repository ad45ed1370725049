"""How good an index is: the queries that it is asked, what it answered, and what it cannot find.

Belongs here: the kinds of evaluation. Not here: their JSON documents (`pipeline.evaluation`).
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.schemas.base import WORD, Kind, Table, columns, nullable

_ANSWERS = pa.list_(pa.field("item", pa.int64(), nullable=False))


class EvalQueries(Kind):
    """Queries made from the repository, with their answers: `queries.jsonl`, and the same as the table `eval_queries`.

    Any chunk of `positives` answers the query; chunks with equal numbers in `answers` (same length) are parts of one answer,
    which counts at its first chunk. `neutral` chunks are where the words of the query are from: they count neither way.
    `mask` is text of the answer that the query was copied from: a masked query is asked to an index without that text; null
    where nothing is masked. `symbol` is the qualified name of what is looked for.
    """

    asset = "eval_queries"
    JSONL = "queries.jsonl"
    FILE = "eval_queries.parquet"
    TIES = "eval_query_ties.npy"
    """int64 [n, 2], the row of a query and something that it depends on (`synthesis.ties`): for the next build alone."""
    schema = columns(
        qid=pa.string(), query=pa.string(), label=WORD, split=WORD, uri=pa.string(), symbol=pa.string(), lang=WORD,
        positives=_ANSWERS, answers=pa.list_(pa.field("item", pa.int32(), nullable=False)), neutral=_ANSWERS,
        mask=nullable(pa.string()),
    )  # fmt: skip


class EvalMetrics(Kind):
    """`metrics.json`, and three tables behind it: `eval_details`, `eval_pool` and `eval_points`.

    Details have a row for each query and channel (`fused` is the whole engine): `rank` of the first answer, null where none was
    found; `hit`, `recall`, `rr` (reciprocal rank) and `ndcg`, each at `k`; `state` as the channel had it; `without_…` the whole
    engine without the channel; `nearest`, of the whole engine alone, how many of the k nearest vectors were found. `since` is
    the key of the evaluation that asked the query, null where it is this one. The pool has the best candidates of each
    channel. Points have what each operating point finds of the nearest vectors (`ann_recall`, with the ends of its 95 %
    interval) and what that makes of the fused ranking.
    """

    asset = "eval_metrics"
    FILE = "metrics.json"
    DETAILS = "eval_details.parquet"
    POOL = "eval_pool.parquet"
    POINTS = "eval_points.parquet"
    VECTORS = "eval_vectors.npy"
    """float32 [queries, d]: the queries embedded, in the order of the details; for the next build alone."""
    details = columns(
        qid=pa.string(), query=pa.string(), label=WORD, masked=pa.bool_(), uri=pa.string(), symbol=pa.string(), lang=WORD,
        channel=WORD, state=WORD, rank=nullable(pa.int32()), hit=pa.float64(), recall=pa.float64(), rr=pa.float64(),
        ndcg=pa.float64(), without_hit=nullable(pa.float64()), without_recall=nullable(pa.float64()),
        without_rr=nullable(pa.float64()), without_ndcg=nullable(pa.float64()), nearest=nullable(pa.int32()),
        since=nullable(WORD),
    )  # fmt: skip
    pool = columns(
        run_id=WORD, query_id=WORD, channel=WORD, method=WORD, rank=pa.int32(), chunk_id=pa.int64(), score=pa.float64(),
        fused_score=pa.float64(), explain_symbols=nullable(pa.list_(pa.string())),
        explain_ast_kinds=nullable(pa.list_(pa.string())), explain_cst_hits=nullable(pa.list_(pa.string())),
        ts=nullable(pa.timestamp("us")), since=nullable(WORD),
    )  # fmt: skip
    points = columns(
        nprobe=nullable(pa.int32()), ef_search=nullable(pa.int32()), k_factor=pa.float64(), chosen=pa.bool_(),
        queries=pa.int32(), ann_recall=pa.float64(), low=pa.float64(), high=pa.float64(), hit=pa.float64(), rr=pa.float64(),
        ndcg=pa.float64(),
    )  # fmt: skip


class CoverageRows(Table):
    """The rows of `coverage`, a definition each, cut into parts as the tables that it is of."""

    asset = "coverage"
    version = 2
    name = "coverage"
    schema = columns(
        uri=pa.string(), symbol=pa.string(), kind=WORD, lang=WORD, start_line=pa.int32(), end_line=pa.int32(),
        chunks=pa.int32(), chunked=pa.bool_(), missing_in=pa.list_(pa.string()), asked=pa.bool_(),
        query=nullable(pa.string()), rank=nullable(pa.int32()), found_by=pa.list_(pa.string()), reason=nullable(WORD),
    )  # fmt: skip
    order = ("uri", "start_line", "symbol")


class Coverage(Kind):
    """`coverage.json`, and two tables: `coverage`, a row a definition, and `coverage_modules`, a row a folder and file.

    Functions, methods, classes, types and the like count, not data. Of a definition: whether all of it lies inside of chunks
    (`chunked`), which of the indexes lack one of its chunks (`missing_in`), whether it was `asked` for by its own query, the
    `rank` at which the fused ranking had it (null: not within k), the channels that had it within k (`found_by`), and the
    `reason` why it is not found, which is also known of what was not asked for where an index lacks it.
    Of a module: `prefix` (empty: the repository; `a/b/` a folder, `a/b/c.py` a file), how many bytes, files and definitions
    there are, ignored files left out, and how many of them are inside of chunks, indexed, `chunked`, and `covered` (chunked,
    and in every index); and how many definitions were asked for and found, by which channels.
    """

    asset = "coverage"
    version = 2
    tables = (CoverageRows,)
    FILE = "coverage.json"
    ASKED = "coverage_asked.json"
    """The definitions that were asked for (`evaluation.cover.answered`): for the next build alone."""
    MODULES = "coverage_modules.parquet"
    modules = columns(
        prefix=pa.string(), parent=nullable(pa.string()), depth=pa.int32(), bytes=pa.int64(), indexed_bytes=pa.int64(),
        files=pa.int32(), indexed_files=pa.int32(), definitions=pa.int32(), chunked=pa.int32(), covered=pa.int32(),
        asked=pa.int32(), found=pa.int32(), found_by=pa.list_(pa.struct([
            pa.field("channel", pa.string(), nullable=False), pa.field("found", pa.int32(), nullable=False)])),
    )  # fmt: skip
