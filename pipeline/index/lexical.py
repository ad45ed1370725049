"""The lexical index, for readers: what its fields are, how a query becomes terms, how hits become ids and rows to print.

Tantivy scores BM25 per field and adds up over terms and fields. Words are ours (`embed.words`), stems Tantivy's; its query
language is never used, so quotes, operators and brackets in a query are just text.

Belongs here: everything that a search process needs, without Arrow. Not here: writing the index (`lexical_stage`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import tantivy

from pipeline.config import SearchSettings
from pipeline.embed import words
from pipeline.errors import IndexCorruptionError, IndexFormatError, NotFoundError, RuntimeLifecycleError
from pipeline.files import scratch_folder
from pipeline.index import chunk_files
from pipeline.index.chunk_files import ChunkFiles

DIRECTORY = "lexical"
META = "lexical.meta.json"
"""As in `schemas.LexicalIndex`, which a search process does not import, for it would bring Arrow; a test holds them equal."""

FORMAT = 3
ANALYZER = "code"
ANALYZER_VERSION = f"stem-en/1 words/{words.VERSION}"
TEXT_FIELDS = ("body", "names", "path", "file_name")
DEFINES = "defines"
"""Raw names of the definitions that start in a chunk (`defined_terms`), for `LexicalReader.defining`."""
ID, ROW = "id", "row"
ROW_COLUMNS = ("uri", "start_line", "end_line", "lang", "kind", "name", "preview")
"""What is stored of a chunk, as one JSON array: all that a result line prints."""

EXACT, NEAR, PREFIX, FUZZY = 3.0, 2.0, 1.0, 2.0
"""Scores of `LexicalReader.defining`."""
_LEAST_FUZZY, _LEAST_TWICE_FUZZY, _MOST_FUZZY = 4, 8, 64
"""Characters of a name from which on one slip, and two, are forgiven; and up to which any."""
_LEAST_PREFIX = 3
"""Characters; a shorter one starts half of all names."""

_IN_MEMORY = "/dev/shm"  # noqa: S108 - the folder in it is private
_PRIVATE_PREFIX = "codeintel-lexical-"
MAX_TERMS = 64

_FUNCTION_WORDS = (
    "a an and are as at be but by can do does for from has have how if in into is it no not of on or such that the their then "
    "there these they this to was what when where which who will with"
)
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Left out of a query that has other words: rare in code, they would outweigh what is asked for."""

_REBUILD = "Run `indexctl verify`, then `indexctl build`."

Ids = npt.NDArray[np.int64]


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A part of Tantivy's index that was made alone: six files of this name."""

    name: str
    documents: int


class LexicalMeta(msgspec.Struct, frozen=True, kw_only=True):
    """`lexical.meta.json`."""

    version: int
    documents: int
    fields: tuple[str, ...]
    tantivy: str
    analyzer: str
    groups: tuple[tuple[Segment, ...], ...]
    """The segments of each group of parts of the tables, in order: one, or none where it has no documents."""


_DEFAULT = SearchSettings()


@dataclass(frozen=True, slots=True)
class FieldBoosts:
    """What a term's BM25 score in each field is multiplied by; see `SearchSettings`."""

    body: float = _DEFAULT.body_boost
    names: float = _DEFAULT.names_boost
    path: float = _DEFAULT.path_boost
    file_name: float = _DEFAULT.file_name_boost

    @classmethod
    def of(cls, settings: SearchSettings) -> FieldBoosts:
        """Those of the settings."""
        return cls(settings.body_boost, settings.names_boost, settings.path_boost, settings.file_name_boost)


@dataclass(frozen=True, slots=True)
class Hits:
    """Ids, int64 [m], and scores, float32 [m]: best first, equal scores by id."""

    ids: Ids
    scores: npt.NDArray[np.float32]


def analyzer() -> tantivy.TextAnalyzer:
    """From terms joined by spaces to stems: the same for documents and queries."""
    return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).filter(tantivy.Filter.stemmer("english")).build()


