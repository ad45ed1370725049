"""The search engine: a query against one open version.

Everything that a line of results shows is stored in the lexical index, so a search reads no table; DuckDB is opened only for
filters. A version is opened once and serves many queries, from many threads.

Belongs here: what happens between a query and its hits. Not here: arithmetic of scores (`fusion`), the channels
themselves, opening (`opened`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipeline import instruments
from pipeline.config import Settings
from pipeline.errors import QueryError
from pipeline.index.dense.operating_point import OperatingPoint, parse
from pipeline.search.channels.interface import Asked, Found
from pipeline.search.channels.registry import Consulted, consult
from pipeline.search.diversity import Demotion
from pipeline.search.fusion import NO_POOL, Ids, Pool, Share, best_first
from pipeline.search.late import matches_of
from pipeline.search.opened import Opened
from pipeline.search.query import Parsed, identifier_of, parse_query
from pipeline.search.ranking import pool_size, rank
from pipeline.source.languages import LANGUAGES
from pipeline.store.layout import Repository
from pipeline.store.versions import Version, open_version

if TYPE_CHECKING:
    from pipeline.search.tokens import TokenMatch

MOST_RESULTS = 10_000
MOST_QUERY_BYTES = 1 << 20
MOST_VALUES, MOST_VALUE_CHARACTERS = 100, 1024
"""Of one filter."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Only chunks that pass all of these; each takes one of several values. `path` are globs in gitignore syntax.

    `module` is a file or folder, as a path (`django/db`) or dotted (`django.db.models.query`); `defines` the name of a
    definition, alone or qualified.
    """

    lang: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lang or self.path or self.kind or self.module or self.defines)

    def written(self) -> list[str]:
        """Each as `lang=python`."""
        return [f"{field.name}={value}" for field in fields(self) for value in getattr(self, field.name)]

    def check(self) -> None:
        """Raise `QueryError` for more values, or longer ones, than anybody asks for: they would take minutes."""
        for name in self.__slots__:
            values: tuple[str, ...] = getattr(self, name)
            if len(values) > MOST_VALUES:
                raise QueryError(f"The filter `{name}` has {len(values):,} values.", hint=f"Use at most {MOST_VALUES}.")
            if long := [value for value in values if len(value) > MOST_VALUE_CHARACTERS]:
                raise QueryError(
                    f"A value of the filter `{name}` has {len(long[0]):,} characters.",
                    hint=f"Use at most {MOST_VALUE_CHARACTERS:,}.",
                )


@dataclass(frozen=True, slots=True)
class ChannelHit:
    """What a channel says about a hit: its rank there (None: beyond the pool), its raw score, its part of the fused score, and
    the symbols that it says it for, where it is one of those."""

    rank: int | None
    score: float
    contribution: float
    symbols: tuple[str, ...] = ()
    detail: str = ""
    """What the score is made of, where the channel says so."""

    def as_json(self) -> dict[str, Any]:
        """As `explanation` of a result has it."""
        said: dict[str, Any] = {"rank": self.rank, "score": round(self.score, 6), "contribution": round(self.contribution, 6)}
        said |= {"symbols": list(self.symbols)} if self.symbols else {}
        return said | ({"detail": self.detail} if self.detail else {})


@dataclass(frozen=True, slots=True)
class Hit:
    """One result."""

    rank: int
    id: int
    uri: str
    start_line: int
    end_line: int
    lang: str
    kind: str
    name: str
    score: float
    preview: str
    channels: dict[str, ChannelHit]
    adjustments: dict[str, float]
    """What the sum of the contributions is multiplied by, by name; only what changes it."""
    tokens: tuple[TokenMatch, ...] = ()
    """Which tokens of the chunk answer which of the query; told when an explanation was asked for."""

    def as_json(self) -> dict[str, Any]:
        """The result as `search --json` prints it; the id as text, because JavaScript loses integers past 2^53."""
        return {
            "rank": self.rank,
            "id": str(self.id),
            "uri": self.uri,
            "start_line": self.start_line,
            "end_line": self.end_line,
            "lang": self.lang,
            "kind": self.kind,
            "name": self.name,
            "score": round(self.score, 6),
            "preview": self.preview,
            "explanation": {name: hit.as_json() for name, hit in self.channels.items()},
            "adjustments": {name: round(factor, 6) for name, factor in self.adjustments.items()},
            **({"tokens": [match.as_json() for match in self.tokens]} if self.tokens else {}),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found, and how each channel fared."""

    query: Parsed
    hits: list[Hit]
    channels: dict[str, Consulted]
    k: int
    filters: Filters
    pool: Pool
    """What the hits are the best of."""
    seconds: float


