"""Queries with their answers, as `queries.jsonl` and the table `eval_queries` hold them.

    {"qid": "…", "query": "…", "positive_ids": ["…"], "metadata": {"uri": "…", "symbol": "…", "label": "…", "split": "test", …}}

Ids are text there, because JavaScript loses integers past 2^53.

Belongs here: the form of a query, reading and writing. Not here: making queries (`synthesis`), people's own files
(`own_queries`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.schemas import EvalQueries
from pipeline.tables import write_parquet

TUNE, TEST = "tune", "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query; see `schemas.EvalQueries` for what the fields mean."""

    qid: str
    query: str
    label: str
    split: str
    uri: str
    symbol: str
    lang: str
    positives: tuple[int, ...]
    answers: tuple[int, ...]
    """The number of the answer that each positive is a part of."""
    neutral: tuple[int, ...] = ()
    mask: str | None = None

    def as_json(self) -> dict[str, object]:
        """A line of `queries.jsonl`."""
        metadata: dict[str, object] = {
            "uri": self.uri, "symbol": self.symbol, "label": self.label, "split": self.split, "lang": self.lang,
            "masked": self.mask is not None, "answers": list(self.answers), "neutral_ids": [str(one) for one in self.neutral],
        }  # fmt: skip
        positives = [str(one) for one in self.positives]
        return {"qid": self.qid, "query": self.query, "positive_ids": positives, "metadata": metadata}


def write_queries(folder: Path, queries: Sequence[Query]) -> None:
    """Write both forms into `folder`."""
    lines = b"".join(msgspec.json.encode(query.as_json()) + b"\n" for query in queries)
    (folder / EvalQueries.JSONL).write_bytes(lines)
    columns = {name: [getattr(query, name) for query in queries] for name in EvalQueries.schema.names}
    write_parquet(folder / EvalQueries.FILE, pa.table(columns, schema=EvalQueries.schema), EvalQueries.tag())


def read_queries(folder: Path, split: str | None = None) -> list[Query]:
    """The queries of an object or a version, in their order; of one split where that is given."""
    rows = pq.read_table(folder / EvalQueries.FILE).to_pylist()
    return list(_queries(row for row in rows if split in (None, row["split"])))


def _queries(rows: Iterable[dict[str, object]]) -> Iterable[Query]:
    for row in rows:
        yield msgspec.convert(row, type=Query)
