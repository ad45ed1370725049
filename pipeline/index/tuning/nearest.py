"""The nearest vectors of the queries that an index was tuned on, kept beside the operating point: `tuning_nearest.parquet`.

A small change of the corpus changes few of them: vectors that are gone are struck out, and those that came are scored. So the
recall at a point can be measured again after every change, without comparing all queries with all vectors.

Belongs here: that file and keeping it true. Not here: recall (`sweep`), whether a point is kept (`stage`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import tables
from pipeline.embed.arrays import Arrays
from pipeline.errors import IndexCorruptionError
from pipeline.index.dense.arrays import Ids, Scores, TrueVectors, Vectors, rows_of
from pipeline.index.tuning.sweep import SPARE, K, Questions, asked, nearest
from pipeline.schemas import Tuning

MOST_NEW = 2048
"""With more new vectors than that, all are compared."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each text [q] its best vectors, best first: ids int64 [q, m] and true scores float32 [q, m], behind them -1 and -inf.

    What is not listed scores at most `floor`, float32 [q]; it is -inf where everything is listed.
    """

    texts: tuple[str, ...]
    ids: Ids
    scores: Scores
    floor: Scores

    def of(self, texts: tuple[str, ...]) -> Nearest:
        """That of some of the texts, in their order."""
        number = {text: at for at, text in enumerate(self.texts)}
        rows = np.array([number[text] for text in texts], np.int64)
        return Nearest(texts, self.ids[rows], self.scores[rows], self.floor[rows])

    def questions(self, queries: Vectors) -> Questions:
        """What the right answers score at least; `queries` float32 [q, d] are the vectors of the texts."""
        return asked(queries, self.ids, self.scores, min(K, self.ids.shape[1]))


def search_all(texts: tuple[str, ...], queries: Vectors, truth: TrueVectors) -> Nearest:
    """By comparing the vector of every text, float32 [q, d], with all vectors."""
    ids, scores = nearest(truth, queries, K)
    everything = ids.shape[1] == len(truth.ids)
    floor = np.full(len(texts), -np.inf, np.float32) if everything else scores[:, -1].copy()
    return Nearest(texts, ids, scores, floor)


def updated(had: Nearest, queries: Vectors, old: Arrays, now: Arrays) -> Nearest:
    """As `search_all` over vectors `now` finds them, but from what was so over vectors `old`, and what came and went since."""
    truth = TrueVectors(now.ids, now.vectors)
    at = rows_of(old.ids, now.ids)
    same = (at >= 0) & (old.hashes[at] == now.hashes)
    new = np.flatnonzero(~same)
    if len(new) > MOST_NEW:
        return search_all(had.texts, queries, truth)
    stays = np.zeros(len(old.ids), np.bool_)
    stays[at[same]] = True
    rows = rows_of(old.ids, had.ids)
    lives = (rows >= 0) & stays[rows]
    added = truth.scores(queries, np.broadcast_to(new, (len(queries), len(new))))
    # What came and scores less than what is listed may be beaten by something that is not.
    added[added < had.floor[:, None]] = -np.inf
    scores = np.hstack([np.where(lives, had.scores, -np.inf), added]).astype(np.float32)
    ids = np.hstack([had.ids, np.broadcast_to(now.ids[new], added.shape)])
    ids[np.isneginf(scores)] = -1
    order = np.lexsort((ids, -scores), axis=1)
    width = min(K + SPARE, len(now.ids))
    beyond = np.take_along_axis(scores, order, axis=1)[:, width:].max(axis=1, initial=-np.inf)
    floor = np.maximum(had.floor, beyond)
    order = order[:, :width]
    found = Nearest(had.texts, np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1), floor)
    return _filled(found, queries, truth)


def _filled(had: Nearest, queries: Vectors, truth: TrueVectors) -> Nearest:
    """All vectors are compared for the texts that have fewer than `K` left."""
    short = np.flatnonzero((had.ids[:, : min(K, had.ids.shape[1])] < 0).any(axis=1))
    if len(short):
        again = search_all(tuple(had.texts[row] for row in short.tolist()), queries[short], truth)
        had.ids[short], had.scores[short], had.floor[short] = again.ids, again.scores, again.floor
    return had


def write(folder: Path, had: Nearest | None) -> None:
    """Write the file, also where nothing was asked."""
    had = had or Nearest((), np.empty((0, 0), np.int64), np.empty((0, 0), np.float32), np.empty(0, np.float32))
    lists = (pa.FixedSizeListArray.from_arrays(pa.array(one.ravel()), max(1, one.shape[1])) for one in (had.ids, had.scores))
    columns = [pa.array(had.texts, pa.string()), *lists, pa.array(had.floor)]
    names = ("query", "ids", "scores", "floor")
    table = pa.table([pa.chunked_array([one]) for one in columns], names=list(names))
    tables.write_parquet(folder / Tuning.NEAREST, table.cast(Tuning.nearest), Tuning.tag())


def read(folder: Path) -> Nearest:
    """The file in the folder of a tuning. Raises `IndexCorruptionError` and `IndexFormatError`."""
    path = folder / Tuning.NEAREST
    table = tables.read_file(path, Tuning.tag())
    counts = {len(one) for name in ("ids", "scores") for one in table[name].to_pylist()}
    if table.schema.names != Tuning.nearest.names or len(counts) > 1:
        raise IndexCorruptionError(f"{path} does not hold the nearest of queries.", hint="Run `indexctl build`.")
    width = max(counts, default=0)

    def matrix(name: str, kind: npt.DTypeLike) -> npt.NDArray[np.generic]:
        values = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(values, kind).reshape(table.num_rows, width).copy()

    texts = tuple(table["query"].to_pylist())
    return Nearest(texts, matrix("ids", np.int64), matrix("scores", np.float32), table["floor"].to_numpy().copy())  # type: ignore[arg-type]
