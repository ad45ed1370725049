"""The stage `eval_queries`: queries made from the repository, with the chunks that answer them.

Belongs here: from artefacts to `queries.jsonl`. Not here: how queries are made (`synthesis`), asking them (`evaluator`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.config import QuerySettings
from pipeline.evaluation.queries import FORMAT, TEST, TUNE, Query, write_queries
from pipeline.evaluation.synthesis.corpus import read_corpus
from pipeline.evaluation.synthesis.previews import previews
from pipeline.evaluation.synthesis.prose import normalised
from pipeline.evaluation.synthesis.references import read_calls, read_references
from pipeline.evaluation.synthesis.selection import queries_of
from pipeline.index.tuning.queries import MOST_QUERIES
from pipeline.schemas import Chunks, Definitions, EvalQueries, Modules, ScipOccurrences, SymbolEdges
from pipeline.stage import Artefact, Facts, Output, Stage


def eval_queries(
    definitions: Artefact[Definitions],
    scip_occurrences: Artefact[ScipOccurrences],
    chunks: Artefact[Chunks],
    symbol_edges: Artefact[SymbolEdges],
    modules: Artefact[Modules],
    settings: QuerySettings,
    out: Output[EvalQueries],
) -> Facts:
    """Write the queries of both splits."""
    corpus = read_corpus(definitions.path, chunks.path, modules.path)
    references = read_references(corpus, scip_occurrences.path)
    calls = read_calls(references, symbol_edges.path)
    found = queries_of(corpus, references, calls, {TEST: settings.eval_queries, TUNE: MOST_QUERIES})
    tuned_on = sum(query.split == TUNE for query in found)
    found += previews(corpus, chunks.path, {normalised(query.query) for query in found}, MOST_QUERIES - tuned_on)
    write_queries(out.path, found)
    return facts_of(found)


def facts_of(queries: Sequence[Query]) -> Facts:
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


STAGE = Stage(eval_queries, code_version="4")
