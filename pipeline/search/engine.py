"""The search engine: a query against one open version.

Everything that a line of results shows is stored in the lexical index, so a search reads no table; DuckDB is opened only for
filters. A version is opened once and serves many queries, from many threads.

Belongs here: what happens between a query and its hits. Not here: arithmetic of ranks (`fusion`), the channels themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import EmbedSettings, SearchSettings, Settings
from pipeline.embed import registry
from pipeline.errors import QueryError
from pipeline.index.dense.operating_point import OperatingPoint, parse, under_settings
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.lexical import LexicalReader
from pipeline.search.adjustments import FileFacts, adjust
from pipeline.search.fusion import Ids, Ranking, Share, best_first, share_of, total_of
from pipeline.search.query import Parsed, identifier_of, parse_query
from pipeline.search.symbols import symbol_ranking
from pipeline.source.languages import LANGUAGES
from pipeline.store.layout import Repository
from pipeline.store.versions import Version, open_version

if TYPE_CHECKING:
    import duckdb

MOST_RESULTS = 10_000
MOST_QUERY_BYTES = 1 << 20
_POOL_FACTOR, _LEAST_POOL = 5, 100
"""Each channel gives that many times k candidates, at least that many."""


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


@dataclass(frozen=True, slots=True)
class ChannelHit:
    """What a channel says about a hit: its rank there (None: beyond the pool), its raw score, its part of the fused score."""

    rank: int | None
    score: float
    contribution: float


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
            "explanation": {
                name: {"rank": hit.rank, "score": round(hit.score, 6), "contribution": round(hit.contribution, 6)}
                for name, hit in self.channels.items()
            },
            "adjustments": {name: round(factor, 6) for name, factor in self.adjustments.items()},
        }


@dataclass
class Searcher:
    """An open version with its channels. Use as a context manager; `open_searcher` makes it."""

    version: Version
    settings: SearchSettings
    embed_settings: EmbedSettings
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the version and everything read from it go."""
        for name in ("lexical", "_catalog"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
        self.version.close()

    @cached_property
    def lexical(self) -> LexicalReader:
        """The lexical channel."""
        return LexicalReader(self.version.ensure("lexical_index"))

    @cached_property
    def vectors(self) -> VectorIndex:
        """The dense channel."""
        return VectorIndex.open(self.version.ensure("faiss_index", "embeddings"), verified=True, search=self.settings)

    @cached_property
    def _files(self) -> FileFacts:
        return FileFacts(self.lexical.files)

    @cached_property
    def embedder(self) -> Any:
        """The embedder that made the version's vectors. Raises `IndexFormatError` when it is another one now."""
        embedder = registry.load(self.embed_settings)
        registry.require(embedder, self.version.manifest.embedder, self.version.name)
        return embedder

    @cached_property
    def _catalog(self) -> duckdb.DuckDBPyConnection:
        from pipeline.catalog.views import connect

        folder = self.version.ensure(*self.version.manifest.artefacts)
        return connect(folder, memory_limit=self.settings.duckdb_memory_limit, threads=self.settings.duckdb_threads)

    @cached_property
    def point(self) -> OperatingPoint:
        """Where this version's index is searched: at its tuned or locked point, under the settings."""
        index, recorded = self.vectors, self.version.manifest.operating_point
        # A locked point may ask for more lists than the index of today has, which means all of them.
        name, _, value = recorded["parameters"].partition("=")
        cut = f"{name}={min(int(value), index.nlist)}" if name == "nprobe" else recorded["parameters"]
        tuned = parse(cut, recorded["k_factor"], family=index.family, nlist=index.nlist, default=index.point)
        return under_settings(tuned, self.settings, family=index.family, nlist=index.nlist)

    def point_for(self, parameters: str = "", k_factor: float | None = None) -> OperatingPoint:
        """That point with what one call changes: `nprobe=64`. Raises `QueryError` for what the index does not take."""
        index = self.vectors
        return parse(parameters, k_factor, family=index.family, nlist=index.nlist, default=self.point)

    def open(self) -> None:
        """Open all channels now instead of at the first query."""
        with self._lock:
            _ = self.lexical, self.vectors, self.embedder, self._files

    def search(
        self, query: str, k: int | None = None, filters: Filters = Filters(), *, point: OperatingPoint | None = None
    ) -> list[Hit]:
        """The k best chunks, best first; `point` (see `point_for`) takes the place of the version's own.

        Raises `QueryError` for a query, a k or a point that cannot be answered.
        """
        k = self.settings.default_k if k is None else k
        _check(query, k)
        self._check_languages(filters.lang)
        self.open()
        allowed = self._allowed(filters) if filters else None
        if allowed is not None and not len(allowed):
            return []
        pool = max(_LEAST_POOL, _POOL_FACTOR * k)
        parsed = parse_query(query)
        candidates, shares = self._shares(parsed, query, pool, allowed, point or self.point)
        adjusted = adjust(candidates, total_of(candidates, shares), self._files, parsed, self.settings)
        order = best_first(candidates, adjusted.scores)[:k]
        documents = self.lexical.documents(candidates[order])
        return [
            Hit(
                rank=rank,
                score=float(adjusted.scores[row]),
                channels={
                    name: ChannelHit(int(share.rank[row]) or None, float(share.score[row]), float(share.contribution[row]))
                    for name, share in shares.items()
                },
                adjustments=adjusted.of(row),
                **document,
            )
            for rank, (row, document) in enumerate(zip(order.tolist(), documents, strict=True), 1)
        ]

    def _shares(
        self, parsed: Parsed, query: str, pool: int, allowed: Ids | None, point: OperatingPoint
    ) -> tuple[Ids, dict[str, Share]]:
        """The candidates, ascending, and what each channel that has something to say contributes to them."""
        found = self.lexical.search(query, pool, allowed=allowed)
        lexical = Ranking(found.ids, found.scores)
        vector = self.embedder.encode_queries([query])
        dense = self._dense(vector, pool, allowed, point)
        symbol = symbol_ranking(self.lexical, parsed, pool, allowed=allowed)
        rankings = [lexical, dense] if symbol is None else [lexical, dense, symbol]
        candidates: Ids = np.unique(np.concatenate([ranking.ids for ranking in rankings]))
        # Every candidate's true similarity is known, whichever channel found it.
        similarity = self.vectors.vectors_of(candidates) @ vector[0]
        settings = self.settings
        shares = {
            "lexical": share_of(candidates, lexical, weight=settings.lexical_weight, power=1.0),
            "dense": share_of(candidates, dense, weight=settings.dense_weight, power=2.0, scores=similarity),
        }
        if symbol is not None:
            # Its scores are calibrated as they are: the start of a name counts less, even where nothing better is found.
            weight = settings.symbol_weight * float(symbol.scores.max(initial=0.0))
            weight *= 1.0 if parsed.name else settings.embedded_name_factor
            shares["symbol"] = share_of(candidates, symbol, weight=weight, power=1.0)
        return candidates, shares

    def _dense(self, vector: Any, pool: int, allowed: Ids | None, point: OperatingPoint) -> Ranking:
        ids, scores = self.vectors.search(vector, pool, allowed=allowed, point=point)
        good = scores[0] >= self.settings.semantic_min_score if ids.shape[1] else np.zeros(0, bool)
        return Ranking(ids[0][good], scores[0][good])

    def _check_languages(self, names: Sequence[str]) -> None:
        """A language that does not exist is a slip of the pen, which an empty answer would hide."""
        for name in names:
            if name not in LANGUAGES:
                indexed = ", ".join(sorted(self.version.manifest.artefacts["source_snapshot"].facts["languages"]))
                raise QueryError(f"There is no language `{name}`.", hint=f"In this index: {indexed}.")

    def _allowed(self, filters: Filters) -> Ids:
        from pipeline.catalog.hydrate import allowed_ids

        with self._lock:
            catalog = self._catalog
        defines = [identifier_of(name) or name for name in filters.defines]
        return allowed_ids(
            catalog, lang=filters.lang, path=filters.path, kind=filters.kind, module=filters.module, defines=defines
        )


def _check(query: str, k: int) -> None:
    if not query.strip():
        raise QueryError("The query is empty.", hint="Describe what you look for, or name it.")
    if len(query) > MOST_QUERY_BYTES:
        raise QueryError(f"The query has {len(query):,} characters.", hint="Use a sentence or a few names.")
    if not 1 <= k <= MOST_RESULTS:
        raise QueryError(f"k = {k} is out of range.", hint=f"Use 1 to {MOST_RESULTS:,}.")


def open_searcher(repository: Repository, settings: Settings, version: str | None = None) -> Searcher:
    """A searcher over the published version, or over a named one. Raises `NotFoundError` and what opening raises."""
    opened = open_version(repository, version)
    return Searcher(opened, settings.search, settings.embed)


def as_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Results as `search --json` prints them."""
    return [hit.as_json() for hit in hits]
