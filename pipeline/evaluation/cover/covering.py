"""Coverage from artefacts: the rows of its tables, and `coverage.json`.

Belongs here: what follows what. Not here: the steps (the modules beside this one).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import EvalSettings
from pipeline.evaluation.cover.answered import Answered, Place, places_of
from pipeline.evaluation.cover.looking import Search, Seen, Wanted, look
from pipeline.evaluation.cover.modules import tree
from pipeline.evaluation.cover.reasons import Namesakes, of_search, structural
from pipeline.evaluation.cover.sample import sample
from pipeline.evaluation.cover.structure import LEXICAL, Numbers, Structure, indexes_of, structure_of
from pipeline.evaluation.cover.wording import queries_of
from pipeline.evaluation.document import FORMAT, CoverageDocument, Share
from pipeline.schemas import CoverageRows
from pipeline.search.fusion import Ids
from pipeline.tables import part_of
from pipeline.workers import Runtime


@dataclass(frozen=True, slots=True)
class Covered:
    """`coverage.json` and what is behind it."""

    document: CoverageDocument
    definitions: pa.Table
    modules: pa.Table
    asked: list[Answered]
    structure: Structure
    complete: bool
    """Whether every index has every chunk, and nothing else."""


def cover(search: Search, settings: EvalSettings, runtime: Runtime, *, ask: bool = True) -> Covered:
    """Read the structure, `ask` for a sample of definitions, and put it together."""
    roots = {artefact.asset: artefact.path for artefact in search.artefacts}
    indexes = indexes_of(roots)
    structure = structure_of(roots, indexes)
    # A search reads what the lexical index stores of each chunk that is found.
    ask = ask and bool(np.isin(structure.chunks.ids, indexes[LEXICAL]).all())
    rows = sample(structure, settings.coverage_queries) if ask else np.empty(0, np.int64)
    asked = queries_of(structure.definitions, rows) if len(rows) else []
    answers = answers_of(structure, rows)
    wanted = [Wanted(query, ids) for (query, _), ids in zip(asked, answers, strict=True)]
    looked = look(search, wanted, runtime)
    namesakes, places = Namesakes(structure), named_places(structure)
    found: dict[int, Answered] = {}
    for row, one, (_, by_name), seen in zip(rows.tolist(), wanted, asked, looked.seen, strict=True):
        lacking = structural(structure.definitions, row)
        reason = lacking or of_search(seen, row, search.k, by_name=by_name, namesakes=namesakes)
        found[row] = answered(asked_of(structure, row, places[row], one, by_name=by_name), seen, search.k, reason)
    every = np.unique(structure.chunks.ids)
    return Covered(
        document_of(counts_of(structure), list(found.values()), looked.channels, search.k, len(found)),
        definition_rows(structure, found),
        module_rows(structure, found, looked.channels),
        list(found.values()),
        structure,
        all(np.array_equal(every, np.unique(ids)) for ids in indexes.values()),
    )


def named_places(structure: Structure) -> list[Place]:
    """The place of each counted definition."""
    found, uris = structure.definitions, structure.files.uris
    return places_of((uris[number] for number in found.files.tolist()), found.qualified)


def answers_of(structure: Structure, rows: Numbers) -> list[Ids]:
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


def asked_of(structure: Structure, row: int, place: Place, asked: Wanted, *, by_name: bool) -> Answered:
    """The definition of a row and what it is asked by, before anybody has looked."""
    found = structure.definitions
    uri, symbol, number = place
    lang = structure.files.langs[int(found.files[row])]
    return Answered(
        uri=uri, symbol=symbol, number=number, lang=lang, kind=found.kinds[row],
        query=asked.query, by_name=by_name, answers=list(map(str, asked.answers.tolist())), rank=None, found_by=[], reason=None,
    )  # fmt: skip


def answered(asked: Answered, seen: Seen, k: int, reason: str | None) -> Answered:
    """What became of it now; `reason` is why it is not found, where it is not."""
    within = seen.rank is not None and seen.rank <= k
    return msgspec.structs.replace(
        asked, rank=seen.rank if within else None, found_by=list(seen.channels), reason=None if within else reason, since=None
    )


def definition_rows(structure: Structure, asked: Mapping[int, Answered]) -> pa.Table:
    """The table `coverage`, by place. `asked` by row."""
    found, count = structure.definitions, len(structure.definitions)
    missing: list[list[str]] = [[] for _ in range(count)]
    for name, lacking in found.missing.items():
        for row in np.flatnonzero(lacking).tolist():
            missing[row].append(name)
    reasons: list[str | None] = [None] * count
    for row in np.flatnonzero(~found.covered).tolist():
        reasons[row] = structural(found, row)
    for row, one in asked.items():
        reasons[row] = one.reason
    told = [asked.get(row) for row in range(count)]
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
        "asked": [one is not None for one in told],
        "query": [one and one.query for one in told],
        "rank": [one and one.rank for one in told],
        "found_by": [[] if one is None else one.found_by for one in told],
        "reason": reasons,
    }
    table = pa.table([_array(columns[field.name], field) for field in CoverageRows.schema], schema=CoverageRows.schema)
    return table.sort_by([("uri", "ascending"), ("start_line", "ascending"), ("symbol", "ascending")])


def _array(values: object, field: pa.Field) -> pa.Array:
    if pa.types.is_dictionary(field.type):
        return pa.array(values, field.type.value_type).dictionary_encode().cast(field.type)
    return pa.array(values, field.type)


def module_rows(structure: Structure, asked: Mapping[int, Answered], channels: Sequence[str]) -> pa.Table:
    """The table `coverage_modules` of these files and the folders that they lie in."""
    files, found = structure.files, structure.definitions

    def count(rows: Iterable[int]) -> Numbers:
        numbers = found.files[np.fromiter(rows, np.int64)]
        return np.bincount(numbers, minlength=len(files.uris)).astype(np.int64)

    counts = {
        "bytes": files.bytes,
        "indexed_bytes": files.indexed_bytes,
        "files": np.ones(len(files.uris), np.int64),
        "indexed_files": files.indexed.astype(np.int64),
        "definitions": count(range(len(found))),
        "chunked": count(np.flatnonzero(found.chunked)),
        "covered": count(np.flatnonzero(found.covered)),
        "asked": count(asked),
        "found": count(row for row, one in asked.items() if one.rank is not None),
    }
    return tree(
        files.uris, counts, {name: count(row for row, one in asked.items() if name in one.found_by) for name in channels}
    )


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of some files, and adds up over all."""

    files: int
    indexed_files: int
    bytes: int
    indexed_bytes: int
    definitions: int
    chunked: int
    covered: int
    skipped: dict[str, int]
    indexes: dict[str, int]
    """Definitions that are chunked with every chunk in an index."""

    def plus(self, other: Counts, sign: int = 1) -> Counts:
        """With the counts of other files, or (-1) without them."""
        added: dict[str, Any] = {}
        for name in self.__struct_fields__:
            own, more = getattr(self, name), getattr(other, name)
            if isinstance(own, dict):
                sums = {word: own.get(word, 0) + sign * more.get(word, 0) for word in {**own, **more}}
                # A reason that no file has any more is none; an index is one without definitions, too.
                added[name] = {word: count for word, count in sums.items() if count or name == "indexes"}
            else:
                added[name] = own + sign * more
        return Counts(**added)