def defined_terms(name: str, qualified_name: str) -> tuple[str, ...]:
    """What a definition is found by: its name alone and with more and more of what it stands in, as written and in lower case.

    `Model.Meta.ordering` gives `ordering`, `Meta.ordering` and the whole, and the same three in lower case.
    """
    if not name:
        return ()
    spellings = [name]
    if qualified_name.endswith(f".{name}"):
        for owner in reversed(qualified_name.removesuffix(f".{name}").split(".")):
            spellings.append(f"{owner}.{spellings[-1]}")
    return tuple(dict.fromkeys([*spellings, *map(str.lower, spellings)]))


def schema() -> tantivy.Schema:
    """The fields. No positions: nothing asks for phrases."""
    builder = tantivy.SchemaBuilder()
    for name in TEXT_FIELDS:
        builder.add_text_field(name, tokenizer_name=ANALYZER, index_option="freq")
    builder.add_text_field(DEFINES, tokenizer_name="raw", index_option="basic")
    builder.add_integer_field(ID, indexed=True, fast=True)
    builder.add_bytes_field(ROW, stored=True)
    return builder.build()


class LexicalReader:
    """A published lexical index, open for searching; may be used from several threads.

    `root` is a version's or an object's directory, which may be read-only. Raises `IndexCorruptionError` when files are missing
    or damaged, `IndexFormatError` when they are of another format.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / DIRECTORY
        self.meta = read_meta(root)
        with _guarded(self._path), os.scandir(self._path.resolve()) as entries:
            files = [Path(entry.path) for entry in entries]
        with _lockable(files) as folder, _guarded(self._path):
            index = tantivy.Index.open(str(folder))
            index.config_reader("manual")  # No watching of a directory that never changes.
            self._searcher = index.searcher()
            self._schema = index.schema
            documents = self._searcher.num_docs
        self._analyzer = analyzer()
        self.files: ChunkFiles = chunk_files.read(root / chunk_files.FILE, self.meta.documents)
        if documents != self.meta.documents:
            raise IndexCorruptionError(
                f"{self._path} holds {documents} documents instead of {self.meta.documents}.", hint=_REBUILD
            )

    def __len__(self) -> int:
        return self.meta.documents

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; the reader cannot be used any more."""
        del self._searcher

    def ids(self) -> Ids:
        """The chunks that have a document, ascending: as the index itself has them, whatever `files` says."""
        if not len(self):
            return np.empty(0, np.int64)
        with _guarded(self._path):
            found = self._searcher.search(tantivy.Query.all_query(), len(self), count=False).hits
            return np.unique(np.array(self._searcher.fast_field_values(ID, [address for _, address in found]), np.int64))

    def has(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which of these chunks [n] have a document, as the index itself has them."""
        return np.isin(ids, np.array(list(self._addresses(ids.tolist())), np.int64))

    def terms(self, query: str) -> list[str]:
        """The distinct stems that a query is looked up by, in order, at most `MAX_TERMS`; empty when it has no word."""
        runs = words.runs(query)
        found: dict[str, None] = {}
        for run in [run for run in runs if run.lower() not in STOP_WORDS] or runs:
            found.update(dict.fromkeys(self._analyzer.analyze(" ".join(words.terms(run)))))
            if len(found) >= MAX_TERMS:
                break
        return list(found)[:MAX_TERMS]

    def search(self, query: str, limit: int, *, allowed: Ids | None = None, boosts: FieldBoosts | None = None) -> Hits:
        """The best `limit` chunks, only of `allowed` (sorted ids) where that is given."""
        terms = self.terms(query)
        if not terms or limit < 1 or not len(self) or (allowed is not None and not len(allowed)):
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        return self._best(self._query(terms, boosts or FieldBoosts()), limit, allowed)

    def stems(self, text: str) -> set[str]:
        """All stems of a text, as documents have them."""
        return {stem for run in words.runs(text) for stem in self._analyzer.analyze(" ".join(words.terms(run)))}

    def scores_of(self, stem: str, ids: Sequence[int], *, boosts: FieldBoosts | None = None) -> dict[int, float]:
        """What a stem of a query adds to the scores of a few chunks, of those that have it: `search` sums that up."""
        if not len(ids) or not len(self):
            return {}
        few = tantivy.Query.const_score_query(tantivy.Query.term_set_query(self._schema, ID, list(map(int, ids))), 0.0)
        asked = [(tantivy.Occur.Must, few), (tantivy.Occur.Must, self._query([stem], boosts or FieldBoosts()))]
        with _guarded(self._path):
            hits = self._searcher.search(tantivy.Query.boolean_query(asked), len(ids), count=False).hits
            found = np.array(self._searcher.fast_field_values(ID, [address for _, address in hits]), np.int64)
        return dict(zip(found.tolist(), (float(score) for score, _ in hits), strict=True))

    def defining(self, name: str, limit: int, *, allowed: Ids | None = None) -> Hits:
        """The chunks in which a definition called `name` starts, only of `allowed` (sorted ids) where that is given.

        `name` is simple (`filter`) or its parts are joined by dots (`QuerySet.filter`). Scores: `EXACT` for the name, with any
        of what it stands in, as written; `NEAR` where only letter case differs, or where less of what it is said to stand in
        fits (`django.db.models.QuerySet.filter`: the longest ending that is defined); `PREFIX` where a longer name starts so;
        `FUZZY`, where nothing else is found, a name at the distance of a slip or two.
        """
        nothing = Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        if not name or limit < 1 or not len(self) or (allowed is not None and not len(allowed)):
            return nothing
        endings = [name.split(".", skipped)[-1] for skipped in range(name.count(".") + 1)]
        ways = [self._name_query(name, EXACT), *(self._name_query(ending, NEAR) for ending in endings[1:])]
        ways += [self._like(ending) for ending in endings if _LEAST_FUZZY <= len(ending) <= _MOST_FUZZY]
        found = (self._best(way, limit, allowed) for way in ways)
        return next((hits for hits in found if len(hits.ids)), nothing)

    def _best(self, asked: tantivy.Query, limit: int, allowed: Ids | None) -> Hits:
        """The best `limit` answers to a query, ties by id."""
        limit = int(limit)  # Tantivy refuses NumPy's integers.
        # One more than needed shows whether the last place is tied; then the ids decide, so everything tied must be seen.
        fetch = limit + 1 if allowed is None else 4 * limit + 1
        while True:
            fetch = min(fetch, len(self))
            hits, last_score, fetched = self._fetch(asked, fetch, allowed)
            enough = len(hits.ids) >= limit and hits.scores[limit - 1] > last_score
            if enough or fetched < fetch or fetch == len(self):
                return Hits(hits.ids[:limit], hits.scores[:limit])
            fetch *= 4

    def documents(self, ids: Sequence[int] | Ids) -> list[dict[str, Any]]:
        """What is stored of these chunks, in their order: `id` and `ROW_COLUMNS`. Raises `NotFoundError` for an unknown id."""
        wanted = [int(identifier) for identifier in ids]
        askable = [identifier for identifier in dict.fromkeys(wanted) if -(1 << 63) <= identifier < 1 << 63]
        if not wanted:
            return []
        found = self._addresses(askable)
        with _guarded(self._path):
            rows = {identifier: self._searcher.doc(address)[ROW][0] for identifier, address in found.items()}
        for identifier in wanted:
            if identifier not in rows:
                raise NotFoundError(f"There is no chunk {identifier} in this version.")
        return [
            {ID: identifier, **dict(zip(ROW_COLUMNS, msgspec.json.decode(rows[identifier]), strict=True))}
            for identifier in wanted
        ]

    def _addresses(self, ids: list[int]) -> dict[int, Any]:
        """Where the documents of these chunks are, by id; only of those that have one."""
        if not ids or not len(self):
            return {}
        with _guarded(self._path):
            query = tantivy.Query.term_set_query(self._schema, ID, ids)
            addresses = [address for _, address in self._searcher.search(query, len(ids), count=False).hits]
            found: Any = self._searcher.fast_field_values(ID, addresses)
        return dict(zip(found, addresses, strict=True))

    def _query(self, terms: list[str], boosts: FieldBoosts) -> tantivy.Query:
        weights = [(field, getattr(boosts, field)) for field in TEXT_FIELDS if getattr(boosts, field) > 0]
        query = tantivy.Query
        return query.boolean_query(
            [
                (tantivy.Occur.Should, query.boost_query(query.term_query(self._schema, field, term, "freq"), weight))
                for term in terms
                for field, weight in weights
            ]
        )

    def _name_query(self, name: str, most: float) -> tantivy.Query:
        query, lower = tantivy.Query, name.lower()

        def scored(asked: tantivy.Query, score: float) -> tantivy.Query:
            return query.const_score_query(asked, score)

        ways = [scored(query.term_query(self._schema, DEFINES, name, "basic"), most)]
        ways.append(scored(query.term_query(self._schema, DEFINES, lower, "basic"), NEAR))
        # The ending of a name that is not there says nothing about longer names.
        if most == EXACT and len(name) >= _LEAST_PREFIX:
            ways.append(scored(query.regex_query(self._schema, DEFINES, f"{re.escape(lower)}.*"), PREFIX))
        return query.disjunction_max_query(ways)

    def _like(self, name: str) -> tantivy.Query:
        """Names at a distance of letters left out, added, changed or swapped."""
        query, slips = tantivy.Query, 1 if len(name) < _LEAST_TWICE_FUZZY else 2
        return query.const_score_query(query.fuzzy_term_query(self._schema, DEFINES, name.lower(), slips, True), FUZZY)

    def _fetch(self, query: tantivy.Query, count: int, allowed: Ids | None) -> tuple[Hits, float, int]:
        """The allowed ones of the best `count`; the score of the last of all; and how many there were of all."""
        with _guarded(self._path):
            found = self._searcher.search(query, count, count=False).hits
            ids = np.array(self._searcher.fast_field_values(ID, [address for _, address in found]), np.int64)
        scores = np.array([score for score, _ in found], np.float32)
        last_score = float(scores[-1]) if len(scores) else 0.0
        if allowed is not None:
            places = np.minimum(np.searchsorted(allowed, ids), len(allowed) - 1)
            keep = allowed[places] == ids
            ids, scores = ids[keep], scores[keep]
        order = np.lexsort((ids, -scores))
        return Hits(ids[order], scores[order]), last_score, len(found)


def read_meta(root: Path) -> LexicalMeta:
    """The description of an index. Raises `IndexCorruptionError` for a damaged one, `IndexFormatError`."""
    path = root / META
    try:
        raw = path.read_bytes()
        meta = msgspec.json.decode(raw, type=LexicalMeta)
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=_REBUILD) from error
    except msgspec.DecodeError as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint=_REBUILD) from None
    if meta.version != FORMAT:
        raise IndexFormatError(f"{path} is of format {meta.version}, not {FORMAT}.", hint="Build again with this version.")
    if meta.analyzer != ANALYZER_VERSION:
        raise IndexFormatError(
            f"{path} was made with other words (`{meta.analyzer}`, not `{ANALYZER_VERSION}`).",
            hint="Build again with this version.",
        )
    return meta


@contextmanager
def _lockable(files: Sequence[Path]) -> Iterator[Path]:
    """A private directory of links to the index's files: opening creates lock files, which a version must not get.

    It is gone as soon as the index is open, which keeps its files mapped.
    """
    with ExitStack() as stack:
        try:
            # A thread with which Tantivy watches what it opens may put a lock file back meanwhile: it is a busy folder.
            folder = _private_folder(stack)
            for file in files:
                (folder / file.name).symlink_to(file)
        except OSError as error:
            raise RuntimeLifecycleError(
                f"No temporary directory can be written: {error.strerror}.", hint="Set TMPDIR to one that can."
            ) from error
        yield folder


def _private_folder(stack: ExitStack) -> Path:
    """A new folder, in memory where there is a place for such: on a disk, links take longer than opening what they lead to."""
    if "TMPDIR" not in os.environ:
        with suppress(OSError):
            return stack.enter_context(scratch_folder(_PRIVATE_PREFIX, _IN_MEMORY))
    return stack.enter_context(scratch_folder(_PRIVATE_PREFIX))


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Turn what Tantivy says about damaged files, panics included, into our error."""
    try:
        yield
    except (ValueError, OSError, SystemError) as error:
        raise IndexCorruptionError(f"The lexical index {path} cannot be read: {error}.", hint=_REBUILD) from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # Derives from BaseException, and its type cannot be imported.
            raise IndexCorruptionError(f"The lexical index {path} is damaged.", hint=_REBUILD) from error
        raise
