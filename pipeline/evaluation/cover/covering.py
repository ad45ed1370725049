"""Coverage from artefacts: the rows of its tables, and `coverage.json`.

Belongs here: what follows what. Not here: the steps (the modules beside this one).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.config import EvalSettings
from pipeline.evaluation.cover.looking import Looked, Search, Seen, Wanted, look
from pipeline.evaluation.cover.modules import tree
from pipeline.evaluation.cover.reasons import Namesakes, of_search, structural
from pipeline.evaluation.cover.sample import sample
from pipeline.evaluation.cover.structure import Numbers, Structure, structure_of
from pipeline.evaluation.cover.wording import queries_of
from pipeline.evaluation.document import FORMAT, CoverageDocument, Share
from pipeline.schemas import Coverage
from pipeline.search.fusion import Ids
from pipeline.workers import Runtime


@dataclass(frozen=True, slots=True)
class Covered:
    """`coverage.json` and the tables behind it."""

    document: CoverageDocument
    definitions: pa.Table
    modules: pa.Table


@dataclass(frozen=True, slots=True)
class _Searched:
    """The rows of definitions that were asked for, ascending, and for each its query and what became of it."""

    rows: Numbers
    queries: list[str]
    by_name: list[bool]
    looked: Looked
    k: int

    def found(self, seen: Seen) -> bool:
        return seen.rank is not None and seen.rank <= self.k


def cover(search: Search, settings: EvalSettings, runtime: Runtime) -> Covered:
    """Read the structure, ask for a sample of definitions (for none where `eval_queries` is 0), and put it together."""
    structure = structure_of({artefact.asset: artefact.path for artefact in search.artefacts})
    rows = sample(structure, settings.coverage_queries) if settings.eval_queries else np.empty(0, np.int64)
    asked = queries_of(structure.definitions, rows) if len(rows) else []
    queries = [query for query, _ in asked]
    wanted = [Wanted(query, ids) for query, ids in zip(queries, _answers(structure, rows), strict=True)]
    looked = look(search, wanted, runtime)
    searched = _Searched(rows, queries, [by_name for _, by_name in asked], looked, search.k)
    definitions = _definitions(structure, searched)
    return Covered(_document(structure, searched, definitions), definitions, _modules(structure, searched))


def _answers(structure: Structure, rows: Numbers) -> list[Ids]:
    """For each definition the chunks that it overlaps and all their exact copies, ascending."""
    found, chunks = structure.definitions, structure.chunks
    _, codes = np.unique(chunks.hashes, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(codes))]).astype(np.int64)
    answers = []
    for first, last in zip(found.first[rows].tolist(), found.last[rows].tolist(), strict=True):
        copies = [order[bounds[code] : bounds[code + 1]] for code in codes[first:last].tolist()]
        answers.append(np.unique(chunks.ids[np.concatenate([np.empty(0, np.int64), *copies])]))
    return answers


def _reasons(structure: Structure, searched: _Searched) -> list[str | None]:
    """For each definition why it is not found: known of all that the indexes lack, and of those that were asked for."""
    found = structure.definitions
    reasons: list[str | None] = [None] * len(found)
    for row in np.flatnonzero(~found.covered).tolist():
        reasons[row] = structural(found, row)
    namesakes = Namesakes(structure)
    for row, seen, by_name in zip(searched.rows.tolist(), searched.looked.seen, searched.by_name, strict=True):
        if searched.found(seen):
            reasons[row] = None
        elif reasons[row] is None:
            reasons[row] = of_search(seen, row, searched.k, by_name=by_name, namesakes=namesakes)
    return reasons


def _definitions(structure: Structure, searched: _Searched) -> pa.Table:
    """The table `coverage`, by place."""
    found, count = structure.definitions, len(structure.definitions)
    asked = np.zeros(count, np.bool_)
    asked[searched.rows] = True
    seen: dict[int, Seen] = dict(zip(searched.rows.tolist(), searched.looked.seen, strict=True))
    query = dict(zip(searched.rows.tolist(), searched.queries, strict=True))
    ranks = [one.rank if (one := seen.get(row)) is not None and searched.found(one) else None for row in range(count)]
    missing: list[list[str]] = [[] for _ in range(count)]
    for name, lacking in found.missing.items():
        for row in np.flatnonzero(lacking).tolist():
            missing[row].append(name)
    uris, langs = structure.files.uris, structure.files.langs
    columns: dict[str, object] = {
        "uri": [uris[number] for number in found.files.tolist()],
        "symbol": found.qualified,
        "kind": found.kinds,
        "lang": [langs[number] for number in found.files.tolist()],
        "start_line": found.start_line,
        "end_line": found.end_line,
        "chunks": found.last - found.first,
        "chunked": found.chunked,
        "missing_in": missing,
        "asked": asked,
        "query": [query.get(row) for row in range(count)],
        "rank": ranks,
        "found_by": [list(seen[row].channels) if row in seen else [] for row in range(count)],
        "reason": _reasons(structure, searched),
    }
    table = pa.table([_array(columns[field.name], field) for field in Coverage.definitions], schema=Coverage.definitions)
    return table.sort_by([("uri", "ascending"), ("start_line", "ascending"), ("symbol", "ascending")])


def _array(values: object, field: pa.Field) -> pa.Array:
    if pa.types.is_dictionary(field.type):
        return pa.array(values, field.type.value_type).dictionary_encode().cast(field.type)
    return pa.array(values, field.type)


def _modules(structure: Structure, searched: _Searched) -> pa.Table:
    files, found = structure.files, structure.definitions

    def count(rows: Numbers) -> Numbers:
        return np.bincount(found.files[rows], minlength=len(files.uris)).astype(np.int64)

    def rows_of(hits: Sequence[bool]) -> Numbers:
        return searched.rows[np.array(hits, np.bool_)]

    seen = searched.looked.seen
    counts = {
        "bytes": files.bytes,
        "indexed_bytes": files.indexed_bytes,
        "files": np.ones(len(files.uris), np.int64),
        "indexed_files": files.indexed.astype(np.int64),
        "definitions": count(np.arange(len(found))),
        "chunked": count(np.flatnonzero(found.chunked)),
        "covered": count(np.flatnonzero(found.covered)),
        "asked": count(searched.rows),
        "found": count(rows_of([searched.found(one) for one in seen])),
    }
    channels = {name: count(rows_of([name in one.channels for one in seen])) for name in searched.looked.channels}
    return tree(files.uris, counts, channels)


def _document(structure: Structure, searched: _Searched, definitions: pa.Table) -> CoverageDocument:
    files, found, seen = structure.files, structure.definitions, searched.looked.seen
    hits = [searched.found(one) for one in seen]
    asked = definitions.filter(definitions["asked"])
    reasons = Counter(reason for reason in asked["reason"].to_pylist() if reason is not None)
    langs = [files.langs[number] for number in found.files[searched.rows].tolist()]
    return CoverageDocument(
        version=FORMAT,
        k=searched.k,
        files=Share(part=int(files.indexed.sum()), whole=len(files.uris)),
        bytes=Share(part=int(files.indexed_bytes.sum()), whole=int(files.bytes.sum())),
        definitions=Share(part=int(found.covered.sum()), whole=len(found)),
        found=Share(part=sum(hits), whole=len(seen)),
        skipped=files.skipped,
        missed=dict(sorted(reasons.items())),
        by_language=_shares(langs, hits),
        by_kind=_shares([found.kinds[row] for row in searched.rows.tolist()], hits),
        by_channel={
            name: Share(part=sum(name in one.channels for one in seen), whole=len(seen)) for name in searched.looked.channels
        },
        chunked=Share(part=int(found.chunked.sum()), whole=len(found)),
        indexes={
            name: Share(part=int((~lacking & found.chunked).sum()), whole=len(found)) for name, lacking in found.missing.items()
        },
    )


def _shares(words: Sequence[str], hits: Sequence[bool]) -> dict[str, Share]:
    """Found of asked, by word."""
    asked, found = Counter(words), Counter(word for word, hit in zip(words, hits, strict=True) if hit)
    return {word: Share(part=found[word], whole=asked[word]) for word in sorted(asked)}
