"""Which queries a change may have moved: something that they found is gone, or something new may be found by them.

Each channel is asked about the new chunks alone, at the price of those few: their vectors with every query's, their words in
the lexical index, the names that they define. Whoever would come near the first k of a channel touches the query.

Belongs here: that question. Not here: asking touched queries again (`carrying`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.evaluation.change import Change, rows_of
from pipeline.evaluation.measured import Measured
from pipeline.evaluation.queries import Query
from pipeline.index.lexical import FieldBoosts
from pipeline.schemas import Chunks, Definitions
from pipeline.search.channels.registry import State
from pipeline.search.opened import Opened
from pipeline.search.query import Parsed, parse_query

NEAR = 0.9
"""What scores that share of a channel's k-th best may be among the first k of the whole engine."""
_SAID = (State.ANSWERED, State.EMPTY)
Truths = np.ndarray[tuple[int], np.dtype[np.bool_]]


def touched(measured: Measured, opened: Opened, queries: Sequence[Query], change: Change) -> set[str]:
    """Qids of the queries that are to be asked: those that were not, or had other answers, and those that the change may have
    moved."""
    rows = measured.rows
    known = [query for query in queries if query.qid in rows and measured.queries[rows[query.qid]] == query]
    places = np.array([rows[query.qid] for query in known], np.int64)
    moved = _gone(measured, change)
    if len(change.new):
        moved |= _dense(measured, opened, change)
        moved |= _lexical(measured, opened, change)
        moved |= _named(measured, opened, change)
    if change.came:
        # A path may mean a new file rather than the one that it meant.
        moved |= np.array([one.channels["path"].state in _SAID for one in measured.outcomes], np.bool_)
    kept = {query.qid for query, hit in zip(known, moved[places].tolist(), strict=True) if not hit}
    return {query.qid for query in queries} - kept


def _gone(measured: Measured, change: Change) -> Truths:
    """Queries that had a chunk among the best of some channel which is gone."""
    moved = np.zeros(len(measured.queries), np.bool_)
    moved[measured.pool.query[np.isin(measured.pool.chunk, change.gone)]] = True
    return moved


def _dense(measured: Measured, opened: Opened, change: Change) -> Truths:
    vectors = opened.vectors.vectors_of(change.new)
    best = (measured.vectors @ vectors.T).max(axis=1)
    least = measured.pool.least("dense", measured.document.k, len(measured.queries))
    return np.asarray(best >= np.maximum(NEAR * least, opened.settings.semantic_min_score))


def _lexical(measured: Measured, opened: Opened, change: Change) -> Truths:
    """By what each word adds to the scores of the new chunks. Words that their text does not have add nothing."""
    boosts, reader, new = FieldBoosts.of(opened.settings), opened.lexical, change.new.tolist()
    there = reader.stems(_text(opened.version.ensure("chunks", "definitions"), change))
    asked = [reader.terms(query.query) for query in measured.queries]
    adds = {stem: reader.scores_of(stem, new, boosts=boosts) for stem in there & {stem for stems in asked for stem in stems}}
    best = np.full(len(asked), -np.inf)
    for row, stems in enumerate(asked):
        scores: Counter[int] = Counter()
        for stem in stems:
            scores.update(adds.get(stem, {}))
        best[row] = max(scores.values(), default=-np.inf)
    least = measured.pool.least("lexical", measured.document.k, len(measured.queries))
    return np.asarray((best >= NEAR * least) & (best > -np.inf))


def _text(root: Path, change: Change) -> str:
    """Every word by which new chunks can be found, and some more: of their text, their files' paths, and all names there."""
    chunks = rows_of(root, Chunks, change.uris, ["id", "uri", "name", "content"])
    new = chunks.filter(pa.array(np.isin(chunks["id"].to_numpy(), change.new)))
    names = rows_of(root, Definitions, change.uris, ["uri", "qualified_name"])["qualified_name"].to_pylist()
    return "\n".join([text for name in ("uri", "name", "content") for text in new[name].to_pylist()] + names)


def _named(measured: Measured, opened: Opened, change: Change) -> Truths:
    """Queries for names that new chunks define: as the channel `symbol` takes them, and rather too many."""
    names = {name.lower() for name in _defined(opened.version.ensure("chunks", "definitions"), change)}
    asked = [measured.outcomes[row].channels["symbol"].state in _SAID for row in range(len(measured.queries))]
    return np.array(
        [said and _means(parse_query(query.query), names) for query, said in zip(measured.queries, asked, strict=True)],
        np.bool_,
    )


def _means(query: Parsed, names: set[str]) -> bool:
    if query.name is not None:
        last = query.name.rpartition(".")[2].lower()
        return any(name.startswith(last) for name in names)
    return any(name.rpartition(".")[2].lower() in names for name in query.embedded)


def _defined(root: Path, change: Change) -> Iterator[str]:
    """Names of the definitions that start in new chunks."""
    chunks = rows_of(root, Chunks, change.uris, ["id", "uri", "start_byte", "end_byte"])
    new = np.isin(chunks["id"].to_numpy(), change.new)
    spans: dict[str, list[tuple[int, int]]] = {}
    columns = (chunks.filter(pa.array(new))[name].to_pylist() for name in ("uri", "start_byte", "end_byte"))
    for uri, start, end in zip(*columns, strict=True):
        spans.setdefault(uri, []).append((start, end))
    found = rows_of(root, Definitions, change.uris, ["uri", "name", "start_byte"])
    for uri, name, at in zip(*(found[name].to_pylist() for name in ("uri", "name", "start_byte")), strict=True):
        if any(start <= at < end for start, end in spans.get(uri, ())):
            yield name
