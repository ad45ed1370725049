"""Queries with their answers, as `queries.jsonl` and the table `eval_queries` hold them.

    {"qid": "…", "query": "…", "positive_ids": ["…"], "metadata": {"uri": "…", "symbol": "…", "label": "…", "split": "test", …}}

Ids are text there, because JavaScript loses integers past 2^53.

Belongs here: the form of a query, reading and writing. Not here: making queries (`synthesis`), people's own files
(`own_queries`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import IndexCorruptionError
from pipeline.npy import save_array
from pipeline.schemas import EvalQueries
from pipeline.tables import read_file, write_parquet

FORMAT = 1
"""Of `queries.jsonl`; among the facts of the artefact."""
TUNE, TEST = "tune", "test"
_REBUILD = "Run `indexctl verify`, then `indexctl build`."


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
            "masked": self.mask is not None, "mask": self.mask, "answers": list(self.answers),
            "neutral_ids": [str(one) for one in self.neutral],
        }  # fmt: skip
        positives = [str(one) for one in self.positives]
        return {"qid": self.qid, "query": self.query, "positive_ids": positives, "metadata": metadata}


def write_queries(folder: Path, queries: Sequence[Query]) -> None:
    """Write both forms into `folder`."""
    lines = b"".join(msgspec.json.encode(query.as_json()) + b"\n" for query in queries)
    (folder / EvalQueries.JSONL).write_bytes(lines)
    columns = {name: [getattr(query, name) for query in queries] for name in EvalQueries.schema.names}
    write_parquet(folder / EvalQueries.FILE, pa.table(columns, schema=EvalQueries.schema), EvalQueries.tag())


def write_ties(folder: Path, ties: NDArray[np.int64]) -> None:
    """Write what queries are tied to: int64 [n, 2], the row of a query and a tie, by row."""
    save_array(folder / EvalQueries.TIES, np.ascontiguousarray(ties.reshape(-1, 2)))


def read_ties(folder: Path) -> NDArray[np.int64]:
    """The same. Raises `IndexCorruptionError`, which names the file."""
    path = folder / EvalQueries.TIES
    try:
        found = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error}.", hint=_REBUILD) from error
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype != np.int64:
        raise IndexCorruptionError(f"{path} does not hold pairs of numbers.", hint=_REBUILD)
    return np.asarray(found)


def read_queries(folder: Path, split: str | None = None) -> list[Query]:
    """The queries of an object or a version, in their order; of one split where that is given.

    Raises `IndexCorruptionError` and `IndexFormatError`, which name the file.
    """
    path = folder / EvalQueries.FILE
    rows = read_file(path, EvalQueries.tag()).to_pylist()
    try:
        return [msgspec.convert(row, type=Query) for row in rows if split in (None, row["split"])]
    except (msgspec.ValidationError, KeyError) as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint=_REBUILD) from error


class _Metadata(msgspec.Struct, frozen=True, kw_only=True):
    uri: str
    symbol: str
    label: str
    split: str
    lang: str
    masked: bool
    mask: str | None
    answers: tuple[int, ...]
    neutral_ids: tuple[str, ...]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    qid: str
    query: str
    positive_ids: tuple[str, ...]
    metadata: _Metadata

    def as_query(self) -> Query:
        """Raises ValueError for ids that are no numbers, or not as many as answers."""
        given = self.metadata
        if len(self.positive_ids) != len(given.answers):
            raise ValueError(f"{len(self.positive_ids)} positive_ids and {len(given.answers)} answers")
        return Query(
            qid=self.qid, query=self.query, label=given.label, split=given.split, uri=given.uri, symbol=given.symbol,
            lang=given.lang, positives=tuple(map(int, self.positive_ids)), answers=given.answers,
            neutral=tuple(map(int, given.neutral_ids)), mask=given.mask,
        )  # fmt: skip


def read_lines(path: Path) -> list[Query]:
    """The queries of a file in the form of `queries.jsonl`. Raises `IndexCorruptionError` with the file and the line."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=_REBUILD) from error
    found = []
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            found.append(msgspec.json.decode(line, type=_Line).as_query())
        except (msgspec.MsgspecError, ValueError) as error:
            raise IndexCorruptionError(f"Line {number} of {path} is no query: {error}.", hint=_REBUILD) from error
    if raw and not raw.endswith(b"\n"):
        raise IndexCorruptionError(f"{path} ends inside of line {len(found)}.", hint=_REBUILD)
    return found