@dataclass
class Searcher:
    """An open version that answers queries, from many threads. Use as a context manager; `open_searcher` makes it."""

    opened: Opened
    version: Version
    """The version that is searched."""

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the version and everything read from it go."""
        self.opened.close()

    def point_for(self, parameters: str = "", k_factor: float | None = None) -> OperatingPoint:
        """The version's operating point with what one call changes: `nprobe=64`. Raises `QueryError` for what does not fit."""
        index = self.opened.vectors
        return parse(parameters, k_factor, family=index.family, nlist=index.nlist, default=self.opened.point)

    def search(
        self, query: str, k: int | None = None, filters: Filters = Filters(), *, point: OperatingPoint | None = None
    ) -> list[Hit]:
        """The hits of `answer`."""
        return self.answer(query, k, filters, point=point).hits

    def answer(
        self,
        query: str,
        k: int | None = None,
        filters: Filters = Filters(),
        *,
        point: OperatingPoint | None = None,
        explain: bool = False,
    ) -> Answer:
        """The k best chunks, best first; `point` (see `point_for`) takes the place of the version's own. `explain` also tells
        which tokens answered, where there are token vectors.

        A channel that is broken is told in the answer and missed there. Raises `QueryError` for a query, a k, a filter or a
        point that cannot be answered, and `IndexCorruptionError` where the lexical index is damaged: it stores what is shown.
        """
        started, opened = time.perf_counter(), self.opened
        k = self.checked_k(k)
        _check(query)
        parsed = parse_query(query)
        if point is not None:
            instruments.count("faiss_param_overrides_total")
        allowed = self.allowed(filters)
        if allowed is not None and not len(allowed):
            return Answer(parsed, [], {}, k, filters, NO_POOL, time.perf_counter() - started)
        asked = Asked(parsed, pool_size(k), allowed, point)
        consulted = consult(opened, asked)
        ranked = rank(opened, asked, consulted)
        candidates, scores = ranked.candidates, ranked.scores
        consulted |= ranked.late
        order = best_first(candidates, scores)[:k]
        tokens = matches_of(opened, parsed.text, candidates[order].tolist()) if explain else {}
        rank_of = {row: rank for rank, row in enumerate(order.tolist(), 1)}
        hits = [
            Hit(
                rank=rank_of[row],
                score=float(scores[row]),
                channels={
                    name: _channel_hit(share, row, consulted[name].found, document["id"])
                    for name, share in ranked.shares.items()
                },
                adjustments=ranked.adjusted.of(row) | _likeness(ranked.copies.get(row), rank_of),
                tokens=tuple(tokens.get(document["id"], ())),
                **document,
            )
            for row, document in zip(order.tolist(), opened.lexical.documents(candidates[order]), strict=True)
        ]
        seconds = time.perf_counter() - started
        instruments.observe("codeintel_search_seconds", seconds, kind=parsed.kind.value)
        return Answer(parsed, hits, consulted, k, filters, ranked.pool, seconds)

    def checked_k(self, k: int | None) -> int:
        """How many results are asked for. Raises `QueryError` for a number that cannot be."""
        k = self.opened.settings.default_k if k is None else k
        if not 1 <= k <= MOST_RESULTS:
            raise QueryError(f"k = {k} is out of range.", hint=f"Use 1 to {MOST_RESULTS:,}.")
        return k

    def allowed(self, filters: Filters) -> Ids | None:
        """Ids of the chunks that pass, ascending; None where nothing is filtered. Raises `QueryError` for what is no filter."""
        if not filters:
            return None
        from pipeline.catalog.hydrate import allowed_ids

        filters.check()
        for name in filters.lang:
            # A slip of the pen, which an empty answer would hide.
            if name not in LANGUAGES:
                indexed = ", ".join(sorted(self.version.manifest.artefacts["source_snapshot"].facts["languages"]))
                raise QueryError(f"There is no language `{name}`.", hint=f"In this index: {indexed}.")
        defines = [identifier_of(name) or name for name in filters.defines]
        allowed = allowed_ids(
            self.opened.catalog, lang=filters.lang, path=filters.path, kind=filters.kind, module=filters.module, defines=defines
        )
        instruments.observe("codeintel_post_filter_density", len(allowed) / max(1, self.version.manifest.counts["chunks"]))
        return allowed


def _likeness(copy: Demotion | None, rank_of: Mapping[int, int]) -> dict[str, float]:
    """How the explanation names that a result is pushed back because a better one is like it."""
    return {} if copy is None else {f"like result {rank_of[copy.like]}": copy.factor}


def _channel_hit(share: Share, row: int, found: Found | None, document: int) -> ChannelHit:
    detail = "" if found is None or found.detail is None else found.detail(document)
    rank = int(share.rank[row]) or None
    return ChannelHit(rank, float(share.score[row]), float(share.contribution[row]), detail=detail)


def _check(query: str) -> None:
    if not query.strip():
        raise QueryError("The query is empty.", hint="Describe what you look for, or name it.")
    if len(query) > MOST_QUERY_BYTES:
        raise QueryError(f"The query has {len(query):,} characters.", hint="Use a sentence or a few names.")


def open_searcher(repository: Repository, settings: Settings, version: str | None = None) -> Searcher:
    """A searcher over the published version, or over a named one. Raises `NotFoundError` and what opening raises."""
    found = open_version(repository, version)
    return Searcher(Opened(found, settings.search, settings.embed, settings.splade, settings.xtr), found)
