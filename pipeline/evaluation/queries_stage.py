"""The stage `eval_queries`: queries made from the repository, with the chunks that answer them.

Belongs here: from artefacts to `queries.jsonl`. Not here: how queries are made (`synthesis`), asking them (`evaluator`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.artefacts import Base
from pipeline.config import IndexSettings, QuerySettings
from pipeline.evaluation.change import change_since
from pipeline.evaluation.queries import FORMAT, TEST, TUNE, Query, read_queries, write_queries, write_ties
from pipeline.evaluation.synthesis.corpus import read_corpus
from pipeline.evaluation.synthesis.keeping import kept_rows, write_kept
from pipeline.evaluation.synthesis.previews import previews
from pipeline.evaluation.synthesis.prose import normalised
from pipeline.evaluation.synthesis.references import read_calls, read_references
from pipeline.evaluation.synthesis.selection import queries_of
from pipeline.index.dense.families import may_be_tuned
from pipeline.index.tuning.queries import MOST_QUERIES
from pipeline.schemas import Chunks, Definitions, EvalQueries, Modules, ScipOccurrences, Snapshot, SymbolEdges
from pipeline.stage import Artefact, Facts, Output, Stage


def eval_queries(
    source: Artefact[Snapshot],
    definitions: Artefact[Definitions],
    scip_occurrences: Artefact[ScipOccurrences],
    chunks: Artefact[Chunks],
    symbol_edges: Artefact[SymbolEdges],
    modules: Artefact[Modules],
    settings: QuerySettings,
    index: IndexSettings,
    base: Base[EvalQueries],
    out: Output[EvalQueries],
) -> Facts:
    """Write the queries of both splits: what the base has of them that no change touched, or all of them anew.

    The half `tune` is made for an index that is tuned, and not for one that finds all there is.
    """
    count = chunks.facts["chunks"]
    tuned = may_be_tuned(index, count)
    change = change_since(base, source, chunks)
    kept = None if change is None else kept_rows(base, change, definitions, chunks, modules)
    # An index may have grown to where it is tuned, for which there are no queries in the base.
    if kept is not None and base.artefact is not None and base.artefact.facts["full"]["tuned"] == tuned:
        before = base.artefact.facts["queries"]
        write_kept(base.artefact.path, out.path, kept, before)
        dropped = before - len(kept)
        facts = facts_of(read_queries(out.path)) if dropped else {**base.artefact.facts}
        return {**facts, "full": base.artefact.facts["full"], "kept": len(kept), "dropped": dropped}
    found = _made(definitions, scip_occurrences, chunks, symbol_edges, modules, settings, tuned=tuned, out=out)
    return {**facts_of(found), "full": {"queries": len(found), "chunks": count, "tuned": tuned}, "kept": 0, "base": None}


def _made(
    definitions: Artefact[Definitions],
    scip_occurrences: Artefact[ScipOccurrences],
    chunks: Artefact[Chunks],
    symbol_edges: Artefact[SymbolEdges],
    modules: Artefact[Modules],
    settings: QuerySettings,
    *,
    tuned: bool,
    out: Output[EvalQueries],
) -> list[Query]:
    """All queries, made from the whole repository, and written."""
    wanted = {TEST: settings.eval_queries, TUNE: MOST_QUERIES if tuned else 0}
    found = []
    if any(wanted.values()):
        corpus = read_corpus(definitions.path, chunks.path, modules.path)
        references = read_references(corpus, scip_occurrences.path)
        found = queries_of(corpus, references, read_calls(references, symbol_edges.path), wanted)
        asked = {normalised(one.query.query) for one in found}
        tuned_on = sum(one.query.split == TUNE for one in found)
        found += previews(corpus, chunks.path, asked, wanted[TUNE] - tuned_on)
    queries = [one.query for one in found]
    write_queries(out.path, queries)
    pairs = [np.stack([np.full(len(one.ties), row), one.ties], 1) for row, one in enumerate(found)]
    write_ties(out.path, np.concatenate([np.empty((0, 2), np.int64), *pairs]))
    return queries


def facts_of(queries: Sequence[Query]) -> dict[str, Any]:
    """How many there are of each label, half, language and so on."""
    return {
        "format": FORMAT,
        "queries": len(queries),
        "splits": _counted(query.split for query in queries),
        "masked": _counted(query.split for query in queries if query.mask is not None),
        "labels": {split: _counted(query.label for query in queries if query.split == split) for split in (TEST, TUNE)},
        "languages": {split: _counted(query.lang for query in queries if query.split == split) for split in (TEST, TUNE)},
    }


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


STAGE = Stage(eval_queries, code_version="6")
