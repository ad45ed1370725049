"""An open version: what channels read from it, each part opened when it is first asked for, and once.

Belongs here: opening, and what must fit together (the embedder and the vectors). Not here: queries (`engine`, `channels`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from pipeline import instruments
from pipeline.config import EmbedSettings, SearchSettings, SpladeSettings, XtrSettings
from pipeline.embed import registry
from pipeline.embed.interface import Embedder
from pipeline.errors import CodeIntelError, RuntimeLifecycleError
from pipeline.index.dense.operating_point import OperatingPoint, parse, under_settings
from pipeline.index.dense.vectors import VectorIndex
from pipeline.index.lexical import LexicalReader
from pipeline.search.files import FileFacts
from pipeline.store.versions import ManifestDocument

if TYPE_CHECKING:
    import duckdb

    from pipeline.search.tokens import TokenSearch

T = TypeVar("T")
REST = 30.0
"""Seconds for which what broke is left alone: a server that is gone must not cost every query its time-out."""


class OpenVersion(Protocol):
    """What a version must be to be searched: a published one (`store.versions.Version`), or one that is being evaluated."""

    @property
    def name(self) -> str:
        """What it is called in errors."""
        ...

    @property
    def manifest(self) -> ManifestDocument:
        """What it is made of."""
        ...

    def ensure(self, *assets: str) -> Path:
        """The folder in which the files of all assets lie, those of these assets known to be undamaged."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


@dataclass
class Opened:
    """A version and its open parts; many threads may use it at once."""

    version: OpenVersion
    settings: SearchSettings
    embed_settings: EmbedSettings
    splade_settings: SpladeSettings = field(default_factory=SpladeSettings)
    xtr_settings: XtrSettings = field(default_factory=XtrSettings)
    _parts: dict[str, Any] = field(default_factory=dict, repr=False)
    _resting: dict[str, tuple[float, str]] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def part(self, name: str, make: Callable[[], T]) -> T:
        """What `make` opened when it was first asked for. A part that cannot be opened is tried again the next time."""
        found = self._parts.get(name)
        if found is None:
            with self._lock:
                found = self._parts.get(name)
                if found is None:
                    found = self._parts[name] = make()
        return cast("T", found)

    def holds(self, name: str) -> bool:
        """Whether a part is open."""
        return name in self._parts

    def close(self) -> None:
        """Let the version and everything read from it go."""
        with self._lock:
            for part in self._parts.values():
                if hasattr(part, "close"):
                    part.close()
            self._parts.clear()
        self.version.close()

    @property
    def lexical(self) -> LexicalReader:
        """The lexical index, which also stores what a line of results shows."""
        return self.part("lexical", lambda: LexicalReader(self.version.ensure("lexical_index")))

    @property
    def vectors(self) -> VectorIndex:
        """The vector index."""
        return self.part("vectors", self._open_vectors)

    def _open_vectors(self) -> VectorIndex:
        index = VectorIndex.open(self.version.ensure("faiss_index", "embeddings"), verified=True, search=self.settings)
        instruments.gauge("faiss_idmap_rows", index.count, repository=self.version.manifest.repository)
        return index

    @property
    def embedder(self) -> Embedder:
        """The embedder that made the version's vectors. Raises `IndexFormatError` when it is another one now."""
        return self.part("embedder", self._load_embedder)

    def _load_embedder(self) -> Embedder:
        # Threads that waited while one found the server gone must not each find it out anew.
        if (resting := self.resting("embedder")) is not None:
            raise RuntimeLifecycleError(resting)
        try:
            embedder = registry.load(self.embed_settings.for_queries())
        except CodeIntelError as error:
            self.rest("embedder", str(error))
            raise
        registry.require(embedder, self.version.manifest.embedder, self.version.name)
        return embedder

    @property
    def tokens(self) -> TokenSearch | None:
        """Token vectors and the encoder that made them; None where the version was built without.

        Raises `IndexFormatError` when the encoder is another one now.
        """
        built = self.version.manifest.artefacts.get("xtr_index")
        if built is None or built.facts["state"] == "off":
            return None
        return self.part("tokens", self._open_tokens)

    def _open_tokens(self) -> TokenSearch:
        # Here, because most versions have no tokens.
        from pipeline.search.tokens import open_tokens

        return open_tokens(self.version, self.xtr_settings)

    @property
    def files(self) -> FileFacts:
        """The files that chunks are of."""
        return self.part("files", lambda: FileFacts(self.lexical.files))

    @property
    def catalog(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection over the views; use a cursor of it in each thread."""
        return self.part("catalog", self._open_catalog)

    def _open_catalog(self) -> duckdb.DuckDBPyConnection:
        from pipeline.catalog.views import connect, has_views

        folder = self.version.ensure(*self.version.manifest.artefacts)
        connection = connect(folder, memory_limit=self.settings.duckdb_memory_limit, threads=self.settings.duckdb_threads)
        if instruments.listening():
            ready = has_views(connection, "v_faiss_join")
            repository = self.version.manifest.repository
            instruments.gauge("faiss_join_ready", ready, materialized="false", repository=repository)
        return connection

    @property
    def point(self) -> OperatingPoint:
        """Where this version's vectors are searched: at its tuned or locked point, under the settings."""
        return self.part("point", self._tuned_point)

    def _tuned_point(self) -> OperatingPoint:
        index, recorded = self.vectors, self.version.manifest.operating_point
        # A locked point may ask for more lists than the index of today has, which means all of them.
        name, _, value = recorded["parameters"].partition("=")
        cut = f"{name}={min(int(value), index.nlist)}" if name == "nprobe" else recorded["parameters"]
        tuned = parse(cut, recorded["k_factor"], family=index.family, nlist=index.nlist, default=index.point)
        return under_settings(tuned, self.settings, family=index.family, nlist=index.nlist)

    def rest(self, channel: str, reason: str, seconds: float = REST) -> None:
        """Leave a broken channel, or part of one, alone for so long."""
        self._resting[channel] = (time.monotonic() + seconds, reason)

    def resting(self, channel: str) -> str | None:
        """Why a channel is left alone; None where it is not."""
        until, reason = self._resting.get(channel, (0.0, ""))
        return reason if time.monotonic() < until else None
