"""Open versions, kept for many requests: each repository's published one, and some that were asked for by name.

A version is opened once. When CURRENT names another one, a thread opens and warms that while requests are answered from the
old one, which is closed when its last reader is done: no request waits for a flip, and none fails of it.

Belongs here: which versions are open, and for how long. Not here: answers (`service`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline.catalog.symbol_table import SymbolTable, read_symbols
from pipeline.config import Settings
from pipeline.errors import CodeIntelError, NotFoundError
from pipeline.interfaces.answers import symbol_assets
from pipeline.search.engine import Searcher, open_searcher
from pipeline.search.trace import Tracer
from pipeline.store import revisions
from pipeline.store.layout import Repository, Store, read_origin, settings_of
from pipeline.store.versions import Version, current_name

MOST_OPEN = 16
"""Versions that stay open; the one that was asked longest ago goes first."""
REST = 5.0
"""Seconds after which a version that could not be opened is tried again, while an older one answers."""
_WARM = "where a warm index opens its parts"
"""A query that asks every channel."""

Warn = Callable[[str], None]
Told = Callable[[Version, Settings], None]
"""Told of each version that is opened."""


def tell_nobody(version: Version, settings: Settings) -> None:
    """For those who do not care."""


@dataclass(eq=False)
class Volume:
    """An open version on the shelf, and how many requests read it."""

    repository: Repository
    searcher: Searcher
    tracer: Tracer
    readers: int = 0
    removed: bool = False

    @property
    def name(self) -> str:
        """The version's."""
        return self.searcher.version.name

    @property
    def symbols(self) -> SymbolTable:
        """The symbols of the version, read once."""
        opened, version = self.searcher.opened, self.searcher.version
        return opened.part("symbols", lambda: read_symbols(version.ensure(*symbol_assets(version))))

    def warm(self, like: Volume | None = None) -> None:
        """Open what every search needs, and what requests had opened of `like`, whose place it is to take. What cannot be
        opened is for those to tell that need it."""
        with contextlib.suppress(CodeIntelError):
            self.searcher.answer(_WARM, 1)
            if like is not None and like.searcher.opened.holds("catalog"):
                _ = self.searcher.opened.catalog
            if like is not None and like.searcher.opened.holds("symbols"):
                _ = self.symbols

    def close(self) -> None:
        """Write the traces that wait, and let the version go."""
        self.tracer.flush()
        self.searcher.close()


