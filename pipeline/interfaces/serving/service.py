"""Requests to answers: what every transport calls, from many threads.

Belongs here: which parts of the engine answer what. Not here: transports (`http`, `mcp`), fields of answers
(`interfaces.answers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline import tables
from pipeline.errors import CodeIntelError, IndexCorruptionError, NotFoundError, QueryError
from pipeline.interfaces import answers
from pipeline.interfaces.output import print_warning
from pipeline.interfaces.serving import requests
from pipeline.interfaces.serving.failures import reading
from pipeline.interfaces.serving.freshness import Freshnesses
from pipeline.interfaces.serving.requests import Fetch, Related, Search, Status, Symbols
from pipeline.interfaces.serving.shelf import MOST_OPEN, Shelf, Told, Volume, tell_nobody
from pipeline.interfaces.statuses import status_of, without_version
from pipeline.schemas import Chunks
from pipeline.search.engine import Filters
from pipeline.search.opened import Opened
from pipeline.store.layout import Store

Json = dict[str, Any]
_FIRST_LOOK = 1.0
"""Seconds for which a new version waits, before requests come to it, for how fresh it is."""
_UNREADABLE = (IndexCorruptionError, OSError, MemoryError)
"""What says that an open version is no longer what it was."""


@dataclass
class Service:
    """Answers questions about a store. `close` when no request is to come."""

    store: Store
    warn: Callable[[str], None] = print_warning
    most_open: int = MOST_OPEN
    tell: Told = field(default=tell_nobody, repr=False)
    shelf: Shelf = field(init=False)
    freshness: Freshnesses = field(init=False)

    def __post_init__(self) -> None:
        self.freshness = Freshnesses(self.store)
        self.shelf = Shelf(
            self.store, self.warn, self.most_open, self.tell,
            prepare=lambda volume: self.freshness.of(volume.searcher.version, wait=_FIRST_LOOK),
        )  # fmt: skip

    def close(self) -> None:
        """Let all versions go that nobody reads, and the others when their readers are done."""
        self.shelf.close()

    def ask(self, operation: str, arguments: Mapping[str, Any], *, texts: bool = False) -> Json:
        """The answer to a request by its name and arguments; `texts` where those come from a URL.

        Raises `QueryError` for a request that is none, and otherwise what its operation raises.
        """
        kind = requests.REQUESTS.get(operation)
        if kind is None:
            raise QueryError(f"There is no operation `{operation[:40]}`.", hint=f"There are {', '.join(requests.REQUESTS)}.")
        request = requests.parse(kind, arguments, texts=texts)
        with reading(self.store.root, opened=True):
            answer: Json = getattr(self, operation)(request)
        return answer

    def search(self, request: Search) -> Json:
        """Chunks that are about something, best first; `more` says whether there may be any behind them."""
        from pipeline.search.explanation import explain

        filters = Filters(
            *(tuple(values) for values in (request.lang, request.path, request.kind, request.module, request.defines))
        )
        with self._reading(request) as volume:
            searcher = volume.searcher
            changed = bool(request.params) or request.k_factor is not None
            point = searcher.point_for(request.params, request.k_factor) if changed else None
            most = request.offset + request.k
            answer = searcher.answer(request.query, most, filters, point=point, explain=request.explain)
            matched = explain(searcher.opened, answer) if request.explain else None
            volume.tracer.record(answer, matched)
            found = answers.searched(
                searcher.version, self.freshness.of(searcher.version), request.query, answer, matched, offset=request.offset
            )
            if request.content:
                _add_content(volume, found["results"])
            return {**found, "offset": request.offset, "more": len(answer.hits) == most}

    def fetch(self, request: Fetch) -> Json:
        """A chunk, or lines of a file. Raises `NotFoundError`."""
        if (request.id is None) == (request.uri is None):
            raise QueryError("Give `id` or `uri`, and not both.")
        with self._reading(request) as volume:
            version, opened = volume.searcher.version, volume.searcher.opened
            fresh = self.freshness.of(version)
            if request.id is not None:
                symbols = volume.symbols if request.around else None
                return answers.chunk(version, fresh, opened.catalog, answers.chunk_id(request.id), symbols)
            assert request.uri is not None  # one of both was given
            first, most = request.start_line, request.start_line + requests.MOST_LINES - 1
            last = most if request.end_line is None else min(request.end_line, most)
            return answers.span(version, fresh, opened.catalog, request.uri, first, last)

    def symbols(self, request: Symbols) -> Json:
        """What is known of a name. Raises `NotFoundError`."""
        from pipeline.catalog.lookup import find_symbols

        name = request.name.strip()
        if not name:
            raise QueryError("The name is empty.", hint="Give a name, for example `QuerySet.filter`.")
        with self._reading(request) as volume:
            version, table = volume.searcher.version, volume.symbols
            found = find_symbols(table, name)
            if not len(found):
                raise answers.no_symbol(version, name, volume.searcher.opened.catalog)
            shown, fresh = found[request.offset : request.offset + request.most], self.freshness.of(version)
            answer = answers.symbols(version, fresh, name, table, shown, k=request.k, references=request.refs, total=len(found))
            return {**answer, "offset": request.offset, "more": request.offset + len(shown) < len(found)}

    def related(self, request: Related) -> Json:
        """What is near a chunk. Raises `NotFoundError`."""
        from pipeline.search.related import related

        filters = Filters(*(tuple(values) for values in (request.lang, request.path, request.kind)))
        with self._reading(request) as volume:
            version = volume.searcher.version
            found = related(volume.searcher, answers.chunk_id(request.id), request.k, filters)
            return answers.related(version, self.freshness.of(version), found)

    def status(self, request: Status) -> Json:
        """What is published of each repository; one that cannot be opened says why."""
        if request.repo is not None:
            self.store.existing(request.repo)
        rows = []
        for repository in self.store.repositories():
            if request.repo not in (None, repository.name):
                continue
            try:
                with self.shelf.taken(repository.name) as volume:
                    version = volume.searcher.version
                    rows.append(status_of(repository, version, self.freshness.of(version)))
            except CodeIntelError as error:
                rows.append(without_version(repository, error))
        return {"repos": rows}

    @contextmanager
    def _reading(self, request: requests.Request) -> Iterator[Volume]:
        """The version that a request is about. One that turns out to be damaged or gone is opened anew by the next request."""
        with self.shelf.taken(request.repo, request.version) as volume:
            try:
                yield volume
            except _UNREADABLE as error:
                self.shelf.drop(volume)
                if isinstance(error, CodeIntelError):
                    raise
                raise IndexCorruptionError(
                    f"The version {volume.name} of `{volume.repository.name}` cannot be read any more: {error}.",
                    hint="Ask again; if that fails too, run `indexctl verify`, and `indexctl build` to repair it.",
                ) from error


def _texts(opened: Opened, results: Sequence[Json]) -> dict[int, str]:
    """The texts of chunks by id. While the catalog is not open, from the parts of their files: the first answer of a server
    is not to wait for a database."""
    if opened.holds("catalog"):
        from pipeline.catalog.hydrate import hydrate

        rows = hydrate(opened.catalog, [int(result["id"]) for result in results], ("id", "content"), missing="skip")
        return dict(zip(rows["id"].to_pylist(), rows["content"].to_pylist(), strict=True))
    root = opened.version.ensure("chunks")
    count = tables.parts_in(root, Chunks)
    texts: dict[int, str] = {}
    for part in {tables.part_of(result["uri"], count) for result in results}:
        rows = tables.read_part(tables.part_path(root / Chunks.name, part), Chunks, ["id", "content"])
        texts |= zip(rows["id"].to_pylist(), rows["content"].to_pylist(), strict=True)
    return texts


def _add_content(volume: Volume, results: list[Json]) -> None:
    """Give each result the text of its chunk."""
    if not results:
        return
    texts = _texts(volume.searcher.opened, results)
    if lost := [result["id"] for result in results if int(result["id"]) not in texts]:
        raise NotFoundError(f"The chunk {lost[0]} is in the lexical index and in no table.", hint="Run `indexctl verify`.")
    for result in results:
        result["content"] = texts[int(result["id"])]
