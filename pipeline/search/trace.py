"""Tracing: what searches found, kept as tables (`schemas.TRACES`) for people who tune and audit a ranking.

Whoever shows an answer hands it to a `Tracer`, which cuts out what is kept, at once and in arrays, and now and then writes what
it has gathered as one set (`store.traces`). The search after which that is due waits for it; trouble with writing reaches none.

Belongs here: from answers to tables, and when they are written. Not here: where sets lie (`store.traces`), views over them
(`catalog.views`).
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline import instruments
from pipeline.config import SearchSettings, TraceSettings
from pipeline.search.fusion import Ids, best_first
from pipeline.store import traces

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.schemas import Table
    from pipeline.search.engine import Answer, Searcher
    from pipeline.search.explanation import Matched

_MOST_WAITING = 256
"""Searches that are gathered before they are written."""
_LONGEST_WAIT = 30.0
"""Seconds after which the next search has what was gathered written; what waits is lost when the process is killed."""
Columns = dict[str, Any]
"""Column -> an array [n], a list of n texts or lists, or one value for all n rows."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows of one table from one search, `rows` of them."""

    rows: int
    columns: Columns


@dataclass
class Tracer:
    """Keeps what a searcher answers, while tracing is on for its repository; from many threads. Use as a context manager.

    `warn` is told, once, why traces cannot be written; searches go on. Tracing may be turned on and off meanwhile.
    """

    searcher: Searcher
    settings: TraceSettings
    warn: Callable[[str], None]
    run: str = field(default_factory=lambda: f"{int(time.time()):x}-{os.getpid()}-{secrets.token_hex(3)}")
    _waiting: dict[str, list[_Block]] = field(default_factory=dict, repr=False)
    _searches: int = field(default=0, repr=False)
    _oldest: float = field(default=0.0, repr=False)
    _warned: bool = field(default=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.flush()

    def record(self, answer: Answer, matched: Mapping[int, Matched] | None = None) -> None:
        """Keep an answer, and what its explanation said of chunks (by id); writes when enough is gathered."""
        version = self.searcher.version
        if not traces.is_on(version.repository.traces):
            return
        search = _Search(answer, matched or {}, self.searcher.opened.settings, self.settings.trace_pool)
        now = time.monotonic()
        with self._lock:
            self._searches += 1
            query = {"query_id": f"{self.run}-{self._searches}", "ts": time.time_ns() // 1000}
            for table, block in search.blocks({"run_id": self.run, "version": version.name}):
                block.columns.update(query)
                self._waiting.setdefault(table, []).append(block)
            gathered = len(self._waiting["trace_queries"])
            if gathered == 1:
                self._oldest = now
            due = gathered >= _MOST_WAITING or now - self._oldest > _LONGEST_WAIT
        if due:
            self.flush()

    def flush(self) -> dict[str, int]:
        """Write what was gathered; returns rows by table. Where that fails what was gathered is dropped and `warn` told."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        if not waiting:
            return {}
        import pyarrow as pa

        folder, written = self.searcher.version.repository.traces, {}
        try:
            folder.stat()  # Of a repository that was removed meanwhile, nothing is brought back.
            written = _write(folder, waiting)
            instruments.count("trace_pool_rows", written["trace_pool"])
            instruments.count("hybrid_rrf_written_rows", written["hybrid_contrib"])
            traces.rotate(folder, most_sets=self.settings.trace_files, most_bytes=self.settings.trace_bytes)
        except (OSError, pa.ArrowException) as error:
            if not self._warned:
                self._warned = True
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self.warn(f"searches cannot be traced in {folder}: {reason}")
        return written


@dataclass(frozen=True, slots=True)
class _Search:
    """One answer, and what is kept of it: at most `most` candidates of each channel."""

    answer: Answer
    matched: Mapping[int, Matched]
    settings: SearchSettings
    most: int

    def blocks(self, run: Columns) -> Iterator[tuple[str, _Block]]:
        """Rows for each table, without what all rows of a search share."""
        yield "trace_queries", self._query(run)
        order = best_first(self.answer.pool.candidates, self.answer.pool.scores)[: self.most]
        for name in self.answer.pool.shares:
            yield "trace_pool", self._found(name, run["run_id"])
            yield "hybrid_contrib", self._contributed(name, order)
        yield "hybrid_topk", self._answered(order[: len(self.answer.hits)])

    def _query(self, run: Columns) -> _Block:
        answer = self.answer
        channels = [
            {
                "channel": name, "state": one.state.value, "found": 0 if one.found is None else len(one.found.ranking.ids),
                "reason": _unicode(one.reason), "seconds": one.seconds,
            }
            for name, one in answer.channels.items()
        ]  # fmt: skip
        return _Block(1, {
            **run, "query": _unicode(answer.query.text), "kind": answer.query.kind.value, "k": answer.k,
            "filters": [answer.filters.written()], "results": len(answer.hits), "channels": [channels],
            "seconds": answer.seconds,
        })  # fmt: skip

    def _found(self, name: str, run_id: str) -> _Block:
        """The best of what a channel found."""
        pool, found = self.answer.pool, self.answer.channels[name].found
        assert found is not None  # it has a share
        ids = found.ranking.ids[: self.most]
        places = np.searchsorted(pool.candidates, ids)
        return _Block(len(ids), {
            "run_id": run_id, "channel": name, "method": self.settings.fusion, "rank": np.arange(1, len(ids) + 1),
            "chunk_id": ids, "score": pool.shares[name].score[places], "fused_score": pool.fused[places],
            **self._explained(ids),
        })  # fmt: skip

    def _explained(self, ids: Ids) -> Columns:
        if not self.matched:
            return dict.fromkeys(("explain_symbols", "explain_ast_kinds", "explain_cst_hits"))
        known = [self.matched.get(identifier) for identifier in ids.tolist()]
        return {
            "explain_symbols": [None if one is None else list(one.symbols) for one in known],
            "explain_ast_kinds": [None if one is None else list(one.ast_kinds) for one in known],
            "explain_cst_hits": [None if one is None else list(one.cst_hits) for one in known],
        }

    def _contributed(self, name: str, order: Ids) -> _Block:
        """What a channel contributed to the best candidates, where it did."""
        pool, one = self.answer.pool, self.answer.channels[name]
        assert one.found is not None  # it has a share
        share = pool.shares[name]
        rows = order[(share.contribution[order] > 0) | (share.rank[order] > 0)]
        return _Block(len(rows), {
            "channel": name, "rank_in_channel": share.rank[rows], "doc_id": pool.candidates[rows],
            "raw_score": share.score[rows], "weight": one.found.strength * one.channel.weight(self.settings),
            "k_rrf": self.settings.rrf_k if self.settings.fusion == "ranks" else np.nan,
            "contribution": share.contribution[rows], "fused_score": pool.fused[rows],
        })  # fmt: skip

    def _answered(self, order: Ids) -> _Block:
        pool = self.answer.pool
        return _Block(len(order), {
            "rank": np.arange(1, len(order) + 1), "doc_id": pool.candidates[order], "fused_score": pool.fused[order],
            "score": pool.scores[order],
        })  # fmt: skip


def _unicode(text: str) -> str:
    """Text without lone surrogates, which tables do not take."""
    return text.encode("utf-8", "replace").decode()


def _write(folder: Path, waiting: Mapping[str, list[_Block]]) -> dict[str, int]:
    """One set of every table; the tables that no search had rows for are there and empty."""
    from pipeline.schemas import TRACES
    from pipeline.tables import write_whole

    with traces.new_set(folder) as made:
        return {
            kind.name: write_whole(made / kind.file_name(), kind, _table(kind, waiting.get(kind.name, []))) for kind in TRACES
        }


def _table(kind: type[Table], blocks: list[_Block]) -> pa.Table:
    """All blocks of a table, one after the other."""
    import pyarrow as pa

    blocks = [block for block in blocks if block.rows]
    if not blocks:
        return kind.schema.empty_table()
    rows = np.array([block.rows for block in blocks])
    columns = [_column(column, [block.columns[column.name] for block in blocks], rows) for column in kind.schema]
    return pa.table(columns, schema=kind.schema)


def _column(column: pa.Field, values: list[Any], rows: npt.NDArray[np.int64]) -> pa.Array:
    """A column out of what each block says of it, by whole columns: there are hundreds of blocks, of a hundred rows each.

    In a column of numbers that may be missing, 0 stands for a missing whole number, and NaN for another one.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        words = {word: code for code, word in enumerate(dict.fromkeys(values))}
        codes = np.repeat(np.array([words[word] for word in values], np.int32), rows)
        return pa.DictionaryArray.from_arrays(codes, pa.array(words, pa.string()))
    if pa.types.is_list(kind) or pa.types.is_string(kind):
        lists = (value if isinstance(value, list) else [value] * count for value, count in zip(values, rows, strict=True))
        return pa.array(itertools.chain.from_iterable(lists), kind) if any(values) else pa.nulls(int(rows.sum()), kind)
    numbers = np.concatenate(values) if isinstance(values[0], np.ndarray) else np.repeat(np.array(values), rows)
    if pa.types.is_timestamp(kind):
        return pa.array(numbers.astype("datetime64[us]"))
    missing = (numbers == 0 if pa.types.is_integer(kind) else np.isnan(numbers)) if column.nullable else None
    return pa.array(numbers, kind, mask=missing)