def counts_of(structure: Structure) -> Counts:
    """The counts of the files of a structure."""
    files, found = structure.files, structure.definitions
    return Counts(
        files=len(files.uris),
        indexed_files=int(files.indexed.sum()),
        bytes=int(files.bytes.sum()),
        indexed_bytes=int(files.indexed_bytes.sum()),
        definitions=len(found),
        chunked=int(found.chunked.sum()),
        covered=int(found.covered.sum()),
        skipped=files.skipped,
        indexes={name: int((~lacking & found.chunked).sum()) for name, lacking in found.missing.items()},
    )


def cut(covered: Covered, parts: int) -> Iterator[tuple[pa.Table, Counts]]:
    """The rows and the counts of each part, as the tables are cut that they are of."""
    structure, rows = covered.structure, covered.definitions
    files, found = structure.files, structure.definitions
    numbers = np.array([part_of(uri, parts) for uri in files.uris], np.int64)
    part_of_row = _looked_up(rows["uri"], files.uris, numbers)
    order = np.argsort(part_of_row, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(part_of_row, minlength=parts))]).tolist()
    skipped = [Counter[str]() for _ in range(parts)]
    for uri, reason in files.left_out:
        skipped[part_of(uri, parts)][reason] += 1

    def count(places: Numbers, weights: Numbers | None = None) -> list[int]:
        summed = np.bincount(places, weights, minlength=parts)
        return list(map(int, summed.tolist()))

    of = numbers[found.files] if len(found) else np.zeros(0, np.int64)
    sums = {
        "files": count(numbers), "indexed_files": count(numbers[files.indexed]), "bytes": count(numbers, files.bytes),
        "indexed_bytes": count(numbers, files.indexed_bytes), "definitions": count(of), "chunked": count(of[found.chunked]),
        "covered": count(of[found.covered]),
    }  # fmt: skip
    indexes = {name: count(of[~lacking & found.chunked]) for name, lacking in found.missing.items()}
    for part in range(parts):
        yield (
            rows.take(pa.array(order[bounds[part] : bounds[part + 1]])),
            Counts(
                **{name: each[part] for name, each in sums.items()},
                skipped=dict(sorted(skipped[part].items())),
                indexes={name: each[part] for name, each in indexes.items()},
            ),
        )


def _looked_up(uri: pa.ChunkedArray, uris: Sequence[str], numbers: Numbers) -> Numbers:
    places = pc.index_in(uri, value_set=pa.array(uris, pa.string())).to_numpy().astype(np.int64)
    return np.asarray(numbers[places] if len(places) else places, np.int64)


def document_of(counts: Counts, asked: Sequence[Answered], channels: Sequence[str], k: int, now: int) -> CoverageDocument:
    """`coverage.json`, `now` of the definitions asked for in this build."""
    hits = [one.rank is not None for one in asked]
    whole = counts.definitions
    return CoverageDocument(
        version=FORMAT,
        k=k,
        files=Share(part=counts.indexed_files, whole=counts.files),
        bytes=Share(part=counts.indexed_bytes, whole=counts.bytes),
        definitions=Share(part=counts.covered, whole=whole),
        found=Share(part=sum(hits), whole=len(asked)),
        asked=now,
        skipped=dict(sorted(counts.skipped.items())),
        missed=dict(sorted(Counter(one.reason for one in asked if one.reason is not None).items())),
        by_language=_shares([one.lang for one in asked], hits),
        by_kind=_shares([one.kind for one in asked], hits),
        by_channel={name: Share(part=sum(name in one.found_by for one in asked), whole=len(asked)) for name in channels},
        chunked=Share(part=counts.chunked, whole=whole),
        indexes={name: Share(part=part, whole=whole) for name, part in counts.indexes.items()},
    )


def _shares(words: Sequence[str], hits: Sequence[bool]) -> dict[str, Share]:
    """Found of asked, by word."""
    asked, found = Counter(words), Counter(word for word, hit in zip(words, hits, strict=True) if hit)
    return {word: Share(part=found[word], whole=asked[word]) for word in sorted(asked)}