@dataclass
class Shelf:
    """The open versions of a store, for many threads. Use `taken`; `close` when no request is to come."""

    store: Store
    warn: Warn
    most_open: int = MOST_OPEN
    tell: Told = tell_nobody
    prepare: Callable[[Volume], object] = lambda volume: None
    """What to do with a new published version before requests come to it."""
    flips: int = 0
    """Versions that took the place of others."""
    _volumes: OrderedDict[tuple[str, str | None], Volume] = field(default_factory=OrderedDict, repr=False)
    _opening: dict[tuple[str, str | None], threading.Lock] = field(default_factory=dict, repr=False)
    _failed: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextlib.contextmanager
    def taken(self, repo: str | None, version: str | None = None) -> Iterator[Volume]:
        """An open version for the length of a block: the published one, or one by its name or the beginning of it.

        Raises `NotFoundError` for a repository or version that is not there, and where several repositories are indexed and
        none is named; and what opening raises.
        """
        volume = self._take(self.repository(repo), version)
        try:
            yield volume
        finally:
            self._give_back(volume)

    def drop(self, volume: Volume) -> None:
        """Take a version off the shelf, so that the next request opens it anew: it turned out to be damaged, or gone."""
        with self._lock:
            for key in [key for key, one in self._volumes.items() if one is volume]:
                del self._volumes[key]
            volume.removed = True

    def close(self) -> None:
        """Close what nobody reads, and the rest when its readers are done."""
        with self._lock:
            removed = list(self._volumes.values())
            self._volumes.clear()
            for volume in removed:
                volume.removed = True
        for volume in removed:
            if not volume.readers:
                volume.close()

    def open_versions(self) -> list[tuple[str, str]]:
        """Repository and version of each that is open."""
        with self._lock:
            return [(volume.repository.name, volume.name) for volume in self._volumes.values()]

    def repository(self, repo: str | None) -> Repository:
        """The repository of that name, or the only one. Raises `NotFoundError`."""
        if repo is not None:
            return self.store.existing(repo)
        known = self.store.repositories()
        if len(known) == 1:
            return known[0]
        if not known:
            raise NotFoundError(f"Nothing is indexed in {self.store.root}.", hint="Build an index with `indexctl build PATH`.")
        names = ", ".join(repository.name for repository in known)
        raise NotFoundError("Several repositories are indexed here.", hint=f"Name one as `repo`: {names}.")

    def _take(self, repository: Repository, version: str | None) -> Volume:
        name = None if version is None else revisions.named(repository, version)
        key = (repository.name, name)
        while True:
            with self._lock:
                volume = self._volumes.get(key)
                published = self._volumes.get((repository.name, None))
                if volume is None and published is not None and published.name == name:
                    # Asked for by its name: a page of what was asked of the published one.
                    volume = published
                if volume is not None:
                    volume.readers += 1
                    if key in self._volumes:
                        self._volumes.move_to_end(key)
            if volume is None:
                self._open_first(key, repository, name)
                continue
            if not volume.searcher.version.is_there():
                # Collected by force, or damaged and made anew under the same name.
                self.drop(volume)
                self._give_back(volume)
                continue
            if name is None:
                self._follow(key, volume)
            return volume

    def _give_back(self, volume: Volume) -> None:
        with self._lock:
            volume.readers -= 1
            last = volume.removed and not volume.readers
        if last:
            volume.close()

    def _open_first(self, key: tuple[str, str | None], repository: Repository, name: str | None) -> None:
        """Put a version on the shelf where there is none; those that want the same one wait for it."""
        with self._opener(key):
            with self._lock:
                if key in self._volumes:
                    return
            self._put(key, self._open(repository, name))

    def _follow(self, key: tuple[str, str | None], volume: Volume) -> None:
        """Have the published version opened beside an older one, unless that goes on already or just failed."""
        with contextlib.suppress(CodeIntelError):
            published = current_name(volume.repository)
            failed, again = self._failed.get(volume.repository.name, ("", 0.0))
            if published in (None, volume.name) or (published == failed and time.monotonic() < again):
                return
            opener = self._opener(key)
            if opener.acquire(blocking=False):
                threading.Thread(target=self._replace, args=(key, volume, opener), name="opening", daemon=True).start()

    def _replace(self, key: tuple[str, str | None], old: Volume, opener: threading.Lock) -> None:
        published = ""
        try:
            published = current_name(old.repository) or ""
            new = self._open(old.repository, None)
            new.warm(old)
            self.prepare(new)
            self._put(key, new)
            self.flips += 1
        except Exception as error:
            # What is open goes on answering; it says of which version it is.
            self._failed[old.repository.name] = (published, time.monotonic() + REST)
            self.warn(f"{old.repository.name}: {published} cannot be opened, {old.name} still answers: {error}")
        finally:
            opener.release()

    def _opener(self, key: tuple[str, str | None]) -> threading.Lock:
        with self._lock:
            return self._opening.setdefault(key, threading.Lock())

    def _open(self, repository: Repository, name: str | None) -> Volume:
        settings = settings_of(self.store, read_origin(repository))
        searcher = open_searcher(repository, settings, name)
        self.tell(searcher.version, settings)
        return Volume(repository, searcher, Tracer(searcher, settings.trace, self.warn))

    def _put(self, key: tuple[str, str | None], volume: Volume) -> None:
        """Put a version on the shelf in place of what is there; what is too many goes."""
        with self._lock:
            removed = [self._volumes.pop(key)] if key in self._volumes else []
            self._volumes[key] = volume
            while len(self._volumes) > self.most_open:
                removed.append(self._volumes.popitem(last=False)[1])
            for one in removed:
                one.removed = True
            closing = [one for one in removed if not one.readers]
        for one in closing:
            one.close()
